//! Keys, versions and legacy keys as they are made, and the records that they become.
//!
//! Must never write a secret that is not sealed.
//! Called by `create` and the operations that change keys.

use super::keyring::DataKey;
use super::version::{Usage, Version, VersionState};
use super::versions::Versions;
use crate::auth::key_name::KeyName;
use crate::custody::id::{KeyId, StoreId};
use crate::custody::keys::{LegacyKey, LockedMemory, RootKey, VersionKey};
use crate::custody::random::Random;
use crate::custody::record_seal;
use crate::store::record;
use std::sync::Arc;

use super::refusal::Refusal;

/// A version that was just made, with its seal.
pub struct NewVersion {
    /// As it stands in memory.
    pub version: Arc<Version>,
    seal: Vec<u8>,
}

/// What a version is made with.
pub struct Maker<'m> {
    /// The store it is for.
    pub store_id: &'m StoreId,
    /// The root that seals it.
    pub root: &'m RootKey,
    /// The memory it lives in.
    pub memory: &'m LockedMemory,
    /// Where its key comes from.
    pub random: &'m Random,
    /// When: Unix seconds.
    pub now: i64,
}

impl Maker<'_> {
    /// Makes a key without versions.
    ///
    /// # Errors
    /// [`Refusal::Random`].
    pub fn key(&self, name: KeyName) -> Result<DataKey, Refusal> {
        Ok(DataKey {
            id: KeyId::generate(self.random)?,
            name,
            created: self.now,
            primary: 0,
            promoting: 0,
            deleted: 0,
            versions: Versions::default(),
        })
    }

    /// Makes the next version of a key.
    ///
    /// # Errors
    /// [`Refusal::Random`], [`Refusal::Memory`].
    pub fn version(&self, key: &DataKey) -> Result<NewVersion, Refusal> {
        let secret = VersionKey::generate(self.memory, self.random)?;
        let number = newest(key).saturating_add(1);
        let seal = record_seal::seal_version(self.root, &secret, self.store_id, &key.id, number, self.random)?;
        let version = Version {
            id: secret.id(),
            key_id: key.id,
            key: key.name.clone(),
            number,
            state: VersionState::Enabled,
            created: self.now,
            usage: Arc::new(Usage::default()),
            secret: Arc::new(secret),
        };
        Ok(NewVersion { version: Arc::new(version), seal })
    }

    /// The record of a legacy key that is held from now on.
    ///
    /// # Errors
    /// [`Refusal::Random`].
    pub fn legacy_record(&self, legacy: &LegacyKey) -> Result<(String, Vec<u8>), Refusal> {
        let seal = record_seal::seal_legacy(self.root, legacy, self.store_id, self.random)?;
        let value = record::Legacy { schema: record::SCHEMA, seal, adopted: self.now };
        Ok((record::legacy(legacy.fingerprint()), record::encode(&value)))
    }
}

/// The number of the newest version of a key; 0 if it has none.
#[must_use]
pub fn newest(key: &DataKey) -> u32 {
    key.versions.newest()
}

/// The record of a key.
#[must_use]
pub fn key_record(key: &DataKey) -> (String, Vec<u8>) {
    let value = record::Key {
        schema: record::SCHEMA,
        name: key.name.as_str().to_owned(),
        purpose: record::Purpose::Encrypt.into(),
        created: key.created,
        primary: key.primary,
        promoting: key.promoting,
        newest: newest(key),
        deleted: key.deleted,
    };
    (record::key(key.id), record::encode(&value))
}

/// The record of a version that was just made.
#[must_use]
pub fn new_version_record(new: &NewVersion) -> (String, Vec<u8>) {
    version_record(&new.version, new.seal.clone())
}

/// The record of a version with its seal.
#[must_use]
pub fn version_record(version: &Version, seal: Vec<u8>) -> (String, Vec<u8>) {
    let state = match version.state {
        VersionState::Enabled => record::VersionState::Enabled,
        VersionState::Disabled => record::VersionState::Disabled,
    };
    let value = record::Version {
        schema: record::SCHEMA,
        key_id: version.key_id.as_bytes().to_vec(),
        number: version.number,
        state: state.into(),
        created: version.created,
        seal,
    };
    (record::version(version.id), record::encode(&value))
}
