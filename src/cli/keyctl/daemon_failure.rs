//! What the client could not do, as a failure of the tool: the exit code, what went wrong, and what to do next.
//!
//! Must never hold a secret: every text here is printed.
//! Called by every command of `servos-keyctl` that asks the daemon.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::ADMIN_SOCKET;
use crate::client::error::Error;
use std::io::ErrorKind;
use std::path::Path;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = match &error {
            Error::Unavailable { .. } => Self::new(exit::of_client(&error), &error),
            // Other sources are for an application's log.
            _ => Self::say(exit::of_client(&error), error.to_string()),
        };
        match hint_for(&error) {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

fn hint_for(error: &Error) -> Option<&'static str> {
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
    Some(hint)
}
