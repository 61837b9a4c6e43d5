//! The rules of the house, held to the code: who may name whom, where `unsafe` and `async` stand, and what every file
//! and name must be like. The import table is read from the crate's documentation, where it lives.
//!
//! Must never pass because it found nothing: each rule is shown to fail on a planted violation.
//! Run by `cargo test`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect ends there"
)]

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/packages.rs"]
mod packages;
#[path = "architecture/planted.rs"]
mod planted;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/table.rs"]
mod table;

use source::Source;
use std::fmt;
use std::path::Path;
use table::Table;

/// One place that breaks a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Violation {
    /// The file, from the package's directory.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Everything that breaks a rule in these files, given as path and text. `src/lib.rs` holds the import table.
pub fn check(files: &[(String, String)]) -> Vec<Violation> {
    let map = files.iter().find(|(path, _)| path == "src/lib.rs").expect("there is no src/lib.rs");
    let table = Table::parse(&map.1);
    let sources = Source::read_all(files);
    let mut found = imports::check(&sources, &table);
    found.extend(circles::check(&sources));
    found.extend(rules::check(&sources, &table));
    found.sort();
    found.dedup();
    found
}

fn package() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut waiting = vec![root.join("src")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_house_keeps_its_rules() {
    let files = package();
    assert!(files.len() > 100, "only {} files were found", files.len());
    let found: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} places break a rule:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_room_stands_in_the_table_and_every_secret_type_that_is_watched_exists() {
    let files = package();
    let table = Table::parse(&files.iter().find(|(path, _)| path == "src/lib.rs").unwrap().1);
    let sources = Source::read_all(&files);
    for source in sources.iter().filter(|source| source.room() != "bin" && !source.module.is_empty()) {
        assert!(table.has(source.room()), "{} is in no room of the table", source.path);
    }
    for (path, name) in rules::SECRET_TYPES {
        let declared = sources.iter().find(|source| source.path == *path).is_some_and(|source| source.declares(name));
        assert!(declared, "{path} declares no {name}: mend the list of secret types");
    }
}
