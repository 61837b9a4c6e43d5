//! DeleteKey: takes a key's name away in one commit, then disables its versions in bounded, resumable ones.
//!
//! Must never drop a seal: only a delayed destruction does, and until then the versions stay in the store.
//! Called by `rpc::key_admin`, on the writer's thread, and by `resume` for what broke off.

use super::key_records;
use super::keyring::DataKey;
use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use super::requests::{self, RequestId};
use super::version::{Version, VersionState};
use crate::auth::key_name::KeyName;
use crate::auth::operation::DeleteKey;
use crate::auth::permit::Permit;
use crate::custody::id::KeyId;
use crate::store::record;
use std::sync::Arc;

/// Versions that one commit disables.
const VERSIONS_AT_ONCE: usize = 64;

/// What was deleted.
#[derive(Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The name that was taken away.
    pub key: KeyName,
    /// The id that stays.
    pub id: KeyId,
    /// Versions that do not open any more.
    pub versions: u32,
}

/// Deletes a key.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::NoSuchKey`], [`Refusal::RequestIdReused`], [`Refusal::Store`]: what was
/// disabled so far stays so, and the rest follows by itself.
pub fn delete_key(
    permit: &Permit<DeleteKey>,
    ledger: &mut Ledger,
    request_id: Option<String>,
) -> Result<Deleted, Refusal> {
    let engine = Arc::clone(ledger.engine());
    engine.changes_allowed()?;
    let name = permit.key().clone();
    let request = RequestId::new(request_id, "DeleteKey", &[name.as_str().as_bytes()]);
    let id = match ledger.answered(&request)? {
        Some(answer) => requests::answered_key(&answer)?,
        None => take_name(ledger, &name, request)?,
    };
    disable_versions(ledger, id)?;
    let keyring = engine.keyring();
    let versions = keyring.keys.get(&id).map_or(0, |key| key.versions.len());
    Ok(Deleted { key: name, id, versions: u32::try_from(versions).unwrap_or(u32::MAX) })
}

/// The first commit: from here on the name is free and the key seals nothing.
fn take_name(ledger: &mut Ledger, name: &KeyName, request: RequestId) -> Result<KeyId, Refusal> {
    let engine = Arc::clone(ledger.engine());
    ledger.no_rotation()?;
    let keyring = engine.keyring();
    let mut key = (**keyring.key(name)?).clone();
    // 0 means that a key is in use, so a clock at the epoch must not be believed.
    key.deleted = (engine.clock)().max(1);
    let mut change = Change::default();
    change.put(key_records::key_record(&key));
    ledger.remember(&mut change, request, key.id.as_bytes().to_vec());
    let id = key.id;
    // Its versions stop opening at once; their records follow.
    let in_memory = disabled(&key);
    ledger.commit(change, |keyring| keyring.replace_key(in_memory))?;
    Ok(id)
}

/// A key with all its versions disabled.
fn disabled(key: &DataKey) -> DataKey {
    let mut key = key.clone();
    for version in key.versions.iter_mut() {
        *version = Arc::new(Version { state: VersionState::Disabled, ..(**version).clone() });
    }
    key
}

/// Disables the records of a deleted key's versions, a bounded number in each commit.
///
/// # Errors
/// [`Refusal::Store`]; [`Refusal::Damaged`]: a seal that is not the one that was committed is left as it is.
pub(super) fn disable_versions(ledger: &mut Ledger, id: KeyId) -> Result<(), Refusal> {
    let keyring = ledger.engine().keyring();
    let Some(key) = keyring.keys.get(&id).filter(|key| key.is_deleted()) else { return Ok(()) };
    let versions: Vec<Arc<Version>> = key.versions.iter().cloned().collect();
    for some in versions.chunks(VERSIONS_AT_ONCE) {
        let mut change = Change::default();
        for version in some {
            let name = record::version(version.id);
            let missing = || Refusal::Damaged(format!("{name} is missing"));
            let bytes = ledger.read_committed(&name)?.ok_or_else(missing)?;
            let stored: record::Version =
                record::decode(&name, &bytes).map_err(|error| Refusal::Damaged(error.to_string()))?;
            if stored.state != i32::from(record::VersionState::Disabled) {
                let gone = Version { state: VersionState::Disabled, ..(**version).clone() };
                change.put(key_records::version_record(&gone, stored.seal));
            }
        }
        if !change.batch.puts.is_empty() {
            let kept = disabled(key);
            ledger.commit(change, |keyring| keyring.replace_key(kept))?;
        }
    }
    Ok(())
}

/// The keys whose names were taken away: their versions may still be to disable.
#[must_use]
pub(super) fn deleted(ledger: &Ledger) -> Vec<KeyId> {
    let keyring = ledger.engine().keyring();
    keyring.keys.values().filter(|key| key.is_deleted()).map(|key| key.id).collect()
}

#[cfg(test)]
#[path = "delete_key_tests.rs"]
mod tests;
