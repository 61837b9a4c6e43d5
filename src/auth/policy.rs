//! The policy: administrators do everything, everyone else who can open the component socket is a component, and whoever
//! can open the socket of the metrics reads those.
//!
//! Must never read anything when a call arrives: it is made once, at the start, from what the operator said.
//! Called by `permit` at both steps and by `operations::whoami`; made by `cli`.

use super::key_name::KeyName;
use super::operation::{ALL, Class, Keyed, Operation};
use super::peer::{Peer, Socket};

/// Policy says no. The operation is named for the log; the caller gets fixed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("user {uid} may not call {operation} here")]
pub struct Denied {
    /// The operation that was refused.
    pub operation: &'static str,
    /// The user that asked.
    pub uid: u32,
}

/// Who may do what.
#[derive(Debug, Clone)]
pub struct Policy {
    dev_uid: u32,
}

impl Policy {
    /// The policy of a daemon that runs as `daemon_uid`, which administers on the dev socket, as root does.
    #[must_use]
    pub fn new(daemon_uid: u32) -> Self {
        Self { dev_uid: daemon_uid }
    }

    /// Whether a peer may call `KeyAdmin`.
    #[must_use]
    pub fn administers(&self, peer: Peer) -> bool {
        match peer.socket {
            Socket::Component | Socket::Metrics => false,
            Socket::Admin => peer.credentials.uid == 0,
            Socket::Dev => peer.credentials.uid == 0 || peer.credentials.uid == self.dev_uid,
        }
    }

    /// The names of everything the peer may do, in alphabetical order.
    #[must_use]
    pub fn operations(&self, peer: Peer) -> Vec<&'static str> {
        let mut names: Vec<_> =
            ALL.iter().filter(|(_, class)| self.allows(peer, *class)).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }

    fn allows(&self, peer: Peer, class: Class) -> bool {
        match class {
            Class::Monitoring => peer.socket == Socket::Metrics,
            _ if peer.socket == Socket::Metrics => false,
            Class::Component => true,
            Class::Administration => self.administers(peer),
        }
    }

    /// The first step: may this peer do `Op` at all?
    pub(super) fn check<Op: Operation>(&self, peer: Peer) -> Result<(), Denied> {
        let denied = Denied { operation: Op::NAME, uid: peer.credentials.uid };
        if self.allows(peer, Op::CLASS) { Ok(()) } else { Err(denied) }
    }

    /// The second step: every key is open to whoever was admitted; policy by key has its place here.
    pub(super) fn check_key<Op: Keyed>(&self, peer: Peer, _key: &KeyName) -> Result<(), Denied> {
        self.check::<Op>(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::operation::{CreateKey, Encrypt};
    use super::super::peer::PeerCredentials;
    use super::*;

    #[test]
    fn on_the_socket_of_the_metrics_nothing_but_those_is_to_be_had_and_nowhere_else_are_they() {
        let policy = Policy::new(1000);
        for (uid, socket) in [(0, Socket::Metrics), (1000, Socket::Metrics), (1, Socket::Metrics)] {
            let peer = Peer { credentials: PeerCredentials { uid, gid: uid, pid: 1 }, socket };
            assert_eq!(policy.operations(peer), ["ReadMetrics"], "uid {uid}");
            for socket in [Socket::Component, Socket::Admin, Socket::Dev] {
                assert!(
                    !policy.operations(Peer { socket, ..peer }).contains(&"ReadMetrics"),
                    "uid {uid} on {socket:?}"
                );
            }
        }
    }

    #[test]
    fn only_root_on_the_admin_socket_and_the_daemons_user_on_the_dev_socket_administer() {
        let policy = Policy::new(1000);
        let cases = [
            (0, Socket::Component, false),
            (1000, Socket::Component, false),
            (0, Socket::Admin, true),
            (1000, Socket::Admin, false),
            (1, Socket::Admin, false),
            (0, Socket::Dev, true),
            (1000, Socket::Dev, true),
            (1001, Socket::Dev, false),
        ];
        for (uid, socket, expected) in cases {
            let peer = Peer { credentials: PeerCredentials { uid, gid: uid, pid: 1 }, socket };
            assert_eq!(policy.admit::<CreateKey>(peer).is_ok(), expected, "uid {uid} on {socket:?}");
            assert!(policy.admit::<Encrypt>(peer).is_ok(), "everyone seals: uid {uid} on {socket:?}");
            assert_eq!(policy.operations(peer).contains(&"CreateKey"), expected);
        }
    }
}
