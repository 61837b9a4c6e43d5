//! Every metric by name: what the socket of the metrics and `servos-keyctl metrics` print, and what an alert may rest on.
//!
//! Must never hold a name that is not printed; a renamed one breaks somebody's alert.
//! Called by `rpc` for both, and by the tests that hold documents, alerts and dashboard to it.

/// What kind of number a metric is. Source: OpenMetrics 1.0, "Metric types".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that goes up and down.
    Gauge,
    /// A number that only grows, from 0 at the daemon's start.
    Counter,
    /// Counts of durations, by upper bounds.
    Histogram,
}

impl Kind {
    /// Its name in the text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }

    /// What its samples' names end with, behind the metric's.
    #[must_use]
    pub const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Gauge => &[""],
            Self::Counter => &["_total"],
            Self::Histogram => &["_bucket", "_sum", "_count"],
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// What it is.
    pub kind: Kind,
    /// Its name; it ends with its unit, if it has one.
    pub name: &'static str,
    /// Its unit; empty for a number or a yes (1) or no (0).
    pub unit: &'static str,
    /// What it tells, in one line.
    pub help: &'static str,
}

impl Metric {
    /// The names of its samples, as queries have them.
    pub fn series(&self) -> impl Iterator<Item = String> + '_ {
        self.kind.suffixes().iter().map(|suffix| format!("{}{suffix}", self.name))
    }
}

/// Declares each metric once, as a constant and in [`ALL`].
macro_rules! metrics {
    ($($name:ident = $kind:ident, $text:literal, $unit:literal, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $name: Metric = Metric { kind: Kind::$kind, name: $text, unit: $unit, help: $help };
        )+

        /// Every metric of this list, in the order in which they are printed.
        pub const ALL: &[Metric] = &[$($name),+];
    };
}

metrics! {
    START = Gauge, "servos_keyd_start_timestamp_seconds", "seconds", "When the daemon started, in Unix time.";
    WARNINGS = Gauge, "servos_keyd_warnings", "", "What is to be mended, as status counts it.";
    KEY_SINCE = Gauge, "servos_keyd_master_key_since_timestamp_seconds", "seconds",
        "Since when the master key is in use, in Unix time.";
    KEY_SHARED = Gauge, "servos_keyd_master_key_shared", "",
        "Whether components, backups or shell histories have held the master key.";
    ROTATION_PENDING = Gauge, "servos_keyd_rotation_pending", "",
        "Whether a rotation of the master key waits to be finished or aborted.";
    LEGACY_KEYS = Gauge, "servos_keyd_legacy_keys", "", "Former master keys that still open legacy values.";
    LAST_DRILL = Gauge, "servos_keyd_last_drill_timestamp_seconds", "seconds",
        "When a copy of the key in use was last tried, alone (key) or with a backup (restore); 0 for never.";
    DRILL_INTERVAL = Gauge, "servos_keyd_drill_interval_seconds", "seconds", "How long a drill counts, as configured.";
    DRILL_DUE = Gauge, "servos_keyd_drill_due_timestamp_seconds", "seconds", "When the next drill is due, in Unix time.";
    DRILL_OVERDUE = Gauge, "servos_keyd_drill_overdue", "", "Whether a drill is due.";
    LAST_BACKUP = Gauge, "servos_keyd_last_backup_timestamp_seconds", "seconds",
        "When the newest backup that is known was made, in Unix time; 0 for none.";
    BACKUP_INTERVAL = Gauge, "servos_keyd_backup_interval_seconds", "seconds",
        "How old the newest backup may become while the store changes, as configured.";
    BACKUP_OVERDUE = Gauge, "servos_keyd_backup_overdue", "",
        "Whether the newest backup is older, and the store has changed since.";
    CALLS = Counter, "servos_keyd_calls", "", "Calls since the start, by operation.";
    CALL_ERRORS = Counter, "servos_keyd_call_errors", "", "Calls that did not succeed, by operation.";
    ERRORS = Counter, "servos_keyd_errors", "", "Calls that did not succeed, by code.";
    CALL_DURATION = Histogram, "servos_keyd_call_duration_seconds", "seconds",
        "How long calls took until their answer began, by operation; of those that were called.";
    CONNECTIONS = Gauge, "servos_keyd_connections", "", "Connections that are open, by socket.";
    CONNECTIONS_ACCEPTED = Counter, "servos_keyd_connections_accepted", "",
        "Connections that were served since the start, by socket.";
    CONNECTIONS_REFUSED = Counter, "servos_keyd_connections_refused", "",
        "Connections that were closed unserved since the start, by socket: it, or a user, had too many.";
    STORE_SIZE = Gauge, "servos_keyd_store_size_bytes", "bytes", "Size of the store's file; 0 if that is not known.";
    STORE_GENERATION = Gauge, "servos_keyd_store_generation", "", "Generation of the store: each change adds one.";
    STORE_RECORDS = Gauge, "servos_keyd_store_records", "", "Records in the store.";
    STORE_WRITABLE = Gauge, "servos_keyd_store_writable", "", "Whether the store takes changes.";
    KEYS = Gauge, "servos_keyd_keys", "", "Keys that are in use.";
    KEY_VERSIONS = Gauge, "servos_keyd_key_versions", "", "Versions of keys, those of deleted keys included.";
    LAST_SELF_CHECK = Gauge, "servos_keyd_last_self_check_timestamp_seconds", "seconds",
        "When the store and its newest backup were last checked, in Unix time; 0 for not since the start.";
    SELF_CHECK_FAULTY = Gauge, "servos_keyd_self_check_faulty", "", "Whether that found something wrong.";
    LOCKED_MEMORY = Gauge, "servos_keyd_locked_memory_bytes", "bytes", "Memory that is locked for keys.";
    LOCKED_MEMORY_LIMIT = Gauge, "servos_keyd_locked_memory_limit_bytes", "bytes",
        "How much memory may be locked, RLIMIT_MEMLOCK; +Inf for any.";
    MEMORY_SECRET = Gauge, "servos_keyd_memory_secret", "",
        "Whether memfd_secret holds the keys, so that not even root reads them.";
    SANDBOX_ENFORCED = Gauge, "servos_keyd_sandbox_enforced", "",
        "Whether a half of the sandbox is in force, as far as the kernel knows it.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn every_metric_is_named_once_as_open_metrics_wants_it() {
        assert_eq!(ALL.iter().map(|metric| metric.name).collect::<BTreeSet<_>>().len(), ALL.len());
        for metric in ALL {
            let rest = metric.name.strip_prefix("servos_keyd_").unwrap();
            assert!(rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", metric.name);
            // Source: OpenMetrics 1.0, "Unit": a name ends with its unit. These ends are kept for other types.
            assert!(metric.unit.is_empty() || metric.name.ends_with(&format!("_{}", metric.unit)), "{}", metric.name);
            let kept = ["_total", "_created", "_info", "_count", "_sum", "_bucket", "_gcount", "_gsum"];
            assert!(kept.iter().all(|end| !metric.name.ends_with(end)), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\', '"']), "{}", metric.name);
        }
    }
}
