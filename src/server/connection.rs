//! One connection, from accept to its end: idle, stuck, asked to close, or told to drain.
//!
//! Must never wait for a client: every state has a time after which the connection is dropped.
//! Called by `serve`, one task for each connection.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::activity::Activity;
use super::call::{CallService, answer};
use super::deadline::later;
use super::limits::Limits;
use crate::rpc::budget::Share;
use crate::telemetry::traffic::Traffic;

/// How often an open connection is looked at. Also keeps the runtime's next timer near, so that arming a call's
/// deadline never has to wake the thread that waits for it.
const TICK: Duration = Duration::from_secs(1);
/// How often a connection that is closing is looked at.
const CLOSING_TICK: Duration = Duration::from_millis(25);
/// How long a client may take to leave after a GOAWAY, without a call in flight.
const CLOSING_GRACE: Duration = Duration::from_secs(1);
/// The same while the server stops: time for the last bytes to reach the socket, no more.
const DRAIN_GRACE: Duration = Duration::from_millis(100);
/// A call that waits for its deadline is not stuck: epochs are longer than deadlines by this much.
const EPOCH_MARGIN: Duration = Duration::from_secs(1);

/// When the server's calls in flight must have ended; `None` while it serves.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

/// What is the same for every connection.
pub(super) struct Rules {
    http2: http2::Builder<TokioExecutor>,
    request_timeout: Duration,
    idle: Duration,
    pub(super) traffic: Arc<Traffic>,
}

impl Rules {
    pub(super) fn new(limits: &Limits, traffic: Arc<Traffic>) -> Self {
        Self { http2: limits.http2(), request_timeout: limits.request_timeout, idle: limits.idle_connection, traffic }
    }
}

/// Serves one connection to its end and returns how many calls were cut short by us.
pub(super) async fn run<S: CallService>(
    socket: UnixStream,
    service: S,
    share: Arc<Share>,
    rules: Arc<Rules>,
    mut stop: Stop,
) -> usize {
    let activity = Activity::new(Arc::clone(&rules.traffic));
    let calls = Arc::clone(&activity);
    let limit = rules.request_timeout;
    let carry = service_fn(move |request| answer(service.clone(), request, calls.begin(share.charge()), limit));
    let mut connection = pin!(rules.http2.serve_connection(TokioIo::new(socket), carry));

    let mut life = Life::new(Instant::now(), rules.idle, rules.request_timeout);
    let mut alarm = pin!(sleep_until(life.first_look()));
    loop {
        tokio::select! {
            biased;
            // However it ends, there is nothing to tell and nobody to tell it to.
            _end = connection.as_mut() => return 0,
            () = alarm.as_mut() => {}
            told = stop.changed(), if life.drain_until.is_none() => {
                // A server that is gone without a word leaves no time at all.
                life.drain_until = Some(told.ok().and(*stop.borrow_and_update()).unwrap_or_else(Instant::now));
            }
        }
        match life.step(Instant::now(), &activity) {
            Step::Wait(until) => alarm.as_mut().reset(until),
            Step::GoAway(until) => {
                connection.as_mut().graceful_shutdown();
                alarm.as_mut().reset(until);
            }
            Step::Drop => return activity.in_flight(),
        }
    }
}

/// The states of a connection, and nothing that waits: time comes in.
struct Life {
    idle: Duration,
    epoch: Duration,
    epoch_ends: Instant,
    drain_until: Option<Instant>,
    closing: Option<Closing>,
}

#[derive(Clone, Copy)]
struct Closing {
    since: Instant,
    /// A call on it has stopped moving, so waiting for calls is of no use.
    stuck: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Wait(Instant),
    GoAway(Instant),
    Drop,
}

impl Life {
    fn new(now: Instant, idle: Duration, request_timeout: Duration) -> Self {
        let epoch = request_timeout.saturating_add(EPOCH_MARGIN);
        Self { idle, epoch, epoch_ends: later(now, epoch), drain_until: None, closing: None }
    }

    fn first_look(&self) -> Instant {
        later(Instant::now(), self.idle.min(TICK))
    }

    fn step(&mut self, now: Instant, activity: &Activity) -> Step {
        let stuck = self.turn_epoch(now, activity);
        match &mut self.closing {
            None => self.step_open(now, activity, stuck),
            Some(closing) => {
                closing.stuck |= stuck;
                let closing = *closing;
                self.step_closing(now, activity, closing)
            }
        }
    }

