//! The step that makes a new version primary: a backup that holds it first, then the commit.
//!
//! Must never let a version seal before it is in a durable backup: what it seals could not be opened again.
//! Called by `create_key`, `rotate_key`, and by `resume` for what broke off.

use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use super::{backup, fault, key_records};
use crate::custody::id::KeyId;

/// Makes the version that a key is waiting for its primary, if it waits for one.
///
/// # Errors
/// [`Refusal::Backup`] and [`Refusal::Store`]: the version still waits, and the next call goes on.
pub(super) fn promote(ledger: &mut Ledger, id: KeyId) -> Result<(), Refusal> {
    promote_with(ledger, id, Change::default())
}

/// Like [`promote`], with what else its commit is to hold: the request, if it is another one than made the version.
///
/// # Errors
/// As [`promote`].
pub(super) fn promote_with(ledger: &mut Ledger, id: KeyId, mut change: Change) -> Result<(), Refusal> {
    let keyring = ledger.engine().keyring();
    let Some(key) = keyring.keys.get(&id).filter(|key| key.is_promoting()) else {
        return Ok(());
    };
    ledger.no_rotation()?;
    backup::write(ledger)?;
    fault::point("backup");
    let mut key = (**key).clone();
    key.primary = key.promoting;
    key.promoting = 0;
    change.put(key_records::key_record(&key));
    ledger.commit(change, |keyring| keyring.replace_key(key))
}

/// The keys that wait for a primary version.
#[must_use]
pub(super) fn waiting(ledger: &Ledger) -> Vec<KeyId> {
    let keyring = ledger.engine().keyring();
    keyring.keys.values().filter(|key| key.is_promoting()).map(|key| key.id).collect()
}

#[cfg(test)]
#[path = "promotion_tests.rs"]
mod tests;
