//! The high-water mark behind each commit: what it names, and what waits until it names the last one.
//!
//! Must never fail a commit that stands: a mark that cannot be written is said, and tried again.
//! Called by `commit` after each one, by `cli` at a start, and by a rotation before it changes the root.

use super::engine::Sandbox;
use super::ledger::Ledger;
use super::refusal::Refusal;
use crate::store::mark::{self, Mark, MarkError, State};
use crate::telemetry::chain::chain;
use crate::telemetry::events;

impl Ledger {
    /// Says the last word of a creation, restore or acceptance that broke off before it, and of a commit whose mark is
    /// behind.
    ///
    /// # Errors
    /// [`MarkError`] if the mark still announces the first store and cannot be written: once that store is lost, it would
    /// pass for one that was never made, and its only backup for what a creation left.
    pub fn complete_mark(&mut self, seen: Option<&Mark>) -> Result<(), MarkError> {
        match seen {
            Some(Mark { now: Some(state), to_come: None }) if *state == self.state() => {
                self.marked = true;
                self.engine.progress.marked(self.generation);
            }
            Some(Mark { now: None, .. }) => {
                mark::write(&self.places.mark, &Mark { now: Some(self.state()), to_come: None })?;
                self.marked = true;
                self.engine.progress.marked(self.generation);
            }
            _ => self.write_mark(),
        }
        Ok(())
    }

    /// Sees that the mark names the state of the last commit: a change of the root waits for it.
    ///
    /// # Errors
    /// [`Refusal::MarkBehind`].
    pub(super) fn need_mark(&mut self) -> Result<(), Refusal> {
        if !self.marked {
            self.write_mark();
        }
        if self.marked { Ok(()) } else { Err(Refusal::MarkBehind) }
    }

    /// Brings the mark up to the store. A failure costs protection against an older file, not the call.
    pub(super) fn write_mark(&mut self) {
        let problem = self.try_mark();
        self.mark_tried(problem);
    }

    /// The same; answers what kept it from being written. That is said once for as long as it lasts.
    pub(super) fn try_mark(&mut self) -> Option<String> {
        let mark = Mark { now: Some(self.state()), to_come: None };
        let written = mark::write(&self.places.mark, &mark);
        self.marked = written.is_ok();
        let error = match written {
            Ok(()) => {
                self.engine.progress.marked(self.generation);
                return None;
            }
            Err(error) => error,
        };
        let hint = match &error {
            MarkError::File(error) => Sandbox::hint(self.engine.facts.sandbox.as_ref(), error),
            MarkError::Damaged { .. } => "",
        };
        let problem = format!("the high-water mark: {}{hint}", chain(&error));
        if self.mark_problem() != Some(&problem) {
            tracing::error!(
                event = events::STORE_MARK_FAILED,
                path = %self.places.mark.display(),
                error = %chain(&error),
                "the high-water mark could not be written; it is tried again until it can"
            );
        }
        Some(problem)
    }

    /// The state that a mark names.
    pub(super) fn state(&self) -> State {
        State { store_id: *self.store_id.as_bytes(), generation: self.generation, root_id: *self.root.id().as_bytes() }
    }
}
