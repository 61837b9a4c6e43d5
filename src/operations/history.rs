//! The history: the fingerprint of every master key that ever opened something here.
//!
//! Must never forget a fingerprint: a key that was given up must be known as such when it comes again.
//! Called by the operations that begin or end the use of a master key.

use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use crate::custody::id::Fingerprint;
use crate::store::record;

impl Ledger {
    /// Adds to a change that a master key was used here.
    ///
    /// # Errors
    /// [`Refusal::Store`], [`Refusal::Damaged`].
    pub(super) fn note_in_history(
        &mut self,
        change: &mut Change,
        fingerprint: Fingerprint,
        kind: record::HistoryKind,
    ) -> Result<(), Refusal> {
        let mut part = self.newest_part();
        let mut history = match self.store.read(&record::history(part))? {
            Some(bytes) => record::decode::<record::History>(&record::history(part), &bytes)
                .map_err(|error| Refusal::Damaged(error.to_string()))?,
            None => record::History::default(),
        };
        if history.entries.len() >= record::MAX_HISTORY_ENTRIES {
            part = part.saturating_add(1);
            history = record::History::default();
        }
        history.entries.push(record::HistoryEntry {
            fingerprint: fingerprint.as_bytes().to_vec(),
            at: (self.engine.clock)(),
            kind: kind.into(),
        });
        change.put((record::history(part), record::encode(&history)));
        Ok(())
    }

    /// The number of the part that is written to: the highest that is there.
    fn newest_part(&self) -> u32 {
        let parts = self.digests.keys().filter_map(|name| name.strip_prefix("history/")?.parse().ok());
        parts.max().unwrap_or(0)
    }
}
