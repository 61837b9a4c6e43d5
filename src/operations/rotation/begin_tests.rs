//! Begin: both keys open the store from its commit on, and nothing is begun with a key that is not new.
//!
//! Must never take an answer for what is on the medium: each look is at the records.
//! Run by `cargo test`.

use super::key_sources::Renewal::{Environment, Reread, Restart};
use super::refusal::RotationRefusal;
use super::stage::{Begin, Ending, FORMER, NEW, NEXT, OLD, THIRD};
use super::{State, Step};
use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::ledger::Change;
use crate::operations::refusal::Refusal;
use crate::operations::retire_legacy_key::retire_legacy_key;
use crate::operations::start_failure::StartFailure;
use crate::operations::test_rig::{BEGIN, Rig, id};
use crate::store::{backup_file, record};

fn keeping() -> Begin {
    Begin { keep_data_keys: true, ..Begin::default() }
}

#[test]
fn from_its_commit_on_both_keys_open_the_store_and_no_other_does() {
    let starts: [&[(&str, super::key_sources::Renewal, &str)]; 6] = [
        &[("master.key", Reread, OLD)],
        &[("SERVOS_MASTER_KEY", Environment, NEW)],
        &[("master.key", Reread, OLD), ("credential", Restart, NEW)],
        &[("master.key", Reread, NEW), ("credential", Restart, OLD)],
        &[("credential", Restart, OLD), ("SERVOS_MASTER_KEY", Environment, NEW)],
        &[("master.key", Reread, OLD), ("credential", Restart, OLD)],
    ];
    for (n, held) in starts.iter().enumerate() {
        let mut rig = Rig::new();
        let sealed = rig.encrypt("default", b"before").unwrap();
        rig.begin(NEW, id(1)).unwrap();
        rig.opens_with(&[OLD, NEW]);
        rig.check();
        rig.hold(held);
        let rig = rig.restarted();
        assert_eq!(rig.state(), Some(State::Pending), "{n}");
        assert_eq!(rig.decrypt(&sealed.ciphertext).unwrap().plaintext.as_slice(), b"before");
        rig.opens_with(&[OLD, NEW]);
        rig.check();
        rig.hold_key(THIRD);
        let (old, new) = (rig.fingerprint(OLD).to_string(), rig.fingerprint(NEW));
        match rig.try_restarted() {
            Err((_, StartFailure::WrongKey { expected, to_come, past, .. })) => {
                assert!(expected == old && to_come == Some(new) && past.is_none(), "{n}");
            }
            _ => panic!("{n}: a third key"),
        }
    }
}

#[test]
fn a_backup_of_the_moment_before_is_durable_and_the_old_key_alone_opens_it() {
    let mut rig = Rig::new();
    let before = rig.snapshot();
    let report = rig.begin(NEW, None).unwrap();
    let backups = backup_file::list(&rig.backups()).unwrap();
    assert_eq!(backups.len(), 1);
    assert_eq!(report.backup, backups[0].display().to_string());
    assert_eq!(report.old_key_backups, std::slice::from_ref(&report.backup));
    let backup = backup_file::read(&backups[0]).unwrap();
    assert!(backup.records == before.records && backup.generation == before.generation);
    assert!(rig.holds(before.clone(), OLD, false).is_ok() && rig.holds(before, NEW, false).is_err());
    let (seals, keys) = (rig.keyring().versions.len() + 1, rig.keyring().names.len());
    assert_eq!((report.seals, report.data_keys, report.dry_run), (seals, keys, false));
}

#[test]
fn what_is_begun_is_told_by_the_answer_and_by_the_keyring() {
    let mut rig = Rig::new();
    rig.pass(77);
    let report = rig.begin_as(NEW, keeping()).unwrap();
    let rotation = rig.keyring().rotation.clone().unwrap();
    assert!(report.rotation == rotation);
    assert!(rotation.old == rig.fingerprint(OLD) && rotation.new == rig.fingerprint(NEW));
    assert_eq!((rotation.begun, rotation.new_data_keys, rotation.aborting), (BEGIN + 77, false, false));
    assert_eq!((rotation.step, rotation.opens().len(), report.data_keys), (Step::Waiting, 2, 0));
    assert!(report.next.iter().any(|next| next.contains("rotate finish")), "{:?}", report.next);
    assert!(rig.keyring().master.fingerprint == rotation.old, "the old one is still the master key");
}

type Prepare = fn(&mut Rig);
type IsIt = fn(&RotationRefusal) -> bool;

fn finished(rig: &mut Rig, key: &str) {
    rig.begin_as(key, keeping()).unwrap();
    rig.hold_key(key);
    rig.finish(key, None).unwrap();
    rig.advance_to_the_end();
}

