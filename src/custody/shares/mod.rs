//! Shares of a master key for paper: SLIP-0039, so that other programs put the key together too.
//!
//! Must never put a share together with one of another kit, hand out a key that its shares do not agree on, or tell
//! what a share says beyond its kit and number. Called by `cli`, for recovery kits, for `recover`, and wherever a key
//! is read from paper.
//!
//! A share is a point of a polynomial over GF(256) for each byte, of degree `needed - 1`; the key, enciphered as the
//! standard has it under an empty passphrase, lies at 255, and a digest of it at 254: fewer shares than are needed tell
//! nothing of the key, and shares that do not belong together are found out. No crate does this and is kept well, and
//! all of it is some hundred lines beside a list of words; the standard's own vectors hold it (`vectors_tests.rs`).

mod agreement;
mod checksum;
mod cipher;
mod field;
mod format;
mod share;
pub mod words;

use crate::custody::keys::{KeyError, MasterKey};
use crate::custody::master_text;
use crate::custody::primitives::with_clean_stack;
use crate::custody::random::Random;
use crate::sys::locked::{LockedMemory, LockedMemoryError};
use agreement::{DIGEST_AT, Disagreement, Point, SECRET_AT};
use format::Header;
use subtle::ConstantTimeEq as _;

pub use format::{Malformed, SHARE_WORDS};
pub use share::{KitId, SHARE_TEXT_BYTES, Share, ShareError};

/// The most shares of a kit.
pub const MOST_SHARES: u8 = 16;

/// 10,000 * 2^1 iterations, as the standard's own implementation has it.
const ITERATION_EXPONENT: u8 = 1;

/// How many shares there are, and how many of them are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    needed: u8,
    count: u8,
}

impl Plan {
    /// One share, which is enough.
    pub const WHOLE: Self = Self { needed: 1, count: 1 };

    /// `needed` of `count` shares; `None` where the standard has no such: more than are there or than 16, or several of
    /// which one is enough.
    #[must_use]
    pub fn new(needed: u8, count: u8) -> Option<Self> {
        let is_possible = (1..=count).contains(&needed) && count <= MOST_SHARES;
        (is_possible && (needed > 1 || count == 1)).then_some(Self { needed, count })
    }

