//! What the store or its mark refused: told to whoever watches, tried again as time passes, and over when it works.
//!
//! Must never say the same twice while it lasts, nor take a store for well that was not written to.
//! Called by `commit` and `ledger_mark`, which meet it, and by the writer, which lets time pass.

use super::engine::Sandbox;
use super::health::StoreState;
use super::ledger::{Change, Ledger};
use super::phase::Phase;
use super::refusal::{Refusal, StoreTrouble};
use super::trouble::{StoreFault, Trouble};
use super::unsettled::Settled;
use crate::store::port::StoreError;
use crate::telemetry::chain::chain;
use crate::telemetry::events;

impl Ledger {
    /// The store refused something.
    pub(super) fn store_failed(&mut self, error: &StoreError, rewrites: bool) {
        let rewrites = rewrites || self.trouble.store.as_ref().is_some_and(|before| before.rewrites);
        let hint = Sandbox::hint(self.engine.facts.sandbox.as_ref(), error);
        let (reason, trouble) = (format!("{}{hint}", chain(error)), StoreTrouble::of(error));
        self.trouble.store = Some(StoreFault { reason, trouble, rewrites });
        self.tell_health();
    }

    /// Passes on what the store answered a look with. One that cannot be read is not waited for until somebody changes
    /// something.
    pub(super) fn read_or_failing<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, Refusal> {
        if let Err(error) = &answer {
            self.fails_on(error, false);
        }
        answer.map_err(Refusal::Store)
    }

    /// A commit is durable; with what kept its mark from being written, if that was tried.
    pub(super) fn store_works(&mut self, mark: Option<Option<String>>) {
        self.trouble.store = None;
        if let Some(problem) = mark {
            self.trouble.mark = problem;
        }
        self.tell_health();
    }

    /// The mark was written, or why not.
    pub(super) fn mark_tried(&mut self, problem: Option<String>) {
        self.trouble.mark = problem;
        self.tell_health();
    }

    /// A panic broke off a change that was sent: finds out at once what became of it, and else as time passes.
    pub(super) fn broke_off(&mut self) {
        self.settle_first();
        if !self.is_unsettled() {
            self.trouble.recovered = true;
        }
    }

    /// What the mark refused when it was last written.
    pub(super) fn mark_problem(&self) -> Option<&str> {
        self.trouble.mark.as_deref()
    }

    /// Refuses every further change until a restart: what memory and store hold may differ.
    pub(super) fn suspend(&mut self, reason: &(dyn std::error::Error + 'static)) {
        self.suspended = true;
        self.trouble.suspended = chain(reason).to_string();
        tracing::error!(
            event = events::STORE_SUSPENDED,
            error = %chain(reason),
            "the store is not as this daemon left it: no further change until a restart; Encrypt and Decrypt go on"
        );
        self.tell_health();
    }

    /// A panic kept even that from being found out: it is tried again as time passes.
    pub(super) fn fails_on_panic(&mut self) {
        if self.is_unsettled() {
            let reason = "what became of a change that broke off could not be found out: see the log".to_owned();
            self.trouble.store = Some(StoreFault { reason, trouble: StoreTrouble::Unavailable, rewrites: false });
        }
        self.tell_health();
    }

    fn tell_health(&mut self) {
        let Trouble { store, mark, suspended, .. } = &self.trouble;
        let failing = store.as_ref().map(|fault| &fault.reason).or(mark.as_ref());
        let (state, problem) = match (self.suspended, failing) {
            (true, _) => (StoreState::Suspended, suspended.clone()),
            (false, Some(reason)) => (StoreState::Failing, reason.clone()),
            (false, None) => (StoreState::Healthy, String::new()),
        };
        let before = self.engine.health.now().store;
        if (before, state) == (StoreState::Failing, StoreState::Healthy) {
            self.trouble.recovered = true;
            tracing::info!(event = events::STORE_RECOVERED, "the store is checked, and takes changes again");
        }
        self.engine.health.change(|health| {
            health.store = state;
            health.store_problem = problem;
        });
    }

    /// Whether something is to be tried again as time passes.
    pub(super) fn is_failing(&self) -> bool {
        !self.suspended && (self.is_unsettled() || self.trouble.store.is_some() || self.trouble.mark.is_some())
    }

    /// Whether a trouble is over since this was last asked: what waited can go on.
    pub(super) fn has_recovered(&mut self) -> bool {
        std::mem::take(&mut self.trouble.recovered)
    }

    /// The refusal of a change while the outcome of the one before is not known.
    pub(super) fn unsettled_refusal(&self) -> Refusal {
        let (reason, trouble) = match &self.trouble.store {
            Some(fault) => (fault.reason.clone(), fault.trouble),
            None => ("it broke off".to_owned(), StoreTrouble::Unavailable),
        };
        Refusal::Unsettled { reason, trouble }
    }

    /// Before a job that may change something: finds out what became of the change before it, if that is not known.
    pub fn settle_first(&mut self) {
        if self.suspended {
            return;
        }
        let proves = match &self.phase {
            Phase::Sent(sent) => sent.proves,
            Phase::Rest | Phase::Keeping => return,
        };
        match self.settle() {
            Settled::Unknown(cause) => self.fails_on(&cause, false),
            Settled::Conflict(_) => {}
            Settled::Kept if !proves => Self::say_settled(true),
            Settled::Dropped if !proves => Self::say_settled(false),
            Settled::Kept | Settled::Dropped => {}
        }
    }

    /// Tries whether what failed works again: the store opened anew and checked, and a commit that changes nothing but the
    /// MAC; then the mark.
    pub(super) fn probe(&mut self) {
        self.settle_first();
        if self.suspended || self.is_unsettled() {
            return;
        }
        if let Some(rewrites) = self.trouble.store.as_ref().map(|fault| fault.rewrites)
            && let Err(cause) = self.prove(rewrites)
        {
            self.fails_on(&cause, rewrites);
            return;
        }
        if self.trouble.mark.is_some() && !self.suspended {
            self.write_mark();
        }
    }

    fn prove(&mut self, rewrites: bool) -> Result<(), StoreError> {
        let found = self.store.load()?;
        if let Some(conflict) = self.contradiction(&found) {
            self.suspend(&conflict);
            return Ok(());
        }
        drop(found);
        let change = Change { rewrites, proves: true, ..Change::default() };
        self.send(change, |_| ()).map_err(|failed| match failed.settled {
            Settled::Unknown(cause) => cause,
            Settled::Conflict(_) | Settled::Kept | Settled::Dropped => failed.error,
        })
    }

    /// Keeps what the store refuses, and says it where it is another reason than before.
    fn fails_on(&mut self, cause: &StoreError, rewrites: bool) {
        if self.suspended {
            return;
        }
        let before = self.trouble.store.as_ref().map(|fault| fault.reason.clone());
        self.store_failed(cause, rewrites);
        let now = self.trouble.store.as_ref().map(|fault| fault.reason.clone());
        if before != now {
            tracing::error!(
                event = events::STORE_FAILING,
                error = %chain(cause),
                "the store cannot be used: changes are refused, and it is tried again until it can"
            );
        }
    }
}

#[cfg(test)]
#[path = "ledger_trouble_tests.rs"]
mod tests;
