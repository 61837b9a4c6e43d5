//! Restore as a whole: what is refused for being older, what is told to be missing, and what a death at any point leaves.
//!
//! Must never pass a state in which a start would make a store, or in which the same restore does not go on.
//! Run by `cargo test`.

use super::super::create::{Vacancy, vacancy};
use super::super::ledger::Places;
use super::super::test_rig::{BEGIN, MASTER_KEY, Rig};
use super::super::{load, mark_check};
use super::known::{InPlace, Known, judge, survey};
use super::missing::Lost;
use super::newer::Newer;
use super::proof::{Proven, prove, read_backup};
use super::{Restored, restore};
use crate::custody::keys::MasterKey;
use crate::operations::start_failure::StartFailure;
use crate::store::fault::tests::{Died, die_at, live_on};
use crate::store::mark::{self, Mark, State};
use crate::store::{backup_file, redb_adapter};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const GAP: u64 = 1 << 32;

fn master(rig: &Rig) -> MasterKey {
    MasterKey::parse(MASTER_KEY.as_bytes(), &rig.memory).unwrap()
}

fn proven(rig: &Rig, file: &Path) -> Proven {
    prove(read_backup(file, file.display().to_string()).unwrap(), master(rig), &rig.memory).unwrap()
}

fn surveyed(rig: &Rig, places: &Places, proven: &Proven) -> Known {
    survey(places, proven, vec![master(rig)], &rig.memory).unwrap()
}

/// Restores as the command does, with or without `--older`.
pub(in super::super) fn restore_file(
    rig: &Rig,
    places: &Places,
    file: &Path,
    older: bool,
) -> Result<Restored, StartFailure> {
    let proven = proven(rig, file);
    let known = surveyed(rig, places, &proven);
    if !older {
        judge(places, &proven, &known)?;
    }
    restore(places, proven, &known, None, master(rig), &rig.memory, BEGIN)
}

/// The rig's store in a file, as a daemon leaves it.
fn write_store(rig: &Rig, places: &Places) {
    let _ = std::fs::remove_file(&places.store);
    redb_adapter::create(&places.store, &rig.snapshot()).unwrap();
}

/// What a start would find.
#[derive(Debug, PartialEq)]
enum Found {
    Serves(u64),
    Refused,
    /// No store, and restore is named.
    Lost,
}

fn start(rig: &Rig, places: &Places) -> Found {
    match vacancy(places) {
        Err(StartFailure::Exists { .. }) => {}
        Err(failure @ StartFailure::StoreLost { .. }) => {
            assert!(failure.to_string().contains("`servos-keyd restore "), "{failure}");
            return Found::Lost;
        }
        Err(failure) => panic!("{failure}"),
        Ok(Vacancy::Empty | Vacancy::Interrupted(_)) => panic!("a store would be made here"),
    }
    let Ok(snapshot) = redb_adapter::view(&places.store) else { return Found::Refused };
    let authentic = load::authenticate(snapshot, master(rig), &rig.memory).unwrap();
    let (state, previous) = authentic.state();
    let mark = mark::read(&places.mark).unwrap();
    match mark_check::check(&places.mark, mark.as_ref(), &state, previous) {
        Ok(_) => Found::Serves(load::open(authentic, &rig.memory).unwrap().keyring.generation),
        Err(_) => Found::Refused,
    }
}

/// Two rotations of a key: a store at generation 5 with backups of 2 and 4.
fn rotated() -> (Rig, Places, Vec<PathBuf>) {
    let mut rig = Rig::new();
    rig.rotate("default", None).unwrap();
    rig.rotate("ssh-keys", None).unwrap();
    let places = rig.ledger.places.clone();
    write_store(&rig, &places);
    let backups = backup_file::list(&rig.backups()).unwrap();
    assert_eq!((backups.len(), rig.snapshot().generation), (2, 5));
    (rig, places, backups)
}

fn copied(rig: &Rig, backup: &Path) -> PathBuf {
    let copy = rig.directory.path().join("elsewhere.skb1");
    std::fs::copy(backup, &copy).unwrap();
    copy
}

