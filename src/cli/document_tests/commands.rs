//! Holds docs/commands.md to the command lines: the program that writes the manual pages writes it too.
//!
//! Must never pass on a page that is older than a command.
//! Run by `cargo test`.

use crate::cli::{keyctl, keyd};

#[path = "../../../packaging/manuals/markdown.rs"]
mod markdown;

const PAGE: &str = include_str!("../../../docs/commands.md");

#[test]
fn the_page_of_commands_is_the_one_that_the_command_lines_give() {
    let written = markdown::page(&[keyd::command(), keyctl::command()]);
    let differs = written.lines().zip(PAGE.lines()).find(|(now, page)| now != page);
    assert!(written == PAGE, "docs/commands.md is out of date ({differs:?}): {}", markdown::MENDED_BY);
    assert!(PAGE.matches("\n### ").count() > 30);
}
