//! What a rotation leaves in the store's file: nothing that the key out of use, or its root, has sealed.
//!
//! Must never miss a seal for want of looking: the same search finds those that are there. Run by `cargo test`.

use crate::harness::{Daemon, Installation, KEYCTL, block_on, name, random_key, rotation_complete, seals, seals_in};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

/// A seal with the name of its record.
type Seals = Vec<(String, Vec<u8>)>;

/// Keys that are made beside those of every store: with them, no one commit makes all seals anew.
const MORE_KEYS: usize = 90;

/// An installation with a pending rotation, the key to come, and every seal that there was so far.
fn pending(keys: usize) -> (Installation, [u8; 32], Seals) {
    let (installation, new) = (Installation::new(), random_key());
    installation.init(&["--adopt-legacy"]).expect(0);
    let daemon = installation.serve_for_admin();
    block_on(async {
        let admin = daemon.admin();
        admin.rotate_key(&name("ssh-keys")).await.unwrap();
        for number in 0..keys {
            admin.create_key(&name(&format!("more-{number}"))).await.unwrap();
        }
    });
    daemon.stop().expect(0);
    let mut old = seals(&installation.records());
    // Root, canary, identity, the legacy key; a version of each key, and two of one.
    assert_eq!(old.len(), 4 + 8 + 1 + keys);
    let daemon = installation.serve_for_admin();
    installation.begin_rotation(&daemon, new);
    daemon.stop().expect(0);
    let begun = seals(&installation.records());
    // Root and canary under the new key too; that of the old one is made anew.
    assert_eq!(begun.len(), old.len() + 2);
    assert!(!seals_in(&file(&installation), &old).is_empty(), "the search finds not even what is there");
    old.extend(begun);
    (installation, new, old)
}

fn file(installation: &Installation) -> Vec<u8> {
    std::fs::read(installation.store()).unwrap()
}

/// Holds the file, and everything beside it but the backups, to having none of the old seals and all of the new ones.
#[track_caller]
fn assert_none_left(installation: &Installation, old: &Seals, what: &str) {
    let new = seals(&installation.records());
    let names: BTreeSet<&str> = new.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(seals_in(&file(installation), &new), names, "{what}: the search finds not even what is there");
    let none = BTreeSet::new();
    for (path, found) in installation.files() {
        if found.kind == "file" && !path.starts_with("backup") {
            let bytes = std::fs::read(installation.path(path.to_str().unwrap())).unwrap();
            assert_eq!(seals_in(&bytes, old), none, "{what}: old seals in {}", path.display());
        }
    }
    assert!(!installation.path("keyd.redb.new").exists(), "{what}");
    let mode = installation.store().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "{what}");
}

/// Ends a pending rotation to its last step, in a daemon that goes on.
type End = fn(&Installation, [u8; 32]) -> Daemon;

const ENDS: [(&str, End); 5] = [
    ("finish", |i, new| ended(i, new, &["finish"])),
    ("finish with nobody who waits", |i, new| ended(i, new, &["finish", "--no-wait"])),
    ("abort", |i, new| ended(i, new, &["abort"])),
    ("abort with new data keys", |i, new| ended(i, new, &["abort", "--new-data-keys"])),
    ("finish by a start", |i, new| {
        i.write_key(new);
        i.serve_for_admin()
    }),
];

fn ended(installation: &Installation, new: [u8; 32], command: &[&str]) -> Daemon {
    let daemon = installation.serve_for_admin();
    if command[0] == "finish" {
        installation.write_key(new);
    }
    daemon.keyctl(&[&["rotate"][..], command, &["--yes"]].concat()).run(KEYCTL).expect(0);
    daemon
}

#[test]
fn after_the_last_step_no_old_seal_is_left_however_it_ended() {
    let (pending, new, old) = pending(0);
    for (what, end) in ENDS {
        let installation = pending.copy();
        let daemon = end(&installation, new);
        rotation_complete(&daemon);
        // While the daemon has the file open, and when it has closed it.
        assert_none_left(&installation, &old, what);
        daemon.stop().expect(0);
        assert_none_left(&installation, &old, what);
    }
}

#[test]
fn after_an_end_that_was_interrupted_another_start_leaves_no_old_seal_either() {
    let (pending, new, old) = pending(0);
    for (what, aborting) in [("finish", false), ("abort", true)] {
        let installation = pending.interrupted(new, aborting);
        let between = seals(&installation.records());
        // The control: those that the records have yet are found. Of those that were made anew, later commits may have taken the
        // place.
        let yet: Seals = old.iter().filter(|seal| between.contains(seal)).cloned().collect();
        let names: BTreeSet<&str> = yet.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(seals_in(&file(&installation), &yet), names, "{what}");
        // As a rewrite leaves it that died before it gave the new file its name.
        std::fs::copy(pending.store(), installation.path("keyd.redb.new")).unwrap();
        let daemon = installation.serve_for_admin();
        rotation_complete(&daemon);
        daemon.stop().expect(0);
        assert_none_left(&installation, &old, what);
        // The root of before, under the one that came in its place.
        let kept = seals(&installation.records());
        let gone: Seals = between.into_iter().filter(|seal| !kept.contains(seal)).collect();
        assert_none_left(&installation, &gone, what);
    }
}

#[test]
fn no_old_seal_is_left_where_many_commits_make_them_anew() {
    let (installation, new, old) = pending(MORE_KEYS);
    let daemon = ended(&installation, new, &["finish"]);
    assert_none_left(&installation, &old, "finish");
    daemon.stop().expect(0);
    assert_none_left(&installation, &old, "finish");
}

#[test]
fn while_a_rotation_is_pending_every_old_seal_is_there_to_be_found() {
    let (pending, _, old) = pending(0);
    let names: BTreeSet<&str> = old.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(seals_in(&file(&pending), &old), names);
    assert_eq!(names.len(), 4 + 8 + 1);
}
