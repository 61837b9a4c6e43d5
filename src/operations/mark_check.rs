//! The high-water mark against the store: is this the newest that was acknowledged here?
//!
//! Must never take a store for new because its mark says less than the store does of itself.
//! Called by `cli` at a start, between the MAC and the canary; `accept` and `restore` ask it where to go on.

use super::claim;
use super::start_failure::StartFailure;
use crate::custody::id::{RootId, StoreId};
use crate::store::mark::{Mark, State};
use crate::store::port::Snapshot;
use std::path::Path;

/// Generations that a restored or accepted store skips are counted in these.
pub(super) const GAP: u64 = 1 << 32;

/// Generations that nothing but an authentic store may claim: one that only says so, a damaged store or a backup that no key
/// has opened, must not use up those that are left.
const CREDIBLE: u64 = 1 << 63;

/// A generation that something only says it is of, where it may be believed that far.
pub(super) fn credible(claimed: Option<u64>) -> Option<u64> {
    claimed.filter(|generation| *generation < CREDIBLE)
}

/// Checks an authentic store against its mark; returns the generation of the mark's state that the store fits.
///
/// # Errors
/// [`StartFailure::MarkMissing`], [`StartFailure::MarkRefuses`].
pub fn check(path: &Path, mark: Option<&Mark>, store: &State, previous: Option<RootId>) -> Result<u64, StartFailure> {
    let generation = store.generation;
    let Some(mark) = mark else {
        return Err(StartFailure::MarkMissing { mark: path.to_owned(), generation });
    };
    let mut problem = "it names no state".to_owned();
    for state in mark.to_come.iter().chain(&mark.now) {
        match misfit(state, store, previous) {
            None => return Ok(state.generation),
            Some(what) => problem = what,
        }
    }
    Err(StartFailure::MarkRefuses { mark: path.to_owned(), problem, generation })
}

fn misfit(mark: &State, store: &State, previous: Option<RootId>) -> Option<String> {
    if mark.store_id != store.store_id {
        return Some("it is the mark of another store".to_owned());
    }
    if store.generation < mark.generation {
        let (newest, found) = (mark.generation, store.generation);
        return Some(format!("it has seen generation {newest}, the store is at {found}: this is an older file"));
    }
    let known = mark.root_id == store.root_id || previous.is_some_and(|root| *root.as_bytes() == mark.root_id);
    (!known).then(|| "the store is sealed under another root than the one it names".to_owned())
}

/// What an operator should know who takes a store, or a backup, that is under another root than the mark names.
pub const OF_ANOTHER_ROOT: &str = "its root is not the one that the mark names: it is of before a rotation of the master \
     key was finished or aborted. Whoever had the key that went then, and a copy of the store from while that rotation was \
     pending, can have made or altered it: take it only if you know where it lay all the time";

/// Whether the mark names another root than the store's, which is not the one before it either. No mark names none.
#[must_use]
pub fn names_another_root(mark: Option<&Mark>, store: &State, previous: Option<RootId>) -> bool {
    let named =
        mark.iter().flat_map(|mark| mark.now.iter().chain(&mark.to_come)).filter(|m| m.store_id == store.store_id);
    let mut roots = named.map(|state| state.root_id).peekable();
    let is_known = |root: [u8; 32]| root == store.root_id || previous.is_some_and(|known| *known.as_bytes() == root);
    roots.peek().is_some() && !roots.any(is_known)
}

/// Whether a store says of itself that it is not the one the mark is of: nothing is verified.
#[must_use]
pub fn is_claimed_by_another_store(mark: &Mark, snapshot: &Snapshot) -> bool {
    let is_other =
        |claimed: &StoreId| mark.now.iter().chain(&mark.to_come).all(|state| state.store_id != *claimed.as_bytes());
    claim::claim_of_master(snapshot).is_ok_and(|claim| is_other(&claim.store_id))
}

