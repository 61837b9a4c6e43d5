//! The table of records that a newer daemon wrote, or nobody knows: no damage, and no reason to restore.
//!
//! Must never leave a kind of record without its row. Run by `cargo test`.

use super::mend::Mend;
use super::{End, Fault, Scene, play, serve};
use crate::harness::Outcome;
use servos_keyd::store::record::RecordName;

/// Gives the first record of this kind a schema of the future, under a MAC that fits.
fn newer(scene: &Scene, kind: &str) {
    scene.installation.change_records_and_mac(|snapshot| {
        let (_, value) = snapshot.records.iter_mut().find(|(name, _)| name.starts_with(kind)).unwrap();
        // Field 1, a number: 2.
        value.extend([8, 2]);
    });
}

const fn of_the_future(name: &'static str, harm: fn(&mut Scene)) -> Fault {
    let says = &["was written by a newer servos-keyd", "install that version"];
    Fault { name, harm, met_by: refused, end: End::Code(78), says, mend: Mend::PutBack }
}

/// What each of them says beside it; and that nothing is damaged, nor the key wrong.
fn refused(scene: &Scene) -> Outcome {
    serve(scene).not_saying(&["damaged", "INTEGRITY", "--salvage`"])
}

const NEWER: &[Fault] = &[
    of_the_future("master", |s| {
        // Its own MAC cannot be made with a record that this program does not read: the schema is judged before the MAC.
        s.installation.change_records(|snapshot| snapshot.records.get_mut("master").unwrap().extend([8, 2]));
    }),
    of_the_future("canary", |s| newer(s, "canary")),
    of_the_future("identity", |s| newer(s, "identity")),
    of_the_future("meta", |s| newer(s, "meta")),
    of_the_future("key/", |s| newer(s, "key/")),
    of_the_future("version/", |s| newer(s, "version/")),
    of_the_future("history/", |s| newer(s, "history/")),
    of_the_future("request/", |s| newer(s, "request/")),
    of_the_future("a record of a kind that is yet to come", |s| {
        s.installation
            .change_records_and_mac(|snapshot| drop(snapshot.records.insert("policy/1".to_owned(), vec![8, 1])));
    }),
];

#[test]
fn records_of_a_newer_daemon_are_told_from_damage() {
    play(NEWER);
    let there = Scene::made().installation.records();
    for name in there.records.keys().filter(|name| *name != "mac") {
        assert!(RecordName::parse(name).is_some());
        assert!(NEWER.iter().any(|row| name.starts_with(row.name)), "{name} has no row");
    }
}
