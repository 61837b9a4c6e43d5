//! A rotation that is broken off or fails at every point it has, and what the starts and calls after it make of it.
//!
//! Must never count a point as survived that was not reached: each table says how many there are.
//! Run by `cargo test`.

use super::Step;
use super::scene::{Scene, cases};
use super::steps::Advance;
use crate::operations::fake_store::{Fault, locked, unavailable};
use crate::operations::fault::tests::{die_at, live_on};
use crate::operations::health::StoreState;
use crate::operations::recovery::recover;
use crate::operations::test_rig::Rig;
use crate::store::port::StoreError;
use crate::store::{backup_file, record};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn whoever_dies_at_any_point_is_found_whole_by_the_next_start_and_gone_on_with() {
    for case in cases() {
        for (point, times) in case.points() {
            for n in 1.. {
                let mut scene = Scene::set(case);
                die_at(point, n);
                let died = catch_unwind(AssertUnwindSafe(|| scene.perform().unwrap())).is_err();
                assert_eq!(died, !live_on());
                if !died {
                    assert_eq!(n - 1, times, "{case:?}: {point}");
                    break;
                }
                scene.goes_on_after_a_start();
            }
        }
    }
}

/// Every version that seals is in a backup.
fn what_seals_is_backed_up(rig: &Rig) {
    let mut backed_up = BTreeSet::new();
    for path in backup_file::list(&rig.backups()).unwrap() {
        backed_up.extend(backup_file::read(&path).unwrap().records.into_keys());
    }
    for key in rig.keyring().keys.values() {
        let primary = key.versions.get(key.primary).unwrap();
        assert!(backed_up.contains(&record::version(primary.id)), "version {} of {}", key.primary, key.name);
    }
}

#[test]
fn whoever_dies_between_two_commits_of_one_step_goes_on_with_the_rest_of_it() {
    // The root; three times seals; the drop, the file; three times versions; two times primaries.
    for n in 1..=12 {
        let mut scene = Scene::grown();
        die_at("commit", n);
        let died = catch_unwind(AssertUnwindSafe(|| scene.perform().unwrap())).is_err();
        assert_eq!((died, live_on()), (n < 12, n == 12), "{n}");
        if died {
            scene = scene.restarted();
            what_seals_is_backed_up(&scene.rig);
            scene.goes_on();
        } else {
            what_seals_is_backed_up(&scene.rig);
            let keyring = scene.rig.keyring();
            assert!(keyring.keys.values().all(|key| key.primary == key.versions.newest() && key.promoting == 0));
            assert_eq!(keyring.versions.len(), 8 * 2 + 100 * 3, "nothing is made twice");
        }
    }
}

/// Lets the `n`th commit from now go wrong as the faults say, one after the other.
fn break_nth(rig: &Rig, n: u32, faults: Vec<Fault>) {
    (1..n).for_each(|_| rig.break_next(Fault::None));
    faults.into_iter().for_each(|fault| rig.break_next(fault));
}

/// Takes back what was planted; answers whether some of it was not reached.
fn mended(rig: &Rig) -> bool {
    let mut medium = locked(&rig.medium);
    (medium.unreadable, medium.unreadable_from) = (false, None);
    let left = !medium.faults.is_empty();
    medium.faults.clear();
    left
}

#[test]
fn a_disk_that_is_full_from_any_commit_on_holds_it_up_and_what_was_done_stands() {
    let full = || Fault::Fails(StoreError::Full { path: "fake".into() });
    for case in cases() {
        let commits = case.points()[0].1;
        for n in 1..=commits {
            let mut scene = Scene::set(case);
            break_nth(&scene.rig, n, (0..9).map(|_| full()).collect());
            for _ in 0..3 {
                assert!(scene.perform().is_err(), "{case:?}: {n}");
                scene.rig.check();
                scene.look();
            }
            assert!(mended(&scene.rig));
            scene.goes_on();
        }
        let mut scene = Scene::set(case);
        break_nth(&scene.rig, commits + 1, vec![full()]);
        scene.perform().unwrap();
        assert!(mended(&scene.rig), "{case:?}: there is no further commit");
    }
}

/// What can happen after a commit that is there and says that it failed, before it can be told of: its writing anew fails
/// before the new file is shown, or after, or one and then the other, or the store cannot even be looked at.
fn untold() -> Vec<(Vec<Fault>, bool)> {
    let shown = || Fault::WrittenButSaysSo(unavailable());
    let not_shown = || Fault::Fails(unavailable());
    vec![
        (vec![shown(), not_shown()], false),
        (vec![shown(), shown()], false),
        (vec![shown(), shown(), shown(), not_shown()], false),
        (vec![shown()], true),
        (vec![not_shown()], true),
    ]
}

