//! Which socket a command speaks to.
//!
//! Must never fall back from one socket to another: whoever names one means it.
//! Called by every command that asks the daemon.

use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::client::{ADMIN_SOCKET, COMPONENT_SOCKET};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The environment variable that names the daemon's socket.
const SOCKET_VARIABLE: &str = "SERVOS_KEYD_SOCKET";

/// Where the daemon is.
#[derive(Args)]
pub(super) struct SocketArguments {
    /// The daemon's socket, for every command; else $SERVOS_KEYD_SOCKET, else /run/servos/keyd-admin.sock for
    /// administration and /run/servos/keyd.sock for the rest
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl SocketArguments {
    /// A client for what components ask.
    pub(super) fn client(&self) -> Client {
        self.client_at(COMPONENT_SOCKET)
    }

    /// A client for what operators ask.
    pub(super) fn admin(&self) -> AdminClient {
        AdminClient::new(&self.client_at(ADMIN_SOCKET))
    }

    fn client_at(&self, default: &str) -> Client {
        let socket = choose(self.socket.as_ref(), std::env::var_os(SOCKET_VARIABLE), default);
        // A person at a terminal wants to know at once that there is no daemon.
        Client::new(socket).with_wait_for_daemon(Duration::ZERO)
    }
}

fn choose(argument: Option<&PathBuf>, variable: Option<OsString>, default: &str) -> PathBuf {
    let variable = variable.filter(|path| !path.is_empty()).map(PathBuf::from);
    argument.cloned().or(variable).unwrap_or_else(|| PathBuf::from(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_goes_before_the_variable_and_the_variable_before_the_default() {
        let argument = PathBuf::from("/a");
        assert_eq!(choose(Some(&argument), Some("/v".into()), "/d"), PathBuf::from("/a"));
        assert_eq!(choose(None, Some("/v".into()), "/d"), PathBuf::from("/v"));
        assert_eq!(choose(None, Some("".into()), "/d"), PathBuf::from("/d"));
        assert_eq!(choose(None, None, "/d"), PathBuf::from("/d"));
    }
}
