//! One record of a store at a time: opened with the root that its seal names, or said to be damaged.
//!
//! Must never keep what it opens: that is for the one who asked.
//! Called by `load`, which keeps it, and by `check`, which drops it.

use super::keyring::{DataKey, Legacy};
use super::start_failure::StartFailure;
use super::stored::{damaged, decode};
use super::version::{Usage, Version, VersionState};
use super::versions::Versions;
use crate::auth::key_name::KeyName;
use crate::custody::id::{Fingerprint, KeyId, StoreId, VersionId};
use crate::custody::keys::{IdentityKey, LockedMemory, RootKey, VersionKey};
use crate::custody::record_seal;
use crate::store::record;
use std::sync::Arc;

/// The roots that seals may be under: two from the change of the root until every seal is made anew.
#[derive(Clone, Copy)]
pub(super) struct Roots<'r> {
    pub(super) current: &'r RootKey,
    pub(super) previous: Option<&'r RootKey>,
}

impl<'r> Roots<'r> {
    /// The root that a seal names; the current one where it names neither.
    fn of(self, seal: &[u8]) -> &'r RootKey {
        let named = record_seal::header_owner(seal);
        self.previous.filter(|root| named == Some(root.id().prefix())).unwrap_or(self.current)
    }
}

/// What one record at a time is opened with.
#[derive(Clone, Copy)]
pub(super) struct Opener<'r> {
    pub(super) roots: Roots<'r>,
    pub(super) store_id: StoreId,
    pub(super) memory: &'r LockedMemory,
}

impl Opener<'_> {
    pub(super) fn identity(self, identity: &record::Identity) -> Result<IdentityKey, StartFailure> {
        record_seal::open_identity(self.roots.of(&identity.seal), &identity.seal, &self.store_id, self.memory)
            .map_err(|_| damaged("record identity does not open"))
    }

    /// Opens a version; which key it is of, its own seal says.
    pub(super) fn version(self, name: &str, value: &[u8], id: VersionId) -> Result<SealedVersion, StartFailure> {
        let stored: record::Version = decode(name, value)?;
        let key_id = KeyId::from_slice(&stored.key_id).ok_or_else(|| orphan(name))?;
        let root = self.roots.of(&stored.seal);
        let (seal, number) = (&stored.seal, stored.number);
        let secret = record_seal::open_version(root, seal, &self.store_id, &key_id, &id, number, self.memory)
            .map_err(|_| damaged(format!("record {name} does not open")))?;
        Ok(SealedVersion { id, key_id, stored, secret })
    }

    pub(super) fn legacy(self, name: &str, value: &[u8], fingerprint: Fingerprint) -> Result<Legacy, StartFailure> {
        let stored: record::Legacy = decode(name, value)?;
        let root = self.roots.of(&stored.seal);
        let secret = record_seal::open_legacy(root, &stored.seal, &self.store_id, &fingerprint, self.memory)
            .map_err(|_| damaged(format!("record {name} does not open")))?;
        Ok(Legacy { fingerprint, adopted: stored.adopted, secret: Arc::new(secret) })
    }
}

/// Reads a key, yet without its versions.
pub(super) fn key(name: &str, value: &[u8], id: KeyId) -> Result<DataKey, StartFailure> {
    let key: record::Key = decode(name, value)?;
    let key_name = KeyName::parse(&key.name).map_err(|_| damaged(format!("record {name} has no valid name")))?;
    Ok(DataKey {
        id,
        name: key_name,
        created: key.created,
        primary: key.primary,
        promoting: key.promoting,
        deleted: key.deleted,
        versions: Versions::default(),
    })
}

/// A version that opened, and what its record says of it.
pub(super) struct SealedVersion {
    pub(super) id: VersionId,
    pub(super) key_id: KeyId,
    pub(super) stored: record::Version,
    secret: VersionKey,
}

impl SealedVersion {
    /// The version, as one of its key.
    pub(super) fn of(self, key: &DataKey) -> Version {
        // A deleted key's versions are disabled from the commit that took its name, whatever their records say yet.
        let enabled = self.stored.state == i32::from(record::VersionState::Enabled) && !key.is_deleted();
        Version {
            id: self.id,
            key_id: self.key_id,
            key: key.name.clone(),
            number: self.stored.number,
            state: if enabled { VersionState::Enabled } else { VersionState::Disabled },
            created: self.stored.created,
            usage: Arc::new(Usage::default()),
            secret: Arc::new(self.secret),
        }
    }
}

/// A version of a key that is not there.
pub(super) fn orphan(name: &str) -> StartFailure {
    damaged(format!("record {name} belongs to no key"))
}

pub(super) fn number_taken(name: &str) -> StartFailure {
    damaged(format!("record {name} has the number of another version"))
}

/// The versions that a key in use names are there.
pub(super) fn missing(key: &DataKey, has: impl Fn(u32) -> bool) -> impl Iterator<Item = StartFailure> {
    let named = [(key.primary, "primary version"), (key.promoting, "version to come")];
    let absent = move |(number, _): &(u32, &str)| !key.is_deleted() && *number != 0 && !has(*number);
    named.into_iter().filter(absent).map(|(_, role)| damaged(format!("the {role} of {} is missing", key.name)))
}
