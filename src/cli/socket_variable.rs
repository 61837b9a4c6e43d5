//! The environment's word for which daemon is meant.
//!
//! Must never take an empty variable for a path.
//! Called by the commands of both binaries that ask a running daemon.

use std::ffi::OsString;
use std::path::PathBuf;

/// The environment variable that names the daemon's socket.
pub const SOCKET_VARIABLE: &str = "SERVOS_KEYD_SOCKET";

/// The socket that the environment names.
#[must_use]
pub fn socket_of_variable() -> Option<PathBuf> {
    path_in(std::env::var_os(SOCKET_VARIABLE))
}

fn path_in(variable: Option<OsString>) -> Option<PathBuf> {
    variable.filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_names_nothing() {
        assert_eq!(path_in(Some("/v".into())), Some(PathBuf::from("/v")));
        assert_eq!(path_in(Some("".into())), None);
        assert_eq!(path_in(None), None);
    }
}
