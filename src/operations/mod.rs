//! What the daemon does: one file for each RPC, and the state they stand on.
//!
//! Must never know gRPC, a socket or a clock of its own: requests, time and randomness come in as arguments.
//! Called by `rpc` for calls and by `cli` for starts, creations, restores and checks.

pub mod accept;
pub mod adopt_legacy_key;
pub mod backup;
mod batch_digests;
pub mod check;
pub mod check_key;
mod claim;
#[cfg(test)]
mod clock_tests;
mod commit;
pub mod create;
pub mod create_key;
#[cfg(test)]
mod damage_tests;
pub mod decrypt;
pub mod delete_key;
pub mod drill;
pub mod due;
pub mod encrypt;
pub mod engine;
pub mod export_keyring;
#[cfg(test)]
mod fake_store;
mod files_watch;
mod gap;
pub mod health;
pub mod history;
pub mod inspect;
pub mod install;
pub mod issue_canary;
pub mod key_choice;
pub mod key_records;
pub mod keyring;
pub mod ledger;
mod ledger_files;
mod ledger_mark;
mod ledger_trouble;
pub mod legacy_proof;
pub mod list_keys;
pub mod liveness;
pub mod load;
mod load_record;
pub mod mark_check;
mod phase;
mod probes;
pub mod progress;
pub mod promotion;
pub mod record_drill;
mod recovery;
pub mod reencrypt;
pub mod refusal;
pub mod requests;
pub mod restore;
pub mod resume;
pub mod retire_legacy_key;
pub mod rotate_key;
pub mod rotation;
pub mod salvage;
pub mod self_test;
pub mod start_failure;
pub mod status;
mod stored;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod test_rig;
mod trouble;
mod unsettled;
pub mod upkeep;
pub mod verify_canary;
pub mod version;
pub mod versions;
pub mod whoami;
pub mod writer;

use crate::store::fault;

// What requests are made of: `rpc` parses into these without naming `custody`.
pub use crate::custody::context::Context;
pub use crate::custody::id::Fingerprint;

/// `1 version`, `2 versions`.
#[must_use]
pub fn count(number: impl std::fmt::Display, one: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {one}{plural}")
}

/// Unix seconds as people read them: RFC 3339, UTC.
#[must_use]
pub fn rfc3339(unix_seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(unix_seconds)
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix_seconds} s after 1970"))
}
