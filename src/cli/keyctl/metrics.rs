//! `servos-keyctl metrics`: the age of drills and backups, and what is to be mended, for monitoring.
//!
//! Must never print half of it: a file of metrics that ends early would hide what is overdue.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::socket::SocketArguments;
use crate::cli::failure::Failure;
use crate::proto::v1::{Drill, GetStatusResponse, RotationState};
use crate::telemetry::metrics::{self, Metric};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A metric with its samples: the value of its one label, if it has that, and the number.
type Family = (Metric, Vec<(Option<&'static str>, i64)>);

/// Prints the metrics of the daemon's status.
pub(super) async fn run(console: &mut Console, socket: &SocketArguments) -> Result<(), Failure> {
    let families = families(&socket.admin().status().await?);
    console.result(&value(&families), &text(&families))
}

fn families(status: &GetStatusResponse) -> Vec<Family> {
    let master = status.master_key.clone().unwrap_or_default();
    let drills = status.drills.clone().unwrap_or_default();
    let backup = status.backup.clone().unwrap_or_default();
    let pending = status.rotation.as_ref().is_some_and(|rotation| rotation.state() == RotationState::Pending);
    // One of another key counts for nothing.
    let last = |drill: &Option<Drill>| {
        drill.as_ref().filter(|drill| drill.fingerprint == master.fingerprint).map_or(0, |drill| drill.at)
    };
    let count = |number: usize| vec![(None, i64::try_from(number).unwrap_or(i64::MAX))];
    let one = |number: i64| vec![(None, number)];
    vec![
        (metrics::START, one(status.started)),
        (metrics::WARNINGS, count(status.warnings.len())),
        (metrics::KEY_SINCE, one(master.since)),
        (metrics::KEY_SHARED, one(master.shared.into())),
        (metrics::ROTATION_PENDING, one(pending.into())),
        (metrics::LEGACY_KEYS, count(status.legacy_keys.len())),
        (metrics::LAST_DRILL, vec![(Some("key"), last(&drills.key)), (Some("restore"), last(&drills.restore))]),
        (metrics::DRILL_INTERVAL, one(drills.interval)),
        (metrics::DRILL_DUE, one(drills.due)),
        (metrics::DRILL_OVERDUE, one(drills.overdue.into())),
        (metrics::LAST_BACKUP, one(backup.newest)),
        (metrics::BACKUP_INTERVAL, one(backup.interval)),
        (metrics::BACKUP_OVERDUE, one(backup.overdue.into())),
    ]
}

/// OpenMetrics text. Source: OpenMetrics 1.0, "Text format". Nothing in it need be escaped: names, labels and help are
/// ours.
fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for (Metric { name, unit, help }, samples) in families {
        let _ = writeln!(text, "# TYPE {name} gauge");
        if !unit.is_empty() {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {help}");
        for (kind, number) in samples {
            let _ = match kind {
                Some(kind) => writeln!(text, "{name}{{kind=\"{kind}\"}} {number}"),
                None => writeln!(text, "{name} {number}"),
            };
        }
    }
    text.push_str("# EOF\n");
    text
}

fn value(families: &[Family]) -> Value {
    let sample = |(kind, number): &(Option<&str>, i64)| json!({"kind": kind, "value": number});
    let family = |(Metric { name, unit, help }, samples): &Family| {
        let samples: Vec<Value> = samples.iter().map(sample).collect();
        json!({"name": name, "type": "gauge", "unit": unit, "help": help, "samples": samples})
    };
    json!({"metrics": families.iter().map(family).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{BackupStatus, DrillStatus, LegacyKeyStatus, MasterKeyStatus, Rotation};
    use std::collections::BTreeMap;

    fn status() -> GetStatusResponse {
        let drill = |fingerprint: &str, at| Some(Drill { at, fingerprint: fingerprint.into() });
        GetStatusResponse {
            started: 1_795_446_000,
            master_key: Some(MasterKeyStatus {
                fingerprint: "0011".into(),
                since: 7,
                shared: true,
                ..MasterKeyStatus::default()
            }),
            legacy_keys: vec![LegacyKeyStatus::default(); 2],
            backup: Some(BackupStatus { newest: 9, interval: 10, overdue: false, ..BackupStatus::default() }),
            drills: Some(DrillStatus {
                key: drill("0011", 11),
                restore: drill("9988", 12),
                interval: 13,
                due: 14,
                overdue: true,
            }),
            warnings: vec!["one \"and\" {more}\n".into()],
            rotation: Some(Rotation { state: RotationState::Pending.into(), ..Rotation::default() }),
            ..GetStatusResponse::default()
        }
    }

    /// Reads OpenMetrics strictly: of each family TYPE, UNIT and HELP in this order, its samples, and nothing after
    /// EOF.
    fn parsed(text: &str) -> BTreeMap<String, i64> {
        let mut lines = text.strip_suffix("# EOF\n").expect("it ends with EOF").lines().peekable();
        let mut samples = BTreeMap::new();
        while let Some(line) = lines.next() {
            let name = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" gauge")).expect(line);
            let unit = lines.next_if(|line| line.starts_with("# UNIT "));
            if let Some(unit) = unit.map(|line| line.strip_prefix(&format!("# UNIT {name} ")).expect(line)) {
                assert!(name.ends_with(&format!("_{unit}")), "{name}");
            }
            let help = lines.next().unwrap();
            assert!(help.starts_with(&format!("# HELP {name} ")), "{help}");
            let mut some = 0;
            while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
                let (key, number) = sample.split_once(' ').expect(sample);
                let labels = key.strip_prefix(name).expect(sample);
                assert!(matches!(labels, "" | "{kind=\"key\"}" | "{kind=\"restore\"}"), "{sample}");
                assert!(samples.insert(key.to_owned(), number.parse().expect(sample)).is_none(), "{sample}");
                some += 1;
            }
            assert!(some > 0, "{name} has no sample");
        }
        samples
    }

    #[test]
    fn what_is_printed_is_open_metrics_with_each_declared_metric_in_its_order() {
        let families = families(&status());
        assert_eq!(families.iter().map(|(metric, _)| *metric).collect::<Vec<_>>(), metrics::ALL);
        let samples = parsed(&text(&families));
        assert_eq!(samples.len(), metrics::ALL.len() + 1);
        for (name, expected) in [
            ("servos_keyd_start_timestamp_seconds", 1_795_446_000),
            ("servos_keyd_warnings", 1),
            ("servos_keyd_master_key_since_timestamp_seconds", 7),
            ("servos_keyd_master_key_shared", 1),
            ("servos_keyd_rotation_pending", 1),
            ("servos_keyd_legacy_keys", 2),
            ("servos_keyd_last_drill_timestamp_seconds{kind=\"key\"}", 11),
            // Of a key that is not in use: never.
            ("servos_keyd_last_drill_timestamp_seconds{kind=\"restore\"}", 0),
            ("servos_keyd_drill_interval_seconds", 13),
            ("servos_keyd_drill_due_timestamp_seconds", 14),
            ("servos_keyd_drill_overdue", 1),
            ("servos_keyd_last_backup_timestamp_seconds", 9),
            ("servos_keyd_backup_interval_seconds", 10),
            ("servos_keyd_backup_overdue", 0),
        ] {
            assert_eq!(samples[name], expected, "{name}");
        }
    }

    #[test]
    fn nothing_that_a_daemon_tells_is_text_in_it() {
        let said = text(&families(&status()));
        assert!(!said.contains("0011") && !said.contains("one \"and\""), "{said}");
        assert_eq!(parsed(&text(&families(&GetStatusResponse::default()))).len(), metrics::ALL.len() + 1);
    }

    #[test]
    fn json_has_the_same_names_and_numbers() {
        let families = families(&status());
        let samples = parsed(&text(&families));
        let shown = value(&families);
        let mut seen = 0;
        for metric in shown["metrics"].as_array().unwrap() {
            let name = metric["name"].as_str().unwrap();
            for sample in metric["samples"].as_array().unwrap() {
                let key = match sample["kind"].as_str() {
                    Some(kind) => format!("{name}{{kind=\"{kind}\"}}"),
                    None => name.to_owned(),
                };
                assert_eq!(samples[&key], sample["value"].as_i64().unwrap(), "{key}");
                seen += 1;
            }
        }
        assert_eq!(seen, samples.len());
    }
}
