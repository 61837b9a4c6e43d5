//! What lies in the store's place when a backup is to be restored: judged without changing a byte of it.
//!
//! Must never let a whole store of another installation be moved, nor take what only says so itself for whole.
//! Called by `known`.

use super::super::start_failure::StartFailure;
use super::super::{claim, load, mark_check};
use super::missing::Comparison;
use super::proof::Proven;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::port::{Snapshot, StoreError};
use crate::store::record;
use crate::store::redb_adapter;
use crate::telemetry::chain::chain;
use std::path::Path;

/// What lies in the store's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InPlace {
    /// Nothing.
    Nothing,
    /// A store of the same id that the key opens whole.
    Whole {
        /// Its generation.
        generation: u64,
        /// Versions of the backup that it does not name.
        lacks: usize,
        /// It is what a restore of this very backup made, and nothing was changed since.
        is_this_backup: bool,
    },
    /// Something that the key does not open, or not whole.
    Unusable {
        /// Why.
        problem: String,
        /// The generation it says it is of, if it can be read.
        generation: Option<u64>,
        /// Whether its records could not be read as those of a whole file.
        is_damaged: bool,
    },
}

impl InPlace {
    /// The generation it is of, or says it is of.
    pub(super) fn generation(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Whole { generation, .. } => Some(*generation),
            Self::Unusable { generation, .. } => mark_check::credible(*generation),
        }
    }
}

/// Looks at what lies at `path`; `keys` are those that may open it. What it names is compared with the backup.
///
/// # Errors
/// [`StartFailure::OtherStore`]; [`StartFailure::Store`] if it cannot be told what is there.
pub(super) fn look(
    path: &Path,
    proven: &Proven,
    keys: Vec<MasterKey>,
    memory: &LockedMemory,
    comparison: &mut Comparison,
) -> Result<InPlace, StartFailure> {
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(InPlace::Nothing),
        found => found.map_err(|error| StoreError::from_io(path, error))?,
    };
    let unusable = |problem: String, generation, is_damaged| InPlace::Unusable { problem, generation, is_damaged };
    let snapshot = match redb_adapter::view(path) {
        Ok(snapshot) => snapshot,
        Err(error @ StoreError::NotPermitted { .. }) if !found.is_symlink() => return Err(error.into()),
        Err(error) => {
            let is_damaged = matches!(error, StoreError::Damaged { .. } | StoreError::Unavailable { .. });
            return Ok(unusable(chain(&error).to_string(), None, is_damaged));
        }
    };
    let claimed = match claim::claim(&snapshot) {
        Ok(claimed) => claimed,
        Err(failure) => return Ok(unusable(in_short(failure), Some(snapshot.generation), false)),
    };
    if claimed.store_id != proven.store_id {
        return Err(StartFailure::OtherStore {
            path: path.to_owned(),
            found: claimed.store_id.to_string(),
            wanted: proven.store_id.to_string(),
        });
    }
    comparison.see(path, &snapshot.records);
    let generation = snapshot.generation;
    let mut problem = String::new();
    for key in keys {
        match opened(&snapshot, key, memory) {
            Ok(()) => {
                let (lacks, is_this_backup) =
                    (comparison.lacking_in(&snapshot.records), is_restored(&snapshot, proven));
                return Ok(InPlace::Whole { generation, lacks, is_this_backup });
            }
            Err(failure) => problem = in_short(failure),
        }
    }
    Ok(unusable(problem, Some(generation), false))
}

fn opened(snapshot: &Snapshot, key: MasterKey, memory: &LockedMemory) -> Result<(), StartFailure> {
    load::open(load::authenticate(snapshot.clone(), key, memory)?, memory).map(drop)
}

/// Whether an authentic store holds exactly what a restore of this backup made.
fn is_restored(snapshot: &Snapshot, proven: &Proven) -> bool {
    let meta = snapshot.records.get(record::META);
    let meta = meta.and_then(|bytes| record::decode::<record::Meta>(record::META, bytes).ok());
    let from_here = meta
        .and_then(|meta| meta.gaps.last().copied())
        .is_some_and(|gap| gap.from == proven.generation && gap.to == snapshot.generation);
    let rest = |snapshot: &Snapshot| {
        let mut records = snapshot.records.clone();
        records.retain(|name, _| name != record::META && name != record::MAC);
        records
    };
    from_here && rest(snapshot) == rest(&proven.snapshot)
}

/// What is wrong, without what a start that met it would advise.
fn in_short(failure: StartFailure) -> String {
    match failure {
        StartFailure::Damaged(detail) => format!("the store is damaged: {detail}"),
        StartFailure::NewerSchema(what) => format!("it was written by a newer servos-keyd ({what})"),
        StartFailure::WrongKey { expected, .. } => {
            format!("the key does not open it: it says it was sealed under master key {expected}")
        }
        failure => chain(&failure).to_string(),
    }
}
