//! A store or a mark that refuses: told, tried again, and over, with what is said in the log.
//!
//! Must never let a probe change anything but the MAC.
//! Run by `cargo test`.

use crate::operations::fake_store::{Fault, Medium, full, locked, unavailable};
use crate::operations::health::{Health, StoreState};
use crate::operations::refusal::{Refusal, StoreTrouble};
use crate::operations::status::status;
use crate::operations::test_rig::{Rig, id};
use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::Dispatch;

/// While there is one subscriber alone, tracing takes the answer of whichever thread comes first to a place in the code for
/// everybody's: where that is another test's, which has no subscriber, the place stays silent here too. While there are more
/// it asks each of them, so two are kept that hear nothing.
static OTHERS: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Dispatch::new(tracing_subscriber::registry())));

/// What is logged meanwhile, as the names of events.
fn said(act: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    LazyLock::force(&OTHERS);
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, act);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let events = text.lines().filter_map(|line| line.split("event=\"").nth(1)?.split('"').next().map(str::to_owned));
    events.filter(|event| event.starts_with("store.")).collect()
}

fn refuse(rig: &Rig, change: impl FnOnce(&mut Medium)) {
    change(&mut locked(&rig.medium));
}

#[test]
fn a_place_that_another_thread_came_to_first_is_heard() {
    let speak = || tracing::info!(event = "store.place", "heard");
    let events = said(|| {
        std::thread::scope(|threads| drop(threads.spawn(speak).join()));
        speak();
    });
    assert_eq!(events, ["store.place"]);
}

#[test]
fn a_store_that_refuses_is_tried_until_it_takes_a_commit_of_nothing_but_its_mac() {
    let mut rig = Rig::new();
    let told: Arc<Mutex<Vec<Health>>> = Arc::default();
    let hears = Arc::clone(&told);
    rig.engine.health.observe(Box::new(move |health| hears.lock().unwrap().push(health.clone())));
    refuse(&rig, |medium| medium.refuses = Some(full));
    let events = said(|| {
        let refusal = rig.create("mine", id(1)).err().unwrap();
        assert_eq!(refusal.trouble(), StoreTrouble::Full);
        (0..5).for_each(|_| rig.ledger.probe());
        assert!(rig.ledger.is_failing() && !rig.ledger.has_recovered());
        refuse(&rig, |medium| medium.refuses = Some(unavailable));
        (0..5).for_each(|_| rig.ledger.probe());
    });
    assert_eq!(events, ["store.commit_failed", "store.failing"], "once, and once for the other reason");
    let (state, problem) = rig.store_state();
    assert!(state == StoreState::Failing && problem.contains("fake cannot be used"), "{problem}");
    let warnings = status(&rig.whole(), &rig.engine).warnings;
    assert!(warnings[0].contains(&problem) && warnings[0].contains("by itself"), "{warnings:?}");

    refuse(&rig, |medium| medium.refuses = None);
    let before = rig.snapshot();
    let events = said(|| rig.ledger.probe());
    assert_eq!(events, ["store.recovered"]);
    assert!(rig.ledger.has_recovered() && !rig.ledger.has_recovered() && !rig.ledger.is_failing());
    assert_eq!(rig.store_state(), (StoreState::Healthy, String::new()));
    let (mut before, mut after) = (before, rig.snapshot());
    assert_eq!(after.generation, before.generation + 1);
    assert_ne!(before.records.remove("mac"), after.records.remove("mac"));
    assert!(before.records == after.records);
    rig.check();
    let told: Vec<(StoreState, bool)> = told.lock().unwrap().iter().map(|now| (now.store, now.is_well())).collect();
    assert_eq!(
        told,
        [
            (StoreState::Healthy, true),
            (StoreState::Failing, false),
            (StoreState::Failing, false),
            (StoreState::Healthy, true)
        ]
    );
    // While it is well nothing is tried.
    let loads = locked(&rig.medium).loads;
    rig.ledger.probe();
    assert_eq!(locked(&rig.medium).loads, loads);
    rig.create("mine", id(1)).unwrap();
    rig.restarted().check();
}

#[test]
fn a_change_that_succeeds_ends_the_trouble_without_a_probe() {
    let mut rig = Rig::new();
    rig.break_next(Fault::Fails(full()));
    assert!(rig.create("mine", id(1)).is_err());
    assert_eq!(said(|| drop(rig.create("mine", id(1)).unwrap())), ["store.recovered"]);
    assert!(rig.ledger.has_recovered());
}