    fn step_open(&mut self, now: Instant, activity: &Activity, stuck: bool) -> Step {
        let idle_ends = activity.quiet_since().map(|since| later(since, self.idle));
        let idle = idle_ends.is_some_and(|end| end <= now);
        if idle || stuck || activity.close_asked() || self.drain_until.is_some() {
            self.closing = Some(Closing { since: now, stuck });
            return Step::GoAway(now + CLOSING_TICK);
        }
        let look_again = now + self.idle.min(TICK);
        Step::Wait(idle_ends.map_or(look_again, |end| end.min(look_again)))
    }

    fn step_closing(&self, now: Instant, activity: &Activity, closing: Closing) -> Step {
        let grace = if self.drain_until.is_some() { DRAIN_GRACE } else { CLOSING_GRACE };
        let out_of_time = self.drain_until.is_some_and(|end| end <= now);
        let gone_quiet = if closing.stuck { Some(closing.since) } else { activity.quiet_since() };
        let waited_enough = gone_quiet.is_some_and(|since| since.max(closing.since) + grace <= now);
        if out_of_time || waited_enough { Step::Drop } else { Step::Wait(now + CLOSING_TICK) }
    }

    fn turn_epoch(&mut self, now: Instant, activity: &Activity) -> bool {
        if now < self.epoch_ends {
            return false;
        }
        self.epoch_ends = later(now, self.epoch);
        activity.turn_epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::budget::Budget;

    const IDLE: Duration = Duration::from_secs(10);
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn open() -> (Arc<Activity>, Instant, Life) {
        let now = Instant::now();
        (Activity::new(Arc::default()), now, Life::new(now, IDLE, TIMEOUT))
    }

    #[test]
    fn an_idle_connection_is_sent_off_and_then_dropped() {
        let (activity, start, mut life) = open();
        assert!(matches!(life.step(start + IDLE / 2, &activity), Step::Wait(_)));
        let end = start + IDLE + Duration::from_millis(1);
        assert_eq!(life.step(end, &activity), Step::GoAway(end + CLOSING_TICK));
        assert!(matches!(life.step(end + CLOSING_GRACE / 2, &activity), Step::Wait(_)));
        assert_eq!(life.step(end + CLOSING_GRACE, &activity), Step::Drop);
    }

    #[test]
    fn a_call_in_flight_keeps_a_connection_open() {
        let (activity, start, mut life) = open();
        let call = activity.begin(Budget::new(0).share(None).charge());
        assert!(matches!(life.step(start + IDLE * 2, &activity), Step::Wait(_)));
        call.close_connection();
        assert!(matches!(life.step(start + IDLE * 2, &activity), Step::GoAway(_)));
        assert!(matches!(life.step(start + IDLE * 3, &activity), Step::Wait(_)), "the call is still in flight");
        drop(call);
        assert_eq!(life.step(start + IDLE * 4, &activity), Step::Drop);
    }

    #[test]
    fn a_stuck_call_takes_its_connection_with_it_and_a_moving_one_does_not() {
        let (activity, start, mut life) = open();
        let epoch = TIMEOUT + EPOCH_MARGIN;
        let call = activity.begin(Budget::new(0).share(None).charge());
        for turn in 1..5 {
            assert!(matches!(life.step(start + epoch * turn, &activity), Step::Wait(_)));
            call.progress();
        }
        let stuck = start + epoch * 6;
        assert!(matches!(life.step(start + epoch * 5, &activity), Step::Wait(_)));
        assert!(matches!(life.step(stuck, &activity), Step::GoAway(_)));
        assert!(matches!(life.step(stuck + CLOSING_GRACE / 2, &activity), Step::Wait(_)));
        assert_eq!(life.step(stuck + CLOSING_GRACE, &activity), Step::Drop);
    }

    #[test]
    fn a_drain_waits_for_calls_only_and_only_so_long() {
        let (activity, start, mut life) = open();
        let call = activity.begin(Budget::new(0).share(None).charge());
        let end = start + Duration::from_secs(5);
        life.drain_until = Some(end);
        assert!(matches!(life.step(start, &activity), Step::GoAway(_)));
        assert!(matches!(life.step(start + Duration::from_secs(4), &activity), Step::Wait(_)));
        assert_eq!(life.step(end, &activity), Step::Drop);
        drop(call);
        let (activity, start, mut life) = open();
        life.drain_until = Some(later(start, IDLE));
        assert!(matches!(life.step(start, &activity), Step::GoAway(_)));
        assert_eq!(life.step(start + DRAIN_GRACE * 2, &activity), Step::Drop);
    }

    #[test]
    fn no_configured_duration_makes_the_clock_panic() {
        let now = Instant::now();
        let mut life = Life::new(now, Duration::MAX, Duration::MAX);
        assert!(matches!(life.step(now, &Activity::new(Arc::default())), Step::Wait(_)));
        assert!(later(now, Duration::MAX) > now);
    }
}
