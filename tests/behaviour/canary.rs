//! The canary at a start: another key is told from damage, and neither changes a byte.
//!
//! Must never take "it did not serve" for "it changed nothing". Run by `cargo test`.

use crate::harness::{Daemon, Installation, Outcome, beside, fingerprint, random_key};
use servos_keyd::store::port::Snapshot;
use servos_keyd::store::record;

const LINE: &str = "MASTER KEY INTEGRITY CHECK FAILED";

/// Changes a value at its end, where the seal's ciphertext is.
fn flip_last(snapshot: &mut Snapshot, name: &str) {
    *snapshot.records.get_mut(name).unwrap().last_mut().unwrap() ^= 1;
}

/// The name of the first record of a kind.
fn first(snapshot: &Snapshot, prefix: &str) -> String {
    snapshot.records.keys().find(|name| name.starts_with(prefix)).unwrap().clone()
}

fn change_master(snapshot: &mut Snapshot, change: impl FnOnce(&mut record::Master)) {
    let mut master = record::decode(record::MASTER, &snapshot.records[record::MASTER]).unwrap();
    change(&mut master);
    snapshot.records.insert(record::MASTER.to_owned(), record::encode(&master));
}

fn change_canary(snapshot: &mut Snapshot, change: impl FnOnce(&mut Vec<u8>)) {
    let mut canary: record::Canary = record::decode(record::CANARY, &snapshot.records[record::CANARY]).unwrap();
    change(&mut canary.seals[0]);
    snapshot.records.insert(record::CANARY.to_owned(), record::encode(&canary));
}

/// What another key is answered, whichever command meets it.
#[track_caller]
fn assert_names_the_keys(refused: Outcome, expected: &str, given: &str) {
    let refused = refused.expect(78);
    let said = refused.said();
    let line = said.lines().find(|line| line.contains(LINE)).unwrap_or_else(|| panic!("{refused:#?}"));
    assert!(line.contains(expected) && line.contains(given), "{line}");
    // RFC 3339, to the day: this test does not run for a year.
    assert!(line.contains("T") && line.contains("Z"), "since when? {line}");
    assert!(!refused.was_ready);
}

#[test]
fn another_key_is_named_with_the_one_expected_and_nothing_is_written() {
    for (format, closed) in [("text", true), ("json", true), ("text", false)] {
        let mut installation = Installation::made();
        installation.format = format;
        let daemon = installation.serve();
        if closed {
            daemon.stop()
        } else {
            daemon.kill()
        };
        std::fs::write(beside(&installation.store(), ".new"), b"left over").unwrap();
        let (right, wrong) = (installation.key, random_key());
        installation.write_key(wrong);
        let before = installation.files();
        let (expected, given) = (fingerprint(right), fingerprint(wrong));
        let refused = installation.serve_refused();
        assert!(refused.stderr.contains("\"master_key.integrity_failed\""), "{refused:#?}");
        assert_eq!(installation.sockets(), Vec::<std::path::PathBuf>::new());
        assert_names_the_keys(refused, &expected, &given);
        let salvage = Daemon::refused(&installation.command("serve", &["--salvage"]));
        assert_names_the_keys(salvage, &expected, &given);
        assert_names_the_keys(installation.accept(&["--generation", "1", "--yes"]), &expected, &given);
        assert_eq!(installation.files(), before, "{format}, closed: {closed}");
        installation.write_key(right);
        drop(installation.serve());
    }
}

#[test]
fn a_store_that_says_another_key_throughout_is_another_key_s_store() {
    let installation = Installation::made();
    let other = Installation::made();
    std::fs::copy(other.store(), installation.store()).unwrap();
    let refused = installation.serve_refused();
    assert_names_the_keys(refused, &fingerprint(other.key), &fingerprint(installation.key));
}

