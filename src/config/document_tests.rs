//! Holds docs/configuration.md and packaging/keyd.toml to the settings: what one names, the other has.
//!
//! Must never pass because nothing was found to compare.
//! Run by `cargo test`.

use std::collections::BTreeSet;
use std::path::Path;

use super::settings::{Config, Setting};

const PAGE: &str = include_str!("../../docs/configuration.md");
const DEFAULTS: &str = include_str!("../../packaging/keyd.toml");

/// Key and default of each row of the table of keys.
fn rows() -> Vec<(&'static str, &'static str)> {
    let table = PAGE.split("## ").find(|section| section.starts_with("The keys")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split(" | ");
        (cells.next().unwrap().trim_start_matches("| ").trim_matches('`'), cells.next().unwrap())
    })
    .collect()
}

#[test]
fn the_page_has_a_row_for_every_key_in_the_order_of_the_code() {
    let documented: Vec<&str> = rows().into_iter().map(|(key, _)| key).collect();
    let described: Vec<&str> = Config::default().describe().into_iter().map(|setting| setting.key).collect();
    assert_eq!(documented, described);
}

#[test]
fn the_page_gives_the_default_of_every_key() {
    for (Setting { key, value, .. }, (_, cell)) in Config::default().describe().into_iter().zip(rows()) {
        let expected = match key {
            "store.mark" => "the store's path and `.mark`".to_owned(),
            "master_key.file" | "metrics.socket" => "none".to_owned(),
            _ if value.parse::<u64>().is_ok() || value.parse::<bool>().is_ok() => format!("`{value}`"),
            _ => format!("`\"{value}\"`"),
        };
        assert_eq!(cell, expected, "{key}");
    }
}

#[test]
fn the_shipped_file_is_the_default() {
    let config = Config::parse(DEFAULTS.as_bytes(), Path::new("packaging/keyd.toml")).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn the_shipped_file_names_every_key() {
    let table: toml::Table = toml::from_str(DEFAULTS).unwrap();
    let written: BTreeSet<String> = table
        .iter()
        .flat_map(|(section, keys)| keys.as_table().unwrap().keys().map(move |key| format!("{section}.{key}")))
        .collect();
    for Setting { key, .. } in Config::default().describe() {
        // Two have no default that could be written; the file names them in a comment.
        let commented = match key {
            "master_key.file" => DEFAULTS.contains("\n# file = "),
            "metrics.socket" => DEFAULTS.contains("\n# socket = "),
            _ => false,
        };
        assert!(written.contains(key) || commented, "{key}");
    }
}
