//! What is known here of the store that a backup is of, and whether the backup is the newest there is to be had.
//!
//! Must never let an older backup pass for the newest because something newer could not be read.
//! Called by `cli`, between the proof of a backup and its restore.

pub use super::in_place::InPlace;

use super::super::claim;
use super::super::ledger::Places;
use super::super::mark_check::credible;
use super::super::start_failure::StartFailure;
use super::in_place;
use super::missing::Comparison;
use super::newer::Newer;
use super::proof::Proven;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::backup_newer::{self, Found};
use crate::store::mark::{self, Mark, MarkError};
use crate::store::port::Snapshot;
use crate::store::{kept, redb_adapter};
use std::path::PathBuf;

/// Most stores of earlier restores that are looked into for what is missing.
const MAX_KEPT: usize = 8;

/// What is known.
pub struct Known {
    /// The mark; none if it is missing or damaged.
    pub mark: Option<Mark>,
    /// What lies in the store's place.
    pub in_place: InPlace,
    /// What was kept there before.
    pub kept_before: Vec<PathBuf>,
    /// Generations above the backup's: who has seen them, and which.
    pub seen: Vec<(String, u64)>,
    /// What others name that the backup does not hold.
    pub comparison: Comparison,
    newest_backup: Option<NewestBackup>,
    damaged_backup: Option<u64>,
}

/// The newest good backup of the directory.
struct NewestBackup {
    path: PathBuf,
    generation: u64,
    /// The key it says it is under, if that is none of the given backup's.
    under: Option<String>,
    /// Versions of the given backup that it does not name.
    lacks: usize,
}

impl Known {
    /// The newest generation that store and backups are of, as far as they say.
    pub(super) fn generation(&self) -> Option<u64> {
        let backup = self.newest_backup.as_ref().map(|backup| backup.generation);
        // A digest is no proof: whoever writes among the backups can make a file that fits its own.
        credible(backup).max(credible(self.damaged_backup)).max(self.in_place.generation())
    }

    /// The newest generation that the mark has seen.
    fn marked(&self) -> Option<u64> {
        // A state to come is one that nothing was ever made in: a start that finds it makes it the one that is.
        self.mark.and_then(|mark| mark.now).map(|state| state.generation)
    }
}

/// Looks at everything that may tell of the store: what lies in its place, its mark, its backups, what was kept of it.
/// Changes nothing. `keys` are those that may open what lies in place.
///
/// # Errors
/// [`StartFailure::OtherStore`] for a store or mark of another installation; what kept a place from being looked at.
pub fn survey(
    places: &Places,
    proven: &Proven,
    keys: Vec<MasterKey>,
    memory: &LockedMemory,
) -> Result<Known, StartFailure> {
    let mut comparison = Comparison::with(proven);
    let in_place = in_place::look(&places.store, proven, keys, memory, &mut comparison)?;
    let mark = read_mark(places, proven)?;
    let found = backup_newer::newest(&places.backups, proven.store_id.as_bytes(), proven.generation)?;
    for Found { path, backup, .. } in found.iter().filter(|found| found.backup.generation > proven.generation) {
        comparison.see(path, &backup.records);
    }
    let kept_before = kept::list(&places.store);
    for path in kept_before.iter().rev().take(MAX_KEPT) {
        if let Ok(snapshot) = redb_adapter::view(path)
            && claim::claim(&snapshot).is_ok_and(|claimed| claimed.store_id == proven.store_id)
        {
            comparison.see(path, &snapshot.records);
        }
    }
    let damaged_backup = found.iter().filter(|found| !found.is_good).map(|found| found.backup.generation).max();
    let newest_backup = found.into_iter().find(|found| found.is_good);
    let newest_backup = newest_backup.map(|found| newest(found, proven, &comparison));
    let mut known = Known { mark, in_place, kept_before, seen: Vec::new(), comparison, newest_backup, damaged_backup };
    known.seen = seen(&known, places, proven);
    Ok(known)
}