/// A history whose first part is full, with the key somewhere in it, and a rotation in the second.
fn used_long_ago(rig: &mut Rig) {
    let entry = |n: u32| record::HistoryEntry {
        fingerprint: [[0xee; 4], n.to_be_bytes()].concat(),
        at: BEGIN,
        kind: record::HistoryKind::Rotated.into(),
    };
    let mut entries: Vec<_> = (0..1000).map(entry).collect();
    entries[3].fingerprint = rig.fingerprint(NEW).as_bytes().to_vec();
    let full = record::History { schema: record::SCHEMA, entries };
    let mut change = Change::default();
    change.put((record::history(0), record::encode(&full)));
    rig.ledger.commit(change, |_| ()).unwrap();
    finished(rig, NEXT);
    assert!(rig.snapshot().records.contains_key(&record::history(1)));
}

fn adopt(rig: &mut Rig, key: &str) {
    let permit = rig.whole();
    adopt_legacy_key(&permit, &mut rig.ledger, key.as_bytes(), None).unwrap();
}

fn retired(rig: &mut Rig) {
    adopt(rig, NEW);
    let (permit, key) = (rig.whole(), rig.fingerprint(NEW));
    retire_legacy_key(&permit, &mut rig.ledger, key, None).unwrap();
}

#[test]
fn only_a_new_key_is_begun_with_and_only_over_sources_that_fit() {
    let used: IsIt = |refusal| matches!(refusal, RotationRefusal::KeyUsedBefore(_));
    let foreign: IsIt = |refusal| matches!(refusal, RotationRefusal::ForeignKey { .. });
    let cases: [(&str, &str, Prepare, IsIt); 12] = [
        ("the key in use", OLD, |_| (), |refusal| matches!(refusal, RotationRefusal::KeyInUse(_))),
        (
            "a finished key that is in use",
            NEW,
            |rig| finished(rig, NEW),
            |refusal| matches!(refusal, RotationRefusal::KeyInUse(_)),
        ),
        ("the key before", OLD, |rig| finished(rig, NEW), used),
        (
            "the key before the one before",
            OLD,
            |rig| {
                finished(rig, NEW);
                finished(rig, NEXT);
            },
            used,
        ),
        ("a key of more than a thousand rotations ago", NEW, used_long_ago, used),
        (
            "a key of the second part of the history",
            NEXT,
            |rig| {
                used_long_ago(rig);
                finished(rig, THIRD);
            },
            used,
        ),
        ("a legacy key", NEW, |rig| adopt(rig, NEW), used),
        ("a retired legacy key", NEW, retired, used),
        ("a foreign key in the only source", NEW, |rig| rig.hold_key(THIRD), foreign),
        (
            "a foreign key in the second source",
            NEW,
            |rig| rig.hold(&[("master.key", Reread, OLD), ("credential", Restart, THIRD)]),
            foreign,
        ),
        (
            "a source that cannot be read",
            NEW,
            |rig| rig.hold_key("no key"),
            |refusal| matches!(refusal, RotationRefusal::Source(_)),
        ),
        (
            "a key that was finished after it had been aborted",
            NEW,
            |rig| {
                rig.begin(NEW, None).unwrap();
                rig.end_whole(Ending::Abort { new_data_keys: false });
                finished(rig, NEW);
                finished(rig, NEXT);
            },
            used,
        ),
    ];
    for (what, key, prepare, is_it) in cases {
        let mut rig = Rig::new();
        prepare(&mut rig);
        refuses(&mut rig, what, |rig, begin| rig.begin_as(key, begin), is_it);
    }
}

/// A begin is refused, as a dry run too, and nothing is changed or written.
#[track_caller]
fn refuses(
    rig: &mut Rig,
    what: &str,
    begin: impl Fn(&mut Rig, Begin) -> Result<super::report::Report, Refusal>,
    is_it: IsIt,
) {
    let before = (rig.snapshot(), backup_file::list(&rig.backups()).unwrap_or_default());
    for dry_run in [true, false] {
        match begin(rig, Begin { dry_run, id: id(9), ..Begin::default() }) {
            Err(Refusal::Rotation(refusal)) => assert!(is_it(&refusal), "{what}: {refusal:?}"),
            other => panic!("{what}: {:?}", other.map(|report| report.rotation)),
        }
    }
    assert!((rig.snapshot(), backup_file::list(&rig.backups()).unwrap_or_default()) == before, "{what}");
    assert!(rig.keyring().rotation.is_none(), "{what}");
}

