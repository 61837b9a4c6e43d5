//! What the operator said: the configuration file, and the places that hold the master key.
//!
//! Must never hold a value that was not checked, parse a key, or let a byte of one out of locked memory.
//! Called by `cli`, which reads it at the start and for `config check`, and hands `server` its limits.

pub mod duration;
mod env_file;
pub mod error;
mod field;
pub mod file;
pub mod file_system;
mod key_file;
pub mod key_source;
pub mod key_source_error;
pub mod key_text;
pub mod mount;
mod next_key;
pub mod obstacle;
pub mod replacement;
pub mod settings;
mod settle;
mod unquoted;

#[cfg(test)]
mod document_tests;
