//! A change whose outcome is not known: whether it is there, the store is asked until it shows.
//!
//! Must never go on from what the store shows unless this ledger wrote exactly that.
//! Called by `commit` when the store reported a failure, by `ledger_trouble` as time passes, and by the writer after a panic.

use super::batch_digests::revert;
use super::ledger::Ledger;
use super::load;
use super::phase::Phase;
use super::refusal::Refusal;
use crate::custody::keys::RootKey;
use crate::custody::snapshot;
use crate::store::port::{Batch, Snapshot, StoreError};
use crate::store::record;
use crate::telemetry::events;

/// What became of a change.
pub(super) enum Settled {
    /// It is durable, and published.
    Kept,
    /// It is not in the store.
    Dropped,
    /// That cannot be told yet, for this reason.
    Unknown(StoreError),
    /// The store shows what this ledger never wrote: no further change until a restart.
    Conflict(StoreError),
}

impl Ledger {
    /// Whether the outcome of a change is still to be found out.
    pub(super) fn is_unsettled(&self) -> bool {
        matches!(self.phase, Phase::Sent(_))
    }

    /// Refuses what cannot be told while the outcome of a change is not known.
    ///
    /// # Errors
    /// [`Refusal::Unsettled`].
    pub(super) fn settled(&self) -> Result<(), Refusal> {
        if self.is_unsettled() { Err(self.unsettled_refusal()) } else { Ok(()) }
    }

    /// Refuses every change that cannot be made now, whatever it is.
    ///
    /// # Errors
    /// [`Refusal::Suspended`], [`Refusal::Unsettled`], [`Refusal::Damaged`].
    pub(super) fn changes_possible(&self) -> Result<(), Refusal> {
        if self.suspended {
            return Err(Refusal::Suspended);
        }
        self.settled()?;
        self.refuse_damage()
    }

    /// Finds out whether the change that was sent is in the store. What is shown is not yet kept: after a failed sync the
    /// kernel shows what the disk may never get. So everything is written anew then, into a new file, and that is what
    /// counts. That too can fail after it is shown: the change is then there under a higher generation.
    pub(super) fn settle(&mut self) -> Settled {
        let found = match self.store.load() {
            Ok(found) => found,
            Err(cause) => return Settled::Unknown(cause),
        };
        let Phase::Sent(sent) = &mut self.phase else { return Settled::Dropped };
        if found.generation == self.generation {
            revert(&mut self.digests, &sent.undo);
            self.phase = Phase::Rest;
            return match self.contradiction(&found) {
                Some(conflict) => self.conflict(conflict),
                None => Settled::Dropped,
            };
        }
        if !(sent.next..=sent.highest).contains(&found.generation) || !self.shows_what_was_sent(&found) {
            let (expected, found) = (self.generation, found.generation);
            return self.conflict(StoreError::Conflict { expected, found });
        }
        let after = found.generation.saturating_add(1);
        if let Phase::Sent(sent) = &mut self.phase {
            sent.highest = sent.highest.max(after);
        }
        let mut batch = Batch::default();
        batch.puts.insert(record::MAC.to_owned(), self.mac_after(after).to_vec());
        match self.store.commit_rewriting(found, after, &batch) {
            Ok(()) => {
                self.keep(after);
                Settled::Kept
            }
            Err(cause) => Settled::Unknown(cause),
        }
    }

    /// Whether a snapshot is the state after the change that was sent, and its MAC is ours.
    fn shows_what_was_sent(&self, found: &Snapshot) -> bool {
        let root = self.phase.root().unwrap_or(&self.root);
        self.is_committed(root, found)
    }

    fn is_committed(&self, root: &RootKey, found: &Snapshot) -> bool {
        let mac = found.records.get(record::MAC).map_or(&[][..], Vec::as_slice);
        load::is_of(found.iter(), &self.digests)
            && snapshot::verify(root, &self.store_id, found.generation, &self.digests, mac)
    }

    /// What stands against a snapshot's being what was committed last.
    pub(super) fn contradiction(&self, found: &Snapshot) -> Option<StoreError> {
        if found.generation != self.generation {
            return Some(StoreError::Conflict { expected: self.generation, found: found.generation });
        }
        if self.is_committed(&self.root, found) {
            return None;
        }
        let detail = "its records are not those that were last committed".to_owned();
        Some(StoreError::Damaged { path: self.places.store.clone(), detail })
    }

    /// Only this thread commits, so what the store shows is from somebody else, or damage.
    pub(super) fn conflict(&mut self, found: StoreError) -> Settled {
        self.suspend(&found);
        Settled::Conflict(found)
    }

    /// Says what became of a change that was not known when its call was answered.
    pub(super) fn say_settled(kept: bool) {
        let outcome = if kept { "it is kept" } else { "it was not written" };
        tracing::warn!(
            event = events::STORE_SETTLED,
            kept,
            "the outcome of a change that failed is known now: {outcome}"
        );
    }
}

#[cfg(test)]
#[path = "unsettled_tests.rs"]
mod tests;
