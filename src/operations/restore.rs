//! Restore, in its plain form: a backup onto an empty place.
//!
//! Must never replace a store, nor take a backup that the key does not open whole.
//! Called by `cli`, with the directory locked.

use super::ledger::Places;
use super::load;
use super::start_failure::StartFailure;
use super::{gap, install, mark_check};
use crate::custody::id::StoreId;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::backup_file;
use crate::store::mark::{self, Mark, MarkError};
use crate::store::port::Snapshot;
use std::path::Path;

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The store's id.
    pub store_id: StoreId,
    /// The generation the backup holds.
    pub backup_generation: u64,
    /// The generation the store goes on at.
    pub generation: u64,
    /// The newest generation that the mark had seen, or that a backup in the directory holds, if either is there.
    pub seen_generation: Option<u64>,
    /// Keys and versions that were restored.
    pub contents: (usize, usize),
}

/// Restores a backup. Takes the same key twice, as read twice: opening everything uses one up.
///
/// # Errors
/// [`StartFailure::Exists`] if a store is there, or the mark of another; [`StartFailure::Backup`] for a file that is no
/// good backup; [`StartFailure::WrongKey`]; [`StartFailure::Damaged`] if anything in it does not open.
pub fn restore(
    places: &Places,
    file: &Path,
    to_prove: MasterKey,
    to_restore: MasterKey,
    memory: &LockedMemory,
) -> Result<Restored, StartFailure> {
    if places.store.symlink_metadata().is_ok() {
        return Err(StartFailure::Exists { path: places.store.clone() });
    }
    let backup = backup_file::read(file)?;
    let (backup_id, backup_generation) = (backup.store_id, backup.generation);
    let snapshot = Snapshot { generation: backup_generation, records: backup.records };
    // Every seal is opened before anything is written: a backup that only half opens is no place to go on from.
    let whole = load::open(load::authenticate(snapshot.clone(), to_prove, memory)?, memory)?;
    let contents = (whole.keyring.keys.len(), whole.keyring.versions.len());
    let authentic = load::authenticate(snapshot, to_restore, memory)?;
    if *authentic.store_id.as_bytes() != backup_id {
        return Err(load::damaged("the backup's header names another store than its records"));
    }
    let mark = match mark::read(&places.mark) {
        // It says nothing; the gap covers 2^32 generations of what it had seen.
        Err(MarkError::Damaged { .. }) => None,
        mark => mark?,
    };
    if mark.is_some_and(|mark| mark.now.iter().any(|state| state.store_id != backup_id)) {
        return Err(StartFailure::Exists { path: places.mark.clone() });
    }
    let newest_backup = backup_file::newest_generation(&places.backups, &backup_id)?;
    let generation = mark_check::beyond(backup_generation, mark.as_ref(), newest_backup);
    let store_id = authentic.store_id;
    let (mut state, _) = authentic.state();
    state.generation = generation;
    let batch = gap::batch(&authentic, generation)?;
    let restored = authentic.snapshot.after(generation, &batch);
    let now = mark.and_then(|mark| mark.now);
    let seen_generation = now.map(|state| state.generation).max(newest_backup);
    install::install(places, &restored, Mark { now, to_come: Some(state) }, None)?;
    Ok(Restored { store_id, backup_generation, generation, seen_generation, contents })
}
