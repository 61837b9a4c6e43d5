//! Every metric by name: what `servos-keyctl metrics` prints, and what an alert may rest on.
//!
//! Must never hold a name that is not printed; a renamed one breaks somebody's alert.
//! Called by `cli` for `servos-keyctl metrics`.

/// A metric; all are gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name; it ends with its unit, if it has one.
    pub name: &'static str,
    /// Its unit; empty for a number or a yes (1) or no (0).
    pub unit: &'static str,
    /// What it tells, in one line.
    pub help: &'static str,
}

/// Declares each metric once, as a constant and in [`ALL`].
macro_rules! metrics {
    ($($name:ident = $text:literal, $unit:literal, $help:literal;)+) => {
        $(#[doc = $help] pub const $name: Metric = Metric { name: $text, unit: $unit, help: $help };)+

        /// Every metric of this list, in the order in which they are printed.
        pub const ALL: &[Metric] = &[$($name),+];
    };
}

metrics! {
    START = "servos_keyd_start_timestamp_seconds", "seconds", "When the daemon started, in Unix time.";
    WARNINGS = "servos_keyd_warnings", "", "What is to be mended, as status counts it.";
    KEY_SINCE = "servos_keyd_master_key_since_timestamp_seconds", "seconds",
        "Since when the master key is in use, in Unix time.";
    KEY_SHARED = "servos_keyd_master_key_shared", "",
        "Whether components, backups or shell histories have held the master key.";
    ROTATION_PENDING = "servos_keyd_rotation_pending", "",
        "Whether a rotation of the master key waits to be finished or aborted.";
    LEGACY_KEYS = "servos_keyd_legacy_keys", "", "Former master keys that still open legacy values.";
    LAST_DRILL = "servos_keyd_last_drill_timestamp_seconds", "seconds",
        "When a copy of the key in use was last tried, alone (key) or with a backup (restore); 0 for never.";
    DRILL_INTERVAL = "servos_keyd_drill_interval_seconds", "seconds", "How long a drill counts, as configured.";
    DRILL_DUE = "servos_keyd_drill_due_timestamp_seconds", "seconds", "When the next drill is due, in Unix time.";
    DRILL_OVERDUE = "servos_keyd_drill_overdue", "", "Whether a drill is due.";
    LAST_BACKUP = "servos_keyd_last_backup_timestamp_seconds", "seconds",
        "When the newest backup that is known was made, in Unix time; 0 for none.";
    BACKUP_INTERVAL = "servos_keyd_backup_interval_seconds", "seconds",
        "How old the newest backup may become while the store changes, as configured.";
    BACKUP_OVERDUE = "servos_keyd_backup_overdue", "",
        "Whether the newest backup is older, and the store has changed since.";
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
            let kept = ["_total", "_created", "_info", "_count", "_sum", "_bucket"];
            assert!(kept.iter().all(|end| !metric.name.ends_with(end)), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\', '"']), "{}", metric.name);
        }
    }
}
