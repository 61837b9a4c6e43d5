//! Who is connected: for each socket, the connections that are open, and how many were accepted and refused.
//!
//! Must never be asked for a call: what is noted here is noted once for each connection.
//! Noted by `server`; read for status and metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of one daemon.
#[derive(Debug, Default)]
pub struct Connections {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sockets: BTreeMap<&'static str, Counts>,
    /// How many connections each has open. No entry is 0.
    open: BTreeMap<Peer, u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    accepted: u64,
    refused: u64,
}

/// A process that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The socket it is connected to.
    pub socket: &'static str,
    /// Its user; none if the kernel did not say.
    pub uid: Option<u32>,
    /// Its number; 0 if it is in another pid namespace, or unknown.
    pub pid: i32,
}

/// What is known of one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketCount {
    /// The socket.
    pub socket: &'static str,
    /// Connections that are open now.
    pub open: u32,
    /// Connections that were served, since the start.
    pub accepted: u64,
    /// Connections that were closed unserved, since the start: the socket or its user had as many as it may have.
    pub refused: u64,
}

/// An open connection; noted as closed when dropped.
#[derive(Debug)]
pub struct Open {
    connections: Arc<Connections>,
    peer: Peer,
}

impl Connections {
    /// A socket is served from now on.
    pub fn serves(&self, socket: &'static str) {
        self.state().sockets.entry(socket).or_default();
    }

    /// A connection was accepted.
    #[must_use]
    pub fn open(self: &Arc<Self>, peer: Peer) -> Open {
        let mut state = self.state();
        state.sockets.entry(peer.socket).or_default().accepted += 1;
        *state.open.entry(peer).or_default() += 1;
        drop(state);
        Open { connections: Arc::clone(self), peer }
    }

    /// A connection was closed before it was served.
    pub fn refused(&self, socket: &'static str) {
        self.state().sockets.entry(socket).or_default().refused += 1;
    }

    /// Each socket, in order of name.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketCount> {
        let state = self.state();
        let open = |socket| state.open.iter().filter(|(peer, _)| peer.socket == socket).map(|(_, count)| count).sum();
        let count = |(socket, counts): (&&'static str, &Counts)| SocketCount {
            socket,
            open: open(*socket),
            accepted: counts.accepted,
            refused: counts.refused,
        };
        state.sockets.iter().map(count).collect()
    }

    /// Each process that is connected, with how many connections it has, in order of socket, user and number.
    #[must_use]
    pub fn peers(&self) -> Vec<(Peer, u32)> {
        self.state().open.iter().map(|(peer, count)| (*peer, *count)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way; a poisoned lock still guards consistent counts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        if let Some(count) = state.open.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_told_until_it_is_closed_and_counted_for_ever() {
        let connections = Arc::new(Connections::default());
        connections.serves("admin");
        let peer = Peer { socket: "component", uid: Some(7), pid: 42 };
        let (first, second) = (connections.open(peer), connections.open(peer));
        connections.refused("component");
        assert_eq!(connections.peers(), [(peer, 2)]);
        let [admin, component] = &connections.sockets()[..] else { panic!("{:?}", connections.sockets()) };
        assert_eq!((admin.socket, admin.open, admin.accepted), ("admin", 0, 0));
        assert_eq!((component.open, component.accepted, component.refused), (2, 2, 1));
        drop((first, second));
        assert!(connections.peers().is_empty());
        assert_eq!((connections.sockets()[1].open, connections.sockets()[1].accepted), (0, 2));
    }
}