/// What lies in a place before it is restored to.
fn lay(scene: &str, rig: &Rig, places: &Places) {
    match scene {
        "a whole store" => {}
        "a damaged store" => {
            let bytes = std::fs::read(&places.store).unwrap();
            std::fs::write(&places.store, &bytes[..bytes.len() / 2]).unwrap();
        }
        "an empty file" => std::fs::write(&places.store, b"").unwrap(),
        "a directory" => {
            std::fs::remove_file(&places.store).unwrap();
            std::fs::create_dir(&places.store).unwrap();
        }
        "no store" => std::fs::remove_file(&places.store).unwrap(),
        "no store and no mark" => {
            std::fs::remove_file(&places.store).unwrap();
            std::fs::remove_file(&places.mark).unwrap();
        }
        "a store without its mark" => std::fs::remove_file(&places.mark).unwrap(),
        "a store with a damaged mark" => std::fs::write(&places.mark, b"SKH1 nonsense\n").unwrap(),
        "a mark in the way" => {
            std::fs::remove_file(&places.mark).unwrap();
            std::fs::create_dir(&places.mark).unwrap();
        }
        "a store, and a whole rewrite of it" => {
            redb_adapter::write_new(&places.store, &rig.snapshot()).unwrap();
        }
        other => panic!("{other}"),
    }
}

const SCENES: [&str; 10] = [
    "a whole store",
    "a damaged store",
    "an empty file",
    "a directory",
    "no store",
    "no store and no mark",
    "a store without its mark",
    "a store with a damaged mark",
    "a mark in the way",
    "a store, and a whole rewrite of it",
];

const POINTS: &str = "restore-written restore-mark-kept restore-announced restore-moved restore-installed restore-marked \
                      restore-backed-up written renamed";

#[test]
fn whatever_lies_there_a_death_at_any_point_leaves_the_old_store_the_new_one_or_a_restore_that_goes_on() {
    let mut deaths = 0;
    for scene in SCENES {
        for point in POINTS.split_whitespace() {
            for n in 1.. {
                let (rig, places, backups) = rotated();
                lay(scene, &rig, &places);
                let before = kept_bytes(&places);
                let is_readable = mark::read(&places.mark).is_ok();
                let old = if is_readable { Some(start(&rig, &places)) } else { None };
                die_at(point, n);
                let died = catch_unwind(AssertUnwindSafe(|| restore_file(&rig, &places, &backups[1], true)));
                if live_on() {
                    died.unwrap().unwrap();
                    break;
                }
                assert!(died.is_err_and(|why| why.is::<Died>()), "{scene}, {point} {n}");
                deaths += 1;
                if mark::read(&places.mark).is_ok() {
                    let found = start(&rig, &places);
                    let is_new = found == Found::Serves(GAP);
                    let is_old = old.as_ref().is_none_or(|old| found == *old);
                    assert!(is_new || is_old || found == Found::Lost, "{scene}, {point} {n}: {found:?}");
                }
                let again = restore_file(&rig, &places, &backups[1], true).unwrap();
                assert_eq!(start(&rig, &places), Found::Serves(again.generation), "{scene}, {point} {n}");
                assert_eq!(again.generation % GAP, 0);
                assert!(again.backup.is_ok());
                let after = kept_bytes(&places);
                for bytes in before {
                    assert!(after.contains(&bytes), "{scene}, {point} {n}: something that was there is gone");
                }
                assert!(!redb_adapter::unfinished(&places.store).exists());
            }
        }
    }
    assert!(deaths > 80, "{deaths}");
}

