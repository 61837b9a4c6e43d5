//! What the daemon says about itself: tracing's set-up, the list of events, counts, and where a panic happened.
//!
//! Must never write a payload, a key or a panic's message.
//! Called by `cli` (set-up); every room above `custody` names its events here.

pub mod calls;
pub mod chain;
pub mod connections;
pub mod events;
mod journal;
pub mod log;
pub mod metrics;
pub mod open_metrics;
pub mod panic;
pub mod shell;
pub mod traffic;
