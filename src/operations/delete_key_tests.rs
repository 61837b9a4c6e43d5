//! DeleteKey: at once in memory, bounded and resumable in the store, and for good.
//!
//! Must never let a name that is made again open what an older key of that name sealed.
//! Run by `cargo test`.

use super::{deleted, disable_versions};
use crate::operations::fake_store::{Fault, locked, unavailable};
use crate::operations::key_records;
use crate::operations::ledger::Change;
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::{Rig, id, name};
use crate::operations::version::VersionState;
use crate::store::port::MAX_BATCH_RECORDS;
use crate::store::record;
use std::sync::Arc;

/// How many version records of the store are disabled.
fn disabled_records(rig: &Rig) -> usize {
    let snapshot = rig.snapshot();
    let versions = snapshot.records.iter().filter(|(name, _)| name.starts_with("version/"));
    let disabled = i32::from(record::VersionState::Disabled);
    versions.filter(|(name, value)| record::decode::<record::Version>(name, value).unwrap().state == disabled).count()
}

/// Gives a key versions up to `number` without a backup for each.
fn grow(rig: &mut Rig, key: &str, number: u32) {
    let engine = Arc::clone(&rig.engine);
    loop {
        let mut grown = (**engine.keyring().key(&name(key)).unwrap()).clone();
        let mut change = Change { touches_keyring: true, ..Change::default() };
        while key_records::newest(&grown) < number && change.batch.puts.len() < 60 {
            let new = rig.ledger.maker(&engine).version(&grown).unwrap();
            change.put(key_records::new_version_record(&new));
            grown.versions.insert(Arc::clone(&new.version));
        }
        if change.batch.puts.is_empty() {
            return;
        }
        change.put(key_records::key_record(&grown));
        rig.ledger.commit(change, |keyring| keyring.replace_key(grown)).unwrap();
    }
}

#[test]
fn a_deleted_key_neither_seals_nor_opens_and_its_seals_stay() {
    let mut rig = Rig::new();
    let sealed = rig.encrypt("default", b"x").unwrap().ciphertext;
    rig.rotate("default", None).unwrap();
    let gone = rig.delete("default", None).unwrap();
    assert_eq!(gone.versions, 2);
    assert!(matches!(rig.encrypt("default", b"x").err(), Some(Refusal::NoSuchKey)));
    assert!(matches!(rig.decrypt(&sealed).err(), Some(Refusal::VersionDisabled(_))));
    assert_eq!(disabled_records(&rig), 2);
    rig.check();
    let rig = rig.restarted();
    assert!(matches!(rig.decrypt(&sealed).err(), Some(Refusal::VersionDisabled(_))));
    // The seals stand until a destruction drops them: `check` opened every one.
    rig.check();
}

#[test]
fn a_crash_after_the_first_commit_keeps_the_key_closed_and_the_records_follow() {
    let mut rig = Rig::new();
    let sealed = rig.encrypt("default", b"x").unwrap().ciphertext;
    rig.rotate("default", None).unwrap();
    rig.break_next(Fault::Panics { written: true });
    // The panic stands for the crash: the first commit is in the store, nothing came after it.
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.delete("default", id(1))));
    assert!(broken.is_err());
    let mut rig = rig.restarted();
    assert_eq!(disabled_records(&rig), 0);
    assert!(matches!(rig.decrypt(&sealed).err(), Some(Refusal::VersionDisabled(_))));
    assert!(matches!(rig.encrypt("default", b"x").err(), Some(Refusal::NoSuchKey)));
    rig.check();
    for key in deleted(&rig.ledger) {
        disable_versions(&mut rig.ledger, key).unwrap();
    }
    assert_eq!(disabled_records(&rig), 2);
    rig.check();
    assert_eq!(rig.delete("default", id(1)).unwrap().versions, 2, "the repetition gets the answer");
}

#[test]
fn hundreds_of_versions_go_in_bounded_commits_and_a_failure_among_them_is_gone_on_with() {
    let mut rig = Rig::new();
    grow(&mut rig, "default", 300);
    for request in 0..30 {
        rig.create(&format!("filler-{request}"), id(100 + request)).unwrap();
    }
    // Old requests want to be forgotten in the same commits.
    rig.pass(2 * super::super::test_rig::DAY);
    rig.check();
    let before = rig.commits().len();
    rig.delete("default", id(1)).unwrap();
    let commits = rig.commits().split_off(before);
    assert!(commits.len() <= 6 && commits.iter().all(|(records, _)| *records <= MAX_BATCH_RECORDS), "{commits:?}");
    assert_eq!(disabled_records(&rig), 300);
    rig.check();
    let reads = locked(&rig.medium).reads;
    let commits = rig.commits().len();
    rig.delete("default", id(1)).unwrap();
    assert_eq!(rig.commits().len(), commits, "nothing is left to disable");
    assert!(locked(&rig.medium).reads - reads <= 300);
}

