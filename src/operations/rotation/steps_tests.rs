//! What follows the commit that decides: its order, its bounds, what holds it up, and what is left in the end.
//!
//! Must never let a step be skipped for another to pass: each is looked at by itself.
//! Run by `cargo test`.

use super::Step;
use super::sealed_value::Value;
use super::stage::{Begin, Ending, NEW, OLD};
use super::steps::Advance;
use crate::operations::fake_store::locked;
use crate::operations::promotion;
use crate::operations::refusal::Refusal;
use crate::operations::status::status;
use crate::operations::test_rig::{Rig, id, name};
use crate::store::backup_file;

const FINISH: Ending = Ending::Finish;
const ENDINGS: [Ending; 3] = [FINISH, Ending::Abort { new_data_keys: false }, Ending::Abort { new_data_keys: true }];

fn pending(keep_data_keys: bool) -> Rig {
    let mut rig = Rig::new();
    rig.begin_as(NEW, Begin { keep_data_keys, ..Begin::default() }).unwrap();
    rig
}

/// One whose rotation is decided and whose rest is to come.
fn decided(ending: Ending, keep_data_keys: bool) -> Rig {
    let mut rig = pending(keep_data_keys);
    rig.hold_key(ending.keys().0);
    rig.end(ending, NEW, false, id(1)).unwrap();
    rig
}

fn makes_versions(ending: Ending) -> bool {
    ending != Ending::Abort { new_data_keys: false }
}

#[test]
fn the_steps_come_in_their_order_and_a_restart_after_any_of_them_goes_on() {
    for ending in ENDINGS {
        for restarts in [false, true] {
            let mut rig = decided(ending, false);
            let mut steps = Vec::new();
            while let Some(step) = rig.step() {
                if steps.last() != Some(&step) {
                    steps.push(step);
                }
                assert!(rig.ledger.previous.is_some() == (step == Step::Resealing), "{step:?}");
                assert!(rig.ledger.meta.rewrite_due == (step == Step::Rewriting), "{step:?}");
                if restarts {
                    rig = rig.restarted();
                }
                assert_ne!(rig.advance(), Advance::Later);
                rig.check();
            }
            let all = [Step::Resealing, Step::Rewriting, Step::NewVersions, Step::Backup];
            let expected: Vec<Step> =
                all.into_iter().filter(|step| *step != Step::NewVersions || makes_versions(ending)).collect();
            assert_eq!(steps, expected, "{ending:?}");
            assert_eq!(rig.advance(), Advance::Idle);
            rig.every_seal_is_under_the_root_in_use();
            rig.opens_with(&[ending.keys().0]);
        }
    }
}

#[test]
fn in_the_end_no_byte_of_an_old_seal_is_left_and_the_file_was_written_anew_after_the_last_was_dropped() {
    for ending in ENDINGS {
        let mut rig = Rig::with_legacy();
        rig.rotate("default", None).unwrap();
        rig.delete("ssh-keys", None).unwrap();
        let mut old = rig.seals();
        rig.begin(NEW, None).unwrap();
        old.extend(rig.seals());
        rig.hold_key(ending.keys().0);
        rig.end(ending, NEW, false, None).unwrap();
        let begun = rig.commits().len();
        let previous = |rig: &Rig| rig.ledger.sealed.previous_root.clone();
        let kept = previous(&rig);
        assert!(!kept.is_empty());
        let mut dropped_at = None;
        while rig.step().is_some() {
            assert_ne!(rig.advance(), Advance::Later);
            if dropped_at.is_none() && previous(&rig).is_empty() {
                dropped_at = Some(rig.commits().len());
            }
        }
        let rewrites: Vec<usize> =
            (begun..rig.commits().len()).filter(|n| rig.commits()[*n].1).map(|n| n + 1).collect();
        assert_eq!(rewrites, [dropped_at.unwrap() + 1], "once, and right after the drop");
        old.push(("master".to_owned(), kept));
        let snapshot = rig.snapshot();
        for (name, seal) in &old {
            let is_in = |value: &Vec<u8>| value.windows(seal.len()).any(|part| part == seal.as_slice());
            assert!(!snapshot.records.values().any(is_in), "{ending:?}: a seal of {name} is left");
        }
        assert!(!rig.ledger.meta.rewrite_due);
        rig.check();
    }
}

