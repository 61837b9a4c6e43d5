//! Acceptance: an operator takes the store as it is, where the mark is missing, damaged or ahead of it.
//!
//! Must never take a store that the key does not open whole, nor go on at a generation that was seen before.
//! Called by `cli`, with the directory locked.

use super::ledger::Places;
use super::load::Authentic;
use super::start_failure::StartFailure;
use super::{fault, gap, mark_check};
use crate::store::backup_newer;
use crate::store::mark::{self, Mark};
use crate::store::port::Store;

/// Takes a store at exactly `generation`; answers the generation it goes on at. The caller has opened it whole.
///
/// # Errors
/// [`StartFailure::OtherGeneration`]; [`StartFailure::Store`] and [`StartFailure::Mark`]: the same call goes on.
pub fn accept(
    places: &Places,
    authentic: &Authentic,
    store: &mut dyn Store,
    generation: u64,
) -> Result<u64, StartFailure> {
    let (state, _) = authentic.state();
    if state.generation != generation {
        return Err(StartFailure::OtherGeneration { found: state.generation, told: generation });
    }
    // A damaged mark says nothing; what it had seen is lost, and the gap covers 2^32 generations of it.
    let mark = mark::read(&places.mark).ok().flatten();
    let seen = mark.and_then(|mark| mark.now);
    let newest_backup = backup_newer::newest_generation(&places.backups, &state.store_id)?;
    let next = mark_check::beyond(generation, mark.as_ref(), mark_check::credible(newest_backup));
    let to_come = mark::State { generation: next, ..state };
    let batch = gap::batch(authentic, next)?;
    // Until the commit the store is refused as it was before: served without its gap, it would give out generations that
    // were seen. Without a mark to keep, one that is far ahead does that.
    mark::write(&places.mark, &Mark { now: seen.or(Some(to_come)), to_come: Some(to_come) })?;
    store.commit(generation, next, &batch)?;
    fault::point("commit");
    mark::write(&places.mark, &Mark { now: Some(to_come), to_come: None })?;
    Ok(next)
}
