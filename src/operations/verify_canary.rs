//! VerifyCanary: does the daemon's own canary open, or does a client's belong to this keyring?
//!
//! Must never answer OPENS because something could not be looked at.
//! Called by `rpc::key_service`; the daemon's own on the writer's thread, as it reads the store again.

use super::engine::Engine;
use super::keyring::Gap;
use super::ledger::Ledger;
use super::load;
use super::refusal::Refusal;
use crate::auth::operation::VerifyCanary;
use crate::auth::permit::Permit;
use crate::custody::client_canary::{self, CanaryFault, Claim};
use crate::store::record;

/// What a canary says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The keyring is the one that made it.
    Opens,
    /// The store is older than the one that issued it.
    Stale,
    /// Another store issued it.
    OtherStore,
    /// The canary, or the record, is damaged.
    Damaged,
}

/// Checks the canary of the store: reads the record again and opens it with the key in locked memory.
///
/// # Errors
/// [`Refusal::Store`] if the record cannot be read.
pub fn verify_own(_permit: &Permit<VerifyCanary>, ledger: &mut Ledger) -> Result<Finding, Refusal> {
    let Some(bytes) = ledger.read(record::CANARY)? else { return Ok(Finding::Damaged) };
    let Ok(canary) = record::decode::<record::Canary>(record::CANARY, &bytes) else { return Ok(Finding::Damaged) };
    let opens = load::canary_opens(&canary, &ledger.master, &ledger.store_id);
    Ok(if opens { Finding::Opens } else { Finding::Damaged })
}

/// Checks a client's canary.
#[must_use]
pub fn verify_client(_permit: &Permit<VerifyCanary>, engine: &Engine, canary: &[u8; 64]) -> Finding {
    let keyring = engine.keyring();
    // Salvage goes on without the identity, and then nothing can be said for a canary.
    let Some(identity) = &keyring.identity else { return Finding::Damaged };
    match client_canary::verify(identity, &keyring.store_id, canary) {
        Ok(claim) if is_ahead(keyring.generation, keyring.rotations, &keyring.gaps, &claim) => Finding::Stale,
        Ok(_) => Finding::Opens,
        Err(CanaryFault::OtherStore) => Finding::OtherStore,
        Err(CanaryFault::Damaged) => Finding::Damaged,
    }
}

/// Whether a genuine canary was issued at a generation that this store never had.
pub(super) fn is_ahead(generation: u64, rotations: u32, gaps: &[Gap], claim: &Claim) -> bool {
    claim.generation > generation
        || claim.rotations > rotations
        || gaps.iter().any(|gap| gap.from < claim.generation && claim.generation < gap.to)
}

#[cfg(test)]
#[path = "verify_canary_tests.rs"]
mod tests;
