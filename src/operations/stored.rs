//! Records of a snapshot, decoded: one that is missing or says nothing is damage.
//!
//! Must never take a record of a newer schema for a damaged one, nor believe what it decodes.
//! Called by whoever reads records: of a store at a start, of a backup, in a check; and by `rotation` for the record `master`.

use super::start_failure::StartFailure;
use crate::store::port::Snapshot;
use crate::store::record::{self, Record, RecordError};

pub(super) fn damaged(what: impl Into<String>) -> StartFailure {
    StartFailure::Damaged(what.into())
}

pub(super) fn required<T: Record>(snapshot: &Snapshot, name: &str) -> Result<T, StartFailure> {
    let bytes = snapshot.records.get(name).ok_or_else(|| damaged(format!("record {name} is missing")))?;
    decode(name, bytes)
}

pub(super) fn decode<T: Record>(name: &str, bytes: &[u8]) -> Result<T, StartFailure> {
    record::decode(name, bytes).map_err(|error| match error {
        RecordError::NewerSchema { .. } => StartFailure::NewerSchema(error.to_string()),
        RecordError::Malformed { .. } => damaged(error.to_string()),
    })
}
