//! The five kinds of key, each a type of its own over 32 locked bytes, so that none can stand where another is meant.
//!
//! Must never be cloned, shown or handed out: the bytes are seen inside this room alone, and only as long as one call.
//! Called by operations, which holds keys and passes them back to this room, and by nobody as bytes.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use subtle::ConstantTimeEq as _;

use crate::custody::id::{Fingerprint, RootId, VersionId};
use crate::custody::primitives::{self, with_clean_stack};
use crate::custody::random::{Random, RandomUnavailable};
use crate::custody::{labels, master_text};
use crate::sys::locked::{LockedBuffer, LockedMemoryError, Secret};

pub use crate::sys::locked::LockedMemory;

pub use crate::custody::master_text::{BASE64_CHARACTERS, HEX_CHARACTERS, Malformed};

/// Why there is no key. No variant holds a byte of one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not a master key, or is one that nobody should use.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The random source failed.
    #[error("a new key needs random bytes")]
    Random(#[from] RandomUnavailable),
    /// There is no locked memory to hold it.
    #[error("a key needs locked memory")]
    Memory(#[from] LockedMemoryError),
    /// The buffer that the key's text was to be written to is too small.
    #[error("the text of a key needs {needed} bytes of room")]
    NoRoom {
        /// Bytes that are needed.
        needed: usize,
    },
}

/// The operator's key. It seals the root and the canary, and is only ever the input of a derivation.
pub struct MasterKey {
    secret: Secret,
    fingerprint: Fingerprint,
}

/// The key that seals all others but the master key. A new one is made at the end of each rotation.
pub struct RootKey {
    secret: Secret,
    id: RootId,
}

/// The key of clients' canaries, made with the store and never changed.
pub struct IdentityKey {
    secret: Secret,
}

/// A former master key, kept to open what ServOS sealed under it before there was a daemon.
pub struct LegacyKey {
    secret: Secret,
    fingerprint: Fingerprint,
}

/// One version of a data key: components' messages are sealed under it.
pub struct VersionKey {
    secret: Secret,
    id: VersionId,
}

impl MasterKey {
    /// Reads a master key as operators write it: 64 hex digits, or 44 characters of standard base64 with its padding.
    ///
    /// The length alone decides which. The text is decoded into locked memory directly; the caller holds it in locked
    /// memory too, and has taken off what its source adds (a line end, quotes).
    ///
    /// # Errors
    /// [`KeyError::Malformed`] says what is wrong with the text, without showing any of it, and refuses 32 bytes that
    /// are all printable ASCII or all equal; [`KeyError::Memory`].
    pub fn parse(text: &[u8], memory: &LockedMemory) -> Result<Self, KeyError> {
        with_clean_stack(|| {
            memory.secret(|key| master_text::decode(text, key).map_err(KeyError::from)).map(Self::from_secret)
        })
    }

    /// A new random master key, such as [`MasterKey::parse`] would take.
    ///
    /// # Errors
    /// [`KeyError::Random`], [`KeyError::Memory`]; [`KeyError::Malformed`] from a source whose bytes are plainly not
    /// random.
    pub fn generate(memory: &LockedMemory, random: &Random) -> Result<Self, KeyError> {
        let fill = |key: &mut [u8; 32]| {
            random(key)?;
            master_text::judge(key).map_err(KeyError::from)
        };
        with_clean_stack(|| memory.secret(fill).map(Self::from_secret))
    }

    /// How people compare master keys: derived from the key, and public.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A copy of this key as a legacy key, to open what ServOS sealed under it directly.
    ///
    /// # Errors
    /// [`KeyError::Memory`].
    pub fn as_legacy(&self, memory: &LockedMemory) -> Result<LegacyKey, KeyError> {
        let copy_to = |copy: &mut [u8; 32]| {
            copy.copy_from_slice(self.expose_key());
            Ok(())
        };
        let secret = with_clean_stack(|| memory.secret::<KeyError>(copy_to))?;
        Ok(LegacyKey { secret, fingerprint: self.fingerprint })
    }

    /// Appends the key as 64 lower-case hex digits, without a line end.
    ///
    /// # Errors
    /// [`KeyError::NoRoom`]; the buffer is then as it was.
    pub fn write_hex(&self, to: &mut LockedBuffer) -> Result<(), KeyError> {
        let room = room_for(HEX_CHARACTERS, to)?;
        with_clean_stack(|| base16ct::lower::encode(self.expose_key(), room).map(|_| ()))
            .map_err(|_| KeyError::NoRoom { needed: HEX_CHARACTERS })?;
        to.advance(HEX_CHARACTERS);
        Ok(())
    }

    /// Appends the key as 64 hex digits, those beyond 9 in upper case, without a line end.
    ///
    /// # Errors
    /// [`KeyError::NoRoom`]; the buffer is then as it was.
    pub fn write_upper_hex(&self, to: &mut LockedBuffer) -> Result<(), KeyError> {
        let room = room_for(HEX_CHARACTERS, to)?;
        with_clean_stack(|| base16ct::upper::encode(self.expose_key(), room).map(|_| ()))
            .map_err(|_| KeyError::NoRoom { needed: HEX_CHARACTERS })?;
        to.advance(HEX_CHARACTERS);
        Ok(())
    }

    /// Appends the key as 44 characters of standard base64, without a line end.
    ///
    /// # Errors
    /// [`KeyError::NoRoom`]; the buffer is then as it was.
    pub fn write_base64(&self, to: &mut LockedBuffer) -> Result<(), KeyError> {
        let room = room_for(BASE64_CHARACTERS, to)?;
        with_clean_stack(|| Base64::encode(self.expose_key(), room).map(|_| ()))
            .map_err(|_| KeyError::NoRoom { needed: BASE64_CHARACTERS })?;
        to.advance(BASE64_CHARACTERS);
        Ok(())
    }

    /// Whether both are the same key, in time that does not depend on where they differ.
    pub fn same_as(&self, other: &Self) -> bool {
        with_clean_stack(|| self.expose_key().ct_eq(other.expose_key()).into())
    }

    pub(super) fn from_secret(secret: Secret) -> Self {
        let fingerprint = fingerprint_of(&secret);
        Self { secret, fingerprint }
    }

    pub(super) fn expose_key(&self) -> &[u8; 32] {
        self.secret.expose_bytes()
    }
}

impl RootKey {
    /// A new random root key.
    ///
    /// # Errors
    /// [`KeyError::Random`], [`KeyError::Memory`].
    pub fn generate(memory: &LockedMemory, random: &Random) -> Result<Self, KeyError> {
        Ok(Self::from_secret(generate(memory, random)?))
    }

    /// Which root this is: derived from the key, and public.
    pub fn id(&self) -> RootId {
        self.id
    }

    pub(super) fn from_secret(secret: Secret) -> Self {
        let mut id = [0; 32];
        with_clean_stack(|| primitives::expand(secret.expose_bytes(), &[labels::ROOT_ID], &mut id));
        Self { secret, id: RootId::from_bytes(id) }
    }

    pub(super) fn expose_key(&self) -> &[u8; 32] {
        self.secret.expose_bytes()
    }
}

impl IdentityKey {
    /// A new random identity.
    ///
    /// # Errors
    /// [`KeyError::Random`], [`KeyError::Memory`].
    pub fn generate(memory: &LockedMemory, random: &Random) -> Result<Self, KeyError> {
        Ok(Self::from_secret(generate(memory, random)?))
    }

    pub(super) fn from_secret(secret: Secret) -> Self {
        Self { secret }
    }

    pub(super) fn expose_key(&self) -> &[u8; 32] {
        self.secret.expose_bytes()
    }
}

impl LegacyKey {
    /// The fingerprint it had as a master key; its record is named for it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn from_secret(secret: Secret) -> Self {
        let fingerprint = fingerprint_of(&secret);
        Self { secret, fingerprint }
    }

    pub(super) fn expose_key(&self) -> &[u8; 32] {
        self.secret.expose_bytes()
    }
}

