//! The metrics: of the daemon's status, the numbers, under the names of `telemetry::metrics`.
//!
//! Must never show a text that the status holds: a path, a name, a fingerprint.
//! Called by `server` for the socket of the metrics, and by `servos-keyctl metrics` with the answer of GetStatus.

use super::convert;
use crate::auth::operation::ReadMetrics;
use crate::auth::peer::{Peer, PeerCredentials, Socket};
use crate::auth::permit::Permit;
use crate::auth::policy::Policy;
use crate::operations::engine::Engine;
use crate::operations::status::measured;
use crate::proto::v1::{
    Confinement, Drill, GetStatusResponse, MemoryProtection, OperationStatus, RotationState, SelfCheckResult,
    StoreState,
};
use crate::telemetry::metrics::{self, Metric};
use crate::telemetry::open_metrics::{self, Family, Number, Sample};
use std::sync::Arc;

/// Answers whoever reads the metrics.
#[derive(Clone)]
pub struct MetricsHandler {
    /// Who may.
    pub policy: Arc<Policy>,
    /// What is measured.
    pub engine: Arc<Engine>,
}

impl MetricsHandler {
    /// The metrics as OpenMetrics text; none for whom policy does not let read them.
    #[must_use]
    pub fn text(&self, credentials: PeerCredentials) -> Option<String> {
        let peer = Peer { credentials, socket: Socket::Metrics };
        let permit: Permit<ReadMetrics> = self.policy.admit(peer).ok()?.permit();
        let status = convert::status(measured(&permit, &self.engine));
        Some(open_metrics::text(&families(&status)))
    }
}

/// Each metric with its samples, in the order of `telemetry::metrics`.
#[must_use]
pub fn families(status: &GetStatusResponse) -> Vec<Family> {
    let mut families = of_the_key(status);
    families.extend(of_calls(status));
    families.extend(of_connections(status));
    families.extend(of_the_store(status));
    families.extend(of_the_process(status));
    families
}

fn of_the_key(status: &GetStatusResponse) -> Vec<Family> {
    let master = status.master_key.clone().unwrap_or_default();
    let drills = status.drills.clone().unwrap_or_default();
    let backup = status.backup.clone().unwrap_or_default();
    let pending = status.rotation.as_ref().is_some_and(|rotation| rotation.state() == RotationState::Pending);
    // One of another key counts for nothing.
    let last = |drill: &Option<Drill>| {
        Number::Signed(
            drill.as_ref().filter(|drill| drill.fingerprint == master.fingerprint).map_or(0, |drill| drill.at),
        )
    };
    let kinds = [("key", last(&drills.key)), ("restore", last(&drills.restore))];
    vec![
        one(metrics::START, Number::Signed(status.started)),
        one(metrics::WARNINGS, counted(status.warnings.len())),
        one(metrics::KEY_SINCE, Number::Signed(master.since)),
        one(metrics::KEY_SHARED, yes(master.shared)),
        one(metrics::ROTATION_PENDING, yes(pending)),
        one(metrics::LEGACY_KEYS, counted(status.legacy_keys.len())),
        labelled(metrics::LAST_DRILL, "kind", kinds),
        one(metrics::DRILL_INTERVAL, Number::Signed(drills.interval)),
        one(metrics::DRILL_DUE, Number::Signed(drills.due)),
        one(metrics::DRILL_OVERDUE, yes(drills.overdue)),
        one(metrics::LAST_BACKUP, Number::Signed(backup.newest)),
        one(metrics::BACKUP_INTERVAL, Number::Signed(backup.interval)),
        one(metrics::BACKUP_OVERDUE, yes(backup.overdue)),
    ]
}

fn of_calls(status: &GetStatusResponse) -> Vec<Family> {
    let calls = status.calls.clone().unwrap_or_default();
    let by_operation = |metric, number: fn(&OperationStatus) -> u64| {
        labelled(
            metric,
            "operation",
            calls.operations.iter().map(|one| (&*one.operation, Number::Unsigned(number(one)))),
        )
    };
    let called = calls.operations.iter().filter(|one| one.calls > 0);
    let errors = calls.errors.iter().map(|one| (&*one.code, Number::Unsigned(one.count)));
    vec![
        by_operation(metrics::CALLS, |one| one.calls),
        by_operation(metrics::CALL_ERRORS, |one| one.errors),
        labelled(metrics::ERRORS, "code", errors),
        Family {
            metric: metrics::CALL_DURATION,
            samples: called.flat_map(|one| histogram(one, &calls.bounds_us)).collect(),
        },
    ]
}

