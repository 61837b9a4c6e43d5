//! IssueCanary: a canary that a component keeps in its own database, to learn later whether it belongs here.
//!
//! Must never reveal more than the store's id, generation and number of rotations.
//! Called by `rpc::key_service`.

use super::engine::Engine;
use super::refusal::Refusal;
use crate::auth::operation::IssueCanary;
use crate::auth::permit::Permit;
use crate::custody::client_canary;

/// Issues a canary: 64 bytes.
///
/// # Errors
/// [`Refusal::Salvage`]: what salvage opens is not a state to bind a database to.
pub fn issue_canary(_permit: &Permit<IssueCanary>, engine: &Engine) -> Result<[u8; 64], Refusal> {
    engine.changes_allowed()?;
    let keyring = engine.keyring();
    let identity = keyring.identity()?;
    Ok(client_canary::issue(identity, &keyring.store_id, keyring.generation, keyring.rotations))
}
