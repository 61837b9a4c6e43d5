//! Canaries: the four answers, through restores and acceptances.
//!
//! Must never see OPENS for a generation that the store did not have.
//! Run by `cargo test`.

use super::{Finding, verify_client, verify_own};
use crate::custody::keys::MasterKey;
use crate::operations::engine::{Engine, Facts};
use crate::operations::fake_store::{FakeStore, locked};
use crate::operations::issue_canary::issue_canary;
use crate::operations::keyring::{Gap, Keyring};
use crate::operations::load::{authenticate, open};
use crate::operations::refusal::Refusal;
use crate::operations::restore::tests::restore_file;
use crate::operations::test_rig::{MASTER_KEY, Rig, random};
use crate::operations::{accept::accept, mark_check};
use crate::store::mark::{self, Mark};
use crate::store::redb_adapter::view;
use crate::store::{backup_file, record};
use std::sync::Arc;

const GAP: u64 = 1 << 32;

fn issued(rig: &Rig) -> [u8; 64] {
    issue_canary(&rig.whole(), &rig.engine).unwrap()
}

fn found(rig: &Rig, keyring: &Keyring, canary: &[u8; 64]) -> Finding {
    let engine = Engine::new(keyring.clone(), Box::new(random), Box::new(|| 0), Facts::default());
    verify_client(&rig.whole(), &engine, canary)
}

fn master(rig: &Rig) -> MasterKey {
    MasterKey::parse(MASTER_KEY.as_bytes(), &rig.memory).unwrap()
}

#[test]
fn a_canary_opens_where_it_was_issued_now_and_after_changes() {
    let mut rig = Rig::new();
    let canary = issued(&rig);
    assert_eq!(verify_client(&rig.whole(), &rig.engine, &canary), Finding::Opens);
    rig.rotate("default", None).unwrap();
    let rig = rig.restarted();
    assert_eq!(verify_client(&rig.whole(), &rig.engine, &canary), Finding::Opens);
    assert_eq!(found(&rig, &rig.keyring(), &issued(&rig)), Finding::Opens);
}

#[test]
fn a_canary_of_another_store_is_told_from_a_damaged_one() {
    let rig = Rig::new();
    assert_eq!(found(&rig, &rig.keyring(), &issued(&Rig::new())), Finding::OtherStore);
    let canary = issued(&rig);
    for bit in 0..64 * 8 {
        let mut damaged = canary;
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Even where the store's id is hit: the rest of it still says that it was issued here.
        assert_eq!(found(&rig, &rig.keyring(), &damaged), Finding::Damaged, "bit {bit}");
    }
    assert_eq!(found(&rig, &rig.keyring(), &[0; 64]), Finding::Damaged);
}

#[test]
fn a_canary_of_a_generation_that_this_store_never_had_is_stale() {
    let mut rig = Rig::new();
    let old = (*rig.keyring()).clone();
    let at_1 = issued(&rig);
    rig.rotate("default", None).unwrap();
    let at_3 = issued(&rig);
    assert_eq!(found(&rig, &old, &at_3), Finding::Stale, "an older store");
    let rotated = Keyring { rotations: 1, ..(*rig.keyring()).clone() };
    rig.engine.publish(rotated);
    assert_eq!(found(&rig, &old, &issued(&rig)), Finding::Stale);
    // The store went from 1 to 2^32: 1 and 2^32 were its own, what lies between was not.
    let restored = Keyring { generation: GAP + 5, gaps: vec![Gap { from: 1, to: GAP }], ..old.clone() };
    assert_eq!(found(&rig, &restored, &at_1), Finding::Opens);
    assert_eq!(found(&rig, &restored, &at_3), Finding::Stale);
    for (generation, expected) in
        [(2, Finding::Stale), (GAP - 1, Finding::Stale), (GAP, Finding::Opens), (GAP + 6, Finding::Stale)]
    {
        rig.engine.publish(Keyring { generation, ..old.clone() });
        assert_eq!(found(&rig, &restored, &issued(&rig)), expected, "generation {generation}");
    }
}

#[test]
fn the_daemons_own_canary_is_read_again_each_time() {
    let mut rig = Rig::new();
    let permit = rig.whole();
    assert_eq!(verify_own(&permit, &mut rig.ledger).unwrap(), Finding::Opens);
    let good = rig.snapshot();
    let other = Rig::new().snapshot().records[record::CANARY].clone();
    let cut = good.records[record::CANARY][..20].to_vec();
    let empty = record::encode(&record::Canary { schema: 1, seals: vec![] });
    for (what, bytes) in [("another store's", other), ("cut", cut), ("without a seal", empty), ("empty", vec![])] {
        locked(&rig.medium).snapshot.records.insert(record::CANARY.to_owned(), bytes);
        assert_eq!(verify_own(&permit, &mut rig.ledger).unwrap(), Finding::Damaged, "{what}");
    }
    locked(&rig.medium).snapshot.records.remove(record::CANARY);
    assert_eq!(verify_own(&permit, &mut rig.ledger).unwrap(), Finding::Damaged);
    locked(&rig.medium).unreadable = true;
    assert!(matches!(verify_own(&permit, &mut rig.ledger), Err(Refusal::Store(_))), "not looked at is no answer");
    locked(&rig.medium).unreadable = false;
    locked(&rig.medium).snapshot = good;
    assert_eq!(verify_own(&permit, &mut rig.ledger).unwrap(), Finding::Opens);
}

