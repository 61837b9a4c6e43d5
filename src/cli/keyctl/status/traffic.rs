//! Calls and connections, for people and programs.
//!
//! Must never call an estimate exact: a percentile is known to its bucket.
//! Called by `text`, `value` and `watch`.

use super::process;
use crate::cli::keyctl::output::{count, table};
use crate::proto::v1::{CallStatus, ConnectionStatus, OperationStatus, PeerStatus};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// The most peers that a screen shows.
const SHOWN_PEERS: usize = 6;

/// The answer before: what rates are counted from.
pub(super) struct Before {
    pub(super) asked: Instant,
    pub(super) started: i64,
    pub(super) calls: CallStatus,
}

impl Before {
    /// Calls of one operation in a second since then; none of another daemon, or of no time.
    fn rate(&self, one: &OperationStatus, started: i64, elapsed: Duration) -> Option<f64> {
        let before = self.calls.operations.iter().find(|before| before.operation == one.operation)?.calls;
        let made = u32::try_from(one.calls.saturating_sub(before)).unwrap_or(u32::MAX);
        (self.started == started && !elapsed.is_zero()).then(|| f64::from(made) / elapsed.as_secs_f64())
    }
}

/// A table of the operations that were called.
pub(super) fn call_table(calls: &CallStatus, started: i64, before: Option<&Before>) -> String {
    let called: Vec<&OperationStatus> = calls.operations.iter().filter(|one| one.calls > 0).collect();
    if called.is_empty() {
        return "No calls yet.\n".to_owned();
    }
    let mut head = vec!["OPERATION", "CALLS", "ERRORS", "P50", "P99"];
    let elapsed = before.map(|before| before.asked.elapsed());
    head.extend(before.map(|_| "PER SECOND"));
    let mut rows = vec![head.into_iter().map(str::to_owned).collect()];
    for one in called {
        let percentile = |share| percentile(one, &calls.bounds_us, share).map_or_else(|| "-".to_owned(), duration);
        let mut row =
            vec![one.operation.clone(), one.calls.to_string(), one.errors.to_string(), percentile(50), percentile(99)];
        let rate = before.zip(elapsed).map(|(before, elapsed)| before.rate(one, started, elapsed));
        row.extend(rate.map(|rate| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))));
        rows.push(row);
    }
    table(&rows)
}

/// The sockets in one row, and a row for each peer.
pub(super) fn connection_rows(connections: &ConnectionStatus) -> Vec<(&'static str, String)> {
    let socket = |one: &crate::proto::v1::SocketStatus| {
        let refused = if one.refused == 0 { String::new() } else { format!(" ({} REFUSED)", one.refused) };
        format!("{} {}{refused}", one.open, one.socket)
    };
    let sockets: Vec<String> = connections.sockets.iter().map(socket).collect();
    let mut rows = vec![("connected", sockets.join(", "))];
    rows.extend(connections.peers.iter().take(SHOWN_PEERS).map(|peer| ("", said(peer))));
    let more = connections.peers.len().saturating_sub(SHOWN_PEERS);
    rows.extend((more > 0).then(|| ("", format!("and {more} more: --json has them"))));
    rows
}

fn said(peer: &PeerStatus) -> String {
    let user = peer.uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}"));
    let name = name_of(peer).map(|name| format!(" ({name})")).unwrap_or_default();
    let process = if peer.pid == 0 { "of another pid namespace".to_owned() } else { format!("pid {}{name}", peer.pid) };
    format!("{}: {user}, {process}, {}", peer.socket, count(peer.connections, "connection"))
}

fn name_of(peer: &PeerStatus) -> Option<String> {
    process::name(peer.pid, peer.uid?)
}

pub(super) fn calls_value(calls: &CallStatus) -> Value {
    let operation = |one: &OperationStatus| {
        let percentile = |share| percentile(one, &calls.bounds_us, share).map(Estimate::in_us);
        json!({
            "operation": one.operation,
            "calls": one.calls,
            "errors": one.errors,
            "total_us": one.total_us,
            "p50_us": percentile(50),
            "p99_us": percentile(99),
        })
    };
    let errors: Map<String, Value> = calls.errors.iter().map(|one| (one.code.clone(), json!(one.count))).collect();
    json!({"operations": calls.operations.iter().map(operation).collect::<Vec<_>>(), "errors": errors})
}

pub(super) fn connections_value(connections: &ConnectionStatus) -> Value {
    let socket = |one: &crate::proto::v1::SocketStatus| json!({"socket": one.socket, "open": one.open, "accepted": one.accepted, "refused": one.refused});
    let peer = |one: &PeerStatus| json!({"socket": one.socket, "uid": one.uid, "pid": one.pid, "process": name_of(one), "connections": one.connections});
    json!({
        "sockets": connections.sockets.iter().map(socket).collect::<Vec<_>>(),
        "peers": connections.peers.iter().map(peer).collect::<Vec<_>>(),
    })
}

/// A duration that is known to its bucket, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Estimate {
    /// About so long.
    About(u64),
    /// Longer than the last bound.
    Beyond(u64),
}

