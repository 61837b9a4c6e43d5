//! What only the operating system can give: locked memory, hardening, the sandbox, peers, sockets, and the wiping of memory.
//!
//! Must never know what a key means, nor parse or log one: it holds bytes.
//! Called by `custody`, `auth`, `config` and `server` for what is theirs, and by `cli` at start and stop.

pub mod allocator;
#[cfg(test)]
pub(crate) mod apart;
pub mod background;
#[cfg(test)]
pub(crate) mod dead_stack;
pub mod environment;
pub mod harden;
pub mod locked;
pub mod panic_point;
pub mod peer;
pub mod random;
pub mod sandbox;
pub mod signals;
pub mod sockets;
pub mod stack;
pub mod terminal;
pub mod wipe;
