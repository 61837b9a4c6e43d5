//! What a batch does to the digests of a store's records: forwards, and back.
//!
//! Must never leave the digest of a record that the batch changes as it was.
//! Called by `commit` and `unsettled`, and by whoever makes a store's records without a ledger.

use crate::custody::digests::Digests;
use crate::custody::snapshot;
use crate::store::port::Batch;

/// What the digests of records were.
pub(super) type Undo = Vec<(String, Option<[u8; 32]>)>;

/// What the digests of a batch's records are, for [`revert`].
pub(super) fn undo(digests: &Digests, batch: &Batch) -> Undo {
    batch.puts.keys().chain(&batch.deletes).map(|name| (name.clone(), digests.get(name))).collect()
}

/// Brings digests up to a batch.
pub(super) fn apply(digests: &mut Digests, batch: &Batch) {
    for name in &batch.deletes {
        digests.remove(name);
    }
    for (name, value) in &batch.puts {
        digests.insert(name, snapshot::digest(value));
    }
}

/// Brings digests back to what they were before a batch, however much of it they have.
pub(super) fn revert(digests: &mut Digests, undo: &Undo) {
    for (name, before) in undo {
        match before {
            Some(digest) => digests.insert(name, *digest),
            None => digests.remove(name),
        };
    }
}
