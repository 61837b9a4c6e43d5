//! The name of a data key: parsed once, at the border, and valid ever after.
//!
//! Must never hold a name that a policy, a log line or a file would read differently.
//! Called by `rpc` for requests and by `operations` for records.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest name, in bytes.
pub const MAX_BYTES: usize = 63;

/// The name under which legacy values are authorised and answered; no data key can have it.
pub const LEGACY: &str = "legacy";

/// Why a text is not the name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// No name was given.
    #[error("must not be empty")]
    Empty,
    /// The name is over [`MAX_BYTES`].
    #[error("must have at most {MAX_BYTES} bytes")]
    TooLong,
    /// A character is outside the alphabet, or not allowed to come first.
    #[error("must match [a-z0-9][a-z0-9._-]*")]
    Alphabet,
    /// The name is [`LEGACY`].
    #[error("\"legacy\" is reserved for values sealed before servos-keyd")]
    Reserved,
}

/// The name of a data key: `[a-z0-9][a-z0-9._-]{0,62}`, not "legacy". Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(Arc<str>);

impl KeyName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let first = text.bytes().next().ok_or(InvalidName::Empty)?;
        if text.len() > MAX_BYTES {
            return Err(InvalidName::TooLong);
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if !plain(first) || !text.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-')) {
            return Err(InvalidName::Alphabet);
        }
        if text == LEGACY {
            return Err(InvalidName::Reserved);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name that policy knows legacy values by.
    #[must_use]
    pub fn legacy() -> Self {
        Self(Arc::from(LEGACY))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for KeyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyName({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_alphabet_parse_and_others_say_which_rule_they_break() {
        let long = "a".repeat(64);
        let cases: [(&str, Option<InvalidName>); 14] = [
            ("default", None),
            ("0", None),
            ("a.b_c-d", None),
            (&long[1..], None),
            (&long, Some(InvalidName::TooLong)),
            ("", Some(InvalidName::Empty)),
            ("-a", Some(InvalidName::Alphabet)),
            (".a", Some(InvalidName::Alphabet)),
            ("Upper", Some(InvalidName::Alphabet)),
            ("a b", Some(InvalidName::Alphabet)),
            ("a/b", Some(InvalidName::Alphabet)),
            ("a\n", Some(InvalidName::Alphabet)),
            ("schlüssel", Some(InvalidName::Alphabet)),
            ("legacy", Some(InvalidName::Reserved)),
        ];
        for (text, expected) in cases {
            assert_eq!(KeyName::parse(text).err(), expected, "{text:?}");
        }
    }
}
