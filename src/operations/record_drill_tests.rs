//! Drills as operations keep and judge them: of which key, for how long, through rotations, repetitions and a start.
//!
//! Must never sleep: the rig's clock stands until it is set.
//! Run by `cargo test`.

use super::super::drill::{Drill, DrillKind};
use super::super::engine::{Engine, Facts};
use super::super::fake_store::Fault;
use super::super::keyring::{Keyring, MasterKeyFacts};
use super::super::refusal::Refusal;
use super::super::status::{Status, status};
use super::super::test_rig::{BEGIN, DAY, Rig, id, random};
use super::super::upkeep::Upkeep;
use super::record_drill;
use crate::custody::id::Fingerprint;
use crate::store::port::StoreError;

const KEY: DrillKind = DrillKind::Key;
const RESTORE: DrillKind = DrillKind::Restore;

fn recorded(rig: &mut Rig, kind: DrillKind, key: Fingerprint, request: Option<String>) -> Result<i64, Refusal> {
    let permit = rig.whole();
    let at = record_drill(&permit, &mut rig.ledger, kind, key, request);
    rig.check();
    at
}

fn in_use(rig: &Rig) -> Fingerprint {
    rig.keyring().master.fingerprint
}

/// What status says at this time of what the rig holds, with these intervals.
fn judged(rig: &Rig, drill_interval: i64, backup_interval: i64, now: i64, salvage: bool) -> Status {
    let facts = Facts { salvage, ..Facts::default() };
    let engine = Engine::new((*rig.keyring()).clone(), Box::new(random), Box::new(move || now), facts);
    engine.keep_up(Upkeep { drill_interval, backup_interval, ..Upkeep::default() });
    let (generation, at) = rig.engine.progress.newest_backup();
    engine.progress.found_backup(generation, at);
    status(&rig.whole(), &engine)
}

#[test]
fn a_drill_is_kept_with_the_time_of_the_daemon_and_survives_a_start() {
    let mut rig = Rig::new();
    let key = in_use(&rig);
    rig.pass(DAY);
    assert_eq!(recorded(&mut rig, KEY, key, None).unwrap(), BEGIN + DAY);
    rig.pass(DAY);
    assert_eq!(recorded(&mut rig, RESTORE, key, None).unwrap(), BEGIN + 2 * DAY);
    rig.pass(DAY);
    assert_eq!(recorded(&mut rig, KEY, key, None).unwrap(), BEGIN + 3 * DAY);
    let kept = [
        Drill { kind: RESTORE, fingerprint: key, at: BEGIN + 2 * DAY },
        Drill { kind: KEY, fingerprint: key, at: BEGIN + 3 * DAY },
    ];
    assert_eq!(rig.keyring().drills, kept);
    let rig = rig.restarted();
    assert_eq!(rig.keyring().drills, kept);
}

#[test]
fn a_drill_of_a_key_that_opens_nothing_here_is_refused_and_nothing_is_kept() {
    let mut rig = Rig::new();
    let before = rig.snapshot().generation;
    for (kind, key) in [(KEY, [7; 8]), (RESTORE, [0; 8])] {
        let refused = recorded(&mut rig, kind, Fingerprint::from_bytes(key), id(1));
        assert!(matches!(refused, Err(Refusal::DrillOfOtherKey)));
    }
    assert_eq!((rig.snapshot().generation, rig.keyring().drills.len()), (before, 0));
}

#[test]
fn the_same_request_again_gives_the_same_time_and_another_drill_under_its_id_is_refused() {
    let mut rig = Rig::new();
    let key = in_use(&rig);
    let first = recorded(&mut rig, KEY, key, id(1)).unwrap();
    rig.pass(60);
    let mut rig = rig.restarted();
    let generation = rig.snapshot().generation;
    assert_eq!(recorded(&mut rig, KEY, key, id(1)).unwrap(), first);
    assert_eq!(rig.snapshot().generation, generation);
    assert!(matches!(recorded(&mut rig, RESTORE, key, id(1)), Err(Refusal::RequestIdReused)));
    assert_eq!(recorded(&mut rig, KEY, key, id(2)).unwrap(), first + 60);
}

#[test]
fn a_backup_is_written_behind_a_drill_and_one_that_cannot_be_keeps_no_drill_out() {
    let mut rig = Rig::new();
    let key = in_use(&rig);
    recorded(&mut rig, KEY, key, None).unwrap();
    // The mark names this generation too: a restore of an older backup would be one that goes back.
    assert_eq!(rig.engine.progress.newest_backup(), (rig.keyring().generation, BEGIN));
    let before = rig.keyring().generation;
    let _ = std::fs::remove_dir_all(rig.backups());
    rig.break_backups();
    rig.pass(60);
    assert_eq!(recorded(&mut rig, RESTORE, key, None).unwrap(), BEGIN + 60);
    assert_eq!(rig.keyring().drills.len(), 2);
    assert_eq!(rig.engine.progress.newest_backup().0, before);
}

#[test]
fn a_commit_that_fails_keeps_no_drill() {
    let mut rig = Rig::new();
    let key = in_use(&rig);
    rig.break_next(Fault::Fails(StoreError::Full { path: "store".into() }));
    assert!(matches!(recorded(&mut rig, KEY, key, None), Err(Refusal::Store(_))));
    assert!(rig.keyring().drills.is_empty());
}

