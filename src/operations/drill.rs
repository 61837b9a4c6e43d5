//! A drill that succeeded: a copy of the master key, or a backup with one, was tried. As the store keeps it.
//!
//! Must never keep one of a key that no longer opens the store.
//! Called by `load` and `commit`, which read the drills of a store, by `record_drill`, and by `due`, which judges them.

use crate::custody::id::Fingerprint;
use crate::store::record;

/// What a drill tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrillKind {
    /// A copy of the master key.
    Key,
    /// A backup, with a copy of the master key.
    Restore,
}

/// A drill that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drill {
    /// What it tried.
    pub kind: DrillKind,
    /// The master key whose copy was tried.
    pub fingerprint: Fingerprint,
    /// When: Unix seconds.
    pub at: i64,
}

/// The drills that a store's record tells of; `record::decode` has let no other through.
pub(super) fn of_records(records: &[record::Drill]) -> Vec<Drill> {
    let drill = |stored: &record::Drill| {
        let kind = match stored.kind() {
            record::DrillKind::Key => DrillKind::Key,
            record::DrillKind::Restore => DrillKind::Restore,
            record::DrillKind::Unspecified => return None,
        };
        Some(Drill { kind, fingerprint: Fingerprint::from_slice(&stored.fingerprint)?, at: stored.at })
    };
    records.iter().filter_map(drill).collect()
}

/// What a store's record tells of when one more drill is known: the last of each kind and key, of the keys that open
/// it.
pub(super) fn with(known: &[Drill], new: Drill, opens: &[Fingerprint]) -> Vec<record::Drill> {
    let stays = |drill: &&Drill| {
        opens.contains(&drill.fingerprint) && (drill.kind, drill.fingerprint) != (new.kind, new.fingerprint)
    };
    let stored = |drill: &Drill| record::Drill {
        kind: match drill.kind {
            DrillKind::Key => record::DrillKind::Key.into(),
            DrillKind::Restore => record::DrillKind::Restore.into(),
        },
        fingerprint: drill.fingerprint.as_bytes().to_vec(),
        at: drill.at,
    };
    known.iter().filter(stays).chain([&new]).map(stored).collect()
}
