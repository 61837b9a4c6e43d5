//! `servos-keyctl rotate run`, killed at every step of its journal, for each kind of place that the key comes from; then the
//! daemon is started as it is, and the run goes on, or back.
//!
//! Must never take a run for one that was killed without having looked, nor stop at a number of steps. Run by
//! `cargo test --features fault-injection --test rotate_run`, which `tests/survival/run` does.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that meets what it does not expect ends there"
)]

mod deaths;
#[allow(dead_code, unused_imports, reason = "what the tests of behaviour alone use")]
#[path = "../behaviour/harness/mod.rs"]
mod harness;
mod service;
mod source;