#[test]
fn salvage_keeps_no_drill_and_warns_of_none() {
    let mut rig = Rig::new();
    let key = in_use(&rig);
    recorded(&mut rig, KEY, key, None).unwrap();
    assert!(matches!(rig.salvaged().changes_allowed(), Err(Refusal::Salvage)));
    let told = judged(&rig, DAY, DAY, BEGIN + 100 * DAY, true);
    assert!(!told.drills.overdue && !told.backup_age.overdue);
    assert_eq!(told.drills.key.map(|drill| drill.at), Some(BEGIN));
    assert!(!told.warnings.iter().any(|warning| warning.contains("copy of the master key")), "{:?}", told.warnings);
}

#[test]
fn the_age_of_a_drill_counts_from_the_last_one_of_the_key_in_use_or_from_when_that_came_into_use() {
    let mut rig = Rig::new();
    let key = in_use(&rig);
    let overdue = |rig: &Rig, days: i64| judged(rig, 180 * DAY, 0, BEGIN + days * DAY, false).drills.overdue;
    // A new installation is not warned at once.
    assert!(!overdue(&rig, 0) && !overdue(&rig, 179) && overdue(&rig, 180));
    rig.pass(100 * DAY);
    recorded(&mut rig, RESTORE, key, None).unwrap();
    assert!(!overdue(&rig, 279) && overdue(&rig, 280));
    rig.pass(50 * DAY);
    recorded(&mut rig, KEY, key, None).unwrap();
    assert!(!overdue(&rig, 329) && overdue(&rig, 330));
    // A clock that was set back makes nothing overdue, nor does an interval that is none.
    assert!(!overdue(&rig, -1000));
    assert!(!judged(&rig, 0, 0, i64::MAX, false).drills.overdue);
    assert!(!judged(&rig, i64::MAX, i64::MAX, BEGIN, false).drills.overdue);
    let told = judged(&rig, 180 * DAY, 0, BEGIN + 330 * DAY, false);
    assert_eq!(told.drills.due, BEGIN + 330 * DAY);
    let warning = told.warnings.iter().find(|warning| warning.contains("No copy of the master key")).unwrap();
    assert!(
        warning.contains(&key.to_string()) && warning.contains("servos-keyctl check-key --key-file FILE"),
        "{warning}"
    );
}

#[test]
fn a_drill_of_the_old_key_counts_for_nothing_after_a_rotation() {
    let mut rig = Rig::new();
    let old = in_use(&rig);
    recorded(&mut rig, KEY, old, None).unwrap();
    let keyring = Keyring {
        master: MasterKeyFacts { fingerprint: Fingerprint::from_bytes([9; 8]), since: BEGIN - 10 * DAY, shared: false },
        ..(*rig.keyring()).clone()
    };
    rig.engine.publish(keyring);
    let told = judged(&rig, 10 * DAY, 0, BEGIN, false);
    assert!(told.drills.overdue);
    // It is shown all the same, with the key that it was of.
    assert_eq!(told.drills.key.map(|drill| drill.fingerprint), Some(old));
}

#[test]
fn a_time_from_a_clock_that_was_wrong_keeps_no_warning_back() {
    let mut rig = Rig::new();
    let key = in_use(&rig);
    rig.pass(10_000 * DAY);
    recorded(&mut rig, KEY, key, None).unwrap();
    let then = BEGIN + 10_000 * DAY;
    let (generation, backup) = rig.engine.progress.newest_backup();
    assert_eq!(backup, then);
    rig.break_backups();
    recorded(&mut rig, RESTORE, key, None).unwrap();
    assert!(rig.keyring().generation > generation);
    for (now, overdue) in [
        (BEGIN + 29 * DAY, false),
        (BEGIN + 30 * DAY, true),
        (then - 2 * DAY, true),
        // Put back by some hours, as clocks are.
        (then - DAY / 2, false),
        (then + 29 * DAY, false),
        (then + 30 * DAY, true),
    ] {
        let told = judged(&rig, 30 * DAY, 30 * DAY, now, false);
        assert_eq!((told.drills.overdue, told.backup_age.overdue), (overdue, overdue), "{now}");
        let is_yet_to_come = told.warnings.iter().any(|warning| warning.contains("a day that is yet to come"));
        assert_eq!(is_yet_to_come, overdue && now < then, "{:?}", told.warnings);
    }
}

#[test]
fn a_backup_is_too_old_only_where_the_store_has_changed_since() {
    let mut rig = Rig::new();
    let key = in_use(&rig);
    let told = |rig: &Rig, days: i64| judged(rig, 0, 30 * DAY, BEGIN + days * DAY, false);
    // None is known: counted from when the store was made.
    assert!(!told(&rig, 29).backup_age.overdue && told(&rig, 30).backup_age.overdue);
    assert!(told(&rig, 30).warnings.iter().any(|warning| warning.starts_with("No backup of the store is known")));
    rig.pass(20 * DAY);
    recorded(&mut rig, KEY, key, None).unwrap();
    assert!(!told(&rig, 500).backup_age.overdue, "the newest backup holds the store as it stands");
    rig.delete("default", None).unwrap();
    assert!(!told(&rig, 49).backup_age.overdue);
    let late = told(&rig, 50);
    assert!(late.backup_age.overdue);
    let warning = late.warnings.iter().find(|warning| warning.starts_with("The newest backup in ")).unwrap();
    assert!(
        warning.contains("older than 30 days") && warning.contains(": servos-keyctl backup makes one"),
        "{warning}"
    );
}
