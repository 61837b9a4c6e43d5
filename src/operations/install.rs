//! Putting a store in its place: announced in the mark, made beside it, backed up, renamed, and the mark made plain.
//!
//! Must never replace a file that is there.
//! Called by `create`, with the directory locked.

use super::fault;
use super::ledger::Places;
use super::start_failure::StartFailure;
use crate::store::backup_file::{self, Backup};
use crate::store::mark::{self, Mark};
use crate::store::port::Snapshot;
use crate::store::redb_adapter;

/// Puts a snapshot in place as the store. `announced` names the state to come; killed at any point, either nothing is
/// there and the same call begins again, or the store is there and a start accepts it.
///
/// # Errors
/// [`StartFailure::Mark`], [`StartFailure::Store`], [`StartFailure::Backup`].
pub fn install(
    places: &Places,
    snapshot: &Snapshot,
    announced: Mark,
    backup: Option<&Backup>,
) -> Result<(), StartFailure> {
    mark::write(&places.mark, &announced)?;
    redb_adapter::write_new(&places.store, snapshot)?;
    if let Some(backup) = backup {
        backup_file::write_durably(&places.backups, backup)?;
        fault::point("backup");
    }
    redb_adapter::install(&places.store)?;
    mark::write(&places.mark, &Mark { now: announced.to_come, to_come: None })?;
    Ok(())
}
