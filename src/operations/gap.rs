//! The gap that a store is moved over when it may not be the newest: what it writes of the generations it skips.
//!
//! Must never let the store use a generation that may have been seen, nor an export of the lost time pass for new.
//! Called by `restore` and `accept`.

use super::batch_digests::apply;
use super::load::Authentic;
use super::start_failure::StartFailure;
use super::stored;
use crate::custody::snapshot;
use crate::store::port::Batch;
use crate::store::record;

/// What takes a store to generation `to`, with its MAC: those between are never this store's, so no client's canary of
/// the lost time opens.
///
/// # Errors
/// [`StartFailure::Damaged`], [`StartFailure::NewerSchema`].
pub(super) fn batch(authentic: &Authentic, to: u64) -> Result<Batch, StartFailure> {
    let bytes =
        authentic.snapshot.records.get(record::META).ok_or_else(|| stored::damaged("record meta is missing"))?;
    let mut meta: record::Meta = stored::decode(record::META, bytes)?;
    meta.gaps.push(record::Gap { from: authentic.snapshot.generation, to });
    // Exports that components hold may be of the lost time: they need a new one.
    meta.keyring = to;
    let mut batch = Batch::default();
    batch.puts.insert(record::META.to_owned(), record::encode(&meta));
    let mut digests = authentic.digests.clone();
    apply(&mut digests, &batch);
    let mac = snapshot::mac(&authentic.root, &authentic.store_id, to, &digests);
    batch.puts.insert(record::MAC.to_owned(), mac.to_vec());
    Ok(batch)
}
