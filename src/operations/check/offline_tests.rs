//! The check of an offline store: it finds what a start refuses, all of it, and nothing else.
//!
//! Must never pass for a change that was not made.
//! Run by `cargo test`.

use super::*;
use crate::custody::snapshot;
use crate::operations::test_rig::{MASTER_KEY, Rig, random};
use crate::operations::{backup, load};
use crate::store::record;
use std::collections::BTreeSet;

fn key(rig: &Rig) -> MasterKey {
    MasterKey::parse(MASTER_KEY.as_bytes(), &rig.memory).unwrap()
}

fn inspect(rig: &Rig, store: Result<Snapshot, StoreError>) -> Result<Report, StartFailure> {
    let (master, mut told) = (key(rig), |_: &str, _: usize, _: usize| ());
    let inspection = Inspection { places: &rig.ledger.places, master: &master, memory: &rig.memory, told: &mut told };
    inspection.run(store)
}

/// A rig with legacy keys, requests, a deleted key, several versions and a backup of it all.
fn full() -> Rig {
    let mut rig = Rig::with_legacy();
    rig.create("mine", crate::operations::test_rig::id(1)).unwrap();
    rig.rotate("mine", crate::operations::test_rig::id(2)).unwrap();
    rig.create("gone", None).unwrap();
    rig.delete("gone", None).unwrap();
    backup::write(&mut rig.ledger).unwrap();
    rig
}

fn sign(rig: &Rig, snapshot: &mut Snapshot) {
    let digests = load::digests(snapshot);
    let mac = snapshot::mac(&rig.ledger.root, &rig.ledger.store_id, snapshot.generation, &digests);
    snapshot.records.insert(record::MAC.to_owned(), mac.to_vec());
}

fn starts(rig: &Rig, snapshot: Snapshot) -> bool {
    let authentic = load::authenticate(snapshot, key(rig), &rig.memory);
    authentic.and_then(|authentic| load::open(authentic, &rig.memory)).is_ok()
}

#[test]
fn a_good_store_passes_every_check() {
    let rig = full();
    let report = inspect(&rig, Ok(rig.snapshot())).unwrap();
    assert_eq!(report.findings, []);
    let passed: Vec<Check> = report.passed.iter().map(|passed| passed.check).collect();
    assert_eq!(passed, Check::ALL);
}

#[test]
fn whatever_a_start_refuses_is_found_and_nothing_else() {
    let rig = full();
    let whole = rig.snapshot();
    let mut refused = BTreeSet::new();
    for name in whole.records.keys() {
        for is_signed in [false, true] {
            let changes: [fn(&mut Snapshot, &str); 3] = [
                |s, name| drop(s.records.remove(name)),
                |s, name| *s.records.get_mut(name).unwrap().last_mut().unwrap() ^= 1,
                |s, name| *s.records.get_mut(name).unwrap() = vec![0xff; 3],
            ];
            for (n, change) in changes.into_iter().enumerate() {
                let mut changed = whole.clone();
                change(&mut changed, name);
                if is_signed {
                    sign(&rig, &mut changed);
                }
                let finds = match inspect(&rig, Ok(changed.clone())) {
                    Ok(report) => report.verdict() >= Severity::Newer,
                    Err(_) => true,
                };
                let starts = starts(&rig, changed);
                assert_eq!(finds, !starts, "change {n} of {name}, signed: {is_signed}");
                if !starts {
                    refused.insert(name.clone());
                }
            }
        }
    }
    assert_eq!(refused.len(), whole.records.len(), "each record matters");
}

#[test]
fn another_key_and_a_newer_schema_are_judged_by_nobody() {
    let rig = full();
    let other = MasterKey::generate(&rig.memory, &random).unwrap();
    let mut told = |_: &str, _: usize, _: usize| ();
    let inspection = Inspection { places: &rig.ledger.places, master: &other, memory: &rig.memory, told: &mut told };
    assert!(matches!(inspection.run(Ok(rig.snapshot())), Err(StartFailure::WrongKey { .. })));
    let mut newer = rig.snapshot();
    let mut master: record::Master = record::decode(record::MASTER, &newer.records[record::MASTER]).unwrap();
    master.schema = 99;
    newer.records.insert(record::MASTER.to_owned(), prost::Message::encode_to_vec(&master));
    assert!(matches!(inspect(&rig, Ok(newer)), Err(StartFailure::NewerSchema(_))));
}

#[test]
fn a_store_whose_file_is_damaged_still_has_its_backups_checked() {
    let rig = full();
    let report = inspect(&rig, Err(StoreError::Empty { path: rig.ledger.places.store.clone() })).unwrap();
    assert_eq!(report.verdict(), Severity::Fault);
    let good = backups::newest_first(&rig.backups(), None).unwrap().remove(0);
    assert!(report.findings[0].remedy.contains(&format!("`servos-keyd restore {}`", good.display())));
    assert!(report.passed.iter().any(|passed| passed.check == Check::NewestBackup));
    assert!(!report.passed.iter().any(|passed| passed.check == Check::Versions));
}

#[test]
fn how_far_it_is_is_told_to_the_end() {
    let rig = full();
    let (master, mut told) = (key(&rig), Vec::new());
    let mut tell = |what: &str, done: usize, total: usize| told.push((what.to_owned(), done, total));
    let inspection = Inspection { places: &rig.ledger.places, master: &master, memory: &rig.memory, told: &mut tell };
    inspection.run(Ok(rig.snapshot())).unwrap();
    for what in ["store", "backup", "other backups"] {
        let last = told.iter().rfind(|(told, ..)| told == what).unwrap();
        assert!(last.1 == last.2 && last.2 > 0, "{last:?}");
    }
}
