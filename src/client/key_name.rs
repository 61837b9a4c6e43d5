//! The name of a key, checked before it is sent.
//!
//! Must never hold a name that the daemon would refuse as malformed.
//! Called by every typed call that names a key.

use std::fmt;
use std::str::FromStr;

/// The most bytes a key's name has.
pub const LENGTH_LIMIT_BYTES: usize = 63;

/// The name under which the daemon answers for legacy values; no key has it.
pub const RESERVED: &str = "legacy";

/// A key's name: `[a-z0-9][a-z0-9._-]{0,62}`, and not `legacy`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyName(String);

/// Why a text is no key's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidKeyName {
    /// It is empty.
    #[error("a key's name is empty")]
    Empty,
    /// It has more than 63 bytes.
    #[error("a key's name has {bytes} bytes; the limit is {LENGTH_LIMIT_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that names do not have.
    #[error("{character:?} at position {position} of a key's name: names are a-z 0-9 . _ - and begin with a-z or 0-9")]
    Character {
        /// The character.
        character: char,
        /// Its position, from 1.
        position: usize,
    },
    /// It is `legacy`.
    #[error("\"legacy\" is the name of former master keys; no key can be called so")]
    Reserved,
}

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidKeyName`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, InvalidKeyName> {
        if name.is_empty() {
            return Err(InvalidKeyName::Empty);
        }
        if name.len() > LENGTH_LIMIT_BYTES {
            return Err(InvalidKeyName::TooLong { bytes: name.len() });
        }
        let wrong = name.chars().enumerate().find(|(index, character)| match character {
            'a'..='z' | '0'..='9' => false,
            '.' | '_' | '-' => *index == 0,
            _ => true,
        });
        if let Some((index, character)) = wrong {
            return Err(InvalidKeyName::Character { character, position: index + 1 });
        }
        if name == RESERVED {
            return Err(InvalidKeyName::Reserved);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(name: &str) -> Result<Self, InvalidKeyName> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_keys_that_exist_from_the_start_are_taken() {
        for name in ["default", "ssh-keys", "env-vars", "0", "a.b_c-d", &"a".repeat(63)] {
            assert_eq!(KeyName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn malformed_names_are_refused_with_the_place() {
        assert_eq!(KeyName::new(""), Err(InvalidKeyName::Empty));
        assert_eq!(KeyName::new(&"a".repeat(64)), Err(InvalidKeyName::TooLong { bytes: 64 }));
        assert_eq!(KeyName::new("legacy"), Err(InvalidKeyName::Reserved));
        for (name, character, position) in [
            ("SSH", 'S', 1),
            ("-a", '-', 1),
            (".a", '.', 1),
            ("a b", ' ', 2),
            ("a/b", '/', 2),
            ("aé", 'é', 2),
            ("a\n", '\n', 2),
        ] {
            assert_eq!(KeyName::new(name), Err(InvalidKeyName::Character { character, position }), "{name:?}");
        }
    }
}
