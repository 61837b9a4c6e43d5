//! The backup before use: the snapshot of the moment, durable in the backup directory, and the old ones pruned.
//!
//! Must never remove a backup of another store, nor one that is young or among the newest.
//! Called by `promotion`, before a version becomes primary, and by `create` and `export_keyring`.

use super::ledger::{Ledger, Places};
use super::refusal::Refusal;
use crate::custody::id::StoreId;
use crate::store::backup_file::{self, Backup};
use crate::store::backup_prune;
use crate::store::port::Snapshot;
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::path::PathBuf;

/// Writes a backup of the store as it stands; answers its file.
///
/// # Errors
/// [`Refusal::Store`] if the store cannot be read, [`Refusal::Backup`] if the backup cannot be written.
pub fn write(ledger: &mut Ledger) -> Result<PathBuf, Refusal> {
    let snapshot = ledger.snapshot()?;
    let generation = snapshot.generation;
    let now = (ledger.engine.clock)();
    let backup = of_snapshot(ledger.store_id, snapshot, now);
    let path = backup_file::write_durably(&ledger.places.backups, &backup).map_err(Refusal::Backup)?;
    ledger.engine.progress.backed_up(generation, now);
    tracing::info!(event = events::BACKUP_WRITTEN, path = %path.display(), generation, "backup written");
    prune(&ledger.places, ledger.store_id, now);
    Ok(path)
}

/// The backup that a snapshot makes.
#[must_use]
pub fn of_snapshot(store_id: StoreId, snapshot: Snapshot, now: i64) -> Backup {
    Backup::of(*store_id.as_bytes(), u64::try_from(now).unwrap_or(0), snapshot)
}

/// Removes this store's backups that are neither among the newest nor young. A failure is only logged: too many
/// backups hurt nobody.
fn prune(places: &Places, store_id: StoreId, now: i64) {
    let removed = backup_prune::prune(&places.backups, store_id.as_bytes(), places.keep, places.keep_for, now);
    if let Err(error) = removed {
        tracing::warn!(event = events::BACKUP_PRUNE_FAILED, error = %chain(&error), "old backups could not be removed");
    }
}
