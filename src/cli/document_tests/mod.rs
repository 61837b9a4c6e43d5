//! Holds the documents to the code: what they name exists, what they quote is so, where they point is something.
//!
//! Must never need a document to be changed for its wording alone.
//! Run by `cargo test`.

mod commands;
mod exits;
mod formats;
mod guide;
mod links;
mod monitoring;
mod pages;
mod statuses;
