//! Restore: a backup or an exported keyring, and the master key of its time, are enough.
//!
//! Must never take a store that serves for one in which everything opens. Run by `cargo test`.

use crate::harness::{Daemon, Installation, beside, block_on, cell, fingerprint, is_there, name, random_key};
use crate::mark::{canary_of, issue};
use servos_keyd::client::canary::CanaryResult;
use servos_keyd::client::key_admin::KeyFilter;
use servos_keyd::store::backup_file::{self, Backup};
use std::path::{Path, PathBuf};

const GAP: u64 = 1 << 32;

/// A value sealed under some key, and what it held.
type Value = (&'static str, Vec<u8>, Vec<u8>);

fn seal_under_every_version(daemon: &Daemon) -> Vec<Value> {
    let keys = ["default", "ssh-keys", "made-later"];
    block_on(async {
        let (client, admin) = (daemon.component(), daemon.admin());
        admin.create_key(&name("made-later")).await.unwrap();
        let mut values = Vec::new();
        for round in 0..3 {
            for key in keys {
                let plaintext = format!("{key} in round {round}").into_bytes();
                let sealed = client.encrypt(&name(key), &plaintext, &cell(key)).await.unwrap();
                values.push((key, sealed.ciphertext, plaintext));
                admin.rotate_key(&name(key)).await.unwrap();
            }
        }
        values
    })
}

fn assert_all_open(daemon: &Daemon, values: &[Value]) {
    block_on(async {
        let client = daemon.component();
        for (key, ciphertext, plaintext) in values {
            let opened = client.decrypt(&name(key), ciphertext, &cell(key)).await.unwrap();
            assert_eq!(opened.plaintext.as_slice(), plaintext);
        }
    });
}

#[test]
fn the_newest_backup_opens_everything_that_was_sealed() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let values = seal_under_every_version(&daemon);
    let canary = issue(&daemon);
    daemon.stop().expect(0);
    let last = installation.marked_state();
    let backup = installation.backups().pop().unwrap();
    std::fs::remove_file(installation.store()).unwrap();
    installation.serve_refused().expect(66).saying(&["servos-keyd restore"]);
    installation.restore(&backup).expect(0).saying(&["9 keys", "servos-keyctl verify-canary"]);
    let state = installation.marked_state();
    assert_eq!((state.store_id, state.root_id), (last.store_id, last.root_id));
    assert!(state.generation > last.generation && state.generation.is_multiple_of(GAP), "{state:?}");
    let daemon = installation.serve_for_admin();
    assert_all_open(&daemon, &values);
    // The generation of the canary is one that the backup does not have: something may be missing.
    let expected = match Backup::generation_of(&backup) < last.generation {
        true => CanaryResult::Stale,
        false => CanaryResult::Opens,
    };
    assert_eq!(canary_of(&daemon, &canary), expected);
    // It goes on like any other: seals, rotates, backs up.
    let more = seal_more(&daemon);
    daemon.kill();
    let daemon = installation.serve();
    assert_all_open(&daemon, &more);
    assert_eq!(canary_of(&daemon, &issue(&daemon)), CanaryResult::Opens);
}

fn seal_more(daemon: &Daemon) -> Vec<Value> {
    block_on(async {
        daemon.admin().rotate_key(&name("default")).await.unwrap();
        let sealed = daemon.component().encrypt(&name("default"), b"more", &cell("default")).await.unwrap();
        vec![("default", sealed.ciphertext, b"more".to_vec())]
    })
}

trait GenerationOf {
    fn generation_of(path: &Path) -> u64;
}

impl GenerationOf for Backup {
    fn generation_of(path: &Path) -> u64 {
        backup_file::read(path).unwrap().generation
    }
}

