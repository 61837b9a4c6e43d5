//! The table of damage that salvage meets: what still opens, what is listed, and that nothing is written or sealed.
//!
//! Must never count a value as salvaged that opens as another. Run by `cargo test`.

use super::mend::remove;
use super::{Scene, opened};
use crate::harness::{Daemon, KEYCTL, block_on, cell, hex, is_root, name, random_key};
use servos_keyd::client::error::Error;
use servos_keyd::store::mark::State;
use servos_keyd::store::port::Snapshot;

/// Which of the scene's values open: of the first version of `default`, of `ssh-keys`, of the second version of `default`.
type Opens = [bool; 3];

const ALL: Opens = [true, true, true];

struct Kind {
    name: &'static str,
    harm: fn(&Scene),
    opens: Opens,
    /// What the list of records that do not open holds; an id stands for itself.
    lists: &'static [&'static str],
}

const fn kind(name: &'static str, harm: fn(&Scene), opens: Opens, lists: &'static [&'static str]) -> Kind {
    Kind { name, harm, opens, lists }
}

/// The record of the version that a value names.
fn version(scene: &Scene, value: usize) -> String {
    format!("version/{}", hex(&scene.values[value].ciphertext[4..12]))
}

fn change(scene: &Scene, record: &str, change: impl FnOnce(&mut Snapshot, String)) {
    scene.installation.change_records(|snapshot| {
        let name = snapshot.records.keys().find(|name| name.starts_with(record)).unwrap().clone();
        change(snapshot, name);
    });
}

fn garbage(scene: &Scene, record: &str) {
    change(scene, record, |snapshot, name| drop(snapshot.records.insert(name, vec![0xff; 30])));
}

fn lose(scene: &Scene, record: &str) {
    change(scene, record, |snapshot, name| drop(snapshot.records.remove(&name)));
}

/// Flips the last bit: in a record with a seal, the seal's.
fn flip(scene: &Scene, record: &str) {
    change(scene, record, |snapshot, name| *snapshot.records.get_mut(&name).unwrap().last_mut().unwrap() ^= 1);
}

const KINDS: &[Kind] = &[
    kind("a version's seal", |s| flip(s, &version(s, 0)), [false, true, true], &["mac", "version/"]),
    kind("a version that is no message", |s| garbage(s, &version(s, 1)), [true, false, true], &["mac", "version/"]),
    kind("a version lost", |s| lose(s, &version(s, 0)), [false, true, true], &["mac"]),
    kind(
        "two versions lost",
        |s| {
            lose(s, &version(s, 0));
            lose(s, &version(s, 1));
        },
        [false, false, true],
        &["mac", "key/"],
    ),
    kind("a primary version lost", |s| lose(s, &version(s, 2)), [true, true, false], &["mac", "key/"]),
    kind("the canary flipped", |s| flip(s, "canary"), ALL, &["mac", "canary"]),
    kind("the canary no message", |s| garbage(s, "canary"), ALL, &["mac", "canary"]),
    kind("the canary lost", |s| lose(s, "canary"), ALL, &["mac", "canary"]),
    kind("meta no message", |s| garbage(s, "meta"), ALL, &["mac", "meta"]),
    kind("meta lost", |s| lose(s, "meta"), ALL, &["mac", "meta"]),
    kind("the identity flipped", |s| flip(s, "identity"), ALL, &["mac", "identity"]),
    kind("the identity lost", |s| lose(s, "identity"), ALL, &["mac", "identity"]),
    kind("a history no message", |s| garbage(s, "history/"), ALL, &["mac", "history/0"]),
    kind("a request no message", |s| garbage(s, "request/"), ALL, &["mac", "request/"]),
    kind("the MAC wrong", |s| flip(s, "mac"), ALL, &["mac"]),
    kind("the MAC lost", |s| lose(s, "mac"), ALL, &["mac"]),
    kind(
        "a record that nobody knows",
        |s| s.installation.change_records(|snapshot| drop(snapshot.records.insert("policy/1".to_owned(), vec![8, 1]))),
        ALL,
        &["mac", "policy/1"],
    ),
    kind("the mark missing", |s| remove(&s.installation.mark()), ALL, &[]),
    kind(
        "the mark ahead",
        |s| {
            let state = s.installation.marked_state();
            s.installation.write_mark(Some(State { generation: 1 << 40, ..state }), None);
        },
        ALL,
        &[],
    ),
    kind("the store not closed", |s| drop(s.installation.serve().kill()), ALL, &[]),
    kind(
        "a bit on the disk, in a seal",
        |s| flip_on_disk(s, &version(s, 0)),
        [false, true, true],
        &["mac", "version/"],
    ),
    kind("a bit on the disk, in the identity", |s| flip_on_disk(s, "identity"), ALL, &["mac", "identity"]),
    kind("a bit on the disk, in the canary", |s| flip_on_disk(s, "canary"), ALL, &["mac", "canary"]),
    kind("cut behind its last record", cut_behind_records, ALL, &[]),
];

/// Flips a bit of the end of a record wherever it stands in the file, so that no sum fits.
fn flip_on_disk(scene: &Scene, record: &str) {
    let records = scene.installation.records().records;
    let value = records.iter().find(|(name, _)| name.starts_with(record)).unwrap().1;
    let end = &value[value.len() - 20..];
    let mut bytes = std::fs::read(scene.installation.store()).unwrap();
    let places: Vec<usize> = (0..bytes.len() - end.len()).filter(|at| &bytes[*at..at + end.len()] == end).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 10] ^= 1;
    }
    std::fs::write(scene.installation.store(), bytes).unwrap();
    scene.installation.serve_refused().expect(74).saying(&["keyd.redb is damaged"]);
}

