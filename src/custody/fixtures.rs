//! What the room's tests share: the vectors under `tests/vectors` as typed rows, and keys of given bytes.
//!
//! Must never be compiled into the daemon: it makes keys out of known bytes.
//! Called by the unit tests of this room alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::custody::context::Context;
use crate::custody::id::VersionId;
use crate::custody::keys::{IdentityKey, LegacyKey, MasterKey, RootKey, VersionKey};
use crate::custody::random::RandomUnavailable;
use crate::sys::locked::{LockedMemory, LockedMemoryError, Secret};

/// Bytes of any number, in hex.
#[derive(Clone, Debug)]
pub(super) struct Hex(pub(super) Vec<u8>);

/// Exactly N bytes, in hex.
#[derive(Clone, Copy, Debug)]
pub(super) struct HexOf<const N: usize>(pub(super) [u8; N]);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base16ct::lower::decode_vec(text).map(Self).map_err(D::Error::custom)
    }
}

impl<'de, const N: usize> Deserialize<'de> for HexOf<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Hex::deserialize(deserializer)?.0;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom(format!("not {N} bytes")))
    }
}

/// `skd1.json`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Skd1 {
    pub(super) format: String,
    pub(super) messages: Vec<MessageRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageRow {
    pub(super) id: u32,
    pub(super) data_key: HexOf<32>,
    pub(super) version_id: HexOf<8>,
    pub(super) salt: HexOf<32>,
    pub(super) context: BTreeMap<String, String>,
    pub(super) plaintext: Hex,
    pub(super) ciphertext: Hex,
    pub(super) valid: bool,
    #[serde(default)]
    pub(super) why: String,
}

/// `store.json`, but for what other rooms test of it: `backup` and `macs`.
#[derive(Deserialize)]
pub(super) struct Store {
    pub(super) master_key: HexOf<32>,
    pub(super) fingerprint: HexOf<8>,
    pub(super) root_key: HexOf<32>,
    pub(super) root_id: HexOf<32>,
    pub(super) store_id: HexOf<16>,
    pub(super) seals: Vec<SealRow>,
    pub(super) snapshot: SnapshotRow,
    pub(super) client_canary: ClientCanaryRow,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealRow {
    pub(super) name: String,
    pub(super) owner: HexOf<32>,
    pub(super) label: String,
    pub(super) owner_id: HexOf<8>,
    pub(super) salt: HexOf<32>,
    pub(super) context: BTreeMap<String, String>,
    pub(super) secret: Hex,
    pub(super) sealed: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotRow {
    pub(super) generation: u64,
    pub(super) records: BTreeMap<String, Hex>,
    pub(super) mac: HexOf<32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientCanaryRow {
    pub(super) identity: HexOf<32>,
    pub(super) generation: u64,
    pub(super) rotations: u32,
    pub(super) canary: HexOf<64>,
}

/// `legacy.json`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Legacy {
    #[serde(rename = "format")]
    _format: String,
    pub(super) rows: Vec<LegacyRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LegacyRow {
    pub(super) id: u32,
    pub(super) master_key: HexOf<32>,
    pub(super) plaintext: Option<Hex>,
    pub(super) stored: String,
    pub(super) valid: bool,
    #[serde(default)]
    pub(super) why: String,
}

pub(super) fn skd1() -> Skd1 {
    serde_json::from_str(include_str!("../../tests/vectors/skd1.json")).unwrap()
}

pub(super) fn store() -> Store {
    serde_json::from_str(include_str!("../../tests/vectors/store.json")).unwrap()
}

pub(super) fn legacy() -> Legacy {
    serde_json::from_str(include_str!("../../tests/vectors/legacy.json")).unwrap()
}

pub(super) fn context(pairs: &BTreeMap<String, String>) -> Context {
    Context::new(pairs).unwrap()
}

fn secret(memory: &LockedMemory, bytes: &[u8]) -> Secret {
    let fill = |slot: &mut [u8; 32]| {
        slot.copy_from_slice(bytes);
        Ok::<(), LockedMemoryError>(())
    };
    memory.secret(fill).unwrap()
}

pub(super) fn memory() -> LockedMemory {
    LockedMemory::new().unwrap()
}

pub(super) fn master_key(bytes: &[u8]) -> MasterKey {
    MasterKey::from_secret(secret(&memory(), bytes))
}

pub(super) fn root_key(bytes: &[u8]) -> RootKey {
    RootKey::from_secret(secret(&memory(), bytes))
}

pub(super) fn identity_key(bytes: &[u8]) -> IdentityKey {
    IdentityKey::from_secret(secret(&memory(), bytes))
}

pub(super) fn legacy_key(bytes: &[u8]) -> LegacyKey {
    LegacyKey::from_secret(secret(&memory(), bytes))
}

pub(super) fn version_key(bytes: &[u8], id: [u8; 8]) -> VersionKey {
    VersionKey::from_secret(secret(&memory(), bytes), VersionId::from_bytes(id))
}

/// The kernel's random numbers.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    Ok(crate::sys::random::fill(bytes)?)
}

/// Runs `work` where the kernel refuses them: [`random`] fails there.
pub(super) fn without_getrandom<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    crate::sys::random::tests::without_getrandom(work)
}

/// A source that gives these bytes, as the vectors were made.
pub(super) fn giving<const N: usize>(
    given: [u8; N],
) -> impl Fn(&mut [u8]) -> Result<(), RandomUnavailable> + Send + Sync {
    move |bytes| {
        bytes.copy_from_slice(&given);
        Ok(())
    }
}

/// A source that fails after it has filled everything.
pub(super) fn failing(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    bytes.fill(0xee);
    Err(RandomUnavailable)
}

/// Every value that differs from `value` in one bit.
pub(super) fn with_each_bit_flipped(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..value.len() * 8).map(|bit| {
        let mut flipped = value.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}