/// Restores a backup of the rig's store as it was at `generation` into a place of its own.
fn restored(rig: &Rig, backup: &std::path::Path, mark: Option<Mark>) -> (tempfile::TempDir, Keyring) {
    let directory = tempfile::tempdir().unwrap();
    let mut places = rig.ledger.places.clone();
    places.store = directory.path().join("keyd.redb");
    places.mark = directory.path().join("keyd.redb.mark");
    if let Some(mark) = mark {
        mark::write(&places.mark, &mark).unwrap();
    }
    let done = restore_file(rig, &places, backup, true).unwrap();
    let authentic = authenticate(view(&places.store).unwrap(), master(rig), &rig.memory).unwrap();
    let (state, previous) = authentic.state();
    assert_eq!(state.generation, done.generation);
    mark_check::check(&places.mark, mark::read(&places.mark).unwrap().as_ref(), &state, previous).unwrap();
    (directory, open(authentic, &rig.memory).unwrap().keyring)
}

#[test]
fn after_a_restore_canaries_of_the_lost_time_are_stale_for_ever() {
    let mut rig = Rig::new();
    rig.rotate("default", None).unwrap();
    // The backup was made between the two commits of the rotation.
    let backup = backup_file::list(&rig.backups()).unwrap().remove(0);
    let kept = backup_file::read(&backup).unwrap().generation;
    let at_backup = {
        rig.engine.publish(Keyring { generation: kept, ..(*rig.keyring()).clone() });
        issued(&rig)
    };
    rig.engine.publish(Keyring { generation: kept + 1, ..(*rig.keyring()).clone() });
    let lost = issued(&rig);
    let (_directory, mut keyring) = restored(&rig, &backup, None);
    assert_eq!((keyring.generation, keyring.keyring), (GAP, GAP), "exports are to be made again");
    for later in [0, 1, GAP, 5 * GAP] {
        keyring.generation = GAP + later;
        assert_eq!(found(&rig, &keyring, &lost), Finding::Stale);
        assert_eq!(found(&rig, &keyring, &at_backup), Finding::Opens);
    }
}

#[test]
fn a_restore_goes_on_above_what_the_mark_has_seen() {
    let mut rig = Rig::new();
    rig.rotate("default", None).unwrap();
    let backup = backup_file::list(&rig.backups()).unwrap().remove(0);
    let state = mark::State { generation: 3 * GAP + 7, ..rig.ledger.state() };
    let (_directory, keyring) = restored(&rig, &backup, Some(Mark { now: Some(state), to_come: None }));
    assert_eq!(keyring.generation, 4 * GAP);
    assert!(keyring.gaps == [Gap { from: 2, to: 4 * GAP }]);
}

fn accepted(rig: &Rig, generation: u64) -> Result<u64, crate::operations::start_failure::StartFailure> {
    let authentic = authenticate(rig.snapshot(), master(rig), &rig.memory).unwrap();
    accept(&rig.ledger.places, &authentic, &mut FakeStore(Arc::clone(&rig.medium)), generation)
}

#[test]
fn an_acceptance_leaves_a_gap_and_takes_only_the_generation_it_was_told() {
    let mut rig = Rig::new();
    rig.rotate("default", None).unwrap();
    let before = rig.snapshot();
    assert!(accepted(&rig, 2).is_err());
    assert!(rig.snapshot() == before);
    std::fs::remove_file(&rig.ledger.places.mark).unwrap();
    assert_eq!(accepted(&rig, 3).unwrap(), GAP);
    let rig = rig.restarted();
    assert!(rig.keyring().gaps == [Gap { from: 3, to: GAP }]);
    rig.check();
}

#[test]
fn an_acceptance_that_breaks_off_before_its_commit_leaves_the_store_refused() {
    use crate::operations::fake_store::{Fault, unavailable};
    for mark_before in [None, Some(9)] {
        let mut rig = Rig::new();
        rig.rotate("default", None).unwrap();
        let path = rig.ledger.places.mark.clone();
        std::fs::remove_file(&path).unwrap();
        if let Some(generation) = mark_before {
            let state = mark::State { generation, ..rig.ledger.state() };
            mark::write(&path, &Mark { now: Some(state), to_come: None }).unwrap();
        }
        let judged = |rig: &Rig| {
            let authentic = authenticate(rig.snapshot(), master(rig), &rig.memory).unwrap();
            let (state, previous) = authentic.state();
            mark_check::check(&path, mark::read(&path).unwrap().as_ref(), &state, previous)
        };
        assert!(judged(&rig).is_err(), "that is why it is to be accepted");
        rig.break_next(Fault::Fails(unavailable()));
        assert!(accepted(&rig, 3).is_err());
        assert!(judged(&rig).is_err(), "a start must not take it without the gap");
        let next = accepted(&rig, 3).unwrap();
        assert!(next >= GAP && judged(&rig).is_ok());
        assert!(rig.restarted().keyring().gaps == [Gap { from: 3, to: next }]);
    }
}