/// Cuts off everything behind the last byte that belongs to a record.
fn cut_behind_records(scene: &Scene) {
    let bytes = std::fs::read(scene.installation.store()).unwrap();
    let ends = |value: &Vec<u8>| {
        let at = (0..=bytes.len() - value.len()).rev().find(|at| bytes[*at..].starts_with(value));
        at.map_or(0, |at| at + value.len())
    };
    let end = scene.installation.records().records.values().map(ends).max().unwrap();
    assert!(end.next_multiple_of(4096) < bytes.len(), "nothing to cut behind {end} of {}", bytes.len());
    std::fs::write(scene.installation.store(), &bytes[..end.next_multiple_of(4096)]).unwrap();
    scene.installation.serve_refused().expect(74).saying(&["keyd.redb is damaged"]);
}

/// Nothing is sealed or changed, and status lists what does not open.
fn check_closed(daemon: &Daemon, kind: &str, lists: &[&str]) {
    let refused = |answer: Result<(), Error>| {
        let refused = answer.unwrap_err();
        assert!(matches!(refused, Error::Precondition { .. }), "{kind}: {refused:?}");
    };
    block_on(async {
        let client = daemon.component();
        refused(client.encrypt(&name("ssh-keys"), b"x", &cell("1")).await.map(drop));
        refused(client.issue_canary().await.map(drop));
        refused(client.export_keyring().await.map(drop));
        if is_root() {
            refused(daemon.admin().rotate_key(&name("default")).await.map(drop));
        }
    });
    if is_root() {
        let status = daemon.keyctl(&["status", "--json"]).run(KEYCTL);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        assert_eq!(status["salvage"], true, "{kind}");
        let listed: Vec<&str> =
            status["unopened_records"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        for expected in lists {
            assert!(listed.iter().any(|name| name.starts_with(expected)), "{kind}: {expected} is not in {listed:?}");
        }
    } else {
        crate::harness::not_run("a change and the status under --salvage: only root administers on the admin socket");
    }
}

#[test]
fn each_kind_of_damage_leaves_the_rest_open_is_listed_and_nothing_is_written() {
    let whole = Scene::made();
    for kind in KINDS {
        let scene = whole.copy();
        (kind.harm)(&scene);
        let before = scene.installation.files();
        let daemon = scene.installation.serve_salvage();
        for (value, opens) in scene.values.iter().zip(kind.opens) {
            let expected = opens.then_some(value.plaintext.as_slice());
            assert_eq!(opened(&daemon, value).as_deref(), expected, "{}: {}", kind.name, value.key);
        }
        check_closed(&daemon, kind.name, kind.lists);
        let outcome = daemon.stop().expect(0);
        for listed in kind.lists {
            let words = format!("record=\"{listed}");
            assert!(outcome.said().contains(&words), "{}: {words} is not in {outcome:#?}", kind.name);
        }
        assert_eq!(scene.installation.files(), before, "{}", kind.name);
    }
}

#[test]
fn versions_whose_key_is_lost_open_under_a_name_that_is_told() {
    for harm in [lose, garbage] {
        let scene = Scene::made();
        let key = {
            let records = scene.installation.records();
            let version = records.records[&version(&scene, 1)].clone();
            let keys = records.records.keys().filter_map(|name| name.strip_prefix("key/"));
            let id = |key: &&str| base16ct::lower::decode_vec(key.as_bytes()).unwrap();
            keys.filter(|key| version.windows(8).any(|window| window == id(key))).map(str::to_owned).next().unwrap()
        };
        harm(&scene, &format!("key/{key}"));
        let before = scene.installation.files();
        let daemon = scene.installation.serve_salvage();
        let lost = format!("lost-{key}");
        let value = &scene.values[1];
        block_on(async {
            let client = daemon.component();
            let opened = client.decrypt(&name(&lost), &value.ciphertext, &cell("1")).await.unwrap();
            assert_eq!(opened.plaintext.as_slice(), value.plaintext);
            assert!(client.decrypt(&name("ssh-keys"), &value.ciphertext, &cell("1")).await.is_err());
        });
        for value in [&scene.values[0], &scene.values[2]] {
            assert_eq!(opened(&daemon, value).as_deref(), Some(value.plaintext.as_slice()));
        }
        daemon.stop().expect(0).saying(&[&format!("its versions go under the name {lost}")]);
        assert_eq!(scene.installation.files(), before);
    }
}

#[test]
fn without_the_record_of_the_root_nothing_opens_and_the_one_remedy_is_told() {
    for harm in [lose, garbage, |scene: &Scene, record: &str| flip_seal_of_root(scene, record)] {
        let scene = Scene::made();
        harm(&scene, "master");
        let before = scene.installation.files();
        let refused = Daemon::refused(&scene.installation.command("serve", &["--salvage"])).expect(74);
        refused.saying(&["Only a backup helps", "`servos-keyd restore --config "]).not_saying(&["--salvage`"]);
        assert_eq!(scene.installation.files(), before);
    }
}

fn flip_seal_of_root(scene: &Scene, record: &str) {
    change(scene, record, |snapshot, name| {
        let value = snapshot.records.get_mut(&name).unwrap();
        let seal = value.windows(4).position(|window| window == b"SKR1").unwrap();
        value[seal + 80] ^= 1;
    });
}

#[test]
fn a_store_under_a_pending_rotation_is_salvaged_with_either_key() {
    let scene = Scene::made();
    let (old, new) = (scene.installation.key, random_key());
    let daemon = scene.installation.serve_for_admin();
    if !is_root() {
        return crate::harness::not_run("only root administers on the admin socket");
    }
    scene.installation.begin_rotation(&daemon, new);
    daemon.stop().expect(0);
    std::fs::remove_file(scene.installation.path("master.key.next")).unwrap();
    flip(&scene, &version(&scene, 0));
    for key in [old, new] {
        scene.installation.write_key(key);
        let before = scene.installation.files();
        let daemon = scene.installation.serve_salvage();
        for (value, opens) in scene.values.iter().zip([false, true, true]) {
            assert_eq!(opened(&daemon, value).is_some(), opens);
        }
        check_closed(&daemon, "pending", &["mac", "version/"]);
        daemon.stop().expect(0);
        assert_eq!(scene.installation.files(), before);
    }
    // The seal under the old key is damaged: the new key still opens, and with the old one that is said.
    flip_seal_of_root(&scene, "master");
    let told = [(old, false), (new, true)].map(|(key, opens)| {
        scene.installation.write_key(key);
        match Daemon::try_start(&scene.installation.command("serve", &["--salvage"]), &scene.installation) {
            Ok(daemon) => {
                assert!(opens && opened(&daemon, &scene.values[1]).is_some());
                daemon.stop().expect(0)
            }
            Err(refused) => {
                assert!(!opens);
                refused.expect(74)
            }
        }
    });
    told[0].clone().saying(&["a rotation was pending, and there is another seal of it"]);
}
