//! Randomness as the key core asks for it: a closure that fills bytes from the kernel's generator.
//!
//! Must never fall back to anything weaker: a source that fails is an error, and what was begun is wiped.
//! Called by all of custody that makes a key, an id or a salt; the closure comes from the composition root.

use crate::sys;

/// The source gave no random bytes; nothing was made, and what was filled until then is wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes are to be had")]
pub struct RandomUnavailable;

/// Fills the whole slice with bytes nobody can foretell, or fails.
///
/// In the daemon it is `&|bytes| Ok(sys::random::fill(bytes)?)`. Tests hand in one that fails or that repeats itself.
pub type Random = dyn Fn(&mut [u8]) -> Result<(), RandomUnavailable> + Send + Sync;

impl From<sys::random::RandomUnavailable> for RandomUnavailable {
    fn from(_: sys::random::RandomUnavailable) -> Self {
        Self
    }
}