#[test]
fn an_exported_keyring_and_the_key_are_enough_on_another_machine() {
    let here = Installation::made();
    let daemon = here.serve_for_admin();
    let values = seal_under_every_version(&daemon);
    let canary = issue(&daemon);
    let export = block_on(async { daemon.component().export_keyring().await.unwrap() });
    drop(daemon);
    let there = Installation::with_key(here.key);
    let file = there.write_private("keyring.skb1", &export.bytes);
    there.restore(&file).expect(0).not_saying(&["warning"]);
    let daemon = there.serve_for_admin();
    assert_all_open(&daemon, &values);
    assert_eq!(canary_of(&daemon, &canary), CanaryResult::Opens);
    let keys = block_on(async { daemon.admin().list_keys(&KeyFilter::default()).await.unwrap() });
    assert_eq!(keys.len(), 9);
    assert!(keys.iter().all(|key| key.primary > 0));
}

#[test]
fn an_older_backup_is_told_by_the_mark_and_by_the_canaries_of_the_lost_time() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let kept = issue(&daemon);
    let _lost_values = seal_under_every_version(&daemon);
    let lost = issue(&daemon);
    daemon.stop().expect(0);
    let oldest = installation.backups()[0].clone();
    for (round, seen) in [(1, installation.marked_state().generation), (2, GAP)] {
        std::fs::remove_file(installation.store()).unwrap();
        let before = installation.files();
        installation.restore(&oldest).expect(65).saying(&["restore --config", "--older"]);
        assert_eq!(installation.files(), before);
        let restored = installation.restore_older(&oldest).expect(0);
        restored.saying(&["warning", &format!("generation {seen}")]);
        // Each restore goes beyond the one before.
        assert_eq!(installation.marked_state().generation, round * GAP);
        let daemon = installation.serve();
        assert_eq!(canary_of(&daemon, &kept), CanaryResult::Opens);
        assert_eq!(canary_of(&daemon, &lost), CanaryResult::Stale);
        daemon.stop().expect(0);
    }
}

#[test]
fn without_its_mark_an_older_backup_is_told_by_the_newer_ones_and_goes_on_beyond_them() {
    let installation = Installation::made();
    let (oldest, first) = (installation.backups()[0].clone(), std::fs::read(installation.store()).unwrap());
    for round in 1..3 {
        std::fs::remove_file(installation.store()).unwrap();
        std::fs::remove_file(installation.mark()).unwrap();
        if round == 1 {
            installation.restore(&oldest).expect(0).not_saying(&["warning"]);
        } else {
            let newest = installation.backups().pop().unwrap();
            let generation = format!("generation {}", Backup::generation_of(&newest));
            let named = format!(" {}`", newest.display());
            installation.restore(&oldest).expect(65).saying(&["a newer one is there", &generation, &named]);
            installation.restore_older(&oldest).expect(0).saying(&["warning", &generation]);
        }
        assert_eq!(installation.marked_state().generation, round * GAP);
        let daemon = installation.serve_for_admin();
        let _values = seal_more(&daemon);
        daemon.stop().expect(0);
    }
    // Nor does an acceptance of an older file go on among generations that backups hold.
    std::fs::write(installation.store(), first).unwrap();
    std::fs::remove_file(installation.mark()).unwrap();
    installation.accept(&["--generation", "1", "--yes"]).expect(0);
    assert_eq!(installation.marked_state().generation, 3 * GAP);
}

#[test]
fn canaries_of_other_stores_and_damaged_ones_are_told_apart() {
    let (one, other) = (Installation::made(), Installation::made());
    let (one, other) = (one.serve(), other.serve());
    let canary = issue(&one);
    assert_eq!(canary_of(&one, &canary), CanaryResult::Opens);
    assert_eq!(canary_of(&other, &canary), CanaryResult::OtherStore);
    for at in 0..canary.len() {
        let mut damaged = canary.clone();
        damaged[at] ^= 1;
        // Also where the byte belongs to the id of the store: its own is known again.
        assert_eq!(canary_of(&one, &damaged), CanaryResult::Damaged, "byte {at}");
    }
}

