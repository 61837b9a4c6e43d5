//! The commit, against a store that fails in every way it can.
//!
//! Must never pass because nothing was changed: each test proves that the next commit works.
//! Run by `cargo test`.

use crate::operations::fake_store::{Fault, every_failure, locked, unavailable};
use crate::operations::health::StoreState;
use crate::operations::ledger::{Change, Ledger};
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::{Rig, id, picture};
use crate::store::mark;
use crate::store::port::StoreError;
use std::sync::atomic::Ordering;

#[test]
fn a_fresh_installation_is_in_memory_what_it_is_in_the_store() {
    Rig::new().check();
    Rig::with_legacy().check();
}

#[test]
fn whatever_a_commit_fails_with_everything_stays_as_it_was_and_the_next_one_works() {
    for error in every_failure() {
        let said = error.to_string();
        let mut rig = Rig::new();
        rig.rotate("default", id(1)).unwrap();
        let (before, store) = (picture(&rig.keyring()), rig.snapshot());
        rig.break_next(Fault::Fails(error));
        assert!(rig.create("mine", id(2)).is_err(), "{said}");
        assert_eq!(picture(&rig.keyring()), before, "{said}");
        assert!(rig.snapshot() == store, "{said}");
        rig.check();
        assert_eq!(rig.store_state().0, StoreState::Failing, "{said}");
        assert!(rig.store_state().1.starts_with(&said), "{said}");
        // The same request is no repetition: nothing was answered to it.
        rig.create("mine", id(2)).unwrap();
        rig.check();
        assert_eq!(rig.store_state(), (StoreState::Healthy, String::new()), "{said}");
        rig.restarted().check();
    }
}

#[test]
fn a_failed_commit_forgets_no_request_in_memory_alone() {
    let mut rig = Rig::new();
    rig.rotate("default", id(1)).unwrap();
    rig.pass(2 * super::super::test_rig::DAY);
    rig.break_next(Fault::Fails(unavailable()));
    assert!(rig.rotate("default", id(2)).is_err());
    rig.check();
    rig.rotate("default", id(2)).unwrap();
    rig.check();
    assert!(!rig.snapshot().records.keys().any(|name| name.ends_with("000000000001")), "forgotten now");
}

#[test]
fn a_commit_that_says_it_failed_but_is_shown_counts_once_everything_is_written_anew() {
    for error in every_failure() {
        let mut rig = Rig::new();
        rig.break_next(Fault::WrittenButSaysSo(error));
        assert_eq!(rig.rotate("default", id(1)).unwrap().version, 2);
        let rewrites: Vec<bool> = locked(&rig.medium).commits.iter().map(|(_, rewrote)| *rewrote).collect();
        assert_eq!(rewrites, [false, true, false], "the new version, all of it written anew, and its promotion");
        rig.check();
        rig.encrypt("default", b"x").unwrap();
        rig.rotate("default", None).unwrap();
        rig.restarted().check();
    }
}

#[test]
fn a_conflict_suspends_changes_while_sealing_and_opening_go_on() {
    let mut rig = Rig::new();
    let sealed = rig.encrypt("default", b"before").unwrap();
    locked(&rig.medium).snapshot.generation += 1;
    let refusal = rig.rotate("default", None).unwrap_err();
    assert!(matches!(refusal, Refusal::Store(StoreError::Conflict { expected: 1, found: 2 })), "{refusal:?}");
    locked(&rig.medium).snapshot.generation -= 1;
    assert!(matches!(rig.rotate("default", None), Err(Refusal::Suspended)));
    assert!(matches!(rig.create("mine", None).err(), Some(Refusal::Suspended)));
    assert!(matches!(rig.delete("default", None), Err(Refusal::Suspended)));
    assert_eq!(rig.decrypt(&sealed.ciphertext).unwrap().plaintext.as_slice(), b"before");
    let warnings = crate::operations::status::status(&rig.whole(), &rig.engine).warnings;
    assert!(warnings[0].contains("Restart the daemon") && !warnings.iter().any(|w| w.contains("by itself")));
    let sealed = rig.encrypt("default", b"after").unwrap();
    assert_eq!(rig.decrypt(&sealed.ciphertext).unwrap().plaintext.as_slice(), b"after");
    rig.restarted().rotate("default", None).unwrap();
}

