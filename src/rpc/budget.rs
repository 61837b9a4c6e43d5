//! How much memory the calls under way may take: one sum over all users of a socket, and for each half of what is left free.
//!
//! Must never let the sum be passed, nor one user take what another's next call needs.
//! Called by `server`, which charges each call as it comes, and by `received` and the handlers for what it brings.

use super::refusals::{Kind, is_told};
use crate::telemetry::events;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::codegen::http;

/// The sum.
#[derive(Debug)]
pub struct Budget {
    bytes: usize,
    held: AtomicUsize,
}

/// What one user has of it.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    user: Option<u32>,
    held: AtomicUsize,
}

/// What one call has of it; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    share: Arc<Share>,
    held: AtomicUsize,
}

/// No more is to be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent;

impl Budget {
    /// One of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, held: AtomicUsize::new(0) })
    }

    /// What the calls of a user are charged to.
    #[must_use]
    pub fn share(self: &Arc<Self>, user: Option<u32>) -> Arc<Share> {
        Arc::new(Share { budget: Arc::clone(self), user, held: AtomicUsize::new(0) })
    }
}

impl Share {
    /// What a call that has nothing yet is charged to.
    #[must_use]
    pub fn charge(self: &Arc<Self>) -> Arc<Charge> {
        Arc::new(Charge { share: Arc::clone(self), held: AtomicUsize::new(0) })
    }
}

impl Charge {
    /// Takes so many bytes more, until the call is over.
    ///
    /// # Errors
    /// [`Spent`] if the user would then hold more than half of what is left for all: one alone has a third, and however
    /// many take all that they get, some is left for the next. Source: Choudhury and Hahne, "Dynamic queue length
    /// thresholds for shared-memory packet switches", with the factor 1/2.
    pub fn take(&self, bytes: usize) -> Result<(), Spent> {
        let taken = self.try_take(bytes);
        let uid = self.share.user;
        if taken.is_err() && is_told(uid, Kind::Other) {
            let said = "call refused: the calls of this user, or of all, hold the memory that there is for them";
            tracing::info!(event = events::CALL_REFUSED, uid, bytes, "{said}");
        }
        taken
    }

    fn try_take(&self, bytes: usize) -> Result<(), Spent> {
        let budget = &self.share.budget;
        let in_all = budget.held.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        let of_user = self.share.held.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        let fits = budget.bytes.checked_sub(in_all).is_some_and(|left| of_user <= left / 2);
        if !fits {
            budget.held.fetch_sub(bytes, Ordering::AcqRel);
            self.share.held.fetch_sub(bytes, Ordering::AcqRel);
            return Err(Spent);
        }
        self.held.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }
}

/// Charges the call that these are of with what its request does not tell; whether that much is to be had.
#[must_use]
pub fn charged(extensions: &http::Extensions, bytes: usize) -> bool {
    extensions.get::<Arc<Charge>>().is_some_and(|charge| charge.take(bytes).is_ok())
}

impl Drop for Charge {
    fn drop(&mut self) {
        let held = *self.held.get_mut();
        self.share.held.fetch_sub(held, Ordering::AcqRel);
        self.share.budget.held.fetch_sub(held, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 3 << 20;

    /// Everything that a user gets, in steps.
    fn all_of(share: &Arc<Share>, step: usize) -> Vec<Arc<Charge>> {
        let next = || {
            let charge = share.charge();
            charge.try_take(step).ok().map(|()| charge)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn one_user_alone_gets_a_third_and_all_of_it_comes_back() {
        let budget = Budget::new(BYTES);
        let share = budget.share(None);
        for _ in 0..3 {
            let held = all_of(&share, 1024);
            assert_eq!(held.len() * 1024, BYTES / 3);
            assert_eq!(share.charge().try_take(1), Err(Spent));
            drop(held);
            assert_eq!((budget.held.load(Ordering::SeqCst), share.held.load(Ordering::SeqCst)), (0, 0));
        }
    }

    #[test]
    fn however_many_take_all_they_get_the_next_finds_some_and_the_sum_is_never_passed() {
        let budget = Budget::new(BYTES);
        let mut held = Vec::new();
        for greedy in 1..=12 {
            let share = budget.share(None);
            held.extend(all_of(&share, 64));
            let next = budget.share(None).charge();
            assert!(next.try_take(1024).is_ok(), "behind {greedy}");
            assert!(budget.held.load(Ordering::SeqCst) <= BYTES);
        }
    }

    #[test]
    fn a_call_that_is_refused_more_keeps_what_it_has_and_an_absurd_length_harms_nobody() {
        let budget = Budget::new(BYTES);
        let charge = budget.share(None).charge();
        charge.try_take(1024).unwrap();
        assert_eq!(charge.try_take(usize::MAX / 2), Err(Spent));
        assert_eq!(budget.held.load(Ordering::SeqCst), 1024);
        assert!(budget.share(None).charge().try_take(1024).is_ok());
        drop(charge);
        assert_eq!(budget.held.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn taken_and_given_back_from_many_threads_nothing_is_left() {
        let budget = Budget::new(BYTES);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let share = budget.share(None);
                scope.spawn(move || (0..500).for_each(|step| drop(all_of(&share, 50_000 + step))));
            }
        });
        assert_eq!(budget.held.load(Ordering::SeqCst), 0);
    }
}
