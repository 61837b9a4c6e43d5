//! The tests of the memory scan's search: that it finds what is there in every form, and nothing where there is nothing.
//!
//! Must never look at a process. Run by `cargo test`.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that meets what it does not expect ends there"
)]

mod aes;
mod forms;
mod known;
mod search_tests;
mod sha256;