fn read_mark(places: &Places, proven: &Proven) -> Result<Option<Mark>, StartFailure> {
    let mark = match mark::read(&places.mark) {
        // It says nothing; the gap covers 2^32 generations of what it had seen.
        Err(MarkError::Damaged { .. }) => None,
        mark => mark?,
    };
    let other = mark.and_then(|mark| mark.now).filter(|state| state.store_id != *proven.store_id.as_bytes());
    match other {
        Some(state) => Err(StartFailure::OtherStore {
            path: places.mark.clone(),
            found: base16ct::lower::encode_string(&state.store_id),
            wanted: proven.store_id.to_string(),
        }),
        None => Ok(mark),
    }
}

fn newest(found: Found, proven: &Proven, comparison: &Comparison) -> NewestBackup {
    let Found { path, backup, .. } = found;
    let (generation, lacks) = (backup.generation, comparison.lacking_in(&backup.records));
    let owners = claim::claim(&Snapshot { generation, records: backup.records }).map(|claimed| claimed.owners);
    let owners = owners.unwrap_or_default();
    let is_known = owners.iter().any(|owner| proven.owners().contains(owner));
    let under = owners.first().filter(|_| !is_known).map(ToString::to_string);
    NewestBackup { path, generation, under, lacks }
}

fn seen(known: &Known, places: &Places, proven: &Proven) -> Vec<(String, u64)> {
    let mark = known.marked().map(|generation| (format!("the high-water mark {}", places.mark.display()), generation));
    let backup = known.newest_backup.as_ref();
    let backup = backup.map(|backup| (format!("the backup {}", backup.path.display()), backup.generation));
    let damaged = known.damaged_backup.map(|generation| ("a damaged backup, in its own word".to_owned(), generation));
    let store = known.in_place.generation().filter(|_| !is_this(&known.in_place)).map(|generation| {
        let word = if matches!(known.in_place, InPlace::Whole { .. }) { "" } else { ", in its own word" };
        (format!("what lay in the store's place{word}"), generation)
    });
    let all = mark.into_iter().chain(backup).chain(damaged).chain(store);
    all.filter(|(_, generation)| *generation > proven.generation && !is_this(&known.in_place)).collect()
}

const fn is_this(in_place: &InPlace) -> bool {
    matches!(in_place, InPlace::Whole { is_this_backup: true, .. })
}

/// Whether something newer than this backup is known, or must have been: then only an operator who says so goes back.
///
/// # Errors
/// [`StartFailure::Older`].
pub fn judge(places: &Places, proven: &Proven, known: &Known) -> Result<(), StartFailure> {
    if is_this(&known.in_place) {
        return Ok(());
    }
    let newer = newer_store(places, proven, known)
        .or_else(|| newer_backup(proven, known))
        .or_else(|| newer_mark(places, proven, known));
    match newer {
        None => Ok(()),
        Some(newer) => Err(StartFailure::Older {
            file: proven.source.name.clone(),
            argument: proven.source.argument.clone(),
            generation: proven.generation,
            newer: Box::new(newer),
        }),
    }
}

fn newer_store(places: &Places, proven: &Proven, known: &Known) -> Option<Newer> {
    let InPlace::Whole { generation, lacks, .. } = known.in_place else { return None };
    (generation > proven.generation).then(|| Newer::Store { path: places.store.clone(), generation, lacks })
}

fn newer_backup(proven: &Proven, known: &Known) -> Option<Newer> {
    let NewestBackup { path, generation, under, lacks } = known.newest_backup.as_ref()?;
    let newer = || Newer::Backup { path: path.clone(), generation: *generation, under: under.clone(), lacks: *lacks };
    (*generation > proven.generation).then(newer)
}

/// The newest good backup of the directory always goes: there is nothing newer to be had. Of any other, the mark tells
/// whether more came than follows such a backup by itself.
fn newer_mark(places: &Places, proven: &Proven, known: &Known) -> Option<Newer> {
    let generation = known.marked()?;
    let is_newest_here = known.newest_backup.as_ref().is_some_and(|newest| newest.generation == proven.generation);
    let explained = proven.generation.saturating_add(proven.follow_ups());
    (generation > explained && !is_newest_here).then(|| Newer::Mark { path: places.mark.clone(), generation })
}
