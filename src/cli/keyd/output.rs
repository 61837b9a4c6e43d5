//! What the daemon's commands print, for people and for scripts.
//!
//! Must never print a secret; standard output holds results, standard error everything else.
//! Called by the commands.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place of these commands that prints")]

use crate::cli::failure::Failure;

/// A line of a result.
pub fn line(text: &str) {
    println!("{text}");
}

/// A remark that is not the result.
pub fn remark(text: &str) {
    eprintln!("{text}");
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
        eprintln!("{error:#}");
    } else if has_log() {
        tracing::error!(
            event = crate::telemetry::events::DAEMON_FAILED,
            exit = failure.exit.code,
            "{}",
            failure.message
        );
    } else {
        eprintln!("servos-keyd: {}", failure.message);
        if let Some(hint) = &failure.hint {
            eprintln!("  {hint}");
        }
    }
}