/// An empty place under the key of a store that was lost, and a backup of it.
fn empty_place() -> (Installation, PathBuf) {
    let made = Installation::made();
    let place = Installation::with_key(made.key);
    let file = place.path("backup.skb1");
    std::fs::copy(&made.backups()[0], &file).unwrap();
    (place, file)
}

#[test]
fn a_backup_under_another_key_is_refused_and_nothing_is_made() {
    let (mut place, file) = empty_place();
    let (right, wrong) = (place.key, random_key());
    place.write_key(wrong);
    let before = place.files();
    let refused = place.restore(&file).expect(78);
    refused.saying(&["MASTER KEY INTEGRITY CHECK FAILED", &fingerprint(right), &fingerprint(wrong)]);
    place.restore(&file).expect(78).saying(&[file.to_str().unwrap(), "the backup says it was sealed under"]);
    // Not even the directory of a store that is yet to be.
    place.store_path = Some(place.path("state/keyd.redb"));
    place.restore(&file).expect(78);
    assert!(!is_there(&place.path("state")));
    std::fs::remove_file(place.path("master.key")).unwrap();
    place.restore(&file).expect(66);
    place.write_key(wrong);
    let after = place.files();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
}

/// A change of what a backup holds, with its checksum made to fit.
fn forged(bytes: &[u8], change: impl FnOnce(&mut Backup)) -> Vec<u8> {
    let mut backup = backup_file::decode(bytes).unwrap();
    change(&mut backup);
    backup_file::encode(&backup).unwrap()
}

#[test]
fn a_file_that_is_no_whole_backup_is_refused_and_nothing_is_made() {
    let (place, file) = empty_place();
    let good = std::fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let version = |backup: &Backup| backup.records.keys().find(|name| name.starts_with("version/")).unwrap().clone();
    let mut cases: Vec<(String, Vec<u8>, i32)> = vec![
        ("empty".into(), Vec::new(), 74),
        ("text".into(), b"not a backup, whatever its name says\n".to_vec(), 74),
        ("a store".into(), b"redb\x1a\x0a\xa9\x0d\x0a".repeat(400), 74),
        ("garbage appended".into(), [&good[..], b"garbage"].concat(), 74),
        ("twice".into(), good.repeat(2), 74),
        ("newer".into(), forged(&good, |backup| backup.schema = 2), 78),
        ("another store's name".into(), forged(&good, |backup| backup.store_id = [7; 16]), 74),
        ("another generation".into(), forged(&good, |backup| backup.generation = 7), 74),
        ("no master".into(), forged(&good, |backup| drop(backup.records.remove("master"))), 74),
        ("no MAC".into(), forged(&good, |backup| drop(backup.records.remove("mac"))), 74),
        ("a version less".into(), forged(&good, |b| drop(b.records.remove(&version(b)))), 74),
        ("a record more".into(), forged(&good, |b| drop(b.records.insert("history/1".into(), vec![8, 1]))), 74),
        ("no records".into(), forged(&good, |backup| backup.records.clear()), 74),
    ];
    for at in [0, 3, 8, 30, 47, good.len() / 3, good.len() / 2, good.len() - 40, good.len() - 1] {
        cases.push((format!("byte {at} changed"), flipped(at), 74));
    }
    for length in [1, 4, 40, 44, good.len() / 2, good.len() - 32, good.len() - 1] {
        cases.push((format!("cut to {length}"), good[..length].to_vec(), 74));
    }
    for (case, bytes, code) in cases {
        std::fs::write(&file, bytes).unwrap();
        let before = place.files();
        let refused = place.restore(&file);
        assert_eq!(refused.code, Some(code), "{case}: {refused:#?}");
        refused.saying(&[file.to_str().unwrap()]).not_saying(&["INTEGRITY", "panicked", "--salvage"]);
        assert_eq!(place.files(), before, "{case}");
    }
    place.restore(&place.path("nowhere.skb1")).expect(66).saying(&["nowhere.skb1: no such file"]);
    place.restore(place.directory()).expect(74).saying(&["is a directory, not a backup"]);
    assert!(!is_there(&place.store()));
}

