//! Why a command did not succeed: an exit code, what went wrong, and its chain of causes.
//!
//! Must never hold key bytes; errors that come in hold none.
//! Called by every command.

use super::exit::{self, Exit};
use crate::operations::refusal::Refusal;
use crate::operations::start_failure::StartFailure;
use std::error::Error;

/// Why a command did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, with its causes, for one line.
    pub message: String,
}

impl Failure {
    /// A failure with its chain of causes.
    pub fn new(exit: Exit, error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { exit, message }
    }

    /// A failure in words.
    pub fn say(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<StartFailure> for Failure {
    fn from(failure: StartFailure) -> Self {
        Self::new(exit::of_start(&failure), &failure)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        StartFailure::from(refusal).into()
    }
}