impl VersionKey {
    /// A new random version with a new random id.
    ///
    /// # Errors
    /// [`KeyError::Random`], [`KeyError::Memory`].
    pub fn generate(memory: &LockedMemory, random: &Random) -> Result<Self, KeyError> {
        let id = VersionId::generate(random)?;
        Ok(Self::from_secret(generate(memory, random)?, id))
    }

    /// The id that stands in the header of every message sealed under it.
    pub fn id(&self) -> VersionId {
        self.id
    }

    pub(super) fn from_secret(secret: Secret, id: VersionId) -> Self {
        Self { secret, id }
    }

    pub(super) fn expose_key(&self) -> &[u8; 32] {
        self.secret.expose_bytes()
    }
}

fn generate(memory: &LockedMemory, random: &Random) -> Result<Secret, KeyError> {
    with_clean_stack(|| memory.secret(|key| random(key).map_err(KeyError::from)))
}

fn fingerprint_of(secret: &Secret) -> Fingerprint {
    let mut fingerprint = [0; 8];
    with_clean_stack(|| primitives::expand(secret.expose_bytes(), &[labels::MASTER_FINGERPRINT], &mut fingerprint));
    Fingerprint::from_bytes(fingerprint)
}

fn room_for(needed: usize, buffer: &mut LockedBuffer) -> Result<&mut [u8], KeyError> {
    buffer.expose_spare_mut().get_mut(..needed).ok_or(KeyError::NoRoom { needed })
}

