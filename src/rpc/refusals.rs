//! How much of the log one user's refused calls may take: so many lines a minute, and one with the count of the rest.
//!
//! Must never let one kind of refusal keep another out of the log, nor hold more than a few numbers for each user.
//! Called by `answer` and `budget` before they log a refusal.

use crate::telemetry::events;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Refusals of one user and kind that are logged one by one in [`WINDOW`].
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// One for the process, as its log is.
static TOLD: Mutex<Bursts> = Mutex::new(Bursts(BTreeMap::new()));

/// What a refusal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Something of the daemon's is at fault.
    Fault,
    /// The caller may not.
    NotPermitted,
    /// A ciphertext did not open: somebody may have changed it, or put it elsewhere.
    Rejected,
    /// The caller's request, or the state of things.
    Other,
}

/// Whose refusals; none is for all that the kernel does not name.
type Whose = (Option<u32>, Kind);

struct Bursts(BTreeMap<Whose, Burst>);

struct Burst {
    began: Instant,
    lines: u32,
    untold: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Line,
    /// The first of those that are counted alone.
    FirstUntold,
    Untold,
}

impl Bursts {
    fn next(&mut self, whose: Whose, now: Instant) -> Said {
        let is_over = |burst: &Burst| now.saturating_duration_since(burst.began) >= WINDOW;
        // One with a count is taken away by whoever tells it.
        self.0.retain(|_, burst| burst.untold > 0 || !is_over(burst));
        let burst = self.0.entry(whose).or_insert(Burst { began: now, lines: 0, untold: 0 });
        if burst.lines < LINES {
            burst.lines += 1;
            return Said::Line;
        }
        burst.untold = burst.untold.saturating_add(1);
        if burst.untold == 1 { Said::FirstUntold } else { Said::Untold }
    }

    fn end(&mut self, whose: Whose) -> u64 {
        self.0.remove(&whose).map_or(0, |burst| burst.untold)
    }
}

/// Whether this refusal is to be logged. If not, it is counted, and the count is logged at the end of the minute.
pub(super) fn is_told(user: Option<u32>, kind: Kind) -> bool {
    let whose = (user, kind);
    let said = told().next(whose, Instant::now());
    if said == Said::FirstUntold {
        // Calls are answered within the runtime.
        tokio::spawn(async move {
            tokio::time::sleep(WINDOW).await;
            let more = told().end(whose);
            tell(whose, more);
        });
    }
    said == Said::Line
}

fn tell((uid, kind): Whose, more: u64) {
    match kind {
        Kind::Fault => tracing::error!(event = events::CALL_REFUSED_OFTEN, uid, more, "more calls failed"),
        Kind::NotPermitted => {
            tracing::warn!(event = events::CALL_REFUSED_OFTEN, uid, more, "more calls were not permitted");
        }
        Kind::Rejected => {
            tracing::info!(event = events::CALL_REFUSED_OFTEN, uid, more, "more ciphertexts were rejected")
        }
        Kind::Other => tracing::info!(event = events::CALL_REFUSED_OFTEN, uid, more, "more calls were refused"),
    }
}

fn told() -> MutexGuard<'static, Bursts> {
    // Nothing in here panics half-way; a poisoned lock still guards consistent counts.
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEBODY: Whose = (Some(1000), Kind::Other);

    #[test]
    fn so_many_are_told_in_a_minute_and_the_rest_is_counted_until_it_ends() {
        let (mut bursts, start) = (Bursts(BTreeMap::new()), Instant::now());
        for _ in 0..LINES {
            assert_eq!(bursts.next(SOMEBODY, start), Said::Line);
        }
        assert_eq!(bursts.next(SOMEBODY, start), Said::FirstUntold);
        assert_eq!(bursts.next(SOMEBODY, start + WINDOW * 2), Said::Untold, "the count is not told yet");
        assert_eq!(bursts.end(SOMEBODY), 2);
        assert_eq!(bursts.next(SOMEBODY, start + WINDOW * 2), Said::Line);
    }

    #[test]
    fn no_user_and_no_kind_keeps_another_out_and_who_is_quiet_is_forgotten() {
        let (mut bursts, start) = (Bursts(BTreeMap::new()), Instant::now());
        while bursts.next(SOMEBODY, start) == Said::Line {}
        let rejected = (Some(1000), Kind::Rejected);
        for whose in [(Some(1001), Kind::Other), (None, Kind::Other), (Some(1000), Kind::NotPermitted), rejected] {
            assert_eq!(bursts.next(whose, start), Said::Line, "{whose:?}");
        }
        assert_eq!(bursts.next((Some(7), Kind::Fault), start + WINDOW), Said::Line);
        assert_eq!(bursts.0.keys().collect::<Vec<_>>(), [&(Some(7), Kind::Fault), &SOMEBODY]);
    }
}
