//! One share: its words, the kit that it is of, its number, and its value in locked memory.
//!
//! Must never tell what a share says beyond its kit and number.
//! Called by `shares`, and by `cli` for each share that is read or written.

use super::agreement::Point;
use super::format::{self, Header, Malformed, SHARE_WORDS};
use super::words;
use crate::custody::keys::KeyError;
use crate::custody::primitives::with_clean_stack;
use crate::sys::locked::{LockedBuffer, LockedMemory, LockedMemoryError, Secret};
use crate::sys::wipe::Zeroizing;
use std::fmt;

/// The most bytes that the words of a share take, each with a space or a line end behind it.
pub const SHARE_TEXT_BYTES: usize = SHARE_WORDS * (words::MOST_LETTERS + 1);

/// Which kit a share is of: public, the same in all of its shares, and the first two words of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KitId(u32);

impl KitId {
    pub(super) fn of(header: &Header) -> Self {
        let flags = u32::from(header.extendable) << 4 | u32::from(header.iteration_exponent);
        Self(u32::from(header.identifier) << 5 | flags)
    }
}

impl fmt::Display for KitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |number: u32| usize::try_from(number & 0x3ff).ok().and_then(|at| words::all().nth(at));
        write!(f, "{} {}", word(self.0 >> 10).unwrap_or_default(), word(self.0).unwrap_or_default())
    }
}

/// One share of a master key, its value in locked memory.
pub struct Share {
    pub(super) header: Header,
    pub(super) value: Secret,
}

/// Why there is no share.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The words are no share.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is no locked memory to hold it.
    #[error("a share needs locked memory")]
    Memory(#[from] LockedMemoryError),
}

impl Share {
    /// Reads the words of a share: the words alone, or the beginnings of them, in the order of their numbers.
    ///
    /// # Errors
    /// [`ShareError::Malformed`] says what is wrong, without telling a word of it.
    pub fn parse<'w>(typed: impl Iterator<Item = &'w [u8]> + Clone, memory: &LockedMemory) -> Result<Self, ShareError> {
        with_clean_stack(|| {
            let words = typed.clone().count();
            let mut numbers = Zeroizing::new([0u16; SHARE_WORDS]);
            if let Some(at) = typed.clone().position(|word| words::find(word).is_none()) {
                return Err(Malformed::UnknownWord { position: at.saturating_add(1) }.into());
            }
            if words != SHARE_WORDS {
                return Err(Malformed::Length { words }.into());
            }
            for (number, word) in numbers.iter_mut().zip(typed) {
                *number = words::find(word).unwrap_or_default();
            }
            let mut header = None;
            let value = memory.secret(|value| {
                header = Some(format::decode(numbers.as_slice(), value)?.0);
                Ok::<(), ShareError>(())
            })?;
            let header = header.ok_or(Malformed::Impossible)?;
            format::judge(&header)?;
            Ok(Self { header, value })
        })
    }

    /// Appends its words, `between` two of them.
    ///
    /// # Errors
    /// [`KeyError::NoRoom`]; what the buffer then holds is of no use.
    pub fn write_words(&self, between: u8, to: &mut LockedBuffer) -> Result<(), KeyError> {
        with_clean_stack(|| {
            let numbers = Zeroizing::new(format::encode(&self.header, self.value.expose_bytes()));
            let no_room = || KeyError::NoRoom { needed: SHARE_TEXT_BYTES };
            for (at, number) in numbers.iter().enumerate() {
                if at > 0 {
                    *to.expose_spare_mut().first_mut().ok_or_else(no_room)? = between;
                    to.advance(1);
                }
                if !words::write(*number, to) {
                    return Err(no_room());
                }
            }
            Ok(())
        })
    }

    /// Which kit it is of.
    #[must_use]
    pub fn kit(&self) -> KitId {
        KitId::of(&self.header)
    }

    /// Its number in the kit, from 1.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.header.member_index.saturating_add(1)
    }

    /// How many shares of the kit are needed.
    #[must_use]
    pub const fn needed(&self) -> u8 {
        self.header.member_threshold
    }

    /// The point that it is.
    pub(super) fn point(&self) -> Point<'_> {
        (self.header.member_index, self.value.expose_bytes())
    }

    /// Whether it could stand beside another one.
    pub(super) fn is_of_kit(&self, other: &Self) -> bool {
        self.kit() == other.kit() && self.needed() == other.needed()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("kit", &self.kit()).field("number", &self.number()).finish_non_exhaustive()
    }
}