#[test]
fn a_store_without_room_for_a_new_file_is_well_when_it_has_that_room() {
    let mut rig = Rig::with_legacy();
    let retire = |rig: &mut Rig| {
        let (permit, fingerprint) = (rig.whole(), rig.keyring().master.fingerprint);
        crate::operations::retire_legacy_key::retire_legacy_key(&permit, &mut rig.ledger, fingerprint, id(1))
    };
    refuse(&rig, |medium| medium.refuses_rewrites = Some(full));
    assert!(retire(&mut rig).is_err());
    rig.ledger.probe();
    assert!(rig.ledger.is_failing(), "a small commit proves nothing here");
    refuse(&rig, |medium| medium.refuses_rewrites = None);
    rig.ledger.probe();
    assert!(!rig.ledger.is_failing());
    assert_eq!(rig.commits().last().map(|(_, rewrote)| *rewrote), Some(true));
    assert_eq!(retire(&mut rig).unwrap(), 0);
    rig.restarted().check();
}

#[test]
fn a_store_that_cannot_be_read_is_failing_from_the_first_who_asks() {
    let mut rig = Rig::new();
    refuse(&rig, |medium| medium.unreadable = true);
    let export = |rig: &mut Rig| {
        let permit = rig.whole();
        crate::operations::export_keyring::export_keyring(&permit, &mut rig.ledger).map(drop)
    };
    let events = said(|| (0..3).for_each(|_| assert!(matches!(export(&mut rig), Err(Refusal::Store(_))))));
    assert_eq!(events, ["store.failing"]);
    assert_eq!(rig.store_state().0, StoreState::Failing);
    rig.ledger.probe();
    assert_eq!(rig.store_state().0, StoreState::Failing);
    refuse(&rig, |medium| medium.unreadable = false);
    rig.ledger.probe();
    assert_eq!(rig.store_state().0, StoreState::Healthy);
    export(&mut rig).unwrap();
    rig.check();
}

#[test]
fn a_store_that_comes_back_as_another_is_not_written_to() {
    let mut rig = Rig::new();
    rig.rotate("default", None).unwrap();
    let mut other = rig.snapshot();
    refuse(&rig, |medium| medium.refuses = Some(full));
    assert!(rig.create("mine", id(1)).is_err());
    other.records.insert("history/0".to_owned(), b"other".to_vec());
    refuse(&rig, |medium| {
        medium.refuses = None;
        medium.snapshot = other.clone();
    });
    assert_eq!(said(|| rig.ledger.probe()), ["store.suspended"]);
    assert!(rig.snapshot() == other);
    assert!(matches!(rig.rotate("default", None), Err(Refusal::Suspended)));
    assert!(!rig.ledger.is_failing(), "nothing is tried any more");
}

#[test]
fn a_mark_that_cannot_be_written_is_said_once_and_written_when_it_can_be_without_a_commit() {
    let mut rig = Rig::new();
    let path = rig.directory.path().join("keyd.redb.mark");
    rig.rotate("default", None).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let events = said(|| {
        rig.rotate("default", None).unwrap();
        rig.rotate("default", None).unwrap();
        (0..3).for_each(|_| rig.ledger.probe());
    });
    assert_eq!(events, ["store.mark_failed"]);
    let (state, problem) = rig.store_state();
    assert!(state == StoreState::Failing && problem.contains("keyd.redb.mark"), "{problem}");
    std::fs::remove_dir(&path).unwrap();
    let commits = rig.commits().len();
    assert_eq!(said(|| rig.ledger.probe()), ["store.recovered"]);
    assert_eq!(rig.commits().len(), commits);
    assert_eq!(rig.engine.progress.mark_generation(), rig.snapshot().generation);
    rig.restarted().check();
}

#[test]
fn a_store_that_works_again_behind_a_mark_that_does_not_is_no_recovery() {
    let mut rig = Rig::new();
    let path = rig.directory.path().join("keyd.redb.mark");
    rig.break_next(Fault::Fails(full()));
    assert!(rig.rotate("default", None).is_err());
    let _ = std::fs::remove_file(&path);
    std::fs::create_dir(&path).unwrap();
    assert_eq!(said(|| rig.ledger.probe()), ["store.mark_failed"]);
    assert_eq!(rig.store_state().0, StoreState::Failing);
    std::fs::remove_dir(&path).unwrap();
    assert_eq!(said(|| rig.ledger.probe()), ["store.recovered"]);
}

#[test]
fn a_change_that_cannot_be_told_of_is_said_once_and_once_when_it_can() {
    let mut rig = Rig::new();
    rig.break_next(Fault::WrittenButSaysSo(unavailable()));
    refuse(&rig, |medium| medium.unreadable = true);
    let events = said(|| {
        assert!(rig.create("mine", id(1)).is_err());
        (0..5).for_each(|_| rig.ledger.probe());
    });
    assert_eq!(events, ["store.unsettled"]);
    refuse(&rig, |medium| medium.unreadable = false);
    assert_eq!(said(|| rig.ledger.probe()), ["store.recovered", "store.settled"]);
    rig.create("mine", id(1)).unwrap();
    rig.check();
}
