//! The counts of a run, by operation: shown as a table for people, and as one line for machines.
//!
//! Must never show a count that nobody made. Filled by every module that kills.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

/// A row's counts.
#[derive(Clone, Copy, Default)]
pub struct Row {
    /// Deaths at steps.
    pub steps: u64,
    /// Kills at moments that were drawn.
    pub random: u64,
    pub starts: u64,
    pub values: u64,
}

/// The rows, in the order in which they are shown.
const ROWS: [&str; 15] = [
    "init",
    "create-key",
    "rotate-key",
    "delete-key",
    "begin",
    "finish",
    "abort",
    "adopt-legacy",
    "retire-legacy",
    "backup",
    "rewrite",
    "restore",
    "accept",
    START,
    crate::life::SEALING,
];

/// What a start does that follows.
pub const START: &str = "start";

static COUNTS: Mutex<BTreeMap<&'static str, Row>> = Mutex::new(BTreeMap::new());

/// Counts.
pub fn add(name: &'static str, count: impl FnOnce(&mut Row)) {
    assert!(ROWS.contains(&name), "{name}");
    count(COUNTS.lock().unwrap().entry(name).or_default());
}

/// Of several changes that one kill hit, the one that was hit least: each kill counts once.
pub fn least_killed(hit: &[&'static str]) -> Option<&'static str> {
    let counts = COUNTS.lock().unwrap();
    hit.iter().copied().min_by_key(|name| counts.get(name).map_or(0, |row| row.random))
}

/// All of them.
pub fn total() -> Row {
    let counts = COUNTS.lock().unwrap();
    counts.values().fold(Row::default(), |sum, row| Row {
        steps: sum.steps + row.steps,
        random: sum.random + row.random,
        starts: sum.starts + row.starts,
        values: sum.values + row.values,
    })
}

/// For people.
pub fn shown() -> String {
    let counts = COUNTS.lock().unwrap().clone();
    let mut text = String::new();
    let mut line = |name: &str, cells: [String; 4]| {
        let [steps, random, starts, values] = cells;
        let _ = writeln!(text, "{name:<18}{steps:>16}{random:>14}{starts:>14}{values:>16}");
    };
    line("operation", ["deaths at steps", "random kills", "starts after", "values checked"].map(str::to_owned));
    let cells = |row: Row| [row.steps, row.random, row.starts, row.values].map(|count| count.to_string());
    for name in ROWS {
        line(name, cells(counts.get(name).copied().unwrap_or_default()));
    }
    line("all", cells(total()));
    text
}

/// For machines: one line.
pub fn summary(seed: u64, seconds: u64) -> String {
    let counts = COUNTS.lock().unwrap().clone();
    let cuts: serde_json::Map<_, _> =
        counts.iter().map(|(name, row)| ((*name).to_owned(), (row.steps + row.random).into())).collect();
    let total = counts.values().fold((0, 0), |sum, row| (sum.0 + row.starts, sum.1 + row.values));
    let summary = serde_json::json!({
        "harness": "kills",
        "seed": seed,
        "cuts": cuts,
        "second_cuts": counts.get(START).map_or(0, |row| row.steps + row.random),
        "faults": 0,
        "starts": total.0,
        "values": total.1,
        "seconds": seconds,
    });
    format!("survival: {summary}")
}
