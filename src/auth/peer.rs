//! The other end of a connection: what the kernel says of it, and the socket it came in on.
//!
//! Must never be made from anything that the peer itself sent.
//! Called by `rpc`, once for each connection.

pub use crate::sys::peer::PeerCredentials;

/// The socket that a connection came in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// The component socket, which serves `KeyService`.
    Component,
    /// The admin socket, which serves everything.
    Admin,
    /// The one socket of `serve --dev`, which serves everything.
    Dev,
    /// The socket of the metrics, which serves no call: whoever can open it is told numbers.
    Metrics,
}

impl Socket {
    /// What people and metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Admin => "admin",
            Self::Dev => "dev",
            Self::Metrics => "metrics",
        }
    }
}

/// A peer whose credentials the kernel has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// What the kernel says of the process that connected.
    pub credentials: PeerCredentials,
    /// Where it connected.
    pub socket: Socket,
}
