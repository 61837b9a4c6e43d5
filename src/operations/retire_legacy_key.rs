//! RetireLegacyKey: drops a former master key, and rewrites the file so that no old seal of it stays.
//!
//! Must never drop the last copy of a key in use: only legacy keys.
//! Called by `rpc::key_admin`, on the writer's thread.

use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use super::requests::RequestId;
use crate::auth::operation::RetireLegacyKey;
use crate::auth::permit::Permit;
use crate::custody::id::Fingerprint;
use crate::store::record;
use std::sync::Arc;

/// Retires a legacy key; answers how many are still held.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::NoSuchLegacyKey`], [`Refusal::RequestIdReused`], [`Refusal::Store`].
pub fn retire_legacy_key(
    _permit: &Permit<RetireLegacyKey>,
    ledger: &mut Ledger,
    fingerprint: Fingerprint,
    request_id: Option<String>,
) -> Result<u32, Refusal> {
    let engine = Arc::clone(ledger.engine());
    engine.changes_allowed()?;
    let request = RequestId::new(request_id, "RetireLegacyKey", &[fingerprint.as_bytes()]);
    if let Some(answer) = ledger.answered(&request)? {
        let remaining: [u8; 4] =
            answer.try_into().map_err(|_| Refusal::Damaged("the answer of a request is no number".to_owned()))?;
        return Ok(u32::from_be_bytes(remaining));
    }
    ledger.no_rotation()?;
    let keyring = engine.keyring();
    if !keyring.legacy.iter().any(|key| key.fingerprint == fingerprint) {
        return Err(Refusal::NoSuchLegacyKey);
    }
    let remaining = u32::try_from(keyring.legacy.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let mut change = Change { touches_keyring: true, rewrites: true, ..Change::default() };
    change.delete(record::legacy(fingerprint));
    ledger.remember(&mut change, request, remaining.to_be_bytes().to_vec());
    ledger.commit(change, |keyring| keyring.legacy.retain(|key| key.fingerprint != fingerprint))?;
    Ok(remaining)
}

#[cfg(test)]
#[path = "legacy_tests.rs"]
mod tests;
