//! The Unix sockets that the daemon listens on: inherited from the service manager, or bound by itself.
//!
//! Must never widen access: a socket has its final mode from the moment it exists, and a foreign file is not touched.
//! Called by `cli` at start and stop, while the process has a single thread.

pub mod bound;
pub mod inherited;
