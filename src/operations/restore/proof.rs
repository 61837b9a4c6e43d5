//! A backup that is to be restored: read, and everything in it opened with the key.
//!
//! Must never believe a backup that only half opens, nor write anything.
//! Called by `cli` before anything is looked at that could be replaced.

use super::super::key_choice::{self, ClaimedKeys};
use super::super::keyring::Gap;
use super::super::load;
use super::super::start_failure::StartFailure;
use super::super::stored;
use crate::custody::id::{Fingerprint, StoreId};
use crate::custody::keys::{IdentityKey, LockedMemory, MasterKey};
use crate::store::backup_file::{self, Backup};
use crate::store::port::Snapshot;
use crate::store::record::{self, RotationStep};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A backup's file as people know it.
#[derive(Clone, Debug)]
pub struct Source {
    /// What messages call it.
    pub name: PathBuf,
    /// What follows `servos-keyd restore` in a command that names it again.
    pub argument: String,
}

/// A backup that was read, of which nothing is believed yet.
pub struct Unproven {
    source: Source,
    backup: Backup,
}

impl Unproven {
    /// A backup that was decoded elsewhere.
    #[must_use]
    pub const fn new(source: Source, backup: Backup) -> Self {
        Self { source, backup }
    }

    /// What the backup says of its keys.
    ///
    /// # Errors
    /// [`StartFailure::InBackup`].
    pub fn claimed(&self) -> ClaimedKeys {
        let (generation, records) = (self.backup.generation, self.backup.records.clone());
        key_choice::claimed(&Snapshot { generation, records }).map_err(|failure| failure.in_backup(&self.source.name))
    }
}

/// A backup that was read, and everything in it opened.
pub struct Proven {
    /// Its file.
    pub source: Source,
    /// The store it is of.
    pub store_id: StoreId,
    /// The generation it is of.
    pub generation: u64,
    /// When it was made: Unix seconds.
    pub made: u64,
    /// Keys and versions in it.
    pub contents: (usize, usize),
    pub(super) snapshot: Snapshot,
    pub(super) identity: Arc<IdentityKey>,
    pub(super) rotations: u32,
    pub(super) gaps: Vec<Gap>,
    /// Commits that follow such a backup by themselves, and add nothing to it: see [`Proven::follow_ups`].
    follow_ups: u64,
    owners: Vec<Fingerprint>,
}

impl Proven {
    /// The keys that open it: the one in use, and behind it the one to come while a rotation is pending.
    #[must_use]
    pub fn owners(&self) -> &[Fingerprint] {
        &self.owners
    }

    /// How far the store goes on at once after such a backup, without a new version: one commit for each version that
    /// waits in it to become primary, or the one that ends a rotation.
    #[must_use]
    pub const fn follow_ups(&self) -> u64 {
        self.follow_ups
    }
}

/// Reads a backup.
///
/// # Errors
/// [`StartFailure::InBackup`], with the file's name, for a file that is no good backup.
pub fn read_backup(file: &Path, argument: String) -> Result<Unproven, StartFailure> {
    // A link is as good as what it leads to: nothing is written there, and nothing believed that the key does not open.
    let real = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let backup = backup_file::read(&real).map_err(|error| StartFailure::from(error).in_backup(file))?;
    Ok(Unproven::new(Source { name: file.to_owned(), argument }, backup))
}

/// Opens everything in a backup. Writes nothing, and uses the key up.
///
/// # Errors
/// [`StartFailure::InBackup`], with the file's name, for another key, and for anything in it that does not open.
pub fn prove(backup: Unproven, master: MasterKey, memory: &LockedMemory) -> Result<Proven, StartFailure> {
    let name = backup.source.name.clone();
    opened_whole(backup, master, memory).map_err(|failure| failure.in_backup(&name))
}

fn opened_whole(unproven: Unproven, master: MasterKey, memory: &LockedMemory) -> Result<Proven, StartFailure> {
    let Unproven { source, backup } = unproven;
    let snapshot = Snapshot { generation: backup.generation, records: backup.records };
    let owners = key_choice::claimed(&snapshot)?;
    // Every seal is opened before anything is written: a backup that only half opens is no place to go on from.
    let authentic = load::authenticate(snapshot.clone(), master, memory)?;
    if *authentic.store_id.as_bytes() != backup.store_id {
        return Err(stored::damaged("its header names another store than its records"));
    }
    let step = authentic.sealed.rotation.as_ref().map(record::Rotation::step);
    let keyring = load::open(authentic, memory)?.keyring;
    let identity = keyring.identity.clone().ok_or_else(|| stored::damaged("record identity does not open"))?;
    let waiting = keyring.keys.values().filter(|key| key.is_promoting()).count();
    let ends_a_rotation = u64::from(step == Some(RotationStep::Backup));
    Ok(Proven {
        source,
        store_id: keyring.store_id,
        generation: backup.generation,
        made: backup.unix_seconds,
        contents: (keyring.keys.len(), keyring.versions.len()),
        snapshot,
        identity,
        rotations: keyring.rotations,
        gaps: keyring.gaps.clone(),
        follow_ups: u64::try_from(waiting).unwrap_or(u64::MAX).max(ends_a_rotation),
        owners,
    })
}
