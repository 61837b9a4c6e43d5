//! Holds the alerts, their tests and the dashboard that are shipped to the metrics that exist.
//!
//! Must never pass because nothing was found to compare.
//! Run by `cargo test`.

use std::collections::BTreeSet;

use crate::telemetry::calls::{CODES, OPERATIONS};
use crate::telemetry::metrics;
use serde_json::Value;

const RULES: &str = include_str!("../../../packaging/prometheus/servos-keyd.rules.yml");
const RULE_TESTS: [&str; 2] = [
    include_str!("../../../packaging/prometheus/servos-keyd.rules.test.yml"),
    include_str!("../../../packaging/prometheus/servos-keyd.waiting.test.yml"),
];
const DASHBOARD: &str = include_str!("../../../packaging/grafana/servos-keyd.json");

/// The names of series that stand in a text.
fn series_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("servos_keyd_")).map(str::to_owned).collect()
}

fn known() -> BTreeSet<String> {
    metrics::ALL.iter().flat_map(metrics::Metric::series).collect()
}

/// Every text that is a query: of panels and of the lists above them.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if matches!(name.as_str(), "expr" | "query" | "definition") => {
                        found.push(text.clone())
                    }
                    field => queries(field, found),
                }
            }
        }
        Value::Array(fields) => fields.iter().for_each(|field| queries(field, found)),
        _ => {}
    }
}

#[test]
fn every_alert_asks_for_metrics_that_exist_and_each_is_raised_in_a_test() {
    let known = known();
    for text in [RULES].into_iter().chain(RULE_TESTS) {
        let named = series_in(text);
        assert!(named.len() > 5, "{named:?}");
        assert_eq!(named.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
    }
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(RULE_TESTS.iter().any(|tests| tests.contains(&format!("alertname=\"{alert}\""))), "{alert}");
    }
}

#[test]
fn alerts_name_operations_and_codes_that_exist() {
    let mut seen = 0;
    for (label, known) in [("operation", OPERATIONS.map(|(name, _)| name).to_vec()), ("code", CODES.to_vec())] {
        for matched in RULES.split(&format!("{label}=~\"")).skip(1) {
            for value in matched.split('"').next().unwrap().split('|') {
                assert!(known.contains(&value), "{label} {value}");
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn every_query_of_the_dashboard_asks_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        let mut found = Vec::new();
        queries(panel, &mut found);
        assert!(!found.is_empty(), "{}", panel["title"]);
        for query in &found {
            let named = series_in(query);
            assert!(!named.is_empty() && named.is_subset(&known()), "{query}");
        }
    }
    let mut all = Vec::new();
    queries(&dashboard, &mut all);
    assert!(all.iter().any(|query| query.starts_with("label_values(")), "{all:?}");
    assert!(series_in(DASHBOARD).is_subset(&known()));
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    let (known, named) = (known(), series_in("rate(servos_keyd_callz_total{a=\"b\"}[5m]) / servos_keyd_keys"));
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), ["servos_keyd_callz_total"]);
}
