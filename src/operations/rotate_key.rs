//! RotateKey: adds a version to a key and makes it primary after a backup; older versions go on opening.
//!
//! Must never touch an older version.
//! Called by `rpc::key_admin`, on the writer's thread.

use super::keyring::DataKey;
use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use super::requests::RequestId;
use super::{key_records, promotion};
use crate::auth::key_name::KeyName;
use crate::auth::operation::RotateKey;
use crate::auth::permit::Permit;
use crate::custody::id::KeyId;
use std::sync::Arc;

/// The version that is primary now.
#[derive(Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The key.
    pub key: KeyName,
    /// The number of the version.
    pub version: u32,
}

/// Adds a version to a key.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::NoSuchKey`], [`Refusal::RequestIdReused`], [`Refusal::Store`];
/// [`Refusal::Backup`]: the version is there but does not seal, and the same call goes on.
pub fn rotate_key(
    permit: &Permit<RotateKey>,
    ledger: &mut Ledger,
    request_id: Option<String>,
) -> Result<Rotated, Refusal> {
    let engine = Arc::clone(ledger.engine());
    engine.changes_allowed()?;
    let name = permit.key().clone();
    let request = RequestId::new(request_id, "RotateKey", &[name.as_str().as_bytes()]);
    if let Some(answer) = ledger.answered(&request)? {
        let (id, version) = decode_answer(&answer)?;
        return finish(ledger, name, (id, version), Change::default());
    }
    ledger.no_rotation()?;
    let key = Arc::clone(engine.keyring().key(&name)?);
    if key.promoting == 0 {
        let version = add_version(ledger, &key, request)?;
        return finish(ledger, name, (key.id, version), Change::default());
    }
    // One that already waits is taken up instead of a second one.
    let mut change = Change::default();
    ledger.remember(&mut change, request, encode_answer(key.id, key.promoting));
    finish(ledger, name, (key.id, key.promoting), change)
}

/// The first commit: the version, not yet in use.
fn add_version(ledger: &mut Ledger, key: &DataKey, request: RequestId) -> Result<u32, Refusal> {
    let engine = Arc::clone(ledger.engine());
    let mut key = key.clone();
    let new = ledger.maker(&engine).version(&key)?;
    let number = new.version.number;
    key.promoting = number;
    key.versions.insert(Arc::clone(&new.version));

    let mut change = Change { touches_keyring: true, ..Change::default() };
    change.put(key_records::key_record(&key));
    change.put(key_records::new_version_record(&new));
    ledger.remember(&mut change, request, encode_answer(key.id, number));
    ledger.commit(change, |keyring| keyring.replace_key(key))?;
    Ok(number)
}

/// The second commit, if it is still to come, and the answer.
fn finish(ledger: &mut Ledger, name: KeyName, version: (KeyId, u32), change: Change) -> Result<Rotated, Refusal> {
    let (id, version) = version;
    // One that sealed already waits for nothing, whatever waits now.
    if ledger.engine().keyring().keys.get(&id).is_none_or(|key| key.primary < version) {
        promotion::promote_with(ledger, id, change)?;
    }
    let keyring = ledger.engine().keyring();
    let waits_for_ever = |key: &Arc<DataKey>| key.is_deleted() && key.promoting == version;
    if keyring.keys.get(&id).is_none_or(waits_for_ever) {
        // It was deleted before this version ever sealed.
        return Err(Refusal::NoSuchKey);
    }
    Ok(Rotated { key: name, version })
}

fn encode_answer(id: KeyId, version: u32) -> Vec<u8> {
    [id.as_bytes().as_slice(), &version.to_be_bytes()].concat()
}

fn decode_answer(answer: &[u8]) -> Result<(KeyId, u32), Refusal> {
    let damaged = || Refusal::Damaged("the answer of a request is no version".to_owned());
    let (id, version) = answer.split_at_checked(8).ok_or_else(damaged)?;
    let version: [u8; 4] = version.try_into().map_err(|_| damaged())?;
    Ok((KeyId::from_slice(id).ok_or_else(damaged)?, u32::from_be_bytes(version)))
}
