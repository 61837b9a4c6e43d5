//! The commands of both binaries, and the composition root: the only room that may name every other.
//!
//! Must never hold logic that another room could own: it reads arguments, joins parts, prints outcomes.
//! Called by `src/bin`.

pub mod drill;
pub mod exit;
pub mod export;
pub mod failure;
pub mod given;
pub mod hardening;
pub mod key;
pub mod key_sources;
pub mod keyctl;
pub mod keyd;
pub mod misplaced;
pub mod offered_key;
pub mod paper;
pub mod places;
mod plain;
mod program;
mod runtime;
pub mod service;
pub mod socket_variable;
pub mod typed_key;
mod unit;

#[cfg(test)]
mod document_tests;
