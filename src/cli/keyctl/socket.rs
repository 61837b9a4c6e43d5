//! Which socket a command speaks to.
//!
//! Must never fall back from one socket to another: whoever names one means it.
//! Called by every command that asks the daemon.

use crate::cli::socket_variable::socket_of_variable;
use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::client::{ADMIN_SOCKET, COMPONENT_SOCKET};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the daemon is.
#[derive(Args)]
pub struct SocketArguments {
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

    /// A client for what components ask, where operators ask: whoever administers need not be a component.
    pub(super) fn operator(&self) -> Client {
        self.client_at(ADMIN_SOCKET)
    }

    /// The same on a socket that the configuration names.
    pub(super) fn admin_on(socket: &Path) -> AdminClient {
        AdminClient::new(&Self::client_of(socket))
    }

    /// The same for what may take so long.
    pub(super) fn admin_within(&self, deadline: Duration) -> AdminClient {
        AdminClient::new(&self.client_at(ADMIN_SOCKET).with_deadline(deadline))
    }

    /// The socket that was named, by argument or variable.
    pub(super) fn named(&self) -> Option<PathBuf> {
        self.argument().cloned().or_else(socket_of_variable)
    }

    /// The socket that `--socket` names.
    pub(super) fn argument(&self) -> Option<&PathBuf> {
        self.socket.as_ref()
    }

    /// A client for one socket.
    pub(super) fn client_of(socket: &Path) -> Client {
        // A person at a terminal wants to know at once that there is no daemon.
        Client::new(socket).with_wait_for_daemon(Duration::ZERO)
    }

    fn client_at(&self, default: &str) -> Client {
        Self::client_of(&self.named().unwrap_or_else(|| PathBuf::from(default)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_administers_asks_where_administration_is_served() {
        let commands = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/keyctl");
        let (mut read, mut asks, mut left) = (0, Vec::new(), vec![commands]);
        while let Some(file) = left.pop() {
            if file.is_dir() {
                left.extend(std::fs::read_dir(file).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            // What is cut off are the tests within a file.
            let text = std::fs::read_to_string(&file).unwrap();
            let program = text.split("#[cfg(test)]").next().unwrap();
            asks.extend(program.contains("AdminClient::new(").then(|| file.file_name().unwrap().to_owned()));
            read += 1;
        }
        assert!(read > 20, "{read} files");
        // What opens a store is asked of every socket that the configuration names.
        asks.retain(|name| name != "opener.rs");
        assert_eq!(asks, ["socket.rs"], "its default is the admin socket; a client of components' has another");
    }

    #[test]
    fn the_argument_goes_before_the_variable() {
        let arguments = SocketArguments { socket: Some(PathBuf::from("/a")) };
        assert_eq!(arguments.named(), Some(PathBuf::from("/a")));
    }
}
