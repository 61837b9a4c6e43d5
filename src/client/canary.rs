//! What the daemon says of a canary.
//!
//! Must never let anything but OPENS pass for an answer: everything else is an error.
//! Called by the typed client's `verify_canary` and `verify_own_canary`.

use super::error::Error;
use crate::proto::v1;
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

impl CanaryReport {
    /// # Errors
    /// [`Error::Canary`] for every result but OPENS; [`Error::Unexpected`] for a result that the contract does not know.
    pub(super) fn from_answer(answer: v1::VerifyCanaryResponse) -> Result<Self, Error> {
        let result = match answer.result() {
            v1::CanaryResult::Opens => CanaryResult::Opens,
            v1::CanaryResult::Stale => CanaryResult::Stale,
            v1::CanaryResult::OtherStore => CanaryResult::OtherStore,
            v1::CanaryResult::Damaged => CanaryResult::Damaged,
            v1::CanaryResult::Unspecified => return Err(Error::against_contract("a canary without a result")),
        };
        let report = Self {
            result,
            fingerprint: answer.fingerprint,
            since_unix_seconds: answer.since,
            store_id: answer.store_id,
            generation: answer.generation,
            keyring: answer.keyring,
        };
        if result == CanaryResult::Opens { Ok(report) } else { Err(Error::Canary(Box::new(report))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(result: i32) -> v1::VerifyCanaryResponse {
        v1::VerifyCanaryResponse { result, fingerprint: "ab".into(), ..Default::default() }
    }

    #[test]
    fn only_opens_is_an_answer() {
        assert_eq!(CanaryReport::from_answer(answer(1)).unwrap().result, CanaryResult::Opens);
        for (number, result) in [(2, CanaryResult::Stale), (3, CanaryResult::OtherStore), (4, CanaryResult::Damaged)] {
            match CanaryReport::from_answer(answer(number)) {
                Err(Error::Canary(report)) => assert_eq!((report.result, report.fingerprint.as_str()), (result, "ab")),
                _ => panic!("{number} passed"),
            }
        }
    }

    #[test]
    fn a_result_that_is_unknown_or_missing_is_an_error() {
        for number in [0, 5, -1, i32::MAX] {
            assert!(matches!(CanaryReport::from_answer(answer(number)), Err(Error::Unexpected { .. })), "{number}");
        }
    }
}
