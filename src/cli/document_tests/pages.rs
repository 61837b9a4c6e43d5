//! Holds what the documents name to the repository: dependencies, tests, rooms, the client's example, events.
//!
//! Must never pass because nothing was found to compare.
//! Run by `cargo test`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::telemetry::{events, metrics};

const DEPENDENCIES: &str = include_str!("../../../docs/dependencies.md");
const FAULTS: &str = include_str!("../../../docs/faults.md");
const MONITORING: &str = include_str!("../../../docs/monitoring.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");
const README: &str = include_str!("../../../README.md");
const SECURITY: &str = include_str!("../../../SECURITY.md");

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands in backticks in the first cell of each row below a heading, each in one row.
fn first_cells<'p>(page: &'p str, heading: &str) -> BTreeSet<&'p str> {
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let mut cells = BTreeSet::new();
    for cell in section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        assert!(cells.insert(cell), "{cell} has two rows below {heading}");
    }
    cells
}

pub(super) fn files_under(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_direct_dependency_is_named_with_its_reason() {
    let manifest: toml::Table = toml::from_str(include_str!("../../../Cargo.toml")).unwrap();
    let sections = [
        ("dependencies", "Of the daemon, the tool and the client"),
        ("build-dependencies", "Of the build"),
        ("dev-dependencies", "Of the tests"),
    ];
    for (table, heading) in sections {
        let declared: BTreeSet<&str> = manifest[table].as_table().unwrap().keys().map(String::as_str).collect();
        assert_eq!(first_cells(DEPENDENCIES, heading), declared, "{table}");
    }
    let rows = DEPENDENCIES.lines().filter(|line| line.starts_with("| `"));
    for row in rows {
        assert!(row.trim_end_matches(" |").split(" | ").last().unwrap().len() > 12, "no reason: {row}");
    }
    let client = manifest["features"]["client"].as_array().unwrap();
    for (name, dependency) in manifest["dependencies"].as_table().unwrap() {
        let is_optional = dependency.get("optional").is_some();
        let in_client = !is_optional || client.iter().any(|feature| feature.as_str() == Some(&format!("dep:{name}")));
        let row = format!("\n| `{name}` | {} | ", if in_client { "yes" } else { "no" });
        assert!(DEPENDENCIES.contains(&row), "{name}");
    }
}

/// The tests that a page names in backticks: sentences of four words and more.
fn tests_named(page: &str) -> BTreeSet<&str> {
    let is_sentence = |word: &&str| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    page.split('`').skip(1).step_by(2).filter(is_sentence).collect()
}

#[test]
fn every_proof_that_the_threat_model_and_the_page_of_faults_name_is_a_test() {
    let sources: String = ["src", "tests"]
        .iter()
        .flat_map(|directory| files_under(&root().join(directory), "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let model = SECURITY.split("\n## ").find(|section| section.starts_with("Threat model")).unwrap();
    for (page, at_least) in [(model, 20), (FAULTS, 60)] {
        let named = tests_named(page);
        assert!(named.len() > at_least, "{named:?}");
        for test in named {
            assert!(sources.contains(&format!("fn {test}()")), "no test is called {test}");
        }
    }
}

#[test]
fn every_fault_has_its_expectation_and_a_test() {
    let rows: Vec<&str> =
        FAULTS.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |")).collect();
    assert!(rows.len() > 50, "{} rows", rows.len());
    let mut above = "";
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [fault, expected, test] = cells[..] else { panic!("not three cells: {row}") };
        assert!(!fault.is_empty() && !expected.is_empty(), "{row}");
        // `the same` is the test of the row above.
        let named = if test.starts_with("the same") { above } else { test };
        let programs: Vec<&str> = named.split('`').filter(|word| word.starts_with("tests/")).collect();
        assert!(programs.iter().all(|program| root().join(program).exists()), "{row}");
        assert!(!programs.is_empty() || !tests_named(named).is_empty(), "no test: {row}");
        above = named;
    }
}

#[test]
fn the_import_table_has_a_row_for_every_room_and_names_no_other() {
    let page = include_str!("../../lib.rs");
    let declared: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("//! | `")).collect();
    let rooms: BTreeSet<&str> = rows.iter().map(|row| row.split('`').nth(1).unwrap()).collect();
    assert_eq!(rooms, declared);
    assert_eq!(rows.len(), declared.len());
    for row in rows {
        for named in row.split('`').skip(3).step_by(2) {
            assert!(declared.contains(named), "{row}");
        }
    }
}

#[test]
fn the_readme_shows_the_client_s_own_example() {
    let documented: String = include_str!("../../client/mod.rs")
        .split("```")
        .nth(1)
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| line.strip_prefix("//!").map_or(line, |line| line.strip_prefix(' ').unwrap_or(line)))
        .filter(|line| !line.starts_with("# "))
        .map(|line| format!("{line}\n"))
        .collect();
    let shown = README.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(shown.trim_end(), documented.trim_end());
}

#[test]
fn monitoring_tells_what_every_event_means() {
    let named = first_cells(MONITORING, "What the log says");
    assert_eq!(named, events::ALL.iter().copied().collect());
}

#[test]
fn monitoring_tells_what_every_metric_means() {
    // A counter is known by the name of its samples.
    let known = metrics::ALL.iter().map(|metric| match metric.kind {
        metrics::Kind::Counter => format!("{}_total", metric.name),
        metrics::Kind::Gauge | metrics::Kind::Histogram => metric.name.to_owned(),
    });
    let documented = first_cells(MONITORING, "Monitoring").into_iter().map(str::to_owned);
    assert_eq!(documented.collect::<BTreeSet<_>>(), known.collect());
}

#[test]
fn monitoring_has_one_row_for_each_event() {
    let section = MONITORING.split("\n## ").find(|section| section.starts_with("What the log says")).unwrap();
    assert_eq!(section.lines().filter(|line| line.starts_with("| `")).count(), events::ALL.len());
}

#[test]
fn an_installation_without_the_package_makes_what_the_commands_need() {
    let story = OPERATIONS.split("\n## ").find(|section| section.starts_with("On a ServOS that exists")).unwrap();
    let config = crate::config::settings::Config::default();
    let parents = [config.backup.dir.parent(), config.socket.path.parent(), config.store.path.parent()];
    for directory in parents.into_iter().flatten().chain([Path::new("/etc/servos")]) {
        let made = story.lines().map(str::trim).filter(|line| line.starts_with("install -d "));
        assert!(
            made.flat_map(str::split_whitespace).any(|word| Path::new(word) == directory),
            "{} is never made",
            directory.display()
        );
    }
    for command in ["target/release/servos-keyd target/release/servos-keyctl /usr/local/bin/", "chmod 600 /etc/servos/"]
    {
        assert!(story.contains(command), "{command}");
    }
}
