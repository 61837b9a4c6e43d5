//! After a panic on the writer's thread: how far the change was that it broke off.
//!
//! Must never let changes go on where memory and store could differ: what was acknowledged must be what is there.
//! Called by `writer`.

use super::ledger::Ledger;
use super::phase::Phase;

/// A panic inside of the few moves between a commit and its publication.
#[derive(Debug, thiserror::Error)]
#[error("a change broke off while memory took it over")]
struct BrokeOff;

/// Puts the ledger in order: a change that was not sent never was; one that was is found out about, now or later. Only in
/// the middle of taking one over is nothing to be told but by a start.
pub(super) fn recover(ledger: &mut Ledger) {
    ledger.resealed = None;
    match ledger.phase {
        Phase::Rest => {}
        Phase::Sent(_) => ledger.broke_off(),
        Phase::Keeping => ledger.suspend(&BrokeOff),
    }
}
