//! WhoAmI: tells a peer what the kernel says of it and what it may do.
//!
//! Must never tell of anyone else.
//! Called by `rpc::key_service`.

use crate::auth::operation::WhoAmI;
use crate::auth::peer::Peer;
use crate::auth::permit::Admission;
use crate::auth::policy::Policy;

/// What a peer is to the daemon.
#[derive(Debug)]
pub struct Identity {
    /// Its credentials and socket.
    pub peer: Peer,
    /// Whether it administers.
    pub administrator: bool,
    /// What it may do, in alphabetical order.
    pub operations: Vec<&'static str>,
}

/// Tells a peer who it is.
#[must_use]
pub fn whoami(admission: &Admission<'_, WhoAmI>, policy: &Policy) -> Identity {
    let peer = admission.peer();
    Identity { peer, administrator: policy.administers(peer), operations: policy.operations(peer) }
}