#[test]
fn damage_is_never_blamed_on_the_key() {
    type Change = fn(&mut Snapshot);
    // What changes, whether the MAC is made to fit it, and a word that the answer holds.
    let cases: [(&str, Change, bool, &str); 20] = [
        ("the root's seal", |s| change_master(s, |m| flip(&mut m.current.as_mut().unwrap().root, 90)), false, "root"),
        ("the root's salt", |s| change_master(s, |m| flip(&mut m.current.as_mut().unwrap().root, 20)), false, "root"),
        ("the root's owner", |s| change_master(s, |m| flip(&mut m.current.as_mut().unwrap().root, 5)), false, "root"),
        ("the root's magic", |s| change_master(s, |m| flip(&mut m.current.as_mut().unwrap().root, 0)), false, "seal"),
        ("no root", |s| change_master(s, |m| m.current = None), false, "root"),
        ("an empty root", |s| change_master(s, |m| m.current.as_mut().unwrap().root.clear()), false, "seal"),
        ("a previous root", |s| change_master(s, |m| m.previous_root = vec![7; 92]), false, "previous root"),
        ("the store id", |s| change_master(s, |m| flip(&mut m.store_id, 3)), false, "root"),
        ("since when", |s| change_master(s, |m| m.current.as_mut().unwrap().since += 1), false, "MAC"),
        ("master is no message", |s| drop(s.records.insert("master".into(), vec![0xff; 40])), false, "master"),
        ("master is gone", |s| drop(s.records.remove("master")), false, "master"),
        ("the canary's owner", |s| change_canary(s, |seal| flip(seal, 6)), true, "different master keys"),
        ("the canary's seal", |s| change_canary(s, |seal| flip(seal, 95)), true, "canary"),
        ("the canary is gone", |s| drop(s.records.remove("canary")), true, "canary"),
        ("the MAC", |s| flip_last(s, record::MAC), false, "MAC"),
        ("the MAC is gone", |s| drop(s.records.remove(record::MAC)), false, "MAC"),
        ("the generation", |s| s.generation += 1, false, "MAC"),
        ("the identity", |s| flip_last(s, record::IDENTITY), true, "identity"),
        ("a record more", |s| drop(s.records.insert("history/1".into(), vec![8, 1])), false, "MAC"),
        ("a version is gone", |s| drop(s.records.remove(&first(s, "version/"))), true, "primary version"),
    ];
    for (case, change, signed, word) in cases {
        let installation = Installation::made();
        match signed {
            true => installation.change_records_and_mac(change),
            false => installation.change_records(change),
        }
        assert_damaged(&installation, case, word);
    }
}

fn flip(bytes: &mut [u8], at: usize) {
    bytes[at] ^= 1;
}

#[track_caller]
fn assert_damaged(installation: &Installation, case: &str, word: &str) {
    let before = installation.files();
    let refused = installation.serve_refused();
    assert_eq!(refused.code, Some(74), "{case}: {refused:#?}");
    let given = fingerprint(installation.key);
    refused.saying(&["damaged", word]).not_saying(&[LINE, "wrong key", &given, "panicked"]);
    assert_eq!(installation.files(), before, "{case}");
}

#[test]
fn a_version_s_seal_opens_in_its_own_place_only() {
    let installation = Installation::made();
    installation.change_records_and_mac(|snapshot| {
        let mut names = snapshot.records.keys().filter(|name| name.starts_with("version/")).cloned();
        let (one, other) = (names.next().unwrap(), names.next().unwrap());
        let (first, second) = (snapshot.records[&one].clone(), snapshot.records[&other].clone());
        snapshot.records.insert(one, second);
        snapshot.records.insert(other, first);
    });
    assert_damaged(&installation, "two versions swapped", "version/");
}

#[test]
fn a_file_that_is_no_store_is_refused_by_name_and_left_as_it_is() {
    let installation = Installation::made();
    let good = std::fs::read(installation.store()).unwrap();
    let backup = std::fs::read(&installation.backups()[0]).unwrap();
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("empty".into(), Vec::new()),
        ("one byte".into(), vec![b'r']),
        ("text".into(), b"not a store\n".repeat(9_000)),
        ("SQLite".into(), [b"SQLite format 3\0".as_slice(), &[0; 8_176]].concat()),
        ("a backup".into(), backup),
        ("zeros".into(), vec![0; good.len()]),
        ("its magic alone".into(), good[..9].to_vec()),
    ];
    for length in [1, 9, 64, 320, 512, 4_096, good.len() / 2, good.len() - 4_096, good.len() - 1] {
        cases.push((format!("cut to {length}"), good[..length].to_vec()));
    }
    for (case, bytes) in cases {
        std::fs::write(installation.store(), &bytes).unwrap();
        let before = installation.files();
        let refused = installation.serve_refused();
        assert_eq!(refused.code, Some(74), "{case}: {refused:#?}");
        let path = installation.store();
        refused.saying(&[path.to_str().unwrap()]).not_saying(&[LINE, "panicked"]);
        installation.init(&[]).expect(73);
        assert_eq!(installation.files(), before, "{case}");
    }
}
