//! Which master key opens a store, and is it the one that was given? Asked of a snapshot, offline.
//!
//! Must never pass the store's own word for more than that: only a key that opens it makes it believed.
//! Called by `cli` for `servos-keyctl check-key`.

use super::start_failure::StartFailure;
use super::{claim, load};
use crate::custody::id::{Fingerprint, StoreId};
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::port::Snapshot;
use crate::store::record;

/// What a store says of its master keys. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The store's id.
    pub store_id: StoreId,
    /// The keys that open it: one, or two while a rotation is pending.
    pub fingerprints: Vec<Fingerprint>,
    /// Since when the first is in use: Unix seconds.
    pub since: i64,
}

/// What came of trying a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The key opens the root, and the records fit the MAC under it.
    Opens {
        /// Since when the key is in use: Unix seconds.
        since: i64,
    },
    /// The store says that it is under another key.
    Other {
        /// Whether the store says that it keeps this key to open legacy values.
        held_as_legacy: bool,
    },
}

/// Reads what the store says of its keys.
///
/// # Errors
/// [`StartFailure::Damaged`], [`StartFailure::NewerSchema`].
pub fn claim(snapshot: &Snapshot) -> Result<Claim, StartFailure> {
    let claimed = claim::claim(snapshot)?;
    let since = claimed.seals.first().map_or(0, |seal| seal.since);
    Ok(Claim { store_id: claimed.store_id, fingerprints: claimed.owners, since })
}

/// Tries a key on a store.
///
/// # Errors
/// [`StartFailure::Damaged`], [`StartFailure::NewerSchema`]: then nothing is said of the key.
pub fn check_key(snapshot: Snapshot, master: MasterKey, memory: &LockedMemory) -> Result<Verdict, StartFailure> {
    let held_as_legacy = snapshot.records.contains_key(&record::legacy(master.fingerprint()));
    match load::authenticate(snapshot, master, memory) {
        Ok(authentic) => Ok(Verdict::Opens { since: authentic.since }),
        Err(StartFailure::WrongKey { .. }) => Ok(Verdict::Other { held_as_legacy }),
        Err(failure) => Err(failure),
    }
}
