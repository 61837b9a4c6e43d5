//! Holds docs/clients.md, the guide for authors of components, to the contract: what it says of codes, answers and limits.
//!
//! Must never run an example: tests/clients/examples does.
//! Run by `cargo test`.

use std::collections::BTreeSet;

use crate::config::settings::Config;
use crate::proto::v1::CanaryResult;
use crate::rpc::status::did_not_start;

const PAGE: &str = include_str!("../../../docs/clients.md");
const CONTRACT: &str = include_str!("../../../proto/servos/keyd/v1/key_service.proto");

fn section(name: &str) -> &'static str {
    PAGE.split("\n## ").find(|section| section.starts_with(name)).unwrap()
}

/// The first cells of the rows that begin in capitals.
fn codes() -> BTreeSet<&'static str> {
    let cells = section("When a call fails").lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    cells.filter(|cell| cell.len() > 5 && cell.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect()
}

#[test]
fn the_guide_says_what_a_component_does_about_every_code_of_the_contract() {
    let table = CONTRACT.split("syntax =").next().unwrap();
    let named = table.lines().filter_map(|line| line.strip_prefix("//   ")?.split(' ').next());
    assert_eq!(codes(), named.filter(|word| !word.is_empty()).collect());
}

#[test]
fn the_guide_repeats_what_the_client_repeats() {
    let repeated: BTreeSet<&str> = ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"].into();
    let list =
        format!("retryableStatusCodes\": [\"{}\"]", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"].join("\", \""));
    assert!(PAGE.contains(&list), "{list}");
    for row in section("When a call fails")
        .lines()
        .filter(|line| codes().iter().any(|code| line.starts_with(&format!("| {code} "))))
    {
        let code = row.split(' ').nth(1).unwrap();
        let says_repeat =
            !row.contains("Does not repeat") && (row.contains("Repeats") || row.contains("The same, with fewer"));
        assert_eq!(says_repeat, repeated.contains(code) || code == "DEADLINE_EXCEEDED", "{row}");
    }
}

#[test]
fn the_guide_says_what_a_component_does_about_every_answer_to_a_canary() {
    let results = (1..).map_while(|number| CanaryResult::try_from(number).ok());
    let wanted: BTreeSet<&str> = results.map(|result| result.as_str_name()).collect();
    let rows =
        section("When a call fails").lines().filter_map(|line| line.strip_prefix("| `CANARY")?.split('`').next());
    let rows: Vec<String> = rows.map(|rest| format!("CANARY{rest}")).collect();
    assert_eq!(rows.iter().map(String::as_str).collect::<BTreeSet<_>>(), wanted);
    assert!(wanted.len() > 3);
}

#[test]
fn the_guide_quotes_the_daemon_as_it_answers() {
    let restarts = section("When the daemon restarts").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(restarts.contains(&format!("`{}`", did_not_start().message())));
    let idle = Config::default().limits.idle_connection;
    assert!(restarts.contains(&format!("no call for {} seconds (`limits.idle_connection`)", idle.as_secs())));
}
