//! The key core: keys, and what is sealed, opened and authenticated with them. Bytes in, bytes out.
//! Must never do I/O, look at a clock, log, or be async; must never hand a raw key to another room.
//! Called by `operations` alone; imports nothing of ours but `sys`.

pub mod client_canary;
pub mod committing;
pub mod context;
pub mod envelope;
#[cfg(test)]
mod fixtures;
pub mod id;
pub mod keys;
mod labels;
pub mod legacy;
mod master_text;
pub mod message;
mod primitives;
pub mod random;
pub mod record_seal;
pub mod snapshot;
