//! The crash matrix: the power is cut at every sync of every operation, and again at every sync of the repair behind it.
//!
//! Must never pass with fewer cuts than it promises, nor fail without the line that replays the case. Run by
//! `cargo test --features fault-injection --test crash_matrix`, which the gate does; `-- --full` makes all of it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that meets what it does not expect ends there"
)]

mod arguments;
mod disk;
mod faults;
mod matrix;
mod operations;
mod promise;
mod random;
mod record;
mod room;
mod table;
mod trial;
mod walk;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match arguments::Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(64);
        }
    };
    let report = matrix::run(&arguments);
    print!("{}", table::of(&report, &arguments));
    if report.failures.is_empty() && report.is_whole(&arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
