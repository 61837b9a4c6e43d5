//! What the daemon's commands print, for people and for scripts.
//!
//! Must never print a secret; standard output holds results, standard error everything else.
//! Called by the commands.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place of these commands that prints")]

use crate::cli::failure::Failure;
use crate::cli::plain::{plain_json, plain_lines};
use std::io::{ErrorKind, Write as _};

/// A line of a result. Names of files are in it that others may have chosen.
pub fn line(text: &str) {
    write(&plain_lines(text));
}

/// A result for a program.
pub fn value(value: &serde_json::Value) {
    write(&plain_json(value));
}

fn write(text: &str) {
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever closed the pipe has read enough; what a command has done, and its exit code, stand.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        _ => (),
    }
}

/// A remark that is not the result. Nowhere is left to report that it could not be written.
pub fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", plain_lines(text));
}

/// Draws over the last line that was drawn on the terminal of standard error; nothing clears it.
pub fn draw(text: &str) {
    eprint!("\r\x1b[K{text}");
}

/// Whether there is a log, which then has what should be mended.
pub fn has_log() -> bool {
    tracing::dispatcher::has_been_set()
}

/// Why a command failed. Under the log's own format where it is set up, plainly or as JSON elsewhere.
pub fn error(failure: &Failure, as_json: bool) {
    if as_json {
        let exit = failure.exit.code;
        let error = serde_json::json!({"error": {"message": failure.message, "hint": failure.hint, "exit": exit}});
        let _ = writeln!(std::io::stderr(), "{}", plain_json(&error));
    } else if has_log() {
        tracing::error!(
            event = crate::telemetry::events::DAEMON_FAILED,
            exit = failure.exit.code,
            "{}",
            failure.message
        );
    } else {
        remark(&format!("servos-keyd: {}", failure.message));
        if let Some(hint) = &failure.hint {
            remark(&format!("  {hint}"));
        }
    }
}
