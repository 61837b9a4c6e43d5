//! The manual page of the configuration, from the table of `docs/configuration.md` and from `packaging/keyd.toml`.
//!
//! Must never hold a key or a default itself: tests hold those two to the code.
//! Called by `main`.

use crate::page::{self, CONFIGURATION_FILE, CONFIGURATION_PAGE, Edition};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use std::path::Path;

const TABLE: &str = include_str!("../../docs/configuration.md");
const EXAMPLE: &str = include_str!("../keyd.toml");

/// Writes the page.
pub fn write(edition: &Edition, directory: &Path) -> std::io::Result<()> {
    let mut roff = edition.title(CONFIGURATION_PAGE, "5");
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{CONFIGURATION_PAGE} - configuration of servos-keyd"))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([
        roman("The daemon and the commands of servos-keyd read "),
        bold(CONFIGURATION_FILE),
        roman(", or the file that is named with "),
        bold("--config"),
        roman(
            ". It is TOML. Every key has a default, and an unknown one is an error. Durations are one whole number and \
             one unit of ms, s, m, h and d.",
        ),
    ]);
    roff.control("SH", ["KEYS"]);
    keys(&mut roff)?;
    roff.control("SH", ["EXAMPLE"]);
    roff.text([roman("The file as it is installed: every key at its default.")]);
    roff.control("sp", []);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    let mut text = roff.to_roff();
    text += &page::files(&[(CONFIGURATION_FILE.to_owned(), "the configuration")]).render();
    text += &page::see_also([("servos-keyd".to_owned(), page::SECTION)].into_iter()).render();
    std::fs::write(directory.join(format!("{CONFIGURATION_PAGE}.5")), page::filled(&text))
}

/// One entry for each row: key, default, values, what it is.
fn keys(roff: &mut Roff) -> std::io::Result<()> {
    let section = TABLE.split("\n## ").find(|section| section.starts_with("The keys\n")).unwrap_or_default();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    if rows.is_empty() {
        return Err(std::io::Error::other("docs/configuration.md has no table of keys"));
    }
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, default, values, what] = cells[..] else {
            return Err(std::io::Error::other(format!("docs/configuration.md: not four cells: {row}")));
        };
        roff.control("TP", []);
        roff.text([bold(key.trim_matches('`'))]);
        roff.text(prose(what));
        roff.control("br", []);
        roff.text([vec![italic("Values: ")], prose(values), vec![italic("; default: ")], prose(default)].concat());
    }
    Ok(())
}

/// Markdown of one cell: code becomes bold, and of a link its text stays.
fn prose(cell: &str) -> Vec<Inline> {
    let mut plain = String::new();
    let mut rest = cell;
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        match link.split_once("](").and_then(|(text, target)| Some((text, target.split_once(')')?.1))) {
            Some((text, after)) => {
                plain.push_str(text);
                rest = after;
            }
            None => {
                plain.push('[');
                rest = link;
            }
        }
    }
    plain.push_str(rest);
    let parts = plain.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
