//! What the daemon says of a canary.
//!
//! Must never hold a result that the contract does not know.
//! Made by `value`, which checks it; applications read the fields, here or in the error that it is.

use std::fmt;

/// What a canary says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CanaryResult {
    /// It opens: the keyring is the one that made it.
    Opens,
    /// The daemon's store is older than the one that issued the canary: versions may be missing.
    Stale,
    /// The canary was issued by another store.
    OtherStore,
    /// The canary, or the daemon's own record of it, is damaged.
    Damaged,
}

impl fmt::Display for CanaryResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Opens => "OPENS",
            Self::Stale => "STALE, the daemon's store is older than the one that issued it",
            Self::OtherStore => "OTHER_STORE, another store issued it",
            Self::Damaged => "DAMAGED",
        })
    }
}

/// The daemon's answer about a canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CanaryReport {
    /// What the canary says; in an `Ok` always [`CanaryResult::Opens`].
    pub result: CanaryResult,
    /// Fingerprint of the master key in use: 16 hex digits.
    pub fingerprint: String,
    /// Since when that master key is in use: Unix seconds.
    pub since_unix_seconds: i64,
    /// Store id: 32 hex digits.
    pub store_id: String,
    /// The store's generation.
    pub generation: u64,
    /// Generation at which a version or seal last changed.
    pub keyring: u64,
}