#[test]
fn the_key_is_the_one_that_is_named_wherever_it_comes_from() {
    let mut rig = Rig::new();
    let (new, other) = (rig.fingerprint(NEW), rig.fingerprint(NEXT));
    let missing: IsIt =
        |refusal| matches!(refusal, RotationRefusal::NoNewKey(said) if said.contains("master.key.next"));
    let differs: IsIt =
        |refusal| matches!(refusal, RotationRefusal::OtherNewKey { .. }) && refusal.is_about_the_request();
    let unreadable: IsIt = |refusal| matches!(refusal, RotationRefusal::Source(_));
    refuses(&mut rig, "another text", |rig, begin| rig.begin_with(other, NEW, begin), differs);
    refuses(&mut rig, "no .next", |rig, begin| rig.begin_with(new, " \n", begin), missing);
    rig.sources.lock().unwrap().next = Some(NEXT.to_owned());
    refuses(&mut rig, "another .next", |rig, begin| rig.begin_with(new, "", begin), differs);
    rig.sources.lock().unwrap().next = Some("0".repeat(64));
    refuses(&mut rig, "a bad .next", |rig, begin| rig.begin_with(new, "", begin), unreadable);
    for bad in ["abc", &"0".repeat(64), &NEW[1..], "passwordpasswordpasswordpassword"] {
        let refusal = rig.begin_with(new, bad, Begin::default()).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid { field: "new_key", .. }), "{refusal:?}");
    }
    rig.sources.lock().unwrap().next = Some(NEW.to_owned());
    rig.begin_with(new, "", Begin::default()).unwrap();
    rig.opens_with(&[OLD, NEW]);

    let mut rig = Rig::new();
    rig.hold(&[("credential", Restart, OLD)]);
    let carried: IsIt = |refusal| matches!(refusal, RotationRefusal::NoNewKey(said) if said.contains("--key-file"));
    refuses(&mut rig, "no file to look beside", |rig, begin| rig.begin_with(new, "", begin), carried);
    rig.begin_with(new, &format!("{NEW}\n"), Begin::default()).unwrap();
    rig.opens_with(&[OLD, NEW]);
}

#[test]
fn a_key_that_was_only_ever_aborted_may_be_begun_with_again() {
    let mut rig = Rig::new();
    for n in 0..3 {
        rig.begin(NEW, id(n)).unwrap();
        rig.opens_with(&[OLD, NEW]);
        rig.end_whole(Ending::Abort { new_data_keys: false });
        rig.opens_with(&[OLD]);
        rig.check();
    }
    rig.begin(NEW, None).unwrap();
    rig.end_whole(Ending::Finish);
    rig.opens_with(&[NEW]);
    rig.check();
}

#[test]
fn a_dry_run_tells_what_a_begin_would_and_changes_no_byte() {
    let mut rig = Rig::with_legacy();
    let mark = rig.directory.path().join("keyd.redb.mark");
    let look = |rig: &Rig| (rig.snapshot(), std::fs::read(&mark).unwrap(), rig.commits().len());
    let before = look(&rig);
    let dry = rig.begin_as(NEW, Begin { dry_run: true, id: id(1), ..Begin::default() }).unwrap();
    assert!(look(&rig) == before && !rig.backups().exists());
    assert!(rig.keyring().rotation.is_none() && rig.keyring().pending_legacy.is_none());
    rig.check();
    let real = rig.begin(NEW, id(1)).unwrap();
    assert!(dry.dry_run && !real.dry_run);
    assert!(dry.rotation == real.rotation && dry.sources == real.sources && dry.next == real.next);
    assert_eq!((dry.seals, dry.data_keys), (real.seals, real.data_keys));
    assert_eq!(dry.backup.trim_end_matches('/'), rig.backups().display().to_string());
    // As a repetition it changes nothing either.
    let before = look(&rig);
    for request in [id(1), id(2), None] {
        let again = rig.begin_as(NEW, Begin { dry_run: true, id: request, ..Begin::default() }).unwrap();
        assert!(again.dry_run && again.rotation == real.rotation);
    }
    assert!(look(&rig) == before);
}

#[test]
fn the_same_begin_again_is_the_same_rotation_and_another_one_is_refused() {
    let mut rig = Rig::new();
    let first = rig.begin(NEW, id(1)).unwrap();
    rig.pass(5);
    for request in [id(1), None, id(2), id(2)] {
        let again = rig.begin(NEW, request.clone()).unwrap();
        assert!(again.rotation == first.rotation && again.backup == first.backup, "{request:?}");
        rig.check();
    }
    assert_eq!(rig.commits().len(), 2, "the begin, and that id 2 was answered");
    assert_eq!(backup_file::list(&rig.backups()).unwrap().len(), 1);
    for (key, begin) in [(NEXT, Begin::default()), (NEW, keeping())] {
        for known in [1, 2] {
            let reused = rig.begin_as(key, Begin { id: id(known), ..begin.clone() });
            assert!(matches!(reused, Err(Refusal::RequestIdReused)));
        }
    }
    let is = |answer: Result<_, Refusal>, wanted: IsIt| matches!(answer, Err(Refusal::Rotation(r)) if wanted(&r));
    for request in [id(3), None] {
        let begin = Begin { id: request.clone(), ..Begin::default() };
        let otherwise = Begin { keep_data_keys: true, ..begin.clone() };
        assert!(is(rig.begin_as(NEXT, begin.clone()), |r| matches!(r, RotationRefusal::UnderWay { .. })));
        assert!(is(rig.begin_as(FORMER, begin), |r| matches!(r, RotationRefusal::UnderWay { .. })));
        assert!(is(rig.begin_as(NEW, otherwise), |r| matches!(r, RotationRefusal::BegunOtherwise { .. })));
    }
    let mut rig = rig.restarted();
    assert!(rig.begin(NEW, id(1)).unwrap().rotation == first.rotation, "after a restart too");
    rig.check();
}
