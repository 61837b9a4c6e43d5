//! The accept loops and the end: connections in, within the limits; at the stop, time for what is in flight.
//!
//! Must never spin when the system refuses a descriptor, nor let a stop wait for a client.
//! Called by `cli`, as the last step of a start.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::admission::{Admission, Full, Seat};
use super::call::CallService;
use super::connection::{self, Rules, Stop};
use super::deadline::later;
use super::limits::Limits;
use crate::sys::peer::{self, PeerCredentials};
use crate::telemetry::chain::chain;
use crate::telemetry::connections;
use crate::telemetry::events;
use crate::telemetry::traffic::Traffic;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// Refusals closer together than this are one burst, and logged once.
const BURST: Duration = Duration::from_secs(10);
/// Time beyond the drain for connections to notice that it is over.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// One socket, and how calls on it are served.
pub struct Endpoint<F> {
    /// What people and metrics call it.
    pub name: &'static str,
    /// A listening socket.
    pub listener: std::os::unix::net::UnixListener,
    /// Makes the service of one connection, once, when it is accepted. `None`: the peer's credentials could not be
    /// had; what is made must deny every call.
    pub connection: F,
}

/// How the server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Calls that were cut because they had not ended, or their answers had not been taken, within the drain.
    pub calls_cut: usize,
}

/// Serves `endpoints` until `shutdown` ends: then no connection is accepted any more, every open one is told to go,
/// calls in flight have until `limits.drain`, and what is left is dropped. All of it is counted in `traffic`. Needs a Tokio runtime with time and I/O.
///
/// # Errors
/// A listener that the runtime does not take. Nothing is served then.
pub async fn serve<F, S>(
    endpoints: Vec<Endpoint<F>>,
    limits: Limits,
    traffic: Arc<Traffic>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<Drained>
where
    F: Fn(Option<PeerCredentials>) -> S + Send + 'static,
    S: CallService,
{
    let (stopping, stop) = watch::channel(None);
    let rules = Arc::new(Rules::new(&limits, Arc::clone(&traffic)));
    let calls_cut = Arc::new(AtomicUsize::new(0));
    let mut doors = Vec::new();
    for endpoint in endpoints {
        endpoint.listener.set_nonblocking(true)?;
        traffic.connections.serves(endpoint.name);
        doors.push(Door {
            name: endpoint.name,
            listener: UnixListener::from_std(endpoint.listener)?,
            connection: endpoint.connection,
            admission: Admission::new(limits.connections, limits.connections_per_user, limits.call_bytes),
            rules: Arc::clone(&rules),
            calls_cut: Arc::clone(&calls_cut),
            stop: stop.clone(),
            refusals: Burst::default(),
            strangers: Burst::default(),
        });
    }
    drop(stop);
    for door in doors {
        tokio::spawn(door.accept());
    }

    shutdown.await;
    stopping.send_replace(Some(later(Instant::now(), limits.drain)));
    // Every accept loop and every connection holds a receiver until it has ended.
    if tokio::time::timeout(limits.drain.saturating_add(DRAIN_MARGIN), stopping.closed()).await.is_err() {
        warn!(event = events::DRAIN_INCOMPLETE, "connections left after the drain");
    }
    Ok(Drained { calls_cut: calls_cut.load(Ordering::Acquire) })
}

/// One listening socket at work.
struct Door<F> {
    name: &'static str,
    listener: UnixListener,
    connection: F,
    admission: Arc<Admission>,
    rules: Arc<Rules>,
    calls_cut: Arc<AtomicUsize>,
    stop: Stop,
    refusals: Burst,
    strangers: Burst,
}

impl<F, S> Door<F>
where
    F: Fn(Option<PeerCredentials>) -> S,
    S: CallService,
{
    /// Accepts until the stop. The listener is closed when this returns.
    async fn accept(mut self) {
        let mut stop = self.stop.clone();
        let mut backoff = Backoff::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _told = stop.changed() => return,
                accepted = self.listener.accept() => accepted,
            };
            let error = match accepted {
                Ok((socket, _address)) => {
                    backoff.reset();
                    self.admit(socket);
                    continue;
                }
                Err(error) => error,
            };
            if concerns_one_connection(&error) {
                continue;
            }
            let wait = backoff.next(&error);
            tokio::select! {
                _told = stop.changed() => return,
                () = sleep(wait) => {}
            }
        }
    }

    fn admit(&mut self, socket: UnixStream) {
        let credentials = self.credentials(&socket);
        match self.admission.admit(credentials.map(|peer| peer.uid)) {
            Ok(seat) => {
                let seated = (seat, self.rules.traffic.connections.open(self.peer(credentials)));
                self.spawn(socket, (self.connection)(credentials), seated);
            }
            // Closed by being dropped: the client learns it now, and need not wait in the backlog.
            Err(full) => {
                self.rules.traffic.connections.refused(self.name);
                self.note_refusal(full, credentials);
            }
        }
    }

    fn peer(&self, credentials: Option<PeerCredentials>) -> connections::Peer {
        let pid = credentials.map_or(0, |peer| peer.pid);
        connections::Peer { socket: self.name, uid: credentials.map(|peer| peer.uid), pid }
    }

    fn credentials(&mut self, socket: &UnixStream) -> Option<PeerCredentials> {
        match peer::of(socket) {
            Ok(credentials) => Some(credentials),
            Err(error) => {
                if self.strangers.begins(Instant::now()) {
                    warn!(
                        event = events::PEER_UNKNOWN,
                        error = %chain(&error),
                        "a peer is unknown: its calls are denied"
                    );
                }
                None
            }
        }
    }

    fn spawn(&self, socket: UnixStream, service: S, seated: (Seat, connections::Open)) {
        let (rules, calls_cut, stop) = (Arc::clone(&self.rules), Arc::clone(&self.calls_cut), self.stop.clone());
        tokio::spawn(async move {
            let last_breath = stop.clone();
            let cut = connection::run(socket, service, seated.0.share(), rules, stop).await;
            calls_cut.fetch_add(cut, Ordering::AcqRel);
            drop(seated);
            // Last: the server waits for this receiver to go, and then reads the count.
            drop(last_breath);
        });
    }

    fn note_refusal(&mut self, full: Full, peer: Option<PeerCredentials>) {
        if !self.refusals.begins(Instant::now()) {
            return;
        }
        let uid = peer.map(|peer| peer.uid);
        match full {
            Full::Endpoint => warn!(
                event = events::CONNECTION_REFUSED,
                "connections are refused: the socket has as many as it may have"
            ),
            Full::User => warn!(
                event = events::CONNECTION_REFUSED,
                uid, "connections are refused: this user has as many as one may have"
            ),
        }
    }
}

