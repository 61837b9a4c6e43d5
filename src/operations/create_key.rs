//! CreateKey: makes a key with its first version, which seals only after a backup that holds it.
//!
//! Must never make a key under a name that is taken.
//! Called by `rpc::key_admin`, on the writer's thread.

use super::keyring::DataKey;
use super::ledger::{Change, Ledger};
use super::promotion;
use super::refusal::Refusal;
use super::requests::{self, RequestId};
use super::{key_records, version::Version};
use crate::auth::key_name::KeyName;
use crate::auth::operation::CreateKey;
use crate::auth::permit::Permit;
use crate::custody::id::KeyId;
use std::sync::Arc;

/// The key that was made, with its first version.
pub struct Created {
    /// The key.
    pub key: Arc<DataKey>,
    /// Its version 1.
    pub version: Arc<Version>,
}

/// Makes a key.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::KeyExists`], [`Refusal::RequestIdReused`], [`Refusal::Store`];
/// [`Refusal::Backup`]: the key is there without a primary version, and the same call goes on.
pub fn create_key(
    permit: &Permit<CreateKey>,
    ledger: &mut Ledger,
    request_id: Option<String>,
) -> Result<Created, Refusal> {
    let engine = Arc::clone(ledger.engine());
    engine.changes_allowed()?;
    let name = permit.key().clone();
    let request = RequestId::new(request_id, "CreateKey", &[name.as_str().as_bytes()]);
    if let Some(answer) = ledger.answered(&request)? {
        return finish(ledger, requests::answered_key(&answer)?, Change::default());
    }
    ledger.no_rotation()?;
    match engine.keyring().key(&name) {
        // A key that broke off before its first backup: whoever asks for it again finishes it.
        Ok(key) if key.primary == 0 => {
            let mut change = Change::default();
            ledger.remember(&mut change, request, key.id.as_bytes().to_vec());
            finish(ledger, key.id, change)
        }
        Ok(_) => Err(Refusal::KeyExists),
        Err(_) => {
            let id = make(ledger, name, request)?;
            finish(ledger, id, Change::default())
        }
    }
}

/// The first commit: key and version, not yet in use.
fn make(ledger: &mut Ledger, name: KeyName, request: RequestId) -> Result<KeyId, Refusal> {
    let engine = Arc::clone(ledger.engine());
    let maker = ledger.maker(&engine);
    let mut key = maker.key(name)?;
    let new = maker.version(&key)?;
    key.promoting = new.version.number;
    key.versions.insert(Arc::clone(&new.version));

    let mut change = Change { touches_keyring: true, ..Change::default() };
    change.put(key_records::key_record(&key));
    change.put(key_records::new_version_record(&new));
    ledger.remember(&mut change, request, key.id.as_bytes().to_vec());
    let id = key.id;
    ledger.commit(change, |keyring| keyring.replace_key(key))?;
    Ok(id)
}

/// The second commit, if it is still to come, and the answer.
fn finish(ledger: &mut Ledger, id: KeyId, change: Change) -> Result<Created, Refusal> {
    // One that sealed already waits for nothing, whatever version waits now.
    if ledger.engine().keyring().keys.get(&id).is_none_or(|key| key.primary == 0) {
        promotion::promote_with(ledger, id, change)?;
    }
    let keyring = ledger.engine().keyring();
    // A key that was deleted while it waited never sealed: it was not made, whatever request asks again.
    let key = keyring.keys.get(&id).filter(|key| key.primary != 0).ok_or(Refusal::NoSuchKey)?;
    let version = key.versions.get(1).ok_or(Refusal::NoPrimary)?;
    Ok(Created { key: Arc::clone(key), version: Arc::clone(version) })
}
