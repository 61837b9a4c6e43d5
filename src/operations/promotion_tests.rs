//! CreateKey and RotateKey: no version seals before its backup, and no repetition makes a second one.
//!
//! Must never take a version's presence for its use.
//! Run by `cargo test`.

use super::{promote, waiting};
use crate::operations::fake_store::{Fault, unavailable};
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::{Rig, id, name};
use crate::store::backup_file;

fn versions(rig: &Rig, key: &str) -> usize {
    rig.keyring().key(&name(key)).map_or(0, |key| key.versions.len())
}

fn primary(rig: &Rig, key: &str) -> u32 {
    rig.keyring().key(&name(key)).unwrap().primary
}

/// Whether some good backup holds as many versions of everything as the store.
fn is_backed_up(rig: &Rig) -> bool {
    let of_versions = |names: Vec<&String>| names.into_iter().filter(|name| name.starts_with("version/")).count();
    let there = of_versions(rig.snapshot().records.keys().collect());
    let backups = backup_file::list(&rig.backups()).unwrap();
    backups.iter().any(|path| of_versions(backup_file::read(path).unwrap().records.keys().collect()) == there)
}

#[test]
fn a_version_is_in_a_durable_backup_before_it_is_primary() {
    let mut rig = Rig::new();
    rig.create("mine", None).unwrap();
    assert!(is_backed_up(&rig));
    rig.rotate("default", None).unwrap();
    assert!(is_backed_up(&rig));
    assert_eq!(rig.encrypt("default", b"x").unwrap().version, 2);
    rig.check();
}

#[test]
fn without_a_backup_a_new_version_does_not_seal_and_any_repetition_goes_on() {
    for repetition in [id(1), id(2), None] {
        let mut rig = Rig::new();
        rig.break_backups();
        for _ in 0..3 {
            assert!(matches!(rig.rotate("default", id(1)), Err(Refusal::Backup(_))));
            assert_eq!((versions(&rig, "default"), primary(&rig, "default")), (2, 1));
            assert_eq!(rig.encrypt("default", b"x").unwrap().version, 1);
        }
        rig.check();
        rig.mend_backups();
        assert_eq!(rig.rotate("default", repetition.clone()).unwrap().version, 2, "{repetition:?}");
        assert_eq!((versions(&rig, "default"), primary(&rig, "default")), (2, 2), "{repetition:?}");
        assert!(is_backed_up(&rig));
        rig.check();
    }
}

#[test]
fn without_a_backup_a_new_key_does_not_seal_and_any_repetition_goes_on() {
    for repetition in [id(1), id(2), None] {
        let mut rig = Rig::new();
        rig.break_backups();
        for _ in 0..3 {
            assert!(matches!(rig.create("mine", id(1)).err(), Some(Refusal::Backup(_))));
            assert_eq!((versions(&rig, "mine"), primary(&rig, "mine")), (1, 0));
            assert!(matches!(rig.encrypt("mine", b"x").err(), Some(Refusal::NoPrimary)));
        }
        rig.check();
        rig.mend_backups();
        let made = rig.create("mine", repetition.clone()).unwrap();
        assert_eq!((made.version.number, versions(&rig, "mine"), primary(&rig, "mine")), (1, 1, 1), "{repetition:?}");
        assert_eq!(rig.keyring().keys.values().filter(|key| key.name == name("mine")).count(), 1);
        rig.check();
    }
}

#[test]
fn a_request_that_finished_another_ones_version_is_remembered_with_it() {
    let mut rig = Rig::new();
    rig.break_backups();
    assert!(rig.rotate("default", id(1)).is_err());
    assert!(rig.create("mine", id(2)).is_err());
    rig.mend_backups();
    assert_eq!(rig.rotate("default", id(3)).unwrap().version, 2);
    let made = rig.create("mine", id(4)).unwrap().key.id;
    rig.check();
    // The answers were lost: whoever asks again must not get one version more, or hear that the name is taken.
    let mut rig = rig.restarted();
    for request in [3, 1] {
        assert_eq!(rig.rotate("default", id(request)).unwrap().version, 2);
    }
    for request in [4, 2] {
        assert!(rig.create("mine", id(request)).unwrap().key.id == made);
    }
    assert_eq!(versions(&rig, "default"), 2);
    assert!(matches!(rig.create("mine", id(5)).err(), Some(Refusal::KeyExists)));
    rig.check();
}

