//! SKR1, a secret in a record of the store: one sealing and one opening function for each kind of secret.
//!
//! Must never open a seal in another place than its own: store, record, key, number and purpose are bound to it.
//! Called by operations when a store is made or loaded, and when it is given a version or a legacy key.

use crate::custody::committing::{Fields, SKR1};
use crate::custody::id::{Fingerprint, KeyId, StoreId, VersionId};
use crate::custody::keys::{IdentityKey, LegacyKey, MasterKey, RootKey, VersionKey};
use crate::custody::random::Random;
use crate::custody::sealer::{Place, Sealer, open, open_secret, seal};
use crate::sys::locked::LockedMemory;

pub use crate::custody::committing::{Rejected, SealError};
pub use crate::custody::sealer::OpenError;

/// What the canary says.
const CANARY: [u8; 18] = *b"servos-keyd canary";

/// Who sealed this, by its header: the fingerprint of a master key, or the first 8 bytes of a root's id.
///
/// Hostile input: nothing is verified. `None` if it is no SKR1 message.
pub fn header_owner(sealed: &[u8]) -> Option<[u8; 8]> {
    let fields = Fields::cut(sealed)?;
    (fields.magic == SKR1.magic).then_some(*fields.owner_id)
}

/// Seals the root under the master key, for the record `master`.
///
/// # Errors
/// [`SealError::Random`].
pub fn seal_root(master: &MasterKey, root: &RootKey, store: &StoreId, random: &Random) -> Result<Vec<u8>, SealError> {
    seal(Sealer::Master(master), &Place::root(store), root.expose_key(), random)
}

/// Opens what [`seal_root`] made.
///
/// # Errors
/// [`OpenError::Rejected`], [`OpenError::Memory`].
pub fn open_root(
    master: &MasterKey,
    sealed: &[u8],
    store: &StoreId,
    memory: &LockedMemory,
) -> Result<RootKey, OpenError> {
    open_secret(Sealer::Master(master), &Place::root(store), sealed, memory).map(RootKey::from_secret)
}

/// Seals the canary under the master key, for the record `canary`.
///
/// # Errors
/// [`SealError::Random`].
pub fn seal_canary(master: &MasterKey, store: &StoreId, random: &Random) -> Result<Vec<u8>, SealError> {
    seal(Sealer::Canary(master), &Place::canary(store), &CANARY, random)
}

/// Whether the master key opens the canary, and the canary says what it must.
///
/// # Errors
/// [`OpenError::Rejected`], [`OpenError::Contradiction`].
pub fn open_canary(master: &MasterKey, sealed: &[u8], store: &StoreId) -> Result<(), OpenError> {
    let mut text = [0; CANARY.len()];
    open(Sealer::Canary(master), &Place::canary(store), sealed, &mut text)?;
    if text == CANARY { Ok(()) } else { Err(OpenError::Contradiction) }
}

/// Seals the identity under the root, for the record `identity`.
///
/// # Errors
/// [`SealError::Random`].
pub fn seal_identity(
    root: &RootKey,
    identity: &IdentityKey,
    store: &StoreId,
    random: &Random,
) -> Result<Vec<u8>, SealError> {
    seal(Sealer::Root(root), &Place::identity(store), identity.expose_key(), random)
}

/// Opens what [`seal_identity`] made.
///
/// # Errors
/// [`OpenError::Rejected`], [`OpenError::Memory`].
pub fn open_identity(
    root: &RootKey,
    sealed: &[u8],
    store: &StoreId,
    memory: &LockedMemory,
) -> Result<IdentityKey, OpenError> {
    open_secret(Sealer::Root(root), &Place::identity(store), sealed, memory).map(IdentityKey::from_secret)
}

/// Seals a legacy key under the root, for the record `legacy/<its fingerprint>`.
///
/// # Errors
/// [`SealError::Random`].
pub fn seal_legacy(root: &RootKey, legacy: &LegacyKey, store: &StoreId, random: &Random) -> Result<Vec<u8>, SealError> {
    seal(Sealer::Root(root), &Place::legacy(store, legacy.fingerprint()), legacy.expose_key(), random)
}

