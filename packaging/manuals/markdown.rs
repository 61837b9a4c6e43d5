//! `docs/commands.md`: the command lines of both programs, from the code that reads them.
//!
//! Must never name what is hidden, nor depend on the machine it is written on.
//! Called by `main`, and by the test that holds the page to the code.

use clap::{Arg, Command};
use std::fmt::Write as _;

/// How the page is written anew.
pub const MENDED_BY: &str = "cargo run --example manuals -- --markdown docs/commands.md";

/// The whole page.
#[must_use]
pub fn page(programs: &[Command]) -> String {
    let mut page = format!(
        "# The commands\n\n\
         Every command of both programs, as `--help` tells it and the manual pages of the packages do. This page is written by\n\
         `{MENDED_BY}`, and a test holds it to the programs.\n\n\
         What they end with is in [errors.md](errors.md#exit-codes), what they read in [configuration.md](configuration.md).\n\
         An option that stands with a program goes with each of its commands.\n"
    );
    for program in programs {
        let mut program = program.clone();
        program.build();
        append(&program, program.get_name(), &mut page);
    }
    page
}

fn append(command: &Command, name: &str, page: &mut String) {
    let is_program = !name.contains(' ');
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let level = if is_program { "##" } else { "###" };
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace("\n       ", "\n");
    // Writing into text does not fail.
    let _ = write!(page, "\n{level} {name}\n\n{}\n\n```text\n{}\n```\n", about.trim(), usage.trim());
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| is_shown(argument) && (is_program || !argument.is_global_set()))
        .collect();
    if !arguments.is_empty() {
        page.push('\n');
    }
    for argument in arguments {
        let _ = writeln!(page, "- `{}`: {}", argument.to_string().trim(), told(argument));
    }
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        append(below, &format!("{name} {}", below.get_name()), page);
    }
}

/// Not what every command has.
fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

/// Its help on one line, with what it takes and what it is without.
fn told(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut told = help.split_whitespace().collect::<Vec<_>>().join(" ");
    if !argument.get_action().takes_values() {
        return told;
    }
    let values: Vec<String> =
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.is_empty() {
        let _ = write!(told, " (one of {})", values.join(", "));
    }
    let defaults = argument.get_default_values().iter().filter(|value| !value.is_empty());
    let defaults: Vec<String> = defaults.map(|value| format!("`{}`", value.display())).collect();
    if !defaults.is_empty() {
        let _ = write!(told, " (without it: {})", defaults.join(", "));
    }
    told
}