#[test]
fn a_commit_that_says_it_failed_but_is_there_counts_once_it_is_written_anew() {
    for case in cases() {
        for n in 1..=case.points()[0].1 {
            let mut scene = Scene::set(case);
            break_nth(&scene.rig, n, vec![Fault::WrittenButSaysSo(unavailable())]);
            scene.perform().unwrap();
            assert!(!mended(&scene.rig), "{case:?}: {n}");
            scene.look();
            scene.goes_on();
        }
    }
}

#[test]
fn a_commit_of_a_rotation_that_nobody_can_tell_of_is_settled_by_itself_or_by_a_start() {
    let mut settled = 0;
    for case in cases().into_iter().filter(|case| case.legacy) {
        for n in 1..=case.points()[0].1 {
            for which in 0..untold().len() {
                // A start tells of each in the same way.
                for restarts in if which < 2 { vec![false, true] } else { vec![false] } {
                    let mut scene = Scene::set(case);
                    let (faults, unreadable) = untold().swap_remove(which);
                    if unreadable {
                        let mut medium = locked(&scene.rig.medium);
                        medium.unreadable_from = Some(medium.commits_tried + n);
                    }
                    break_nth(&scene.rig, n, faults);
                    assert!(scene.perform().is_err(), "{case:?}: {n}: {which}");
                    assert!(scene.rig.ledger.is_unsettled(), "{case:?}: {n}: {which}");
                    scene.look();
                    assert!(scene.perform().is_err() || !scene.rig.ledger.is_unsettled(), "{case:?}: {n}: {which}");
                    mended(&scene.rig);
                    if restarts {
                        scene.goes_on_after_a_start();
                        continue;
                    }
                    scene.rig.ledger.probe();
                    scene.rig.ledger.probe();
                    assert!(scene.rig.ledger.changes_possible().is_ok(), "{case:?}: {n}: {which}");
                    assert_eq!(scene.rig.store_state().0, StoreState::Healthy, "{case:?}: {n}: {which}");
                    scene.rig.check();
                    scene.look();
                    scene.goes_on();
                    settled += 1;
                }
            }
        }
    }
    assert!(settled > 80, "{settled}");
}

#[test]
fn a_panic_in_any_commit_costs_no_key_and_no_value_and_no_restart() {
    for case in cases() {
        for n in 1..=case.points()[0].1 {
            for written in [false, true] {
                let mut scene = Scene::set(case);
                break_nth(&scene.rig, n, vec![Fault::Panics { written }]);
                assert!(catch_unwind(AssertUnwindSafe(|| scene.perform())).is_err(), "{case:?}: {n}");
                // As the writer does it.
                recover(&mut scene.rig.ledger);
                assert!(scene.rig.ledger.changes_possible().is_ok(), "{case:?}: {n}");
                scene.rig.check();
                scene.look();
                scene.goes_on();
            }
        }
    }
}

#[test]
fn whoever_breaks_off_at_any_point_goes_on_without_a_start() {
    for case in cases() {
        for (point, times) in case.points() {
            for n in 1..=times {
                let mut scene = Scene::set(case);
                die_at(point, n);
                assert!(catch_unwind(AssertUnwindSafe(|| scene.perform().unwrap())).is_err(), "{case:?}: {point}");
                recover(&mut scene.rig.ledger);
                assert!(scene.rig.ledger.changes_possible().is_ok(), "{case:?}: {point}: {n}");
                scene.rig.check();
                scene.look();
                scene.goes_on();
            }
        }
    }
}

#[test]
fn a_store_that_cannot_be_read_holds_it_up_wherever_that_begins() {
    for case in cases() {
        let mut held_up = 0;
        for steps in 0..6 {
            let mut scene = Scene::set(case);
            if steps > 0 {
                scene.call().unwrap();
                (1..steps).for_each(|_| assert_ne!(scene.rig.advance(), Advance::Later));
            }
            locked(&scene.rig.medium).unreadable = true;
            held_up += u32::from(scene.perform().is_err());
            scene.look();
            mended(&scene.rig);
            scene.rig.check();
            scene.goes_on();
        }
        assert!(held_up > 0, "{case:?}");
    }
}

#[test]
fn backups_that_cannot_be_written_hold_up_a_begin_and_the_last_step_of_an_end() {
    for case in cases() {
        let mut scene = Scene::set(case);
        scene.rig.break_backups();
        for _ in 0..2 {
            assert!(scene.perform().is_err(), "{case:?}");
            assert_eq!(scene.rig.step(), case.ending.map(|_| Step::Backup), "{case:?}");
            scene.look();
            scene.rig.check();
        }
        scene = scene.restarted();
        scene.rig.mend_backups();
        scene.goes_on();
    }
}
