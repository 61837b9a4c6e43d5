//! `servos-keyctl`: the operator's tool.
//!
//! Must never do more than hand its arguments to `cli`.
//! Called by people and scripts.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(servos_keyd::cli::keyctl::run(std::env::args_os()))
}
