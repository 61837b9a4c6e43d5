//! Backup: the snapshot of the moment, durable in the backup directory or for the caller to keep.
//!
//! Must never make a backup of records that are not those that were committed, nor prune one that is young or newest.
//! Called by `rpc::key_admin`, and by `promotion`, `create` and `export_keyring`, on the writer's thread.

use super::engine::{Rest, Sandbox};
use super::keyring::Keyring;
use super::ledger::{Ledger, Places};
use super::load;
use super::refusal::Refusal;
use crate::auth::operation;
use crate::auth::permit::Permit;
use crate::custody::id::{Fingerprint, StoreId};
use crate::custody::snapshot;
use crate::store::backup_file::{self, Backup, BackupError, Kept, SCHEMA};
use crate::store::backup_pieces::Image;
pub use crate::store::backup_pieces::Pieces;
use crate::store::backup_prune::{self, Keep};
use crate::store::packed::Packed;
use crate::store::port::{Snapshot, StoreError};
use crate::store::record;
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::path::PathBuf;
use std::sync::Arc;

/// What is told of a backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its file; none if the caller keeps it.
    pub path: Option<PathBuf>,
    /// Whose it is.
    pub store_id: StoreId,
    /// The generation it holds.
    pub generation: u64,
    /// When it was made: Unix seconds.
    pub written: i64,
    /// Its length.
    pub bytes: u64,
    /// Live keys in it.
    pub keys: usize,
    /// Versions in it, those of deleted keys included.
    pub versions: usize,
    /// The master keys that open it: one, or two while a rotation is pending.
    pub opened_by: Vec<Fingerprint>,
}

impl Made {
    fn of(keyring: &Keyring, path: Option<PathBuf>, written: u64, bytes: u64) -> Self {
        Self {
            path,
            store_id: keyring.store_id,
            generation: keyring.generation,
            written: i64::try_from(written).unwrap_or(i64::MAX),
            bytes,
            keys: keyring.names.len(),
            versions: keyring.versions.len(),
            opened_by: keyring.opens(),
        }
    }
}

/// Backup without contents: a file in the daemon's directory.
///
/// # Errors
/// Those of [`write()`].
pub fn back_up(_permit: &Permit<operation::Backup>, ledger: &mut Ledger) -> Result<Made, Refusal> {
    let engine = Arc::clone(&ledger.engine);
    let kept = engine.in_background(|rest| keep(ledger, rest)).unwrap_or(Err(Refusal::Suspended))?;
    Ok(Made::of(&ledger.engine.keyring(), Some(kept.path), kept.unix_seconds, kept.bytes))
}

/// Backup with contents: nothing is written, so that a directory that is full or broken does not stand against it.
///
/// # Errors
/// [`Refusal::Store`] if the store cannot be read, [`Refusal::Damaged`] if it does not hold what was committed.
pub fn contents(_permit: &Permit<operation::Backup>, ledger: &mut Ledger) -> Result<(Made, Pieces), Refusal> {
    let engine = Arc::clone(&ledger.engine);
    let image = engine.in_background(|rest| taken(ledger, rest)).unwrap_or(Err(Refusal::Suspended))?;
    let written = image.unix_seconds;
    // What takes time, to write the bytes and their digest, is done by whoever takes the pieces.
    let pieces = Pieces::of(image).map_err(Refusal::Backup)?;
    // Only this thread commits: the keyring is that of the snapshot.
    Ok((Made::of(&ledger.engine.keyring(), None, written, pieces.bytes()), pieces))
}

/// Writes a backup of the store as it stands; answers its file. A change waits for it, so it does not rest.
///
/// # Errors
/// [`Refusal::Store`] if the store cannot be read, [`Refusal::Damaged`] if it does not hold what was committed,
/// [`Refusal::Backup`] if the backup cannot be written.
pub fn write(ledger: &mut Ledger) -> Result<PathBuf, Refusal> {
    let engine = Arc::clone(&ledger.engine);
    let kept = engine.in_background(|_| keep(ledger, &mut || ())).unwrap_or(Err(Refusal::Suspended))?;
    Ok(kept.path)
}

fn keep(ledger: &mut Ledger, rest: &mut Rest) -> Result<Kept, Refusal> {
    let image = taken(ledger, rest)?;
    let generation = image.records.generation;
    let sandbox = ledger.engine.facts.sandbox.as_ref();
    let kept =
        backup_file::keep(&ledger.places.backups, image).map_err(|error| Refusal::Backup(told(error, sandbox)))?;
    ledger.engine.progress.backed_up(generation, i64::try_from(kept.unix_seconds).unwrap_or(i64::MAX));
    tracing::info!(event = events::BACKUP_WRITTEN, path = %kept.path.display(), generation, "backup written");
    prune(&ledger.places, ledger.store_id, generation, (ledger.engine.clock)());
    Ok(kept)
}

fn told(error: BackupError, sandbox: Option<&Sandbox>) -> BackupError {
    let BackupError::File(error) = error else { return error };
    let hint = Sandbox::hint(sandbox, &error);
    BackupError::File(match error {
        StoreError::NotPermitted { path, detail } => {
            StoreError::NotPermitted { path, detail: format!("{detail}{hint}") }
        }
        error => error,
    })
}

/// A backup of the store as it stands. A disk can give back other bytes than it was given: a backup of those would only
/// show at the restore that it is none, so they are compared with what was committed.
pub(super) fn taken(ledger: &mut Ledger, rest: &mut Rest) -> Result<Image, Refusal> {
    let records = ledger.packed()?;
    rest();
    if !load::is_of(records.iter(), &ledger.digests) || !mac_fits(ledger, &records) {
        ledger.in_doubt = true;
        return Err(Refusal::Damaged("its file does not hold the records that were committed".to_owned()));
    }
    rest();
    let unix_seconds = u64::try_from((ledger.engine.clock)()).unwrap_or(0);
    Ok(Image { schema: SCHEMA, store_id: *ledger.store_id.as_bytes(), unix_seconds, records })
}

fn mac_fits(ledger: &Ledger, records: &Packed) -> bool {
    let mac = records.iter().find(|(name, _)| *name == record::MAC.as_bytes()).map_or(&[][..], |(_, mac)| mac);
    snapshot::verify(&ledger.root, &ledger.store_id, records.generation, &ledger.digests, mac)
}

/// The backup that a snapshot makes.
#[must_use]
pub fn of_snapshot(store_id: StoreId, snapshot: Snapshot, now: i64) -> Backup {
    Backup::of(*store_id.as_bytes(), u64::try_from(now).unwrap_or(0), snapshot)
}

/// Removes this store's backups that are neither among the newest nor young. A failure is only logged: too many
/// backups hurt nobody.
fn prune(places: &Places, store_id: StoreId, written: u64, now: i64) {
    let keep = Keep { number: places.keep, seconds: places.keep_for };
    let removed = backup_prune::prune(&places.backups, store_id.as_bytes(), written, keep, now);
    if let Err(error) = removed {
        tracing::warn!(event = events::BACKUP_PRUNE_FAILED, error = %chain(&error), "old backups could not be removed");
    }
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
