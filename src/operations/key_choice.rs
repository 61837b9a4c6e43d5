//! The one master key that all sources agree on.
//!
//! Must never choose between two keys, nor show a byte of either.
//! Called by `cli`, with what `config` read.

use super::start_failure::StartFailure;
use crate::custody::keys::{LockedMemory, MasterKey};

/// A source's text, and the name that people know it by.
pub struct Candidate<'s> {
    /// The name.
    pub name: &'s str,
    /// Exactly the key's text, in locked memory.
    pub text: &'s [u8],
}

/// Parses every source's key and holds them to agreeing; the first names the source.
///
/// # Errors
/// [`StartFailure::MalformedKey`], [`StartFailure::SourcesDisagree`], [`StartFailure::Refused`].
pub fn agree(candidates: &[Candidate<'_>], memory: &LockedMemory) -> Result<(String, MasterKey), StartFailure> {
    let mut chosen: Option<(String, MasterKey)> = None;
    for candidate in candidates {
        let key = MasterKey::parse(candidate.text, memory).map_err(|error| malformed(candidate.name, &error))?;
        match &chosen {
            None => chosen = Some((candidate.name.to_owned(), key)),
            Some((_, first)) if first.same_as(&key) => {}
            Some((name, first)) => {
                return Err(StartFailure::SourcesDisagree {
                    first: name.clone(),
                    first_fingerprint: first.fingerprint(),
                    second: candidate.name.to_owned(),
                    second_fingerprint: key.fingerprint(),
                });
            }
        }
    }
    chosen.ok_or_else(|| StartFailure::MalformedKey {
        source_name: "master key".to_owned(),
        problem: "no source was given".to_owned(),
    })
}

fn malformed(name: &str, error: &dyn std::error::Error) -> StartFailure {
    StartFailure::MalformedKey { source_name: name.to_owned(), problem: error.to_string() }
}