#[test]
fn every_live_key_gets_a_version_that_seals_after_the_backup_and_a_deleted_one_gets_none() {
    for ending in ENDINGS {
        let mut rig = Rig::new();
        rig.delete("ssh-keys", None).unwrap();
        let before = rig.keyring();
        rig.begin(NEW, None).unwrap();
        rig.end_whole(ending);
        let keyring = rig.keyring();
        for key in before.keys.values() {
            let now = &keyring.keys[&key.id];
            let more = u32::from(makes_versions(ending) && !key.is_deleted());
            assert_eq!((now.primary, now.promoting), (key.primary + more, 0), "{} {ending:?}", key.name);
            assert_eq!(now.versions.len(), key.versions.len() + usize::try_from(more).unwrap());
        }
        assert_eq!(keyring.rotations, u32::from(ending == FINISH));
        let newest = backup_file::list(&rig.backups()).unwrap().pop().unwrap();
        let backup = backup_file::read(&newest).unwrap();
        let (generation, records) = (backup.generation, backup.records);
        let held = rig.holds(crate::store::port::Snapshot { generation, records }, ending.keys().0, false).unwrap();
        assert_eq!(held.keyring.versions.len(), keyring.versions.len(), "the backup has them all");
        rig.check();
    }
}

#[test]
fn a_rotation_that_keeps_the_data_keys_makes_no_version_and_still_a_backup_that_the_new_key_opens() {
    let mut rig = decided(FINISH, true);
    let before = rig.keyring().versions.len();
    rig.advance_to_the_end();
    assert_eq!(rig.keyring().versions.len(), before);
    let newest = backup_file::list(&rig.backups()).unwrap().pop().unwrap();
    let backup = backup_file::read(&newest).unwrap();
    let snapshot = crate::store::port::Snapshot { generation: backup.generation, records: backup.records };
    assert_eq!(rig.holds(snapshot.clone(), NEW, false).unwrap().keyring.versions.len(), before);
    assert!(rig.holds(snapshot, OLD, false).is_err());
    rig.check();
}

#[test]
fn a_mark_that_cannot_be_written_keeps_the_root_from_being_changed() {
    for ending in ENDINGS {
        let mut rig = Rig::new();
        rig.break_mark();
        rig.begin(NEW, None).unwrap();
        rig.hold_key(ending.keys().0);
        let before = rig.snapshot();
        for _ in 0..2 {
            assert!(matches!(rig.end(ending, NEW, false, id(1)), Err(Refusal::MarkBehind)));
        }
        assert!(rig.snapshot() == before);
        rig.check();
        rig.mend_mark();
        rig.opens_with(&[OLD, NEW]);
        rig.end(ending, NEW, false, id(1)).unwrap();
        rig.advance_to_the_end();
        rig.opens_with(&[ending.keys().0]);
        rig.check();
    }
}

#[test]
fn the_previous_root_stays_until_the_mark_names_the_one_in_use() {
    for ending in ENDINGS {
        let mut rig = pending(false);
        rig.hold_key(ending.keys().0);
        rig.break_mark();
        rig.end(ending, NEW, false, id(1)).unwrap();
        for _ in 0..5 {
            rig.advance();
        }
        assert_eq!((rig.advance(), rig.step()), (Advance::Later, Some(Step::Resealing)));
        assert!(rig.ledger.previous.is_some() && rig.problem().contains("mark"), "{}", rig.problem());
        let told = status(&rig.whole(), &rig.engine);
        assert!(told.warnings.iter().any(|warning| warning.contains("It waits")), "{:?}", told.warnings);
        rig.check();
        rig.mend_mark();
        // Whoever asks for the end again lets it go on at once.
        assert!(!rig.ledger.rotation_asked());
        rig.end(ending, NEW, true, None).unwrap();
        assert!(!rig.ledger.rotation_asked(), "not by a dry run");
        for request in [None, id(1), id(2)] {
            rig.end(ending, NEW, false, request.clone()).unwrap();
            assert!(rig.ledger.rotation_asked(), "{request:?}");
        }
        rig.advance_to_the_end();
        assert_eq!(rig.problem(), "");
        rig.opens_with(&[ending.keys().0]);
        rig.check();
    }
}