/// The bytes of everything that lies in or beside the places of store and mark.
fn kept_bytes(places: &Places) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(places.store.parent().unwrap()).unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn what_fails_before_the_store_is_moved_changes_nothing() {
    let (rig, places, backups) = rotated();
    let names = || {
        let entries = std::fs::read_dir(rig.directory.path()).unwrap();
        let all = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        all.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let before = names();
    let elsewhere = Places { mark: rig.directory.path().join("none/mark"), ..places.clone() };
    restore_file(&rig, &elsewhere, &backups[1], true).unwrap_err();
    assert_eq!(names(), before);
    assert_eq!(start(&rig, &places), Found::Serves(5));
}

/// What makes a backup an older one here, in short.
fn older(rig: &Rig, places: &Places, file: &Path) -> Option<(&'static str, u64)> {
    let proven = proven(rig, file);
    match judge(places, &proven, &surveyed(rig, places, &proven)) {
        Ok(()) => None,
        Err(StartFailure::Older { newer, generation, .. }) => {
            assert_eq!(generation, proven.generation);
            Some(match *newer {
                Newer::Store { generation, .. } => ("store", generation),
                Newer::Backup { generation, .. } => ("backup", generation),
                Newer::Mark { generation, .. } => ("mark", generation),
            })
        }
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn a_whole_newer_store_comes_before_a_newer_backup_and_that_before_the_mark() {
    let (rig, places, backups) = rotated();
    assert_eq!(older(&rig, &places, &backups[1]), Some(("store", 5)), "it is whole: the daemon can start on it");
    std::fs::remove_file(&places.store).unwrap();
    // The newest backup is one commit behind the mark, as after every new version.
    assert_eq!(older(&rig, &places, &backups[1]), None);
    assert_eq!(older(&rig, &places, &backups[0]), Some(("backup", 4)));
    let (first, second) = (copied(&rig, &backups[0]), &backups[1]);
    assert_eq!(older(&rig, &places, &first), Some(("backup", 4)));
    let named = PathBuf::from(backups[0].display().to_string().replace("-0", "-before-0"));
    std::fs::copy(&first, &named).unwrap();
    assert_eq!(older(&rig, &places, &named), Some(("backup", 4)), "the name that it was given makes it no newer");
    std::fs::remove_file(named).unwrap();
    std::fs::write(second, b"SKB1").unwrap();
    assert_eq!(older(&rig, &places, &backups[0]), None, "the newest that is good is the newest to be had");
    std::fs::remove_dir_all(rig.backups()).unwrap();
    assert_eq!(older(&rig, &places, &first), Some(("mark", 5)));
    std::fs::remove_file(&places.mark).unwrap();
    assert_eq!(older(&rig, &places, &first), None, "nothing newer is known");
}

#[test]
fn a_mark_ahead_by_what_follows_a_backup_by_itself_is_no_word_of_a_newer_one() {
    let (rig, places, backups) = rotated();
    let newest = copied(&rig, &backups[1]);
    assert_eq!(proven(&rig, &newest).follow_ups(), 1, "the version that waits");
    std::fs::remove_file(&places.store).unwrap();
    std::fs::remove_dir_all(rig.backups()).unwrap();
    let state = |generation| State { generation, ..rig.ledger.state() };
    for (now, to_come, expected) in [
        (4, None, None),
        (5, None, None),
        (6, None, Some(("mark", 6))),
        (GAP, None, Some(("mark", GAP))),
        // Of a restore that broke off: nothing was ever made there.
        (5, Some(GAP), None),
        (6, Some(GAP), Some(("mark", 6))),
    ] {
        mark::write(&places.mark, &Mark { now: Some(state(now)), to_come: to_come.map(state) }).unwrap();
        assert_eq!(older(&rig, &places, &newest), expected, "{now} {to_come:?}");
    }
    mark::write(&places.mark, &Mark { now: None, to_come: Some(state(GAP)) }).unwrap();
    assert_eq!(older(&rig, &places, &newest), None);
}

#[test]
fn a_backup_of_a_settled_store_is_followed_by_nothing() {
    let rig = Rig::new();
    let places = rig.ledger.places.clone();
    let backup = super::backup::of_snapshot(rig.ledger.store_id, rig.snapshot(), BEGIN);
    let file = backup_file::write_durably(&rig.directory.path().join("apart"), &backup).unwrap();
    assert_eq!(proven(&rig, &file).follow_ups(), 0);
    for (generation, expected) in [(1, None), (2, Some(("mark", 2)))] {
        let now = Some(State { generation, ..rig.ledger.state() });
        mark::write(&places.mark, &Mark { now, to_come: None }).unwrap();
        assert_eq!(older(&rig, &places, &file), expected);
    }
}

#[test]
fn another_store_or_its_mark_is_left_alone() {
    let (rig, places, backups) = rotated();
    let other = Rig::new();
    write_store(&other, &places);
    let proven = proven(&rig, &backups[1]);
    let refused = |places: &Places| survey(places, &proven, vec![master(&rig)], &rig.memory).map(drop).unwrap_err();
    assert!(matches!(refused(&places), StartFailure::OtherStore { path, .. } if path == places.store));
    std::fs::remove_file(&places.store).unwrap();
    mark::write(&places.mark, &Mark { now: Some(other.ledger.state()), to_come: None }).unwrap();
    assert!(matches!(refused(&places), StartFailure::OtherStore { path, .. } if path == places.mark));
}

#[test]
fn a_store_under_another_key_is_kept_aside_and_says_which() {
    let (rig, places, backups) = rotated();
    let proven = proven(&rig, &backups[1]);
    let another = MASTER_KEY.replace("8c1f", "8c1e");
    let another = MasterKey::parse(another.as_bytes(), &rig.memory).unwrap();
    let known = survey(&places, &proven, vec![another], &rig.memory).unwrap();
    let InPlace::Unusable { problem, generation: Some(5), is_damaged: false } = &known.in_place else {
        panic!("{:?}", known.in_place)
    };
    assert!(problem.contains(&master(&rig).fingerprint().to_string()), "{problem}");
    assert_eq!(known.generation(), Some(5));
}

#[test]
fn versions_that_others_name_are_told_by_name_and_number_from_every_source() {
    let (mut rig, places, backups) = rotated();
    rig.create("gone", None).unwrap();
    rig.delete("gone", None).unwrap();
    write_store(&rig, &places);
    let missing = |places: &Places| {
        let proven = proven(&rig, &backups[0]);
        let all = surveyed(&rig, places, &proven).comparison.missing();
        let named = all.into_iter().map(|missing| match missing.lost {
            Lost::Version { key, number, of_deleted, .. } => {
                (format!("{key} {number}{}", if of_deleted { " deleted" } else { "" }), missing.seen_in)
            }
            Lost::Legacy(fingerprint) => (fingerprint.to_string(), missing.seen_in),
        });
        named.collect::<Vec<_>>()
    };
    let store = places.store.clone();
    assert_eq!(
        missing(&places),
        [("gone 1 deleted".to_owned(), store.clone()), ("ssh-keys 2".to_owned(), store.clone())]
    );
    std::fs::remove_file(&store).unwrap();
    let newest = backup_file::list(&rig.backups()).unwrap().pop().unwrap();
    let in_backup = [("gone 1".to_owned(), newest.clone()), ("ssh-keys 2".to_owned(), newest.clone())];
    assert_eq!(missing(&places), in_backup, "there it was not deleted yet");
    // A damaged one says what it still can.
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(missing(&places), in_backup);
    // So does a store that an earlier restore kept.
    let first = copied(&rig, &backups[0]);
    std::fs::remove_dir_all(rig.backups()).unwrap();
    write_store(&rig, &places);
    let kept = restore_file(&rig, &places, &first, true).unwrap().kept.store.unwrap();
    let proven = proven(&rig, &first);
    let known = surveyed(&rig, &places, &proven);
    assert_eq!(known.kept_before.as_slice(), std::slice::from_ref(&kept));
    assert_eq!(known.comparison.missing().iter().filter(|missing| missing.seen_in == kept).count(), 2);
}

#[test]
fn what_is_newer_only_because_somebody_went_back_is_said_to_lack_something() {
    let (rig, places, backups) = rotated();
    let refused = |file: &Path| restore_file(&rig, &places, file, false).unwrap_err().to_string();
    assert!(!refused(&backups[1]).contains("are not in it"));
    restore_file(&rig, &places, &backups[0], true).unwrap();
    for in_place in [true, false] {
        let said = refused(&backups[1]);
        assert!(said.contains("key versions that the backup holds are not in it: 1. "), "{in_place}: {said}");
        assert!(said.contains("Decide which of the two"), "{said}");
        let _ = std::fs::remove_file(&places.store);
    }
}

#[test]
fn the_same_backup_again_after_it_was_restored_is_done_already() {
    let (rig, places, backups) = rotated();
    std::fs::remove_file(&places.store).unwrap();
    let first = restore_file(&rig, &places, &backups[1], false).unwrap();
    assert!(!first.was_done && first.backup.as_ref().is_ok_and(|path| path.exists()));
    std::fs::remove_file(first.backup.unwrap()).unwrap();
    let bytes = std::fs::read(&places.store).unwrap();
    let again = restore_file(&rig, &places, &backups[1], false).unwrap();
    assert!(again.was_done && again.kept.store.is_none() && again.generation == first.generation);
    assert!(again.backup.is_ok_and(|path| path.exists()));
    assert_eq!(std::fs::read(&places.store).unwrap(), bytes);
    assert_eq!(start(&rig, &places), Found::Serves(GAP));
}

#[test]
fn a_backup_that_cannot_be_written_fails_no_restore() {
    let (rig, places, backups) = rotated();
    let file = copied(&rig, &backups[1]);
    let places = Places { backups: rig.directory.path().join("none/backup"), ..places };
    std::fs::remove_file(&places.store).unwrap();
    let restored = restore_file(&rig, &places, &file, false).unwrap();
    assert!(restored.backup.is_err());
    assert_eq!(start(&rig, &places), Found::Serves(GAP));
}
