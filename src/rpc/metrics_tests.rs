//! Tests of the metrics: read back strictly, as OpenMetrics has it.
//!
//! Must never take for granted that what is printed is what was declared.
//! Run by `cargo test`.

use super::*;
use crate::proto::v1::{
    BackupStatus, CallStatus, CodeCount, ConnectionStatus, DrillStatus, LegacyKeyStatus, LockedMemoryStatus,
    MasterKeyStatus, Rotation, SocketStatus, StoreStatus,
};
use std::collections::BTreeMap;

fn status() -> GetStatusResponse {
    let drill = |fingerprint: &str, at| Some(Drill { at, fingerprint: fingerprint.into() });
    let operation = |operation: &str, calls, errors, buckets: &[u64]| OperationStatus {
        operation: operation.into(),
        calls,
        errors,
        total_us: 2_500_000,
        buckets: buckets.to_vec(),
    };
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
        store: Some(StoreStatus {
            bytes: 4096,
            generation: 3,
            state: StoreState::Failing.into(),
            ..Default::default()
        }),
        calls: Some(CallStatus {
            bounds_us: vec![10, 1_000_000],
            operations: vec![operation("Encrypt", 6, 2, &[1, 2, 3]), operation("Decrypt", 0, 0, &[0, 0, 0])],
            errors: vec![CodeCount { code: "NOT_FOUND".into(), count: 2 }],
        }),
        connections: Some(ConnectionStatus {
            sockets: vec![SocketStatus { socket: "admin".into(), open: 1, accepted: 5, refused: 4 }],
            ..ConnectionStatus::default()
        }),
        locked_memory: Some(LockedMemoryStatus { bytes: 8192, limit_bytes: None }),
        ..GetStatusResponse::default()
    }
}

/// Reads OpenMetrics strictly: of each family TYPE, UNIT and HELP in this order, its samples, and nothing after EOF.
fn parsed(text: &str) -> BTreeMap<String, String> {
    let mut lines = text.strip_suffix("# EOF\n").expect("it ends with EOF").lines().peekable();
    let mut samples = BTreeMap::new();
    let mut declared = metrics::ALL.iter();
    while let Some(line) = lines.next() {
        let metric = declared.next().expect(line);
        let name = metric.name;
        assert_eq!(line, format!("# TYPE {name} {}", metric.kind.as_str()));
        let unit = lines.next_if(|line| line.starts_with("# UNIT "));
        if let Some(unit) = unit.map(|line| line.strip_prefix(&format!("# UNIT {name} ")).expect(line)) {
            assert!(name.ends_with(&format!("_{unit}")), "{name}");
        }
        let help = lines.next().unwrap();
        assert!(help.starts_with(&format!("# HELP {name} ")), "{help}");
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (key, number) = sample.rsplit_once(' ').expect(sample);
            let series = key.split('{').next().unwrap();
            assert!(metric.series().any(|known| known == series), "{sample}");
            let labels = key.strip_prefix(series).unwrap();
            let plain = |c: char| c.is_ascii_alphanumeric() || "_{}=\",+-.".contains(c);
            assert!(labels.chars().all(plain), "{sample}");
            assert!(number == "+Inf" || number.parse::<f64>().is_ok(), "{sample}");
            assert!(samples.insert(key.to_owned(), number.to_owned()).is_none(), "{sample}");
        }
    }
    assert!(declared.next().is_none());
    samples
}

#[test]
fn what_is_printed_is_open_metrics_with_each_declared_metric_in_its_order() {
    let samples = parsed(&open_metrics::text(&families(&status())));
    for (name, expected) in [
        ("servos_keyd_start_timestamp_seconds", "1795446000"),
        ("servos_keyd_warnings", "1"),
        ("servos_keyd_master_key_since_timestamp_seconds", "7"),
        ("servos_keyd_master_key_shared", "1"),
        ("servos_keyd_rotation_pending", "1"),
        ("servos_keyd_legacy_keys", "2"),
        ("servos_keyd_last_drill_timestamp_seconds{kind=\"key\"}", "11"),
        // Of a key that is not in use: never.
        ("servos_keyd_last_drill_timestamp_seconds{kind=\"restore\"}", "0"),
        ("servos_keyd_drill_interval_seconds", "13"),
        ("servos_keyd_drill_due_timestamp_seconds", "14"),
        ("servos_keyd_drill_overdue", "1"),
        ("servos_keyd_last_backup_timestamp_seconds", "9"),
        ("servos_keyd_backup_interval_seconds", "10"),
        ("servos_keyd_backup_overdue", "0"),
        ("servos_keyd_calls_total{operation=\"Encrypt\"}", "6"),
        ("servos_keyd_calls_total{operation=\"Decrypt\"}", "0"),
        ("servos_keyd_call_errors_total{operation=\"Encrypt\"}", "2"),
        ("servos_keyd_errors_total{code=\"NOT_FOUND\"}", "2"),
        ("servos_keyd_call_duration_seconds_bucket{operation=\"Encrypt\",le=\"1e-05\"}", "1"),
        ("servos_keyd_call_duration_seconds_bucket{operation=\"Encrypt\",le=\"1.0\"}", "3"),
        ("servos_keyd_call_duration_seconds_bucket{operation=\"Encrypt\",le=\"+Inf\"}", "6"),
        ("servos_keyd_call_duration_seconds_sum{operation=\"Encrypt\"}", "2.5"),
        ("servos_keyd_call_duration_seconds_count{operation=\"Encrypt\"}", "6"),
        ("servos_keyd_connections{socket=\"admin\"}", "1"),
        ("servos_keyd_connections_accepted_total{socket=\"admin\"}", "5"),
        ("servos_keyd_connections_refused_total{socket=\"admin\"}", "4"),
        ("servos_keyd_store_size_bytes", "4096"),
        ("servos_keyd_store_generation", "3"),
        ("servos_keyd_store_writable", "0"),
        ("servos_keyd_locked_memory_bytes", "8192"),
        ("servos_keyd_locked_memory_limit_bytes", "+Inf"),
        ("servos_keyd_memory_secret", "0"),
        ("servos_keyd_sandbox_enforced{half=\"landlock\"}", "0"),
    ] {
        assert_eq!(samples[name], expected, "{name}");
    }
    assert!(!samples.keys().any(|key| key.contains("duration") && key.contains("Decrypt")), "it was never called");
}

#[test]
fn nothing_that_a_daemon_tells_is_text_in_it() {
    let mut status = status();
    let calls = status.calls.as_mut().unwrap();
    calls.operations[1].operation = "x\"} 1\n# EOF".into();
    let said = open_metrics::text(&families(&status));
    assert!(!said.contains("0011") && !said.contains("one \"and\"") && !said.contains("x\""), "{said}");
    parsed(&said);
    parsed(&open_metrics::text(&families(&GetStatusResponse::default())));
}
