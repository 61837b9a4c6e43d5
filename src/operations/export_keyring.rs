//! ExportKeyring: the sealed keyring as the bytes of a backup file, for a component's own database.
//!
//! Must never hold a secret that is not sealed.
//! Called by `rpc::key_service`, on the writer's thread.

use super::backup;
use super::ledger::Ledger;
use super::refusal::Refusal;
use crate::auth::operation::ExportKeyring;
use crate::auth::permit::Permit;
use crate::store::backup_file;

/// The bytes of a backup, and the generation it holds.
pub struct Export {
    /// Exactly the bytes of a backup file.
    pub bytes: Vec<u8>,
    /// The store's generation.
    pub generation: u64,
}

/// Exports the keyring.
///
/// # Errors
/// [`Refusal::Store`].
pub fn export_keyring(_permit: &Permit<ExportKeyring>, ledger: &mut Ledger) -> Result<Export, Refusal> {
    let snapshot = ledger.snapshot()?;
    let generation = snapshot.generation;
    let now = (ledger.engine.clock)();
    let bytes = backup_file::encode(&backup::of_snapshot(ledger.store_id, snapshot, now)).map_err(Refusal::Backup)?;
    Ok(Export { bytes, generation })
}
