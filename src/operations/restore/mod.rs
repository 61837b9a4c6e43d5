//! Restore: a backup in the store's place, what was there kept beside it, and what is known to be missing told.
//!
//! Must never take a backup that the key does not open whole, nor lose or change a byte of what was there.
//! Called by `cli`, with the directory locked.

pub mod canary;
mod in_place;
pub mod known;
pub mod missing;
pub mod newer;
pub mod proof;
pub mod rehearsal;
mod replace;
#[cfg(test)]
pub(super) mod tests;

pub use replace::Kept;

use super::ledger::Places;
use super::start_failure::StartFailure;
use super::{backup, fault, gap, load, mark_check};
use crate::custody::id::StoreId;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::backup_file;
use crate::store::mark::{self, Mark};
use known::{InPlace, Known};
use proof::Proven;
use std::path::PathBuf;

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The store's id.
    pub store_id: StoreId,
    /// The generation the store goes on at.
    pub generation: u64,
    /// The mark names another root than the backup's: see [`mark_check::OF_ANOTHER_ROOT`].
    pub of_another_root: bool,
    /// What was there, and where it is now.
    pub kept: Kept,
    /// The backup of the store as it now is, or why there is none yet.
    pub backup: Result<PathBuf, StartFailure>,
    /// This backup was restored before, and nothing was made since: only what was left to do was done.
    pub was_done: bool,
}

/// Restores a backup that was proved, with the same key, read again. `known` is what was found of the store that was here,
/// `canaries` the newest generation that a client's canary had seen; `now` is Unix seconds. Killed at any point, either
/// the old store is in place, or the new one, or none and the same call goes on.
///
/// # Errors
/// What kept it from being written: then everything is as it was, as far as the disk lets it.
pub fn restore(
    places: &Places,
    proven: Proven,
    known: &Known,
    canaries: Option<u64>,
    master: MasterKey,
    memory: &LockedMemory,
    now: i64,
) -> Result<Restored, StartFailure> {
    let authentic = load::authenticate(proven.snapshot, master, memory)?;
    let store_id = authentic.store_id;
    let (mut state, previous) = authentic.state();
    let of_another_root = mark_check::names_another_root(known.mark.as_ref(), &state, previous);
    let was_done = match known.in_place {
        InPlace::Whole { generation, is_this_backup: true, .. } => Some(generation),
        _ => None,
    };
    let generation = was_done
        .unwrap_or_else(|| mark_check::beyond(state.generation, known.mark.as_ref(), known.generation().max(canaries)));
    state.generation = generation;
    let batch = gap::batch(&authentic, generation)?;
    let snapshot = authentic.snapshot.after(generation, &batch);
    let kept = if was_done.is_some() {
        mark::write(&places.mark, &Mark { now: Some(state), to_come: None })?;
        Kept::default()
    } else {
        let now_marked = known.mark.and_then(|mark| mark.now);
        replace::replace(places, &snapshot, Mark { now: now_marked, to_come: Some(state) }, now)?
    };
    // Only now: before the store is in place, this backup would be a newer one than the one that is restored.
    let written = backup_file::write_durably(&places.backups, &backup::of_snapshot(store_id, snapshot, now));
    fault::point("restore-backed-up");
    Ok(Restored {
        store_id,
        generation,
        of_another_root,
        kept,
        backup: written.map_err(StartFailure::from),
        was_done: was_done.is_some(),
    })
}
