//! Why a command did not succeed: an exit code, what went wrong with its chain of causes, and what to do next.
//!
//! Must never hold key bytes; errors that come in hold none.
//! Called by every command of both binaries.

use super::exit::{self, Exit};
use crate::config::error::ConfigError;
use crate::config::key_source_error::KeySourceError;
use crate::custody::keys::KeyError;
use crate::operations::refusal::Refusal;
use crate::operations::start_failure::StartFailure;
use crate::store::port::StoreError;
use crate::sys::sockets::bound::BindError;
use crate::telemetry::chain::chain;
use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;

/// Why a command did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, with its causes, for one line.
    pub message: String,
    /// What to do next, where the message does not say it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with its chain of causes.
    pub fn new(exit: Exit, error: &dyn Error) -> Self {
        Self::say(exit, chain(error))
    }

    /// A failure in words.
    pub fn say(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A file that could not be read.
    pub fn reading(path: &Path, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::NotFound => exit::MISSING,
            ErrorKind::PermissionDenied => exit::NOT_PERMITTED,
            _ => exit::DAMAGED,
        };
        Self::say(exit, format!("cannot read {}: {error}", path.display()))
    }

    /// A file that could not be made or written.
    pub fn writing(path: &Path, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::ReadOnlyFilesystem => exit::CANNOT_CREATE,
            ErrorKind::AlreadyExists | ErrorKind::IsADirectory => exit::CANNOT_CREATE,
            ErrorKind::PermissionDenied => exit::NOT_PERMITTED,
            _ => exit::DAMAGED,
        };
        Self::say(exit, format!("cannot write {}: {error}", path.display()))
    }
}

/// An error whose exit code the table knows.
macro_rules! fails_with {
    ($($error:ty: $exit:path),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new($exit(&error), &error)
            }
        }
    )*};
}

fails_with! {
    BindError: exit::of_bind,
    ConfigError: exit::of_config,
    KeyError: exit::of_key,
    KeySourceError: exit::of_key_source,
    StartFailure: exit::of_start,
    StoreError: exit::of_store,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        StartFailure::from(refusal).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_or_written_has_the_code_of_its_cause() {
        let error = |kind: ErrorKind| std::io::Error::from(kind);
        let path = Path::new("f");
        assert_eq!(Failure::reading(path, &error(ErrorKind::NotFound)).exit, exit::MISSING);
        assert_eq!(Failure::reading(path, &error(ErrorKind::PermissionDenied)).exit, exit::NOT_PERMITTED);
        assert_eq!(Failure::reading(path, &error(ErrorKind::IsADirectory)).exit, exit::DAMAGED);
        assert_eq!(Failure::writing(path, &error(ErrorKind::AlreadyExists)).exit, exit::CANNOT_CREATE);
        assert_eq!(Failure::writing(path, &error(ErrorKind::NotFound)).exit, exit::CANNOT_CREATE);
        assert_eq!(Failure::writing(path, &error(ErrorKind::StorageFull)).exit, exit::DAMAGED);
    }

    #[test]
    fn a_failure_tells_its_chain_of_causes_once() {
        let source = crate::store::mark::MarkError::Damaged { path: "/m".into(), detail: "torn" };
        let failure = Failure::from(StartFailure::MarkUnusable { generation: 3, source });
        assert_eq!(failure.exit, exit::DAMAGED);
        assert_eq!(failure.message.matches("torn").count(), 1, "{}", failure.message);
    }
}
