//! AdoptLegacyKey: keeps a former master key, sealed, to open values of before servos-keyd.
//!
//! Must never keep a key in the clear, nor let one seal anything.
//! Called by `rpc::key_admin`, on the writer's thread.

use super::keyring::Legacy;
use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use super::requests::RequestId;
use super::{backup, fault};
use crate::auth::operation::AdoptLegacyKey;
use crate::auth::permit::Permit;
use crate::custody::id::Fingerprint;
use crate::custody::keys::MasterKey;
use crate::store::record;
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::sync::Arc;

/// Adopts a former master key, given as its file has it: 64 hex or 44 base64 characters.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::Invalid`] (a malformed key), [`Refusal::RequestIdReused`],
/// [`Refusal::Store`]. A key that is held already is no error.
pub fn adopt_legacy_key(
    _permit: &Permit<AdoptLegacyKey>,
    ledger: &mut Ledger,
    text: &[u8],
    request_id: Option<String>,
) -> Result<Fingerprint, Refusal> {
    let engine = Arc::clone(ledger.engine());
    engine.changes_allowed()?;
    let key = MasterKey::parse(text.trim_ascii(), &ledger.memory)
        .map_err(|error| Refusal::invalid("legacy_key", error.to_string()))?;
    let fingerprint = key.fingerprint();
    let request = RequestId::new(request_id, "AdoptLegacyKey", &[fingerprint.as_bytes()]);
    if ledger.answered(&request)?.is_some() {
        return Ok(fingerprint);
    }
    ledger.no_rotation()?;
    if engine.keyring().legacy.iter().any(|held| held.fingerprint == fingerprint) {
        ledger.remember_alone(request, fingerprint.as_bytes().to_vec())?;
        return Ok(fingerprint);
    }
    let legacy = key.as_legacy(&ledger.memory)?;
    let maker = ledger.maker(&engine);
    let (adopted, sealed) = (maker.now, maker.legacy_record(&legacy)?);
    let mut change = Change { touches_keyring: true, ..Change::default() };
    change.put(sealed);
    ledger.note_in_history(&mut change, fingerprint, record::HistoryKind::Legacy)?;
    ledger.remember(&mut change, request, fingerprint.as_bytes().to_vec());
    let held = Legacy { fingerprint, adopted, secret: Arc::new(legacy) };
    ledger.commit(change, |keyring| keyring.legacy.insert(0, held))?;
    back_up(ledger);
    fault::point("backup");
    Ok(fingerprint)
}

/// A backup with the key in it. Unlike a version, the key is elsewhere too: with the operator who gave it. So a failure
/// is said, and the key is held all the same.
fn back_up(ledger: &mut Ledger) {
    if let Err(refusal) = backup::write(ledger) {
        tracing::warn!(
            event = events::BACKUP_FAILED,
            error = %chain(&refusal),
            "the adopted key is in no backup yet: mend the backup directory (one that was made anew is open \
             to the daemon after a restart), then make any new version"
        );
    }
}
