//! After a panic on the writer's thread: is memory still what the store is?
//!
//! Must never let changes go on where the two could differ: what was acknowledged must be what is there.
//! Called by `writer`.

use super::ledger::Ledger;
use super::load;
use crate::custody::snapshot;
use crate::store::record;

/// Whether the job broke off before its commit or after it was published, and not between. The digests are taken from
/// the store, because a commit that broke off leaves its own behind.
pub(super) fn recover(ledger: &mut Ledger) -> bool {
    let Ok(found) = ledger.store.load() else { return false };
    let digests = load::digests(&found);
    let mac = found.records.get(record::MAC).map_or(&[][..], Vec::as_slice);
    let agrees = found.generation == ledger.generation
        && ledger.engine.keyring().generation == ledger.generation
        && snapshot::verify(&ledger.root, &ledger.store_id, ledger.generation, &digests, mac);
    if agrees {
        ledger.digests = digests;
        ledger.resealed = None;
    }
    agrees
}
