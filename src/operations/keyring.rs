//! The keyring as calls see it: an immutable picture of keys and versions, replaced whole at each commit.
//!
//! Must never hand out a version without a permit for its key.
//! Called by the operations that seal and open; made by `load` and by `ledger` after each commit.

use super::drill::Drill;
use super::refusal::{Refusal, Rejection};
use super::rotation::Rotation;
use super::version::{Version, VersionState};
use super::versions::Versions;
use crate::auth::key_name::KeyName;
use crate::auth::operation::Decrypt;
use crate::auth::permit::{Admission, Permit};
use crate::custody::id::{Fingerprint, KeyId, StoreId, VersionId};
use crate::custody::keys::{IdentityKey, LegacyKey};
use crate::custody::legacy;
use crate::custody::message::Zeroizing;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A data key.
#[derive(Clone)]
pub struct DataKey {
    /// Its id, never used again.
    pub id: KeyId,
    /// Its name; of a deleted key, the name it had.
    pub name: KeyName,
    /// When it was made: Unix seconds.
    pub created: i64,
    /// The number of the primary version; 0 before the first.
    pub primary: u32,
    /// The number of the version that waits for its backup; 0 for none.
    pub promoting: u32,
    /// When its name was taken away: Unix seconds; 0 while it is in use.
    pub deleted: i64,
    /// Its versions by number.
    pub versions: Versions,
}

impl DataKey {
    /// Whether its name was taken away.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted != 0
    }

    /// Whether it has a version that waits for its backup.
    #[must_use]
    pub fn is_promoting(&self) -> bool {
        self.promoting != 0 && !self.is_deleted()
    }
}

/// A former master key that opens legacy values.
#[derive(Clone)]
pub struct Legacy {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Since when it is held: Unix seconds.
    pub adopted: i64,
    pub(super) secret: Arc<LegacyKey>,
}

/// Generations that the store never had: `from < generation < to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The generation before the gap.
    pub from: u64,
    /// The generation after it.
    pub to: u64,
}

/// The master key in use, as far as it may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MasterKeyFacts {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Since when it is in use: Unix seconds.
    pub since: i64,
    /// Whether it was adopted from components that hold it too.
    pub shared: bool,
}

/// Keys, versions and what else calls need, at one generation. A commit that changes no key shares them with the picture
/// before it.
#[derive(Clone)]
pub struct Keyring {
    /// The store's id.
    pub store_id: StoreId,
    /// The store's generation.
    pub generation: u64,
    /// The generation at which a version or seal last changed.
    pub keyring: u64,
    /// Finished master rotations.
    pub rotations: u32,
    /// When the store was made: Unix seconds.
    pub created: i64,
    /// Generations that the store never had.
    pub gaps: Vec<Gap>,
    /// The master key in use.
    pub master: MasterKeyFacts,
    /// Every key, deleted ones included, by id.
    pub keys: Arc<HashMap<KeyId, Arc<DataKey>>>,
    /// The keys in use by name.
    pub names: Arc<BTreeMap<KeyName, KeyId>>,
    /// Every version by id.
    pub versions: Arc<HashMap<VersionId, Arc<Version>>>,
    /// Legacy keys, newest first.
    pub legacy: Vec<Legacy>,
    /// The new master key of a rotation that is under way, as a legacy key that is in no record: components that read the
    /// key themselves may write with it already.
    pub pending_legacy: Option<Legacy>,
    /// The rotation of the master key that is under way.
    pub rotation: Option<Rotation>,
    /// The last drill of each kind and master key.
    pub drills: Vec<Drill>,
    /// None only where salvage found none that opens.
    pub(super) identity: Option<Arc<IdentityKey>>,
}

impl Keyring {
    /// A key in use.
    ///
    /// # Errors
    /// [`Refusal::NoSuchKey`].
    pub fn key(&self, name: &KeyName) -> Result<&Arc<DataKey>, Refusal> {
        self.names.get(name).and_then(|id| self.keys.get(id)).ok_or(Refusal::NoSuchKey)
    }

    /// The master keys that open the store: one, or two while a rotation is pending.
    #[must_use]
    pub fn opens(&self) -> Vec<Fingerprint> {
        match &self.rotation {
            Some(rotation) => rotation.opens(),
            None => vec![self.master.fingerprint],
        }
    }

    /// What clients' canaries are made with.
    ///
    /// # Errors
    /// [`Refusal::Damaged`] where salvage goes on without it.
    pub(super) fn identity(&self) -> Result<&IdentityKey, Refusal> {
        self.identity.as_deref().ok_or_else(|| Refusal::Damaged("the identity is lost".to_owned()))
    }

    /// The version that seals under a key.
    ///
    /// # Errors
    /// [`Refusal::NoSuchKey`], [`Refusal::NoPrimary`].
    pub fn primary(&self, name: &KeyName) -> Result<&Arc<Version>, Refusal> {
        let key = self.key(name)?;
        let primary = key.versions.get(key.primary).filter(|version| version.state == VersionState::Enabled);
        primary.ok_or(Refusal::NoPrimary)
    }

    /// The version that a ciphertext names, if it opens, with the permit to use it.
    ///
    /// # Errors
    /// [`Refusal::VersionUnknown`], [`Refusal::VersionDisabled`], [`Refusal::Denied`], and
    /// [`Refusal::Rejected`] if the caller expects another key.
    pub fn opener(
        &self,
        id: VersionId,
        expected: Option<&str>,
        admission: &Admission<'_, Decrypt>,
    ) -> Result<(&Arc<Version>, Permit<Decrypt>), Refusal> {
        let version = self.versions.get(&id).ok_or(Refusal::VersionUnknown(id))?;
        if expected.is_some_and(|name| name != version.key.as_str()) {
            return Err(Refusal::Rejected(Rejection::OtherKey));
        }
        let permit = admission.for_key(&version.key)?;
        match version.state {
            VersionState::Enabled => Ok((version, permit)),
            VersionState::Disabled => Err(Refusal::VersionDisabled(id)),
        }
    }

    /// Whether a version seals under its key now.
    #[must_use]
    pub fn is_primary(&self, version: &Version) -> bool {
        self.keys.get(&version.key_id).is_some_and(|key| !key.is_deleted() && key.primary == version.number)
    }

    /// Puts a key, with its versions and its name, in the place of what was known of it.
    pub(super) fn replace_key(&mut self, key: DataKey) {
        let (keys, names) = (Arc::make_mut(&mut self.keys), Arc::make_mut(&mut self.names));
        if let Some(before) = keys.get(&key.id)
            && names.get(&before.name) == Some(&key.id)
        {
            names.remove(&before.name);
        }
        if !key.is_deleted() {
            names.insert(key.name.clone(), key.id);
        }
        let versions = Arc::make_mut(&mut self.versions);
        for version in key.versions.iter() {
            versions.insert(version.id, Arc::clone(version));
        }
        keys.insert(key.id, Arc::new(key));
    }

    /// Opens a legacy value with the legacy keys, newest first.
    ///
    /// # Errors
    /// [`Refusal::Rejected`] if none opens it, [`Refusal::Denied`].
    pub fn open_legacy(&self, value: &[u8], admission: &Admission<'_, Decrypt>) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        admission.for_key(&KeyName::legacy())?;
        self.pending_legacy
            .iter()
            .chain(&self.legacy)
            .find_map(|key| legacy::open(&key.secret, value).ok())
            .ok_or(Refusal::Rejected(Rejection::Legacy))
    }
}