#[test]
fn a_rotation_of_a_key_that_was_not_finished_finishes_it() {
    let mut rig = Rig::new();
    rig.break_backups();
    assert!(rig.create("mine", None).is_err());
    rig.mend_backups();
    assert_eq!(rig.rotate("mine", None).unwrap().version, 1);
    assert_eq!(rig.rotate("mine", None).unwrap().version, 2);
    rig.check();
}

#[test]
fn a_crash_between_the_commits_leaves_a_version_that_waits_and_a_start_promotes_it() {
    let mut rig = Rig::new();
    rig.break_backups();
    assert!(rig.rotate("default", id(1)).is_err());
    assert!(rig.create("mine", id(2)).is_err());
    let mut rig = rig.restarted();
    assert_eq!(waiting(&rig.ledger).len(), 2);
    assert_eq!(rig.encrypt("default", b"x").unwrap().version, 1);
    for key in waiting(&rig.ledger) {
        assert!(matches!(promote(&mut rig.ledger, key), Err(Refusal::Backup(_))), "the backup is demanded then too");
    }
    rig.mend_backups();
    for key in waiting(&rig.ledger) {
        promote(&mut rig.ledger, key).unwrap();
    }
    assert!(waiting(&rig.ledger).is_empty());
    rig.check();
    assert_eq!(rig.encrypt("default", b"x").unwrap().version, 2);
    assert_eq!(rig.encrypt("mine", b"x").unwrap().version, 1);
    // The callers, who never heard, ask again.
    assert_eq!(rig.rotate("default", id(1)).unwrap().version, 2);
    rig.create("mine", id(2)).unwrap();
    assert_eq!((versions(&rig, "default"), versions(&rig, "mine")), (2, 1));
    rig.check();
}

#[test]
fn a_store_that_fails_at_the_second_commit_is_gone_on_with() {
    let mut rig = Rig::new();
    rig.break_backups();
    assert!(rig.rotate("default", id(1)).is_err());
    rig.mend_backups();
    rig.break_next(Fault::Fails(unavailable()));
    assert!(matches!(rig.rotate("default", id(1)), Err(Refusal::Store(_))));
    assert_eq!(rig.encrypt("default", b"x").unwrap().version, 1);
    rig.check();
    // The backup of that generation is there already, from the attempt before.
    assert_eq!(rig.rotate("default", id(1)).unwrap().version, 2);
    rig.check();
}

#[test]
fn a_key_that_was_deleted_before_it_ever_sealed_is_not_answered_as_made() {
    let mut rig = Rig::new();
    rig.break_backups();
    assert!(rig.create("mine", id(1)).is_err());
    assert!(rig.rotate("default", id(2)).is_err());
    rig.mend_backups();
    rig.delete("mine", None).unwrap();
    rig.delete("default", None).unwrap();
    assert!(matches!(rig.create("mine", id(1)).err(), Some(Refusal::NoSuchKey)));
    assert!(matches!(rig.rotate("default", id(2)), Err(Refusal::NoSuchKey)));
    assert!(waiting(&rig.ledger).is_empty(), "a deleted key waits for nothing");
    let made = rig.create("mine", id(3)).unwrap().key.id;
    rig.check();
    // What was answered once is answered again, whatever became of the key.
    rig.delete("mine", None).unwrap();
    assert!(rig.create("mine", id(3)).unwrap().key.id == made);
}

#[test]
fn taken_and_unknown_names_are_refused_and_nothing_is_committed() {
    let mut rig = Rig::new();
    assert!(matches!(rig.create("default", None).err(), Some(Refusal::KeyExists)));
    assert!(matches!(rig.rotate("nobody", None), Err(Refusal::NoSuchKey)));
    assert!(matches!(rig.delete("nobody", None), Err(Refusal::NoSuchKey)));
    assert!(rig.commits().is_empty());
}
