//! The check of a store and its backups: every seal, the MAC, the mark, and what a restore would have to go on with.
//!
//! Must never change the store, nor end at the first thing that is wrong.
//! Called by `cli` for `servos-keyd fsck`, and by the writer between its jobs.

mod backups;
mod examination;
pub mod finding;
mod marked;
pub mod offline;
pub mod online;
mod round;
pub mod state;
