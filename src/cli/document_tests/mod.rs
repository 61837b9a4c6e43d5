//! Holds the documents to the code: what they name exists, what they quote is so, where they point is something.
//!
//! Must never need a document to be changed for its wording alone.
//! Run by `cargo test`.

mod exits;
mod monitoring;
mod pages;
mod statuses;
