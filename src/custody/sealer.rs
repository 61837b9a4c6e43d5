//! SKR1 without the kinds of secret: who seals, the one place a seal is made for, and sealing and opening there.
//!
//! Must never let a secret lie on the heap: it goes from locked memory over a wiped stack into its seal, and back.
//! Called by the typed functions of the record seals.

use crate::custody::committing::{self, Fields, OVERHEAD, Owner, Rejected, SALT_BYTES, SKR1, SealError};
use crate::custody::context::Context;
use crate::custody::id::{Fingerprint, KeyId, StoreId, VersionId};
use crate::custody::keys::{MasterKey, RootKey};
use crate::custody::labels;
use crate::custody::primitives::{self, with_clean_stack};
use crate::custody::random::Random;
use crate::sys::locked::{LockedMemory, LockedMemoryError, Secret};
use crate::sys::wipe::Zeroizing;

/// Why a seal gave no secret.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is damaged, of another key, or made for another place.
    #[error("a seal in the store does not open")]
    Rejected(#[from] Rejected),
    /// It opened, and what was in it is not what its place says.
    #[error("a seal in the store holds something else than its record says")]
    Contradiction,
    /// There is no locked memory to hold the secret.
    #[error("a key needs locked memory")]
    Memory(#[from] LockedMemoryError),
}

/// Which key seals, and in which of its uses.
#[derive(Clone, Copy)]
pub(super) enum Sealer<'a> {
    Master(&'a MasterKey),
    Canary(&'a MasterKey),
    Root(&'a RootKey),
}

impl Sealer<'_> {
    fn owner_id(self) -> [u8; 8] {
        match self {
            Self::Master(master) | Self::Canary(master) => *master.fingerprint().as_bytes(),
            Self::Root(root) => root.id().prefix(),
        }
    }

    /// The sealing key, derived for one call.
    fn expose_sealing_key(self) -> Zeroizing<[u8; 32]> {
        let (secret, label) = match self {
            Self::Master(master) => (master.expose_key(), labels::MASTER_SEAL),
            Self::Canary(master) => (master.expose_key(), labels::MASTER_CANARY),
            Self::Root(root) => (root.expose_key(), labels::ROOT_SEAL),
        };
        let mut key = Zeroizing::new([0; 32]);
        primitives::expand(secret, &[label], &mut key);
        key
    }
}

/// The one place in one store that a seal is made for.
pub(super) struct Place<'a> {
    store: &'a StoreId,
    record: String,
    key: String,
    version: String,
    purpose: &'static str,
}

impl<'a> Place<'a> {
    fn new(store: &'a StoreId, record: impl Into<String>, purpose: &'static str) -> Self {
        Self { store, record: record.into(), key: String::new(), version: String::new(), purpose }
    }

    pub(super) fn root(store: &'a StoreId) -> Self {
        Self::new(store, "master", "root")
    }

    pub(super) fn previous_root(store: &'a StoreId) -> Self {
        Self::new(store, "master", "previous-root")
    }

    pub(super) fn canary(store: &'a StoreId) -> Self {
        Self::new(store, "canary", "canary")
    }

    pub(super) fn identity(store: &'a StoreId) -> Self {
        Self::new(store, "identity", "identity")
    }

    pub(super) fn legacy(store: &'a StoreId, fingerprint: Fingerprint) -> Self {
        Self::new(store, format!("legacy/{fingerprint}"), "legacy")
    }

    pub(super) fn version(store: &'a StoreId, key: &KeyId, id: &VersionId, number: u32) -> Self {
        let place = Self::new(store, format!("version/{id}"), "version");
        Self { key: key.to_string(), version: number.to_string(), ..place }
    }

    fn context(&self) -> Context {
        let store = self.store.to_string();
        let pairs: [(&str, &str); 5] = [
            ("key", &self.key),
            ("purpose", self.purpose),
            ("record", &self.record),
            ("store", &store),
            ("version", &self.version),
        ];
        Context::from_sorted(pairs.into_iter())
    }
}

/// Seals a secret for its place.
///
/// # Errors
/// [`SealError::Random`].
pub(super) fn seal<const N: usize>(
    sealer: Sealer<'_>,
    place: &Place<'_>,
    secret: &[u8; N],
    random: &Random,
) -> Result<Vec<u8>, SealError> {
    with_clean_stack(|| {
        let mut salt = [0; SALT_BYTES];
        random(&mut salt)?;
        let key = sealer.expose_sealing_key();
        let owner = Owner { format: SKR1, key: &key, id: sealer.owner_id() };
        // On the stack until it is sealed: no heap ever holds a key in the clear.
        let mut body = Zeroizing::new(*secret);
        let (header, tag) = committing::seal_in_place(&owner, &place.context(), &salt, body.as_mut_slice())?;
        Ok([header.as_slice(), body.as_slice(), &tag].concat())
    })
}

/// Opens into `secret`, which is locked memory or, for the canary, no secret; on an error the caller wipes it.
///
/// # Errors
/// [`OpenError::Rejected`].
pub(super) fn open<const N: usize>(
    sealer: Sealer<'_>,
    place: &Place<'_>,
    sealed: &[u8],
    secret: &mut [u8; N],
) -> Result<(), OpenError> {
    with_clean_stack(|| {
        if sealed.len() != OVERHEAD + N {
            return Err(Rejected::Length.into());
        }
        let fields = Fields::cut(sealed).ok_or(Rejected::Length)?;
        let key = sealer.expose_sealing_key();
        let owner = Owner { format: SKR1, key: &key, id: sealer.owner_id() };
        secret.copy_from_slice(fields.body);
        Ok(committing::open_in_place(&owner, &place.context(), &fields, secret)?)
    })
}

/// Opens a key straight into locked memory.
///
/// # Errors
/// [`OpenError::Rejected`], [`OpenError::Memory`].
pub(super) fn open_secret(
    sealer: Sealer<'_>,
    place: &Place<'_>,
    sealed: &[u8],
    memory: &LockedMemory,
) -> Result<Secret, OpenError> {
    memory.secret(|secret| open(sealer, place, sealed, secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::fixtures::{self, master_key, root_key};

    #[test]
    fn a_place_is_the_context_that_the_vectors_name() {
        let vectors = fixtures::store();
        let store = StoreId::from_bytes(vectors.store_id.0);
        for row in &vectors.seals {
            let of_record = |prefix| row.context["record"].strip_prefix(prefix).unwrap();
            let place = match row.context["purpose"].as_str() {
                "root" => Place::root(&store),
                "previous-root" => Place::previous_root(&store),
                "canary" => Place::canary(&store),
                "identity" => Place::identity(&store),
                "legacy" => Place::legacy(&store, of_record("legacy/").parse().unwrap()),
                _ => {
                    let (key, id) = (row.context["key"].parse().unwrap(), of_record("version/").parse().unwrap());
                    Place::version(&store, &key, &id, row.context["version"].parse().unwrap())
                }
            };
            assert!(place.context() == fixtures::context(&row.context), "{}", row.name);
        }
    }

    #[test]
    fn each_sealer_uses_the_label_that_the_vectors_name() {
        let (master, root) = (master_key(&[0x11; 32]), root_key(&[0x22; 32]));
        for row in fixtures::store().seals {
            let sealer = match row.context["purpose"].as_str() {
                "root" => Sealer::Master(&master),
                "canary" => Sealer::Canary(&master),
                _ => Sealer::Root(&root),
            };
            let secret = if row.name.ends_with("under master") { master.expose_key() } else { root.expose_key() };
            let mut expected = [0; 32];
            primitives::expand(secret, &[row.label.as_bytes()], &mut expected);
            assert_eq!(*sealer.expose_sealing_key(), expected, "{}", row.name);
        }
    }
}
