//! The high-water mark of a store that was looked at offline: whether a start would take the store.
//!
//! Must never write the mark.
//! Called by `offline`.

use super::super::mark_check;
use super::super::start_failure::StartFailure;
use super::finding::{Check, Report, Severity};
use crate::custody::id::RootId;
use crate::store::mark::{self, MarkError, State};
use crate::telemetry::chain::chain;
use std::path::Path;

/// Holds the mark at `path` to the state of the store.
pub(super) fn check(report: &mut Report, path: &Path, state: &State, previous: Option<RootId>) {
    let generation = state.generation;
    let take = format!("`servos-keyd accept --generation {generation}`");
    let mut fault = |text: String, remedy: String| report.add(Check::Mark, Severity::Fault, text, remedy);
    let mark = match mark::read(path) {
        Ok(mark) => mark,
        Err(MarkError::Damaged { detail, .. }) => {
            let text = format!("{} is damaged: {detail}", path.display());
            return fault(text, format!("put the right file back; if this store is the newest, take it: {take}"));
        }
        Err(error) => {
            return fault(chain(&error).to_string(), "let the daemon's user read it".to_owned());
        }
    };
    match mark_check::check(path, mark.as_ref(), state, previous) {
        Ok(marked) => {
            if mark.is_some_and(|mark| mark.to_come.is_some()) {
                report.note(
                    Check::Mark,
                    "a creation, restore or acceptance broke off at its end: the next start ends it",
                );
            }
            if marked < generation {
                let behind = generation - marked;
                report.note(
                    Check::Mark,
                    format!("the store is {behind} ahead of it, as after a crash: the next start brings the mark up"),
                );
            }
            report.pass(Check::Mark, format!("generation {marked}"));
        }
        Err(StartFailure::MarkRefuses { problem, .. }) => fault(
            format!("{} refuses the store: {problem}", path.display()),
            format!("put the right file back, or restore a backup; to go on with this store all the same: {take}"),
        ),
        Err(_) => fault(
            format!("{} is missing, so an older store could pass for the newest", path.display()),
            format!("put it back; if this store is the newest, take it: {take}"),
        ),
    }
}