#[test]
fn a_restore_that_broke_off_is_done_again_by_restore_alone() {
    for half_written in [false, true] {
        let (place, file) = empty_place();
        place.restore(&file).expect(0);
        let to_come = place.marked_state();
        // The backup of what was restored comes last.
        std::fs::remove_dir_all(place.path("backup")).unwrap();
        place.write_mark(None, Some(to_come));
        if half_written {
            std::fs::rename(place.store(), beside(&place.store(), ".new")).unwrap();
        } else {
            std::fs::remove_file(place.store()).unwrap();
        }
        let before = place.files();
        place.serve_refused().expect(66).saying(&["servos-keyd restore"]);
        place.init(&[]).expect(73).saying(&["servos-keyd restore"]);
        assert_eq!(place.files(), before);
        place.restore(&file).expect(0);
        assert!(!is_there(&beside(&place.store(), ".new")));
        assert_eq!(place.marked_state().generation, 2 * GAP);
        place.serve().stop().expect(0);
    }
}

#[test]
fn a_damaged_mark_does_not_keep_a_backup_out() {
    let (place, file) = empty_place();
    std::fs::write(place.mark(), b"SKH1 nonsense\n").unwrap();
    place.serve_refused().expect(66).saying(&["servos-keyd restore"]);
    place.restore(&file).expect(0);
    place.serve().stop().expect(0);
}

#[test]
fn a_link_to_a_backup_is_as_good_as_the_backup() {
    let (place, file) = empty_place();
    let link = place.path("latest.skb1");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    place.restore(&link).expect(0).saying(&["8 keys, 8 versions"]);
}

#[test]
fn an_older_backup_under_a_newer_name_does_not_pass_for_the_newest() {
    let installation = Installation::made();
    let oldest = installation.backups()[0].clone();
    let daemon = installation.serve_for_admin();
    let _values = seal_more(&daemon);
    daemon.stop().expect(0);
    let newest = installation.backups().pop().unwrap();
    let renamed = newest.to_str().unwrap().replace("-00000", "-09999");
    std::fs::copy(&oldest, renamed).unwrap();
    std::fs::remove_file(installation.store()).unwrap();
    let named = format!(" {}`", newest.display());
    installation.restore(&oldest).expect(65).saying(&["a newer one is there", &named]);
    assert!(!is_there(&installation.store()));
}

#[test]
fn a_backup_s_name_is_one_word_of_the_command_that_names_it() {
    let installation = Installation::made();
    let good = installation.backups()[0].clone();
    let name = good.file_name().unwrap().to_str().unwrap().replace(".skb1", "9 $(id)'.skb1");
    let crafted = good.with_file_name(&name);
    std::fs::rename(&good, &crafted).unwrap();
    std::fs::remove_file(installation.store()).unwrap();
    let word = format!("'{}'`", crafted.to_str().unwrap().replace('\'', r"'\''"));
    installation.serve_refused().expect(66).saying(&[&word]);
}

#[test]
fn a_forged_backup_cannot_use_up_the_generations_of_the_store() {
    let installation = Installation::made();
    let good = installation.backups()[0].clone();
    let forgery = forged(&std::fs::read(&good).unwrap(), |backup| backup.generation = u64::MAX);
    let name = backup_file::decode(&forgery).unwrap().file_name();
    std::fs::write(good.with_file_name(name), forgery).unwrap();
    std::fs::remove_file(installation.store()).unwrap();
    installation.restore(&good).expect(65);
    installation.restore_older(&good).expect(0).not_saying(&["no backup of the restored store"]);
    let daemon = installation.serve_for_admin();
    block_on(async { daemon.admin().rotate_key(&crate::harness::name("default")).await.unwrap() });
    daemon.stop().expect(0);
    let generation = installation.records().generation;
    installation.accept(&["--generation", &generation.to_string(), "--yes"]).expect(0);
    assert!(installation.records().generation < 1 << 40);
}
