//! Clients' canaries against a backup that is to be restored: will they open, and how far had their databases seen?
//!
//! Must never let a canary of another store pass for one of this: then the backup is probably the wrong one.
//! Called by `cli`, before anything is written.

use super::super::start_failure::StartFailure;
use super::super::verify_canary::is_ahead;
use super::proof::Proven;
use crate::custody::client_canary::{self, CanaryFault};
use std::path::{Path, PathBuf};

/// What a genuine canary says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanarySeen {
    /// Where it lay.
    pub file: PathBuf,
    /// The generation of the store that issued it.
    pub generation: u64,
    /// Whether it will open; else it is STALE: what its database sealed last may not open.
    pub opens: bool,
}

/// Verifies a client's canary with the identity in the backup.
///
/// # Errors
/// [`StartFailure::CanaryRefused`] for one of another store, or a damaged one.
pub fn check(proven: &Proven, file: &Path, canary: &[u8; client_canary::BYTES]) -> Result<CanarySeen, StartFailure> {
    match client_canary::verify(&proven.identity, &proven.store_id, canary) {
        Ok(claim) => Ok(CanarySeen {
            file: file.to_owned(),
            generation: claim.generation,
            opens: !is_ahead(proven.generation, proven.rotations, &proven.gaps, &claim),
        }),
        Err(fault) => Err(StartFailure::CanaryRefused {
            file: file.to_owned(),
            problem: match fault {
                CanaryFault::OtherStore => "was issued by another store than the backup is of (OTHER_STORE)",
                CanaryFault::Damaged => "is damaged, or the backup is of another store (DAMAGED)",
            },
        }),
    }
}
