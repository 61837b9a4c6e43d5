//! What was read from paper so far: shares with their places, until they are enough for a key.
//!
//! Must never take a whole key and shares together: one of them is a mistake.
//! Called by `paper` for each text, and by `typed` for each line.

use super::refusal;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::custody::keys::MasterKey;
use crate::custody::shares::{self, Share};

/// What a text holds.
pub(super) enum Found {
    Key(MasterKey),
    Shares(Vec<Share>),
}

/// Shares with the place that each is from.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) shares: Vec<Share>,
    pub(super) places: Vec<String>,
}

impl Collected {
    /// Takes what a text held; the key, if it is one.
    pub(super) fn take(&mut self, found: Found, place: &str) -> Result<Option<MasterKey>, Failure> {
        let taken = match found {
            Found::Key(key) if self.shares.is_empty() => return Ok(Some(key)),
            Found::Key(_) => {
                let both = format!("{place} holds a whole key, and shares were given too");
                return Err(Failure::say(exit::USAGE, both).with_hint("give the one or the other"));
            }
            Found::Shares(shares) => shares,
        };
        let several = taken.len() > 1;
        for (number, share) in (1..).zip(taken) {
            self.places.push(if several {
                format!("the share at place {number} in {place}")
            } else {
                place.to_owned()
            });
            self.shares.push(share);
        }
        Ok(None)
    }

    pub(super) fn refused(&self, error: shares::CombineError) -> Failure {
        refusal::of_shares(error, &self.shares, &self.places)
    }

    /// How many more are needed; 0 while that is not known.
    pub(super) fn missing(&self) -> usize {
        let needed = self.shares.first().map_or(0, |share| usize::from(share.needed()));
        needed.saturating_sub(self.shares.len())
    }
}
