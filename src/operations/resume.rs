//! What broke off before a start, finished after it: versions that wait for a backup, keys that are half deleted.
//!
//! Must never keep the daemon from serving: it is a job of the writer's, and a failure is only logged.
//! Called by `cli`, which hands it to the writer before the first call.

use super::ledger::Ledger;
use super::{delete_key, promotion};
use crate::telemetry::chain::chain;
use crate::telemetry::events;

/// Finishes promotions and deletions, as far as they can be: what cannot is logged, and waits for the next call or start.
pub fn resume(ledger: &mut Ledger) {
    // The end of a rotation promotes whatever waits, with one backup for all.
    let waiting = if ledger.no_rotation().is_ok() { promotion::waiting(ledger) } else { Vec::new() };
    for key in waiting {
        if let Err(refusal) = promotion::promote(ledger, key) {
            tracing::warn!(event = events::RESUME_FAILED, %key, error = %chain(&refusal), "a new version still waits");
        }
    }
    for key in delete_key::deleted(ledger) {
        if let Err(refusal) = delete_key::disable_versions(ledger, key) {
            tracing::warn!(event = events::RESUME_FAILED, %key, error = %chain(&refusal), "a deletion is still to be finished");
        }
    }
}