/// Opens what [`seal_legacy`] made; `fingerprint` is the one that the record is named for.
///
/// # Errors
/// [`OpenError::Rejected`]; [`OpenError::Contradiction`] if the key in it has another fingerprint;
/// [`OpenError::Memory`].
pub fn open_legacy(
    root: &RootKey,
    sealed: &[u8],
    store: &StoreId,
    fingerprint: &Fingerprint,
    memory: &LockedMemory,
) -> Result<LegacyKey, OpenError> {
    let place = Place::legacy(store, *fingerprint);
    let legacy = open_secret(Sealer::Root(root), &place, sealed, memory).map(LegacyKey::from_secret)?;
    if legacy.fingerprint() == *fingerprint { Ok(legacy) } else { Err(OpenError::Contradiction) }
}

/// Seals a version under the root, for the record `version/<its id>`; `number` is that within the key.
///
/// # Errors
/// [`SealError::Random`].
pub fn seal_version(
    root: &RootKey,
    version: &VersionKey,
    store: &StoreId,
    key: &KeyId,
    number: u32,
    random: &Random,
) -> Result<Vec<u8>, SealError> {
    seal(Sealer::Root(root), &Place::version(store, key, &version.id(), number), version.expose_key(), random)
}

/// Opens what [`seal_version`] made.
///
/// # Errors
/// [`OpenError::Rejected`], [`OpenError::Memory`].
pub fn open_version(
    root: &RootKey,
    sealed: &[u8],
    store: &StoreId,
    key: &KeyId,
    id: &VersionId,
    number: u32,
    memory: &LockedMemory,
) -> Result<VersionKey, OpenError> {
    let place = Place::version(store, key, id, number);
    open_secret(Sealer::Root(root), &place, sealed, memory).map(|secret| VersionKey::from_secret(secret, *id))
}

/// Seals the root before this one under this one, for the record `master`.
///
/// # Errors
/// [`SealError::Random`].
pub fn seal_previous_root(
    root: &RootKey,
    previous: &RootKey,
    store: &StoreId,
    random: &Random,
) -> Result<Vec<u8>, SealError> {
    seal(Sealer::Root(root), &Place::previous_root(store), previous.expose_key(), random)
}

