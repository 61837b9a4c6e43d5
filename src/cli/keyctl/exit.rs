//! How a command ends: the exit code, what went wrong, and what to do next.
//!
//! Must never hold a secret: every text here is printed.
//! Called by every command of `servos-keyctl`.

use crate::client::ADMIN_SOCKET;
use crate::client::error::Error;
use std::io::ErrorKind;
use std::path::Path;

/// Exit codes. Source: sysexits(3), but for [`Exit::No`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    /// Done.
    Ok = 0,
    /// Checked, and the answer is no.
    No = 1,
    /// A mistake in the arguments.
    Usage = 64,
    /// The data were rejected.
    Data = 65,
    /// A file or a key that the command needs does not exist.
    NoInput = 66,
    /// No daemon.
    NoDaemon = 69,
    /// A bug.
    Bug = 70,
    /// Something cannot be created, or exists already.
    CannotCreate = 73,
    /// Reading, writing, or a damaged store.
    Io = 74,
    /// Try again.
    TryAgain = 75,
    /// Not permitted.
    NotPermitted = 77,
}

impl Exit {
    /// The number.
    pub(super) fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command ended without doing what was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Says what to do next.
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A file that could not be read.
    pub(super) fn reading(path: &Path, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::NotFound => Exit::NoInput,
            ErrorKind::PermissionDenied => Exit::NotPermitted,
            _ => Exit::Io,
        };
        Self::new(exit, format!("cannot read {}: {error}", path.display()))
    }

    /// A file that could not be made or written.
    pub(super) fn writing(path: &Path, error: &std::io::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::ReadOnlyFilesystem => Exit::CannotCreate,
            ErrorKind::AlreadyExists | ErrorKind::IsADirectory => Exit::CannotCreate,
            ErrorKind::PermissionDenied => Exit::NotPermitted,
            _ => Exit::Io,
        };
        Self::new(exit, format!("cannot write {}: {error}", path.display()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = exit_of(&error);
        let hint = hint_for(&error);
        let mut message = error.to_string();
        if let Error::Unavailable { source, .. } = &error {
            message = format!("{message}: {source}");
        }
        Self { exit, message, hint }
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Canary(_) => Exit::No,
        Error::Rejected | Error::Precondition { .. } | Error::Invalid { .. } => Exit::Data,
        Error::TooLarge { .. } | Error::NotBase64 => Exit::Data,
        Error::UnknownKey { .. } => Exit::NoInput,
        Error::Unavailable { .. } | Error::NotServed { .. } => Exit::NoDaemon,
        Error::Bug { .. } | Error::Unexpected { .. } => Exit::Bug,
        Error::AlreadyExists { .. } => Exit::CannotCreate,
        Error::DataLoss { .. } | Error::IncompleteExport { .. } | Error::NotKept(_) => Exit::Io,
        Error::Conflict { .. } | Error::Busy { .. } | Error::StoreUnavailable { .. } => Exit::TryAgain,
        Error::DeadlineExceeded { .. } => Exit::TryAgain,
        Error::NotPermitted { .. } | Error::Unauthenticated { .. } => Exit::NotPermitted,
    }
}

fn hint_for(error: &Error) -> Option<String> {
    let hint = match error {
        Error::Unavailable { source, .. } => match source.downcast_ref().map(std::io::Error::kind) {
            Some(ErrorKind::NotFound) => {
                "nothing is there: start the daemon with `systemctl start servos-keyd`, or name the socket of a running \
                 one with --socket; `servos-keyd serve --dev` starts one to try out"
            }
            Some(ErrorKind::ConnectionRefused) => {
                "the daemon that made this socket is gone: `systemctl status servos-keyd` says why, \
                 `systemctl start servos-keyd` starts it"
            }
            _ => "`systemctl status servos-keyd` and `journalctl -u servos-keyd` say more",
        },
        Error::NotPermitted { .. } => {
            "components need the group of the socket (`servos`), administration needs root; `servos-keyctl whoami` \
             shows who the daemon takes you for"
        }
        Error::NotServed { socket } if socket != Path::new(ADMIN_SOCKET) => {
            "administration is served on the admin socket only: leave --socket and SERVOS_KEYD_SOCKET away, or name the \
             admin socket"
        }
        Error::NotServed { .. } => "the daemon is older than this tool",
        Error::Rejected => "give the --key and every --context that it was sealed with",
        Error::NotBase64 => "leave --base64 away if the input is binary",
        Error::UnknownKey { .. } => "`servos-keyctl keys list` shows the keys, `servos-keyctl status` the legacy keys",
        Error::Canary(_) => {
            "a component must not start on this keyring: compare `servos-keyctl status` with the notes of the backup that \
             was restored"
        }
        Error::StoreUnavailable { .. } => "`servos-keyctl status` and the daemon's log say more",
        Error::DataLoss { .. } => "the daemon's log names the record; `servos-keyd restore` brings back a backup",
        Error::Bug { .. } => "please report it with the lines of the daemon's log that hold the id",
        Error::Conflict { .. } | Error::Busy { .. } | Error::DeadlineExceeded { .. } => "try again",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_sysexits() {
        let codes = [
            (Exit::Ok, 0),
            (Exit::No, 1),
            (Exit::Usage, 64),
            (Exit::Data, 65),
            (Exit::NoInput, 66),
            (Exit::NoDaemon, 69),
            (Exit::Bug, 70),
            (Exit::CannotCreate, 73),
            (Exit::Io, 74),
            (Exit::TryAgain, 75),
            (Exit::NotPermitted, 77),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_or_written_has_the_code_of_its_cause() {
        let error = |kind: ErrorKind| std::io::Error::from(kind);
        let path = Path::new("f");
        assert_eq!(Failure::reading(path, &error(ErrorKind::NotFound)).exit, Exit::NoInput);
        assert_eq!(Failure::reading(path, &error(ErrorKind::PermissionDenied)).exit, Exit::NotPermitted);
        assert_eq!(Failure::reading(path, &error(ErrorKind::IsADirectory)).exit, Exit::Io);
        assert_eq!(Failure::writing(path, &error(ErrorKind::AlreadyExists)).exit, Exit::CannotCreate);
        assert_eq!(Failure::writing(path, &error(ErrorKind::NotFound)).exit, Exit::CannotCreate);
        assert_eq!(Failure::writing(path, &error(ErrorKind::StorageFull)).exit, Exit::Io);
    }
}
