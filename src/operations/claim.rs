//! What a store says of its master keys before anything is believed: its own word, read as hostile input.
//!
//! Must never be taken for more than that: only the root that opens, and the MAC, make it true.
//! Called by `load`, and by whoever must know which keys to look for.

use super::history;
use super::rotation::Rotation;
use super::start_failure::StartFailure;
use super::stored::{damaged, required};
use crate::custody::id::{Fingerprint, StoreId};
use crate::custody::record_seal;
use crate::store::port::Snapshot;
use crate::store::record;

/// What the record `master` says before anything is believed.
pub(super) struct Claimed {
    pub(super) store_id: StoreId,
    pub(super) seals: Vec<record::MasterSeal>,
    /// The keys that the seals name, in their order: the one in use, then the one to come, if a rotation is pending.
    pub(super) owners: Vec<Fingerprint>,
    pub(super) sealed: record::Master,
}

impl Claimed {
    /// The rotation that is under way.
    pub(super) fn rotation(&self) -> Result<Option<Rotation>, StartFailure> {
        Rotation::of(&self.sealed)
    }
}

/// Reads `master` and `canary` as hostile input, and holds them to naming the same keys.
pub(super) fn claim(snapshot: &Snapshot) -> Result<Claimed, StartFailure> {
    let claimed = claim_of_master(snapshot)?;
    let canary: record::Canary = required(snapshot, record::CANARY)?;
    let canaries: Vec<Fingerprint> = canary.seals.iter().map(|seal| owner(seal)).collect::<Result<_, _>>()?;
    if canaries.len() != claimed.owners.len() || !canaries.iter().all(|c| claimed.owners.contains(c)) {
        return Err(damaged("root and canary are sealed under different master keys"));
    }
    Ok(claimed)
}

/// The same without the canary, which salvage can do without: the root proves the key.
pub(super) fn claim_of_master(snapshot: &Snapshot) -> Result<Claimed, StartFailure> {
    let sealed: record::Master = required(snapshot, record::MASTER)?;
    let store_id = StoreId::from_slice(&sealed.store_id).ok_or_else(|| damaged("its id is malformed"))?;
    let seals: Vec<record::MasterSeal> = sealed.current.iter().chain(&sealed.pending).cloned().collect();
    let owners: Vec<Fingerprint> = seals.iter().map(|seal| owner(&seal.root)).collect::<Result<_, _>>()?;
    if owners.is_empty() {
        return Err(damaged("it holds no root"));
    }
    Ok(Claimed { store_id, seals, owners, sealed })
}

/// The master key that a seal names.
pub(super) fn owner(seal: &[u8]) -> Result<Fingerprint, StartFailure> {
    record_seal::header_owner(seal).map(Fingerprint::from_bytes).ok_or_else(|| damaged("a seal is malformed"))
}

/// The refusal of a key that no seal names.
pub(super) fn wrong_key(
    seals: &[record::MasterSeal],
    owners: &[Fingerprint],
    given: Fingerprint,
    snapshot: &Snapshot,
) -> StartFailure {
    let since = seals.first().map_or(0, |seal| seal.since);
    StartFailure::WrongKey {
        expected: owners.first().map(ToString::to_string).unwrap_or_default(),
        to_come: owners.get(1).copied(),
        since: super::rfc3339(since),
        given,
        past: history::claimed_past(snapshot, given),
    }
}

/// Why a root does not open with the key that its seal names; another seal of it may.
pub(super) fn unopened_root(owners: &[Fingerprint], given: Fingerprint) -> String {
    match owners.iter().find(|owner| **owner != given) {
        None => "the root does not open".to_owned(),
        Some(other) => format!(
            "the root does not open with {given}; a rotation was pending, and there is another seal of it, for {other}"
        ),
    }
}
