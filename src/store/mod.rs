//! What survives a restart: the port, its records, the redb adapter, the mark and the backups.
//!
//! Must never hold a key in the clear, judge whether a store is to be trusted, or show a type of redb to its callers.
//! Called by `operations` for records and commits, and by `cli`, which opens the files.

pub mod backup_file;
mod backup_format;
pub mod backup_newer;
pub mod backup_peek;
pub mod backup_pieces;
pub mod backup_prune;
pub mod directory_lock;
pub mod disk;
mod disk_operation;
pub mod durable;
pub mod fault;
mod fixed_hex;
pub mod kept;
pub mod leftovers;
pub mod mark;
mod overlay;
pub mod packed;
pub mod port;
pub mod record;
mod record_name;
pub mod redb_adapter;
mod redb_file;
mod redb_salvage;
#[cfg(any(test, feature = "fault-injection"))]
mod redb_watched;