macro_rules! debug_shows_no_key {
    ($($name:ident $(. $public:ident)?),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($public), &self.$public))?.finish_non_exhaustive()
            }
        }
    )*};
}
debug_shows_no_key!(MasterKey.fingerprint, RootKey.id, IdentityKey, LegacyKey.fingerprint, VersionKey.id);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::fixtures::{self, failing, giving, master_key, memory, random, root_key};

    #[test]
    fn fingerprint_and_root_id_are_those_of_the_vectors() {
        let vectors = fixtures::store();
        assert_eq!(*master_key(&vectors.master_key.0).fingerprint().as_bytes(), vectors.fingerprint.0);
        assert_eq!(*root_key(&vectors.root_key.0).id().as_bytes(), vectors.root_id.0);
    }

    #[test]
    fn a_key_is_parsed_from_what_it_writes() {
        let key = MasterKey::generate(&memory(), &random).unwrap();
        let mut text = memory().buffer(HEX_CHARACTERS + BASE64_CHARACTERS).unwrap();
        key.write_hex(&mut text).unwrap();
        key.write_base64(&mut text).unwrap();
        let (hex, base64) = text.expose_bytes().split_at(HEX_CHARACTERS);
        for spelling in [hex, hex.to_ascii_uppercase().as_slice(), base64] {
            let parsed = MasterKey::parse(spelling, &memory()).unwrap();
            assert!(parsed.same_as(&key));
            assert_eq!(parsed.fingerprint(), key.fingerprint());
        }
    }

    #[test]
    fn a_buffer_without_room_is_refused_and_stays_as_it_was() {
        let key = MasterKey::generate(&memory(), &random).unwrap();
        let mut text = memory().buffer(BASE64_CHARACTERS - 1).unwrap();
        assert!(matches!(key.write_hex(&mut text), Err(KeyError::NoRoom { needed: 64 })));
        assert!(matches!(key.write_base64(&mut text), Err(KeyError::NoRoom { needed: 44 })));
        assert!(text.is_empty());
    }

    #[test]
    fn keys_that_differ_in_one_bit_are_not_the_same() {
        let key = master_key(&[0x5a; 32]);
        for differing in fixtures::with_each_bit_flipped(&[0x5a; 32]) {
            assert!(!key.same_as(&master_key(&differing)));
        }
        assert!(key.same_as(&master_key(&[0x5a; 32])));
    }

    #[test]
    fn a_legacy_copy_has_the_key_and_fingerprint_of_its_master() {
        let key = MasterKey::generate(&memory(), &random).unwrap();
        let legacy = key.as_legacy(&memory()).unwrap();
        assert_eq!(legacy.fingerprint(), key.fingerprint());
        assert_eq!(legacy.expose_key(), key.expose_key());
    }

    #[test]
    fn no_key_is_made_without_randomness() {
        assert!(matches!(MasterKey::generate(&memory(), &failing), Err(KeyError::Random(_))));
        assert!(matches!(RootKey::generate(&memory(), &failing), Err(KeyError::Random(_))));
        assert!(matches!(IdentityKey::generate(&memory(), &failing), Err(KeyError::Random(_))));
        assert!(matches!(VersionKey::generate(&memory(), &failing), Err(KeyError::Random(_))));
    }

    #[test]
    fn no_key_is_made_while_the_kernel_refuses_randomness() {
        let memory = memory();
        fixtures::without_getrandom(|| {
            assert!(matches!(MasterKey::generate(&memory, &random), Err(KeyError::Random(_))));
            assert!(matches!(RootKey::generate(&memory, &random), Err(KeyError::Random(_))));
            assert!(matches!(IdentityKey::generate(&memory, &random), Err(KeyError::Random(_))));
            assert!(matches!(VersionKey::generate(&memory, &random), Err(KeyError::Random(_))));
        });
        assert!(VersionKey::generate(&memory, &random).is_ok());
    }

    #[test]
    fn no_master_key_is_made_that_could_not_be_read_again() {
        let stuck = giving([0; 32]);
        assert!(matches!(MasterKey::generate(&memory(), &stuck), Err(KeyError::Malformed(Malformed::AllEqual))));
    }

    #[test]
    fn two_generated_keys_differ_in_key_and_id() {
        let version = || VersionKey::generate(&memory(), &random).unwrap();
        let (one, two) = (version(), version());
        assert_ne!(one.id(), two.id());
        assert_ne!(one.expose_key(), two.expose_key());
    }

    #[test]
    fn debug_shows_public_names_and_no_key() {
        let master = master_key(&[0x11; 32]);
        assert_eq!(format!("{master:?}"), format!("MasterKey {{ fingerprint: {}, .. }}", master.fingerprint()));
        assert_eq!(format!("{:?}", fixtures::identity_key(&[0x11; 32])), "IdentityKey { .. }");
        let version = fixtures::version_key(&[0x11; 32], [0xab; 8]);
        assert_eq!(format!("{version:?}"), "VersionKey { id: abababababababab, .. }");
    }
}
