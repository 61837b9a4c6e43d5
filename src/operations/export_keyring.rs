//! ExportKeyring: the sealed keyring as the bytes of a backup file, for a component's own database.
//!
//! Must never hold a secret that is not sealed.
//! Called by `rpc::key_service`, on the writer's thread.

use super::backup::{self, Pieces};
use super::ledger::Ledger;
use super::refusal::Refusal;
use crate::auth::operation::ExportKeyring;
use crate::auth::permit::Permit;
use std::sync::Arc;

/// The bytes of a backup, and the generation it holds.
pub struct Export {
    /// Exactly the bytes of a backup file, made while they are taken.
    pub pieces: Pieces,
    /// The store's generation.
    pub generation: u64,
}

/// Exports the keyring.
///
/// # Errors
/// [`Refusal::Store`], [`Refusal::Damaged`].
pub fn export_keyring(_permit: &Permit<ExportKeyring>, ledger: &mut Ledger) -> Result<Export, Refusal> {
    let engine = Arc::clone(&ledger.engine);
    let image = engine.in_background(|rest| backup::taken(ledger, rest)).unwrap_or(Err(Refusal::Suspended))?;
    let generation = image.records.generation;
    Ok(Export { pieces: Pieces::of(image).map_err(Refusal::Backup)?, generation })
}