#[test]
fn the_mark_follows_each_commit_and_its_failure_costs_no_call() {
    let mut rig = Rig::new();
    let path = rig.directory.path().join("keyd.redb.mark");
    rig.rotate("default", None).unwrap();
    let marked = |path| mark::read(path).unwrap().unwrap().now.unwrap().generation;
    assert_eq!(marked(&path), rig.snapshot().generation);
    assert_eq!(rig.engine.progress.mark_generation(), rig.snapshot().generation);

    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    rig.rotate("default", None).unwrap();
    rig.check();
    assert!(rig.engine.progress.mark_generation() < rig.snapshot().generation);

    std::fs::remove_dir(&path).unwrap();
    rig.rotate("default", None).unwrap();
    assert_eq!(marked(&path), rig.snapshot().generation);
}

#[test]
fn a_change_that_leaves_the_mark_behind_is_marked_by_whoever_needs_the_mark() {
    let mut rig = Rig::new();
    let path = rig.directory.path().join("keyd.redb.mark");
    let marked = |path| mark::read(path).unwrap().unwrap().now.unwrap().generation;
    rig.rotate("default", None).unwrap();
    let before = marked(&path);
    rig.ledger.commit(Change { defers_mark: true, ..Change::default() }, |_| ()).unwrap();
    assert_eq!(marked(&path), before);
    assert_eq!(rig.snapshot().generation, before + 1);
    rig.ledger.need_mark().unwrap();
    assert_eq!(marked(&path), before + 1);
}

#[test]
fn the_keyring_generation_rises_with_versions_and_seals_alone() {
    let mut rig = Rig::new();
    assert_eq!(rig.encrypt("default", b"x").unwrap().keyring, 1);
    rig.rotate("default", None).unwrap();
    // The version came with generation 2; that it is primary came with 3.
    assert_eq!((rig.keyring().generation, rig.encrypt("default", b"x").unwrap().keyring), (3, 2));
    rig.delete("ssh-keys", None).unwrap();
    assert_eq!(rig.keyring().keyring, 2, "no version came and no seal changed");
    rig.check();
}

#[test]
fn a_ledger_is_not_made_on_a_store_that_is_not_the_one_that_was_loaded() {
    let rig = Rig::new();
    let loaded = rig.loaded();
    let mut other = rig.snapshot();
    other.records.insert("mac".to_owned(), vec![0; 32]);
    locked(&rig.medium).snapshot = other;
    let store = Box::new(crate::operations::fake_store::FakeStore(std::sync::Arc::clone(&rig.medium)));
    let places = rig.ledger.places.clone();
    let (engine, memory) = (std::sync::Arc::clone(&rig.engine), rig.memory.clone());
    let made = Ledger::new(store, places, loaded.secrets, engine, memory, rig.key_sources());
    assert!(matches!(made.err(), Some(Refusal::Damaged(_))));
}

#[test]
fn a_clock_that_goes_back_or_stands_at_the_epoch_breaks_nothing() {
    for now in [0, -5, i64::MIN, i64::MAX] {
        let mut rig = Rig::new();
        rig.rotate("default", id(1)).unwrap();
        rig.clock.store(now, Ordering::Relaxed);
        rig.create("mine", id(2)).unwrap();
        rig.delete("ssh-keys", id(3)).unwrap();
        rig.check();
        assert!(rig.encrypt("ssh-keys", b"x").is_err(), "deleted at {now}");
        rig.restarted().check();
    }
}
