//! Restore, in its plain form: a backup onto an empty place.
//!
//! Must never replace a store, nor take a backup that the key does not open whole.
//! Called by `cli`, with the directory locked.

use super::key_choice::{self, ClaimedKeys};
use super::ledger::Places;
use super::load;
use super::start_failure::StartFailure;
use super::{gap, install, mark_check};
use crate::custody::id::{Fingerprint, StoreId};
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::backup_file;
use crate::store::mark::{self, Mark, MarkError};
use crate::store::port::Snapshot;
use std::path::{Path, PathBuf};

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
    /// The mark names another root than the backup's: see [`mark_check::OF_ANOTHER_ROOT`].
    pub of_another_root: bool,
    /// Keys and versions that were restored.
    pub contents: (usize, usize),
}

/// A backup that was read, and everything in it opened.
pub struct Proven {
    backup_id: [u8; 16],
    snapshot: Snapshot,
    owners: Vec<Fingerprint>,
    contents: (usize, usize),
}

/// Refuses a place where a store is.
///
/// # Errors
/// [`StartFailure::Exists`].
pub fn refuse_store(places: &Places) -> Result<(), StartFailure> {
    match places.store.symlink_metadata() {
        Ok(_) => Err(StartFailure::Exists { path: places.store.clone() }),
        Err(_) => Ok(()),
    }
}

/// A backup that was read, of which nothing is believed yet.
pub struct Unproven {
    file: PathBuf,
    backup_id: [u8; 16],
    snapshot: Snapshot,
}

impl Unproven {
    /// What the backup says of its keys.
    ///
    /// # Errors
    /// [`StartFailure::InBackup`].
    pub fn claimed(&self) -> ClaimedKeys {
        key_choice::claimed(&self.snapshot).map_err(|failure| failure.in_backup(&self.file))
    }
}

impl Proven {
    /// The keys that open it: the one in use, and behind it the one to come while a rotation is pending.
    pub fn owners(&self) -> &[Fingerprint] {
        &self.owners
    }
}

/// Reads a backup.
///
/// # Errors
/// [`StartFailure::InBackup`], with the file's name, for a file that is no good backup.
pub fn read_backup(file: &Path) -> Result<Unproven, StartFailure> {
    let backup = backup_file::read(file).map_err(|error| StartFailure::from(error).in_backup(file))?;
    let snapshot = Snapshot { generation: backup.generation, records: backup.records };
    Ok(Unproven { file: file.to_owned(), backup_id: backup.store_id, snapshot })
}

/// Opens everything in a backup. Writes nothing, and uses the key up.
///
/// # Errors
/// [`StartFailure::InBackup`], with the file's name, for another key, and for anything in it that does not open.
pub fn prove(backup: Unproven, master: MasterKey, memory: &LockedMemory) -> Result<Proven, StartFailure> {
    let file = backup.file.clone();
    opened_whole(backup, master, memory).map_err(|failure| failure.in_backup(&file))
}

fn opened_whole(backup: Unproven, master: MasterKey, memory: &LockedMemory) -> Result<Proven, StartFailure> {
    let Unproven { backup_id, snapshot, .. } = backup;
    let owners = key_choice::claimed(&snapshot)?;
    // Every seal is opened before anything is written: a backup that only half opens is no place to go on from.
    let authentic = load::authenticate(snapshot.clone(), master, memory)?;
    if *authentic.store_id.as_bytes() != backup_id {
        return Err(load::damaged("its header names another store than its records"));
    }
    let whole = load::open(authentic, memory)?;
    let contents = (whole.keyring.keys.len(), whole.keyring.versions.len());
    Ok(Proven { backup_id, snapshot, owners, contents })
}

/// Restores a backup that was proved, with the same key, read again.
///
/// # Errors
/// [`StartFailure::Exists`] if a store is there, or the mark of another; what kept it from being written.
pub fn restore(
    places: &Places,
    proven: Proven,
    master: MasterKey,
    memory: &LockedMemory,
) -> Result<Restored, StartFailure> {
    refuse_store(places)?;
    let Proven { backup_id, snapshot, contents, .. } = proven;
    let backup_generation = snapshot.generation;
    let authentic = load::authenticate(snapshot, master, memory)?;
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
    let (mut state, previous) = authentic.state();
    let of_another_root = mark_check::names_another_root(mark.as_ref(), &state, previous);
    state.generation = generation;
    let batch = gap::batch(&authentic, generation)?;
    let restored = authentic.snapshot.after(generation, &batch);
    let now = mark.and_then(|mark| mark.now);
    let seen_generation = now.map(|state| state.generation).max(newest_backup);
    install::install(places, &restored, Mark { now, to_come: Some(state) }, None)?;
    Ok(Restored { store_id, backup_generation, generation, seen_generation, of_another_root, contents })
}