#[test]
fn a_backup_that_fails_stops_the_new_versions_alone() {
    for ending in ENDINGS {
        let mut rig = decided(ending, false);
        rig.break_backups();
        while rig.step() != Some(Step::Backup) {
            assert_ne!(rig.advance(), Advance::Later);
        }
        for _ in 0..3 {
            assert_eq!(rig.advance(), Advance::Later);
            assert_eq!(rig.encrypt("default", b"x").unwrap().version, 1, "the old primary seals");
        }
        assert!(rig.problem().contains("backup"), "{}", rig.problem());
        let told = status(&rig.whole(), &rig.engine).rotation.unwrap();
        assert_eq!(told.problem, rig.problem());
        assert!(rig.ledger.previous.is_none() && !rig.ledger.meta.rewrite_due);
        rig.opens_with(&[ending.keys().0]);
        rig.check();
        let mut rig = rig.restarted();
        assert_eq!(rig.advance(), Advance::Later);
        rig.mend_backups();
        rig.end(ending, NEW, false, None).unwrap();
        assert!(rig.ledger.rotation_asked());
        rig.advance_to_the_end();
        assert_eq!(rig.encrypt("default", b"x").unwrap().version, 1 + u32::from(makes_versions(ending)));
        rig.check();
    }
}

#[test]
fn versions_that_waited_for_a_backup_before_are_settled_with_the_rest() {
    for ending in ENDINGS {
        let mut rig = Rig::new();
        rig.break_backups();
        assert!(rig.rotate("default", id(1)).is_err());
        assert!(rig.create("mine", id(2)).is_err());
        rig.mend_backups();
        rig.begin(NEW, None).unwrap();
        assert!(matches!(rig.encrypt("mine", b"x"), Err(Refusal::NoPrimary)));
        for key in promotion::waiting(&rig.ledger) {
            assert!(matches!(promotion::promote(&mut rig.ledger, key), Err(Refusal::Rotation(_))));
        }
        rig.end_whole(ending);
        assert!(promotion::waiting(&rig.ledger).is_empty());
        let more = u32::from(makes_versions(ending));
        assert_eq!(rig.encrypt("default", b"x").unwrap().version, 2 + more);
        assert_eq!(rig.encrypt("mine", b"x").unwrap().version, 1 + more);
        rig.check();
        // Those who asked then are answered, and nothing is made twice.
        rig.rotate("default", id(1)).unwrap();
        rig.create("mine", id(2)).unwrap();
        assert_eq!(rig.keyring().key(&name("mine")).unwrap().versions.len(), 1 + usize::try_from(more).unwrap());
        rig.check();
    }
}

#[test]
fn with_many_keys_and_versions_no_commit_grows_and_each_is_counted() {
    for ending in [FINISH, Ending::Abort { new_data_keys: true }] {
        let mut rig = Rig::new();
        rig.grow("grown", 92, 1);
        rig.grow("aged", 8, 28);
        let values: Vec<Value> =
            (0..92).step_by(9).map(|n| Value::sealed(&rig, &format!("grown-{n}"), &format!("value {n}"))).collect();
        rig.begin(NEW, None).unwrap();
        rig.hold_key(ending.keys().0);
        rig.end(ending, NEW, false, None).unwrap();
        let (mut seen, mut restarted) = (Vec::new(), false);
        while rig.step().is_some() {
            if rig.step() == Some(Step::Resealing) {
                let (done, total, _) = rig.engine.progress.rotation();
                assert!(done <= total);
                seen.push(done);
            }
            assert_ne!(rig.advance(), Advance::Later);
            if !restarted && rig.step() == Some(Step::NewVersions) {
                rig = rig.restarted();
                restarted = true;
            }
        }
        assert!(seen.len() > 3 && seen.is_sorted(), "{seen:?}");
        rig.every_seal_is_under_the_root_in_use();
        // It holds every commit to its bound.
        rig.check();
        assert!(locked(&rig.medium).commits.iter().filter(|(records, _)| *records > 90).count() > 3);
        assert!(values.iter().all(|value| value.opens(&rig)));
        let live = rig.keyring();
        assert!(live.keys.values().all(|key| key.promoting == 0 && key.primary == key.versions.newest()));
        assert_eq!(live.versions.len(), 2 * (8 + 92) + 8 * 29);
    }
}
