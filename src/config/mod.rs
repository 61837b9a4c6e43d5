//! What the operator said: the configuration file, and the places that hold the master key.
//! It must never hold a value that was not checked, parse a key, or let a byte of one out of locked memory.
//! Called by `server` (limits, sockets) and by `cli`, which reads it at the start and for `config check`.

pub mod duration;
pub mod error;
mod field;
pub mod file;
pub mod settings;
