//! A store put in the place of another, which is kept: each step durable before the next.
//!
//! Must never move what is there before what comes is whole beside it, nor leave a place where a store would be made.
//! Called by `restore`.

use super::super::ledger::Places;
use super::super::mark_check::GAP;
use super::super::start_failure::StartFailure;
use super::fault;
use crate::store::mark::{self, Mark};
use crate::store::port::Snapshot;
use crate::store::{kept, redb_adapter};
use std::path::{Path, PathBuf};

/// What was there, where it is now.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The time in the names, as `20261123T221500Z`.
    pub stamp: String,
    /// What lay in the store's place.
    pub store: Option<PathBuf>,
    /// The mark as it was.
    pub mark: Option<PathBuf>,
    /// A whole store that an interrupted rewrite had left.
    pub unfinished: Option<PathBuf>,
}

/// Puts `snapshot` in the store's place. `announced` names the state to come behind the one that the mark has; `now` is
/// Unix seconds.
///
/// # Errors
/// [`StartFailure::Store`], [`StartFailure::Mark`]: what was moved is moved back, as far as the disk lets it.
pub(super) fn replace(places: &Places, snapshot: &Snapshot, announced: Mark, now: i64) -> Result<Kept, StartFailure> {
    let unfinished = redb_adapter::unfinished(&places.store);
    let stamp = kept::free_stamp(&[&places.store, &places.mark, &unfinished], &stamp(now));
    let mut kept = Kept { stamp, ..Kept::default() };
    match steps(places, snapshot, announced, &mut kept) {
        Ok(()) => Ok(kept),
        Err(failure) => {
            take_back(places, &kept);
            Err(failure)
        }
    }
}

fn steps(places: &Places, snapshot: &Snapshot, announced: Mark, kept: &mut Kept) -> Result<(), StartFailure> {
    let unfinished = redb_adapter::unfinished(&places.store);
    if is_precious(&unfinished) {
        kept.unfinished = kept::aside(&unfinished, &kept.stamp)?;
    }
    redb_adapter::write_new(&places.store, snapshot)?;
    fault::point("restore-written");
    kept.mark = kept::copy(&places.mark, &kept.stamp)?;
    fault::point("restore-mark-kept");
    mark::write(&places.mark, &announced)?;
    fault::point("restore-announced");
    kept.store = kept::aside(&places.store, &kept.stamp)?;
    fault::point("restore-moved");
    redb_adapter::install(&places.store)?;
    fault::point("restore-installed");
    // The store is in place, and the mark's second line names it: from here on a start completes the rest.
    let _ = mark::write(&places.mark, &Mark { now: announced.to_come, to_come: None });
    fault::point("restore-marked");
    Ok(())
}

/// Whether what a write of a whole store left is one that a rewrite had made: beside a damaged store it may be all there is.
fn is_precious(unfinished: &Path) -> bool {
    // Only a restore that broke off begins at such a generation, and this one does the same again.
    redb_adapter::view(unfinished).is_ok_and(|found| !found.generation.is_multiple_of(GAP))
}

/// Everything as it was. What cannot be moved back stays kept, and the mark or the next restore tells of it.
fn take_back(places: &Places, kept: &Kept) {
    if let Some(store) = &kept.store {
        let _ = kept::back(store, &places.store);
    }
    if let Some(mark) = &kept.mark {
        let _ = kept::back_over(mark, &places.mark);
    }
    let _ = redb_adapter::discard_unfinished(&places.store);
    if let Some(unfinished) = &kept.unfinished {
        let _ = kept::back(unfinished, &redb_adapter::unfinished(&places.store));
    }
}

/// Unix seconds as they stand in names: `20261123T221500Z`.
fn stamp(now: i64) -> String {
    super::super::rfc3339(now).chars().filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn a_time_in_a_name_is_in_order_and_needs_no_quotes() {
        assert_eq!(stamp(1_795_472_100), "20261123T221500Z");
        assert!(stamp(i64::MAX).chars().all(|c| c.is_ascii_alphanumeric()));
    }
}
