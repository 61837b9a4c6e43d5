//! What the client could not do, as a failure of the tool: the exit code, what went wrong, and what to do next.
//!
//! Must never hold a secret: every text here is printed.
//! Called by every command of `servos-keyctl` that asks the daemon.

use super::socket_hint;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::ADMIN_SOCKET;
use crate::client::error::Error;
use std::path::Path;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = match &error {
            Error::Unavailable { socket, .. } if socket_hint::is_something_else(socket) => {
                let text = format!("{} is not a socket", socket.display());
                return Self::say(exit::of_client(&error), text).with_hint("name the daemon's socket with --socket");
            }
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

fn hint_for(error: &Error) -> Option<String> {
    match error {
        Error::Unavailable { socket, source } => {
            Some(socket_hint::unanswered(socket, source.downcast_ref().map(std::io::Error::kind)))
        }
        Error::NotPermitted { closed_socket: Some(socket), .. } => Some(socket_hint::closed(socket)),
        error => fixed_hint(error).map(str::to_owned),
    }
}

fn fixed_hint(error: &Error) -> Option<&'static str> {
    let hint = match error {
        // What the daemon calls by the names of its fields, the tool calls by those of its options.
        Error::Invalid { reason } if reason.contains("allow_nested") => "add --allow-nested",
        Error::Invalid { reason } if reason.starts_with("this is base64 text") => "add --base64",
        Error::Precondition { reason } if reason.contains("allow_legacy") => "add --allow-legacy",
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
        Error::StoreUnavailable { .. } => "the daemon's log says more: journalctl -u servos-keyd",
        Error::DataLoss { .. } => "the daemon's log names the record; `servos-keyd restore` brings back a backup",
        Error::Bug { .. } => "please report it with the lines of the daemon's log that hold the id",
        Error::Conflict { .. } | Error::Busy { .. } | Error::DeadlineExceeded { .. } => "try again",
        _ => return None,
    };
    Some(hint)
}