/// The generation at which a store goes on that was restored, or accepted on purpose: the next multiple of 2^32 above
/// its own, whatever the mark has seen, and the newest backup: the mark may be lost where the backups are not.
#[must_use]
pub fn beyond(own: u64, mark: Option<&Mark>, newest_backup: Option<u64>) -> u64 {
    let seen = mark.map_or(0, |mark| mark.now.iter().chain(&mark.to_come).map(|s| s.generation).max().unwrap_or(0));
    (own.max(seen).max(newest_backup.unwrap_or(0)) / GAP).saturating_add(1).saturating_mul(GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(generation: u64, root: u8) -> State {
        State { store_id: [1; 16], generation, root_id: [root; 32] }
    }

    fn accepts(now: Option<State>, to_come: Option<State>, store: State, previous: Option<u8>) -> bool {
        let previous = previous.map(|root| RootId::from_bytes([root; 32]));
        check(Path::new("mark"), Some(&Mark { now, to_come }), &store, previous).is_ok()
    }

    #[test]
    fn a_store_is_accepted_if_it_is_not_below_the_mark_and_under_its_root_or_the_one_before() {
        assert!(accepts(Some(state(5, 7)), None, state(5, 7), None));
        assert!(accepts(Some(state(5, 7)), None, state(6, 7), None));
        assert!(!accepts(Some(state(5, 7)), None, state(4, 7), None));
        assert!(!accepts(Some(state(5, 7)), None, state(5, 8), None));
        assert!(accepts(Some(state(5, 7)), None, state(5, 8), Some(7)));
        assert!(!accepts(Some(State { store_id: [2; 16], ..state(5, 7) }), None, state(5, 7), None));
    }

    #[test]
    fn either_line_of_an_unfinished_mark_is_accepted() {
        assert!(accepts(None, Some(state(1, 7)), state(1, 7), None));
        assert!(accepts(Some(state(5, 7)), Some(state(GAP, 7)), state(5, 7), None));
        assert!(accepts(Some(state(5, 7)), Some(state(GAP, 7)), state(GAP, 7), None));
        assert!(!accepts(Some(state(5, 7)), Some(state(GAP, 7)), state(4, 7), None));
    }

    #[test]
    fn the_generation_that_is_told_is_that_of_the_line_the_store_fits() {
        let mark = Mark { now: Some(state(5, 7)), to_come: Some(state(GAP, 7)) };
        assert_eq!(check(Path::new("mark"), Some(&mark), &state(6, 7), None).unwrap(), 5);
        assert_eq!(check(Path::new("mark"), Some(&mark), &state(GAP + 1, 7), None).unwrap(), GAP);
    }

    #[test]
    fn a_store_under_a_root_that_the_mark_does_not_name_is_told_apart() {
        let told = |now, to_come, previous: Option<u8>| {
            let previous = previous.map(|root| RootId::from_bytes([root; 32]));
            names_another_root(Some(&Mark { now, to_come }), &state(5, 8), previous)
        };
        assert!(told(Some(state(9, 7)), None, None));
        assert!(!told(Some(state(9, 8)), None, None));
        assert!(!told(Some(state(9, 7)), None, Some(7)));
        assert!(!told(Some(state(9, 7)), Some(state(GAP, 8)), None));
        assert!(!told(Some(State { store_id: [2; 16], ..state(9, 7) }), None, None), "another store's says nothing");
        assert!(!told(None, None, None) && !names_another_root(None, &state(5, 8), None));
    }

    #[test]
    fn a_missing_mark_is_refused_with_the_command_that_takes_the_store() {
        let failure = check(Path::new("mark"), None, &state(9, 1), None).unwrap_err().to_string();
        assert!(failure.contains("servos-keyd accept --generation 9"), "{failure}");
    }

    #[test]
    fn what_only_says_so_cannot_use_up_the_generations() {
        assert_eq!(credible(Some(u64::MAX)), None);
        assert_eq!(credible(Some(CREDIBLE)), None);
        let most = credible(Some(CREDIBLE - 1));
        assert_eq!(beyond(1, None, most), CREDIBLE, "and as many are left");
    }

    #[test]
    fn a_restored_store_goes_on_above_everything_that_was_seen() {
        assert_eq!(beyond(1, None, None), GAP);
        assert_eq!(beyond(GAP, None, None), 2 * GAP);
        assert_eq!(beyond(1, None, Some(GAP + 9)), 2 * GAP);
        assert_eq!(beyond(1, Some(&Mark { now: Some(state(GAP + 9, 1)), to_come: None }), Some(3)), 2 * GAP);
    }
}
