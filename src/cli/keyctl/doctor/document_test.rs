//! Holds docs/doctor.md, and the tests, to the kinds of mistakes: each has its row, and each is planted.
//!
//! Must never pass because nothing was found to compare.
//! Run by `cargo test`.

use super::finding::{ALL, Severity};
use super::planted::Planted;
use super::{CHECKS, text, value};
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../../docs/doctor.md");
const TESTS: [&str; 10] = [
    include_str!("clock_tests.rs"),
    include_str!("container_tests.rs"),
    include_str!("daemon_tests.rs"),
    include_str!("key_sources_tests.rs"),
    include_str!("memory_tests.rs"),
    include_str!("peers_tests.rs"),
    include_str!("sockets_tests.rs"),
    include_str!("store_tests.rs"),
    include_str!("swap_tests.rs"),
    include_str!("rotation_tests.rs"),
];

#[test]
fn the_page_has_a_row_for_every_id_with_why_it_matters() {
    let section = PAGE.split("\n## ").find(|section| section.starts_with("What doctor finds")).unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = ALL.iter().map(|kind| format!("| `{}` | {} |", kind.id, kind.why)).collect();
    assert!(rows.len() > 40);
    assert_eq!(rows, expected);
}

#[test]
fn every_id_is_its_own_and_is_planted_by_a_test() {
    let ids: BTreeSet<&str> = ALL.iter().map(|kind| kind.id).collect();
    assert_eq!(ids.len(), ALL.len());
    for id in ids {
        let planted = TESTS.iter().filter(|tests| tests.contains(&format!("\"{id}\""))).count();
        assert!(planted > 0, "no test plants {id}");
    }
}

#[test]
fn every_family_of_checks_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), CHECKS.len());
}

#[test]
fn where_nothing_is_wrong_nothing_is_found_and_nothing_was_left_out() {
    let report = Planted::well().examined();
    assert!(report.found.is_empty() && report.not_made.is_empty(), "{report:#?}");
    assert_eq!(text(&report), "Nothing to mend.\n");
    let told = value(&report);
    assert_eq!(told["well"], true);
    for list in ["to_mend", "advice", "not_made"] {
        assert_eq!(told[list].as_array().unwrap().len(), 0, "{list}");
    }
    assert_eq!(told["checks"].as_array().unwrap().len(), CHECKS.len());
}

#[test]
fn what_is_to_be_known_keeps_nothing_from_being_well_and_what_was_left_out_is_said() {
    let mut planted = Planted::well();
    planted.write("proc/swaps", "head\n/swapfile file 1 0 -2\n");
    std::fs::remove_file(planted.at("proc/self/uid_map")).unwrap();
    let report = planted.examined();
    assert_eq!(report.of(Severity::Problem).count(), 0);
    let (told, shown) = (value(&report), text(&report));
    assert_eq!((&told["well"], told["advice"][0]["id"].as_str()), (&true.into(), Some("swap-unprotected")));
    assert_eq!(told["not_made"][0]["check"], "peers");
    for words in
        ["Nothing to mend.\nTo know:\n", "[swap-unprotected]\n", "      mend: swapoff ", "Not checked:\n  - peers: "]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    planted.status().master_key.as_mut().unwrap().shared = true;
    let report = planted.examined();
    assert_eq!(value(&report)["well"], false);
    assert!(text(&report).starts_with("To mend:\n  - "), "{}", text(&report));
    let first = &value(&report)["to_mend"][0];
    assert_eq!((first["id"].as_str(), first["severity"].as_str()), (Some("key-shared"), Some("problem")));
    assert_eq!(first["mend"], "servos-keyctl rotate run");
}