    /// How many are needed.
    #[must_use]
    pub const fn needed(self) -> u8 {
        self.needed
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u8 {
        self.count
    }
}

/// Why shares do not give a key. Shares are named by their place among those given, from 0.
#[derive(Debug, thiserror::Error)]
pub enum CombineError {
    /// Not as many as are needed.
    #[error("{given} of {needed} shares are there")]
    TooFew {
        /// How many are needed; 0 where none was given that could tell.
        needed: u8,
        /// How many there are.
        given: usize,
    },
    /// A share is of another kit than most.
    #[error("a share is of another kit")]
    OtherKit {
        /// That share.
        share: usize,
        /// One of the kit that most are of.
        most: usize,
    },
    /// A share is there twice.
    #[error("a share is there twice")]
    Twice {
        /// The later one.
        share: usize,
        /// The earlier one.
        first: usize,
    },
    /// Two shares have one number and differ.
    #[error("two different shares have the same number")]
    SameNumber {
        /// The later one.
        share: usize,
        /// The earlier one.
        first: usize,
    },
    /// As many as are needed, and they do not belong together: one more could tell which is wrong.
    #[error("the shares do not belong together")]
    DoNotFit,
    /// More than are needed; these do not belong to the others.
    #[error("some shares do not belong to the others")]
    Odd {
        /// Those.
        shares: Vec<usize>,
    },
    /// What they give is no key, or there is no memory for it.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// New shares of a key, in the order of their numbers; no two calls give shares that belong together.
///
/// # Errors
/// [`KeyError::Random`], [`KeyError::Memory`].
pub fn split(key: &MasterKey, plan: Plan, memory: &LockedMemory, random: &Random) -> Result<Vec<Share>, KeyError> {
    with_clean_stack(|| {
        let header = new_header(plan, random)?;
        let secret = memory.secret(|secret| {
            secret.copy_from_slice(key.expose_key());
            cipher::encrypt(secret, cipher::NO_PASSPHRASE, &header);
            Ok::<(), KeyError>(())
        })?;
        if plan.needed == 1 {
            return Ok(vec![Share { header, value: secret }]);
        }
        let digest = agreement::digest_share(&secret, memory, random)?;
        let drawn = (0..plan.needed.saturating_sub(2)).map(|member_index| {
            let value = memory.secret(|value| random(value).map_err(KeyError::from))?;
            Ok(Share { header: Header { member_index, ..header }, value })
        });
        let mut shares = drawn.collect::<Result<Vec<Share>, KeyError>>()?;
        let mut points: Vec<Point<'_>> = vec![(DIGEST_AT, digest.expose_bytes()), (SECRET_AT, secret.expose_bytes())];
        points.extend(shares.iter().map(Share::point));
        let computed = (plan.needed.saturating_sub(2)..plan.count).map(|member_index| {
            let value = memory.secret(|value| {
                field::interpolate(&points, member_index, value);
                Ok::<(), KeyError>(())
            })?;
            Ok(Share { header: Header { member_index, ..header }, value })
        });
        let computed = computed.collect::<Result<Vec<Share>, KeyError>>()?;
        shares.extend(computed);
        Ok(shares)
    })
}

fn new_header(plan: Plan, random: &Random) -> Result<Header, KeyError> {
    let mut identifier = [0; 2];
    random(&mut identifier)?;
    Ok(Header {
        identifier: u16::from_be_bytes(identifier) & 0x7fff,
        extendable: true,
        iteration_exponent: ITERATION_EXPONENT,
        group_index: 0,
        group_threshold: 1,
        group_count: 1,
        member_index: 0,
        member_threshold: plan.needed,
    })
}

/// Puts the key together from all shares that are given, in whatever order.
///
/// # Errors
/// [`CombineError`] says which share is wrong, where that can be told.
pub fn combine(shares: &[Share], memory: &LockedMemory) -> Result<MasterKey, CombineError> {
    check_kit(shares)?;
    let Some(first) = shares.first() else { return Err(CombineError::TooFew { needed: 0, given: 0 }) };
    let (needed, given) = (first.needed(), shares.len());
    if given < usize::from(needed) {
        return Err(CombineError::TooFew { needed, given });
    }
    with_clean_stack(|| {
        let secret = memory.secret(|secret| {
            let points: Vec<Point<'_>> = shares.iter().map(Share::point).collect();
            agreement::shared_secret(&points, needed, secret)?;
            cipher::decrypt(secret, cipher::NO_PASSPHRASE, &first.header);
            Ok::<(), CombineError>(master_text::judge(secret).map_err(KeyError::from)?)
        })?;
        Ok(MasterKey::from_secret(secret))
    })
}

impl From<Disagreement> for CombineError {
    fn from(disagreement: Disagreement) -> Self {
        match disagreement {
            Disagreement::Unknown => Self::DoNotFit,
            Disagreement::Odd(shares) => Self::Odd { shares },
        }
    }
}

impl From<LockedMemoryError> for CombineError {
    fn from(error: LockedMemoryError) -> Self {
        Self::Key(error.into())
    }
}

/// Whether each share could stand beside the others: of one kit, and each number once.
///
/// # Errors
/// [`CombineError::OtherKit`], [`CombineError::Twice`], [`CombineError::SameNumber`].
pub fn check_kit(shares: &[Share]) -> Result<(), CombineError> {
    let of_its_kit = |share: &Share| shares.iter().filter(|other| other.is_of_kit(share)).count();
    // The first of those with the most.
    let most = shares.iter().enumerate().rev().max_by_key(|(_, share)| of_its_kit(share));
    let Some((most, kit)) = most else { return Ok(()) };
    if let Some(share) = shares.iter().position(|share| !share.is_of_kit(kit)) {
        return Err(CombineError::OtherKit { share, most });
    }
    for (at, share) in shares.iter().enumerate() {
        let earlier = shares.iter().take(at).position(|earlier| earlier.number() == share.number());
        let Some(first) = earlier else { continue };
        let is_same = shares
            .get(first)
            .is_some_and(|earlier| bool::from(earlier.value.expose_bytes().ct_eq(share.value.expose_bytes())));
        return Err(if is_same {
            CombineError::Twice { share: at, first }
        } else {
            CombineError::SameNumber { share: at, first }
        });
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
#[cfg(test)]
mod vectors_tests;
