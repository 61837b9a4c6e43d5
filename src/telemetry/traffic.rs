//! What goes on on the daemon's sockets: its calls and its connections, counted.
//!
//! Must never hold what a call carried, nor a name that a caller gave.
//! Made with the engine; `server` counts, status and metrics read.

use std::sync::Arc;

use super::calls::Calls;
use super::connections::Connections;

/// The counts of one daemon.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Calls, by operation.
    pub calls: Calls,
    /// Connections, by socket.
    pub connections: Arc<Connections>,
}
