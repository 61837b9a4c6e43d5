//! The process on its sockets: accept, limits, deadlines, idle connections, drain, and word to the service manager.
//!
//! Must never look into a call's contents, nor know keys or policy: it carries calls to a service and answers back.
//! Called by `cli`, which hands in bound listeners, the service and the end.

pub mod limits;
pub mod metrics;
pub mod notify;
pub mod serve;

mod activity;
mod admission;
mod body;
mod call;
mod connection;
mod deadline;
mod panics;

#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod test_rig;
