//! An error with all its causes in one line, as the log and both binaries' messages have it.
//!
//! Must never leave a cause out: an error does not repeat its source in its own text.
//! Called wherever an error is logged, and by `cli` for the end of a command.

use std::error::Error;

/// The text of `error` and of each cause behind it, the nearest first.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