impl Estimate {
    fn in_us(self) -> u64 {
        match self {
            Self::About(us) | Self::Beyond(us) => us,
        }
    }
}

/// How long `share` of 100 calls took at most, as if those of a bucket lay evenly in it.
fn percentile(one: &OperationStatus, bounds_us: &[u64], share: u64) -> Option<Estimate> {
    let all: u128 = one.buckets.iter().map(|count| u128::from(*count)).sum();
    let wanted = all * u128::from(share);
    let mut below = 0_u128;
    for (at, count) in one.buckets.iter().enumerate() {
        let within = u128::from(*count) * 100;
        if within > 0 && below + within >= wanted {
            let lower = at.checked_sub(1).and_then(|before| bounds_us.get(before)).copied().unwrap_or(0);
            let Some(upper) = bounds_us.get(at) else { return Some(Estimate::Beyond(lower)) };
            let width = u128::from(upper.saturating_sub(lower));
            let into = u64::try_from(width * wanted.saturating_sub(below) / within).unwrap_or(0);
            return Some(Estimate::About(lower + into));
        }
        below += within;
    }
    None
}

fn duration(estimate: Estimate) -> String {
    let beyond = if matches!(estimate, Estimate::Beyond(_)) { ">" } else { "" };
    let us = estimate.in_us();
    let tenths = |unit: u64| format!("{}.{}", us / unit, us % unit * 10 / unit);
    match us {
        0..1_000 => format!("{beyond}{us} µs"),
        1_000..1_000_000 => format!("{beyond}{} ms", tenths(1_000)),
        _ => format!("{beyond}{} s", tenths(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::SocketStatus;

    fn called(operation: &str, buckets: &[u64]) -> OperationStatus {
        let calls = buckets.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        OperationStatus { operation: operation.into(), calls, buckets: buckets.to_vec(), ..OperationStatus::default() }
    }

    #[test]
    fn a_percentile_lies_in_the_bucket_that_its_call_is_in() {
        let bounds = [10, 20, 50];
        let of = |buckets: &[u64], share| percentile(&called("x", buckets), &bounds, share);
        assert_eq!(of(&[0, 0, 0, 0], 50), None);
        assert_eq!(of(&[], 50), None);
        assert_eq!(of(&[10, 0, 0, 0], 50), Some(Estimate::About(5)));
        assert_eq!(of(&[0, 0, 1, 0], 99), Some(Estimate::About(49)));
        assert_eq!(of(&[98, 0, 1, 1], 99), Some(Estimate::About(50)));
        assert_eq!(of(&[50, 0, 0, 50], 99), Some(Estimate::Beyond(50)));
        assert_eq!(of(&[u64::MAX, u64::MAX, 0, 0], 50), Some(Estimate::About(10)));
    }

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        for (us, said) in [(17, "17 µs"), (1_250, "1.2 ms"), (999_999, "999.9 ms"), (2_500_000, "2.5 s")] {
            assert_eq!(duration(Estimate::About(us)), said);
        }
        assert_eq!(duration(Estimate::Beyond(50_000_000)), ">50.0 s");
    }

    #[test]
    fn the_table_has_what_was_called_and_rates_of_the_same_daemon_alone() {
        let calls = |count| CallStatus {
            bounds_us: vec![10],
            operations: vec![called("Encrypt", &[count, 0]), called("Decrypt", &[0, 0])],
            ..CallStatus::default()
        };
        let shown = call_table(&calls(3), 1, None);
        assert!(shown.contains("Encrypt") && !shown.contains("Decrypt") && !shown.contains("PER SECOND"), "{shown}");
        assert_eq!(call_table(&calls(0), 1, None), "No calls yet.\n");
        let before = Before { asked: Instant::now(), started: 1, calls: calls(1) };
        let second = Duration::from_secs(2);
        assert_eq!(before.rate(&called("Encrypt", &[3, 0]), 1, second), Some(1.0));
        assert_eq!(before.rate(&called("Encrypt", &[0, 0]), 1, second), Some(0.0));
        assert_eq!(before.rate(&called("Encrypt", &[3, 0]), 2, second), None, "another daemon");
        assert!(call_table(&calls(3), 1, Some(&before)).contains("PER SECOND"));
    }

    #[test]
    fn peers_are_shown_up_to_a_number_and_refusals_stand_out() {
        let peer = |pid| PeerStatus { socket: "component".into(), uid: Some(7), pid, connections: 2 };
        let connections = ConnectionStatus {
            sockets: vec![SocketStatus { socket: "component".into(), open: 16, accepted: 20, refused: 3 }],
            peers: vec![peer(0); 8],
        };
        let rows = connection_rows(&connections);
        assert_eq!(rows[0].1, "16 component (3 REFUSED)");
        assert_eq!(rows[1].1, "component: uid 7, of another pid namespace, 2 connections");
        assert_eq!((rows.len(), rows[7].1.as_str()), (8, "and 2 more: --json has them"));
        assert_eq!(connections_value(&connections)["peers"].as_array().unwrap().len(), 8);
    }
}
