//! What goes on on one connection: calls in flight, when the last one ended, and whether one has stopped moving.
//!
//! Must never take a lock or a timer for a call: this is on the path of every one of them.
//! Called by `connection` (which asks) and by `call` and `body` (which report).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::rpc::budget::Charge;
use crate::telemetry::traffic::Traffic;

/// The state of one connection.
///
/// Calls are counted in two bins, by the epoch in which each last made progress. When an epoch ends, the bin of the
/// one before it must be empty: a call still in it has not moved for a whole epoch.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Milliseconds from `opened` to the end of the last call; 0 before the first.
    last_end_ms: AtomicU64,
    epoch: AtomicUsize,
    bins: [AtomicUsize; 2],
    close_asked: AtomicBool,
    traffic: Arc<Traffic>,
}

impl Activity {
    pub(super) fn new(traffic: Arc<Traffic>) -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            last_end_ms: AtomicU64::new(0),
            epoch: AtomicUsize::new(0),
            bins: [AtomicUsize::new(0), AtomicUsize::new(0)],
            close_asked: AtomicBool::new(false),
            traffic,
        })
    }

    /// Counts a call in. It is in flight until the last clone of the answer is gone.
    pub(super) fn begin(self: &Arc<Self>, charge: Arc<Charge>) -> Arc<Call> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        self.bin(epoch).fetch_add(1, Ordering::Relaxed);
        Arc::new(Call { activity: Arc::clone(self), epoch: AtomicUsize::new(epoch), charge })
    }

    /// Calls in flight: handlers that run, and answers that the transport has not sent to the last byte.
    pub(super) fn in_flight(&self) -> usize {
        let [even, odd] = &self.bins;
        even.load(Ordering::Acquire).saturating_add(odd.load(Ordering::Acquire))
    }

    /// Since when there has been no call; `None` while one is in flight.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        (self.in_flight() == 0).then(|| self.opened + Duration::from_millis(self.last_end_ms.load(Ordering::Relaxed)))
    }

    /// Begins the next epoch. True if a call was left behind: it made no progress during the one that just ended.
    pub(super) fn turn_epoch(&self) -> bool {
        let next = self.epoch.load(Ordering::Relaxed).wrapping_add(1);
        // Two bins: the next epoch's bin is that of the epoch before this one.
        let left_behind = self.bin(next).load(Ordering::Acquire) > 0;
        self.epoch.store(next, Ordering::Relaxed);
        left_behind
    }

    /// Whether an answer asked that this connection be closed after it.
    pub(super) fn close_asked(&self) -> bool {
        self.close_asked.load(Ordering::Relaxed)
    }

    fn bin(&self, epoch: usize) -> &AtomicUsize {
        let [even, odd] = &self.bins;
        if epoch.is_multiple_of(2) { even } else { odd }
    }

    fn note_end(&self) {
        let elapsed = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_end_ms.store(elapsed, Ordering::Relaxed);
    }
}

/// One call in flight. Shared by the handler's future, the response body and each piece of it that is not yet sent.
#[derive(Debug)]
pub(super) struct Call {
    activity: Arc<Activity>,
    epoch: AtomicUsize,
    charge: Arc<Charge>,
}

impl Call {
    /// What it holds of its user's share, until it is over.
    pub(super) fn charge(&self) -> &Arc<Charge> {
        &self.charge
    }

    /// Notes that the call moves: a piece of its answer was made or sent.
    pub(super) fn progress(&self) {
        let now = self.activity.epoch.load(Ordering::Relaxed);
        if self.epoch.load(Ordering::Relaxed) == now {
            return;
        }
        // Into the new bin first: the sum of both must never fall below the number of calls.
        self.activity.bin(now).fetch_add(1, Ordering::AcqRel);
        let before = self.epoch.swap(now, Ordering::AcqRel);
        self.activity.bin(before).fetch_sub(1, Ordering::AcqRel);
    }

    /// Where it is counted.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.activity.traffic
    }

    /// Has the connection closed once its calls have ended.
    pub(super) fn close_connection(&self) {
        self.activity.close_asked.store(true, Ordering::Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // The time first: whoever sees no call in flight must see when the last one ended.
        self.activity.note_end();
        self.activity.bin(self.epoch.load(Ordering::Acquire)).fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::budget::Budget;

    fn begin(activity: &Arc<Activity>) -> Arc<Call> {
        activity.begin(Budget::new(0).share(None).charge())
    }

    #[test]
    fn a_call_is_in_flight_until_its_last_share_is_gone() {
        let activity = Activity::new(Arc::default());
        assert!(activity.quiet_since().is_some());
        let call = begin(&activity);
        let unsent = Arc::clone(&call);
        drop(call);
        assert_eq!((activity.in_flight(), activity.quiet_since()), (1, None));
        drop(unsent);
        assert_eq!(activity.in_flight(), 0);
        assert!(activity.quiet_since().is_some());
    }

    #[test]
    fn only_a_call_that_stood_still_for_a_whole_epoch_is_left_behind() {
        let activity = Activity::new(Arc::default());
        let (stuck, moving) = (begin(&activity), begin(&activity));
        assert!(!activity.turn_epoch(), "began during the epoch that ended");
        moving.progress();
        moving.progress();
        assert_eq!(activity.in_flight(), 2);
        assert!(activity.turn_epoch());
        drop(stuck);
        moving.progress();
        assert!(!activity.turn_epoch());
        drop(moving);
        assert_eq!(activity.in_flight(), 0);
    }

    #[test]
    fn calls_counted_from_many_threads_leave_nothing_behind() {
        let activity = Activity::new(Arc::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let call = begin(&activity);
                        let share = Arc::clone(&call);
                        scope.spawn(move || share.progress()).join().unwrap();
                        activity.turn_epoch();
                        call.progress();
                    }
                });
            }
        });
        assert_eq!(activity.in_flight(), 0);
        assert!(!activity.turn_epoch() && !activity.turn_epoch());
    }
}
