//! The history: the fingerprint of every master key that ever opened something here.
//!
//! Must never forget a fingerprint: a key that was given up must be known as such when it comes again.
//! Called by the operations that begin or end the use of a master key.

use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use super::start_failure::KeyPast;
use crate::custody::id::Fingerprint;
use crate::store::port::Snapshot;
use crate::store::record::{self, HistoryKind, RecordName};

/// What the history knows a key as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    /// It was the master key, or one before there was a daemon.
    Used,
    /// A rotation to it was aborted, and it was never more.
    Aborted,
}

impl Ledger {
    /// What the history knows a key as; `None` if it knows nothing of it.
    ///
    /// # Errors
    /// [`Refusal::Store`], [`Refusal::Damaged`].
    pub(super) fn known(&mut self, key: Fingerprint) -> Result<Option<Known>, Refusal> {
        let entries = self.history()?;
        let kinds = entries.iter().filter(|entry| entry.fingerprint == key.as_bytes()).map(record::HistoryEntry::kind);
        Ok(kinds.map(|kind| if kind == record::HistoryKind::Aborted { Known::Aborted } else { Known::Used }).min())
    }

    /// The master key that was in use before this one came into use; `None` if the history does not tell.
    ///
    /// # Errors
    /// [`Refusal::Store`], [`Refusal::Damaged`].
    pub(super) fn before(&mut self, key: Fingerprint) -> Result<Option<Fingerprint>, Refusal> {
        let entries = self.history()?;
        let masters: Vec<&record::HistoryEntry> = entries
            .iter()
            .filter(|entry| matches!(entry.kind(), record::HistoryKind::First | record::HistoryKind::Rotated))
            .collect();
        let at = masters.iter().rposition(|entry| entry.fingerprint == key.as_bytes());
        let before = at.and_then(|at| at.checked_sub(1)).and_then(|at| masters.get(at));
        Ok(before.and_then(|entry| Fingerprint::from_slice(&entry.fingerprint)))
    }

    /// Every entry, oldest first.
    fn history(&mut self) -> Result<Vec<record::HistoryEntry>, Refusal> {
        let mut entries = Vec::new();
        for part in 0..=self.newest_part() {
            entries.extend(self.part(part)?.entries);
        }
        Ok(entries)
    }

    fn part(&mut self, part: u32) -> Result<record::History, Refusal> {
        let name = record::history(part);
        match self.read_committed(&name)? {
            Some(bytes) => record::decode(&name, &bytes).map_err(|error| Refusal::Damaged(error.to_string())),
            None => Ok(record::History::default()),
        }
    }

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
        let mut history = self.part(part)?;
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
        let parts = self.digests.names().filter_map(|name| name.strip_prefix("history/")?.parse().ok());
        parts.max().unwrap_or(0)
    }
}

/// What a snapshot says, unverified, that a key which does not open it was here. Its last use counts; being a legacy key
/// besides does not.
pub(super) fn claimed_past(snapshot: &Snapshot, key: Fingerprint) -> Option<KeyPast> {
    let parts =
        snapshot.records.iter().filter(|(name, _)| matches!(RecordName::parse(name), Some(RecordName::History(_))));
    let entries = parts
        .filter_map(|(name, value)| record::decode::<record::History>(name, value).ok())
        .flat_map(|history| history.entries)
        .filter(|entry| entry.fingerprint == key.as_bytes());
    let last = entries.max_by_key(|entry| (entry.kind() != HistoryKind::Legacy, entry.at))?;
    match last.kind() {
        HistoryKind::Unspecified => None,
        HistoryKind::First | HistoryKind::Rotated => Some(KeyPast::Replaced),
        HistoryKind::Aborted => Some(KeyPast::Aborted),
        HistoryKind::Legacy => Some(KeyPast::Legacy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(parts: &[&[(u8, i64, HistoryKind)]]) -> Snapshot {
        let entry = |&(key, at, kind): &(u8, i64, HistoryKind)| record::HistoryEntry {
            fingerprint: vec![key; 8],
            at,
            kind: kind.into(),
        };
        let part = |(number, entries): (usize, &&[(u8, i64, HistoryKind)])| {
            let entries = entries.iter().map(entry).collect();
            let history = record::History { schema: record::SCHEMA, entries };
            (record::history(u32::try_from(number).unwrap()), record::encode(&history))
        };
        Snapshot { generation: 1, records: parts.iter().enumerate().map(part).collect() }
    }

    #[test]
    fn the_last_use_of_a_key_is_its_past_over_all_parts() {
        use HistoryKind::{Aborted, First, Legacy, Rotated};
        let mut snapshot = snapshot(&[
            &[(1, 10, First), (2, 20, Aborted), (3, 20, Aborted), (1, 30, Legacy)],
            &[(3, 30, Rotated), (4, 5, Rotated), (4, 6, Aborted), (5, 1, Legacy)],
        ]);
        for (key, expected) in [
            (1, Some(KeyPast::Replaced)),
            (2, Some(KeyPast::Aborted)),
            (3, Some(KeyPast::Replaced)),
            (4, Some(KeyPast::Aborted)),
            (5, Some(KeyPast::Legacy)),
            (6, None),
        ] {
            assert_eq!(claimed_past(&snapshot, Fingerprint::from_bytes([key; 8])), expected, "{key}");
        }
        snapshot.records.insert(record::history(0), b"not a record".to_vec());
        assert_eq!(claimed_past(&snapshot, Fingerprint::from_bytes([1; 8])), None);
        assert_eq!(claimed_past(&snapshot, Fingerprint::from_bytes([3; 8])), Some(KeyPast::Replaced));
    }
}