/// Errors of accept that speak of the connection that was to be accepted, not of the process. Source: accept(2).
pub(super) fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut | PermissionDenied)
}

/// Longer and longer waits while accept fails for want of descriptors or memory.
#[derive(Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The next wait; the first of its row is logged, with its cause.
    pub(super) fn next(&mut self, error: &io::Error) -> Duration {
        let (wait, first) = self.longer();
        if first {
            warn!(event = events::ACCEPT_FAILED, %error, "connections cannot be accepted");
        }
        wait
    }

    /// The next wait, and whether it is the first of its row.
    fn longer(&mut self) -> (Duration, bool) {
        let wait = self.last.map_or(FIRST_BACKOFF, |last| (last * 2).min(LONGEST_BACKOFF));
        (wait, self.last.replace(wait).is_none())
    }

    pub(super) fn reset(&mut self) {
        if self.last.take().is_some() {
            info!(event = events::ACCEPT_RESUMED, "connections are accepted again");
        }
    }
}

/// Finds the first of events that come close together.
#[derive(Default)]
struct Burst {
    last: Option<Instant>,
}

impl Burst {
    fn begins(&mut self, now: Instant) -> bool {
        let before = self.last.replace(now);
        before.is_none_or(|before| now.duration_since(before) >= BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_second_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..7).map(|_| backoff.longer().0.as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.longer(), (FIRST_BACKOFF, true));
        assert!(!backoff.longer().1);
    }

    #[test]
    fn a_want_of_descriptors_is_waited_out_and_an_aborted_connection_is_not() {
        // ECONNABORTED, EINTR; then EMFILE, ENFILE, ENOMEM, ENOBUFS.
        for one in [103, 4] {
            assert!(concerns_one_connection(&io::Error::from_raw_os_error(one)), "{one}");
        }
        for all in [24, 23, 12, 105] {
            assert!(!concerns_one_connection(&io::Error::from_raw_os_error(all)), "{all}");
        }
    }

    #[test]
    fn a_burst_of_refusals_is_one_event() {
        let mut burst = Burst::default();
        let start = Instant::now();
        assert!(burst.begins(start));
        assert!(!burst.begins(start + BURST / 2));
        assert!(!burst.begins(start + BURST));
        assert!(burst.begins(start + BURST * 3));
    }
}