#[test]
fn a_store_that_fails_among_the_versions_leaves_the_key_closed() {
    let mut rig = Rig::new();
    let sealed = rig.encrypt("default", b"x").unwrap().ciphertext;
    grow(&mut rig, "default", 100);
    // The name is gone, and the first versions' commit fails.
    locked(&rig.medium).unreadable = true;
    assert!(matches!(rig.delete("default", id(1)), Err(Refusal::Store(_))));
    locked(&rig.medium).unreadable = false;
    assert!(matches!(rig.decrypt(&sealed).err(), Some(Refusal::VersionDisabled(_))));
    rig.check();
    rig.break_next(Fault::Fails(unavailable()));
    assert!(matches!(rig.delete("default", id(1)), Err(Refusal::Store(_))));
    rig.check();
    assert_eq!(rig.delete("default", id(1)).unwrap().versions, 100);
    assert_eq!(disabled_records(&rig), 100);
    rig.check();
}

#[test]
fn a_name_that_is_made_again_opens_nothing_of_the_old_key() {
    let mut rig = Rig::new();
    let old = rig.encrypt("default", b"old").unwrap().ciphertext;
    let old_id = rig.delete("default", id(1)).unwrap().id;
    let new_id = rig.create("default", id(2)).unwrap().key.id;
    assert!(old_id != new_id);
    assert!(matches!(rig.decrypt(&old).err(), Some(Refusal::VersionDisabled(_))));
    let new = rig.encrypt("default", b"new").unwrap().ciphertext;
    assert_eq!(rig.decrypt(&new).unwrap().plaintext.as_slice(), b"new");
    rig.check();
    // The old request's repetition does not take the new key's name away.
    assert!(rig.delete("default", id(1)).unwrap().id == old_id);
    rig.encrypt("default", b"still there").unwrap();
    let mut rig = rig.restarted();
    assert!(matches!(rig.decrypt(&old).err(), Some(Refusal::VersionDisabled(_))));
    assert_eq!(rig.decrypt(&new).unwrap().plaintext.as_slice(), b"new");
    rig.delete("default", None).unwrap();
    rig.create("default", None).unwrap();
    rig.check();
    let tombstones = rig.keyring().keys.values().filter(|key| key.name == name("default") && key.is_deleted()).count();
    assert_eq!(tombstones, 2);
}

#[test]
fn a_key_in_use_is_not_touched_by_what_finishes_deletions() {
    let mut rig = Rig::new();
    let key = rig.keyring().key(&name("default")).unwrap().id;
    disable_versions(&mut rig.ledger, key).unwrap();
    assert!(rig.commits().is_empty());
    assert_eq!(rig.keyring().primary(&name("default")).unwrap().state, VersionState::Enabled);
}

#[test]
fn a_version_record_that_is_gone_is_damage_and_the_key_stays_closed() {
    let mut rig = Rig::new();
    let sealed = rig.encrypt("default", b"x").unwrap().ciphertext;
    let version = rig.keyring().primary(&name("default")).unwrap().id;
    locked(&rig.medium).snapshot.records.remove(&record::version(version));
    assert!(matches!(rig.delete("default", None), Err(Refusal::Damaged(_))));
    assert!(rig.decrypt(&sealed).is_err());
}

#[test]
fn a_seal_that_is_read_other_than_it_was_committed_is_not_written_back_under_a_mac_that_fits() {
    let mut rig = Rig::new();
    let id = rig.keyring().key(&name("default")).unwrap().id;
    let version = rig.keyring().keys.get(&id).unwrap().versions.get(1).unwrap().id;
    let record = record::version(version);
    let whole = rig.snapshot().records[&record].clone();
    *locked(&rig.medium).snapshot.records.get_mut(&record).unwrap().last_mut().unwrap() ^= 1;
    let answer = rig.delete("default", None);
    // As by a disk that gave other bytes once.
    locked(&rig.medium).snapshot.records.entry(record).and_modify(|value| {
        if answer.is_err() {
            value.clone_from(&whole);
        }
    });
    assert!(matches!(answer, Err(Refusal::Damaged(_))), "{answer:?}");
    disable_versions(&mut rig.ledger, id).unwrap();
    assert_eq!(disabled_records(&rig), 1);
    rig.check();
    rig.restarted().check();
}