/// The samples of one operation's durations. Source: OpenMetrics 1.0, "Histogram": each bucket holds those before it.
fn histogram(one: &OperationStatus, bounds_us: &[u64]) -> Vec<Sample> {
    let operation = ("operation", one.operation.clone());
    let bounds = bounds_us.iter().map(|bound| open_metrics::seconds(*bound)).chain(["+Inf".to_owned()]);
    let mut sum = 0_u64;
    let buckets = one.buckets.iter().zip(bounds).map(|(count, bound)| {
        sum = sum.saturating_add(*count);
        let labels = vec![operation.clone(), ("le", bound)];
        Sample { suffix: "_bucket", labels, number: Number::Unsigned(sum) }
    });
    let mut samples: Vec<Sample> = buckets.collect();
    let labels = vec![operation];
    samples.push(Sample { suffix: "_sum", labels: labels.clone(), number: Number::Microseconds(one.total_us) });
    samples.push(Sample { suffix: "_count", labels, number: Number::Unsigned(one.calls) });
    samples
}

fn of_connections(status: &GetStatusResponse) -> Vec<Family> {
    let sockets = status.connections.clone().unwrap_or_default().sockets;
    let by_socket = |metric, number: fn(&crate::proto::v1::SocketStatus) -> u64| {
        labelled(metric, "socket", sockets.iter().map(|one| (&*one.socket, Number::Unsigned(number(one)))))
    };
    vec![
        by_socket(metrics::CONNECTIONS, |one| one.open.into()),
        by_socket(metrics::CONNECTIONS_ACCEPTED, |one| one.accepted),
        by_socket(metrics::CONNECTIONS_REFUSED, |one| one.refused),
    ]
}

fn of_the_store(status: &GetStatusResponse) -> Vec<Family> {
    let store = status.store.clone().unwrap_or_default();
    let check = status.self_check.clone().unwrap_or_default();
    vec![
        one(metrics::STORE_SIZE, Number::Unsigned(store.bytes)),
        one(metrics::STORE_GENERATION, Number::Unsigned(store.generation)),
        one(metrics::STORE_RECORDS, Number::Unsigned(store.records.into())),
        one(metrics::STORE_WRITABLE, yes(store.state() == StoreState::Healthy)),
        one(metrics::KEYS, Number::Unsigned(status.keys.into())),
        one(metrics::KEY_VERSIONS, Number::Unsigned(status.versions.into())),
        one(metrics::LAST_SELF_CHECK, Number::Signed(check.at)),
        one(metrics::SELF_CHECK_FAULTY, yes(check.result() == SelfCheckResult::Faulty)),
    ]
}

fn of_the_process(status: &GetStatusResponse) -> Vec<Family> {
    let memory = status.locked_memory.unwrap_or_default();
    let sandbox = status.sandbox.clone().unwrap_or_default();
    // A kernel that knows only a part of Landlock has that part in force.
    let landlock = matches!(sandbox.landlock(), Confinement::Enforced | Confinement::Partial);
    let halves = [("landlock", yes(landlock)), ("seccomp", yes(sandbox.seccomp() == Confinement::Enforced))];
    vec![
        one(metrics::LOCKED_MEMORY, Number::Unsigned(memory.bytes)),
        one(metrics::LOCKED_MEMORY_LIMIT, memory.limit_bytes.map_or(Number::Infinite, Number::Unsigned)),
        one(metrics::MEMORY_SECRET, yes(status.memory_protection() == MemoryProtection::MemfdSecret)),
        labelled(metrics::SANDBOX_ENFORCED, "half", halves),
    ]
}

fn yes(whether: bool) -> Number {
    Number::Unsigned(whether.into())
}

fn counted(count: usize) -> Number {
    Number::Unsigned(u64::try_from(count).unwrap_or(u64::MAX))
}

fn one(metric: Metric, number: Number) -> Family {
    let suffix = metric.kind.suffixes().first().copied().unwrap_or_default();
    Family { metric, samples: vec![Sample { suffix, labels: Vec::new(), number }] }
}

/// A sample for each value of one label. What is no plain name is left out: the labels are the daemon's own words.
fn labelled<'l>(metric: Metric, label: &'static str, samples: impl IntoIterator<Item = (&'l str, Number)>) -> Family {
    let suffix = metric.kind.suffixes().first().copied().unwrap_or_default();
    let plain = |value: &str| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let samples = samples.into_iter().filter(|(value, _)| plain(value));
    let samples = samples.map(|(value, number)| Sample { suffix, labels: vec![(label, value.to_owned())], number });
    Family { metric, samples: samples.collect() }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
