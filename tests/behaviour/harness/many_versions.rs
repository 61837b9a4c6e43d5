//! A store of many versions in an installation's place, made by what the benches use.
//!
//! Must never be used where a few versions would do.
//! Used by tests of the bounds on memory.

#[path = "../../bench/many_versions.rs"]
mod filled;

use super::Installation;
use servos_keyd::custody::keys::{LockedMemory, MasterKey};
use servos_keyd::operations::ledger::Places;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What the maker calls.
mod installation {
    use servos_keyd::custody::random::RandomUnavailable;

    pub fn random(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        servos_keyd::sys::random::fill(bytes).map_err(|_| RandomUnavailable)
    }
}

/// Puts a store with so many keys and versions into the place of one that was just made.
pub fn fill_with_versions(place: &Installation, keys: usize, versions: usize) {
    let memory = LockedMemory::new().unwrap();
    let master = MasterKey::parse(super::hex(&place.key).as_bytes(), &memory).unwrap();
    let places =
        Places { store: place.store(), mark: place.mark(), backups: place.path("backup"), keep: 1, keep_for: 0 };
    filled::fill(&places, &master, &memory, keys, versions, 1_800_000_000).unwrap();
}
