//! Rotations of the master key by daemons that die, or find no room, behind every step of theirs that reaches the disk.
//!
//! Must never take a daemon for one that died, or for one that did not, without having looked. Run by
//! `cargo test --features fault-injection --test rotation_faults`, which the gate does.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that meets what it does not expect ends there"
)]

mod attempt;
mod calls;
mod death;
#[allow(dead_code, unused_imports, reason = "what the tests of behaviour alone use")]
#[path = "../behaviour/harness/mod.rs"]
mod harness;
mod room;
mod stage;
mod twice;