/// Opens what [`seal_previous_root`] made.
///
/// # Errors
/// [`OpenError::Rejected`], [`OpenError::Memory`].
pub fn open_previous_root(
    root: &RootKey,
    sealed: &[u8],
    store: &StoreId,
    memory: &LockedMemory,
) -> Result<RootKey, OpenError> {
    open_secret(Sealer::Root(root), &Place::previous_root(store), sealed, memory).map(RootKey::from_secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::committing::OVERHEAD;
    use crate::custody::fixtures::{
        self, SealRow, failing, giving, identity_key, legacy_key, master_key, memory, random, root_key, version_key,
        with_each_bit_flipped,
    };

    const STORE: StoreId = StoreId::from_bytes(*b"the store itself");
    const KEY: KeyId = KeyId::from_bytes(*b"ssh-keys");

    fn master() -> MasterKey {
        master_key(&[0x11; 32])
    }

    fn root() -> RootKey {
        root_key(&[0x22; 32])
    }

    fn version() -> VersionKey {
        version_key(&[0x33; 32], *b"version3")
    }

    fn sealed_version() -> Vec<u8> {
        seal_version(&root(), &version(), &STORE, &KEY, 3, &random).unwrap()
    }

    fn open_sealed_version(sealed: &[u8]) -> Result<VersionKey, OpenError> {
        open_version(&root(), sealed, &STORE, &KEY, &version().id(), 3, &memory())
    }

    fn is_rejected<T>(result: Result<T, OpenError>) -> bool {
        matches!(result, Err(OpenError::Rejected(_)))
    }

    /// Seals the row's secret with the typed function for its purpose, and opens the row's seal with the other.
    fn resealed_and_opened(row: &SealRow, store: &StoreId) -> (Vec<u8>, Vec<u8>) {
        let (owner, secret, sealed) = (&row.owner.0, &row.secret.0, &row.sealed.0);
        let (master, root, memory, random) = (master_key(owner), root_key(owner), memory(), giving(row.salt.0));
        match row.context["purpose"].as_str() {
            "root" => (
                seal_root(&master, &root_key(secret), store, &random).unwrap(),
                open_root(&master, sealed, store, &memory).unwrap().expose_key().to_vec(),
            ),
            "canary" => {
                open_canary(&master, sealed, store).unwrap();
                (seal_canary(&master, store, &random).unwrap(), CANARY.to_vec())
            }
            "identity" => (
                seal_identity(&root, &identity_key(secret), store, &random).unwrap(),
                open_identity(&root, sealed, store, &memory).unwrap().expose_key().to_vec(),
            ),
            "legacy" => {
                let legacy = legacy_key(secret);
                let opened = open_legacy(&root, sealed, store, &legacy.fingerprint(), &memory).unwrap();
                (seal_legacy(&root, &legacy, store, &random).unwrap(), opened.expose_key().to_vec())
            }
            "version" => {
                let id: VersionId = row.context["record"].strip_prefix("version/").unwrap().parse().unwrap();
                let key: KeyId = row.context["key"].parse().unwrap();
                let number: u32 = row.context["version"].parse().unwrap();
                let version = version_key(secret, *id.as_bytes());
                let opened = open_version(&root, sealed, store, &key, &id, number, &memory).unwrap();
                assert_eq!(opened.id(), id);
                let resealed = seal_version(&root, &version, store, &key, number, &random).unwrap();
                (resealed, opened.expose_key().to_vec())
            }
            "previous-root" => (
                seal_previous_root(&root, &root_key(secret), store, &random).unwrap(),
                open_previous_root(&root, sealed, store, &memory).unwrap().expose_key().to_vec(),
            ),
            unknown => panic!("a purpose without a function: {unknown}"),
        }
    }

    #[test]
    fn every_seal_of_the_vectors_is_opened_and_made_again_to_the_byte() {
        let vectors = fixtures::store();
        let store = StoreId::from_bytes(vectors.store_id.0);
        for row in &vectors.seals {
            assert_eq!(header_owner(&row.sealed.0), Some(row.owner_id.0), "{}", row.name);
            let (resealed, opened) = resealed_and_opened(row, &store);
            assert_eq!(opened, row.secret.0, "{}", row.name);
            assert_eq!(resealed, row.sealed.0, "{}", row.name);
        }
        assert_eq!(vectors.seals.len(), 6);
    }

    #[test]
    fn a_seal_with_any_bit_flipped_cut_or_lengthened_is_rejected() {
        let sealed = sealed_version();
        for damaged in with_each_bit_flipped(&sealed) {
            assert!(is_rejected(open_sealed_version(&damaged)));
        }
        for length in 0..sealed.len() {
            assert!(is_rejected(open_sealed_version(&sealed[..length])));
        }
        assert!(is_rejected(open_sealed_version(&[&sealed[..], &[0]].concat())));
        assert!(open_sealed_version(&sealed).is_ok());
    }

    #[test]
    fn a_version_opens_in_its_own_store_key_record_and_number_alone() {
        let sealed = sealed_version();
        let (id, memory) = (version().id(), memory());
        let open = |store: [u8; 16], key: [u8; 8], id: [u8; 8], number| {
            let (store, key, id) = (StoreId::from_bytes(store), KeyId::from_bytes(key), VersionId::from_bytes(id));
            open_version(&root(), &sealed, &store, &key, &id, number, &memory)
        };
        assert!(open(*STORE.as_bytes(), *KEY.as_bytes(), *id.as_bytes(), 3).is_ok());
        assert!(is_rejected(open([0; 16], *KEY.as_bytes(), *id.as_bytes(), 3)));
        assert!(is_rejected(open(*STORE.as_bytes(), [0; 8], *id.as_bytes(), 3)));
        assert!(is_rejected(open(*STORE.as_bytes(), *KEY.as_bytes(), [0; 8], 3)));
        assert!(is_rejected(open(*STORE.as_bytes(), *KEY.as_bytes(), *id.as_bytes(), 4)));
    }

    #[test]
    fn a_seal_never_opens_for_another_purpose() {
        let (root, memory) = (root(), memory());
        let identity = seal_identity(&root, &identity_key(&[4; 32]), &STORE, &random).unwrap();
        let previous = seal_previous_root(&root, &root_key(&[5; 32]), &STORE, &random).unwrap();
        assert!(is_rejected(open_previous_root(&root, &identity, &STORE, &memory)));
        assert!(is_rejected(open_identity(&root, &previous, &STORE, &memory)));
        assert!(is_rejected(open_legacy(&root, &identity, &STORE, &master().fingerprint(), &memory)));
        assert!(is_rejected(open_sealed_version(&identity)));

        let sealed_root = seal_root(&master(), &root, &STORE, &random).unwrap();
        let canary = seal_canary(&master(), &STORE, &random).unwrap();
        assert!(is_rejected(open_canary(&master(), &sealed_root, &STORE)));
        assert!(is_rejected(open_root(&master(), &canary, &STORE, &memory)));
    }

    #[test]
    fn a_seal_of_another_owner_is_told_by_its_header() {
        let sealed = seal_root(&master(), &root(), &STORE, &random).unwrap();
        let other = master_key(&[0x12; 32]);
        let refused = open_root(&other, &sealed, &STORE, &memory());
        assert!(matches!(refused, Err(OpenError::Rejected(Rejected::Owner))));

        // The same header on a key that only claims to be the one.
        let mut claimed = sealed;
        claimed[4..12].copy_from_slice(other.fingerprint().as_bytes());
        let refused = open_root(&other, &claimed, &STORE, &memory());
        assert!(matches!(refused, Err(OpenError::Rejected(Rejected::Commitment))));
    }

    #[test]
    fn a_legacy_key_in_the_record_of_another_fingerprint_is_a_contradiction() {
        let named = master_key(&[0x77; 32]).fingerprint();
        let place = Place::legacy(&STORE, named);
        let sealed = seal(Sealer::Root(&root()), &place, &[0x66; 32], &random).unwrap();
        let opened = open_legacy(&root(), &sealed, &STORE, &named, &memory());
        assert!(matches!(opened, Err(OpenError::Contradiction)));
    }

    #[test]
    fn a_canary_that_says_something_else_is_a_contradiction() {
        let sealed = seal(Sealer::Canary(&master()), &Place::canary(&STORE), b"servos-keyd Canary", &random).unwrap();
        assert!(matches!(open_canary(&master(), &sealed, &STORE), Err(OpenError::Contradiction)));
    }

    #[test]
    fn the_owner_is_read_from_a_whole_seal_of_the_right_magic_alone() {
        let sealed = seal_canary(&master(), &STORE, &random).unwrap();
        assert_eq!(header_owner(&sealed), Some(*master().fingerprint().as_bytes()));
        assert_eq!(header_owner(&sealed[..OVERHEAD - 1]), None);
        assert_eq!(header_owner(&[]), None);
        assert_eq!(header_owner(&[&b"SKD1"[..], &sealed[4..]].concat()), None);
    }

    #[test]
    fn nothing_is_sealed_without_a_salt() {
        assert!(matches!(seal_root(&master(), &root(), &STORE, &failing), Err(SealError::Random(_))));
        assert!(matches!(seal_canary(&master(), &STORE, &failing), Err(SealError::Random(_))));
    }

    #[test]
    fn a_seal_made_twice_differs() {
        assert_ne!(sealed_version(), sealed_version());
    }
}
