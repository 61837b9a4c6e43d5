//! The public names of keys and stores: fixed-size byte strings, shown in lower-case hex.
//!
//! Must never hold secret bytes: every type here may be printed, logged, compared and stored.
//! Called by every room above that stores, shows or compares an id.

use std::fmt;
use std::str::FromStr;

use crate::custody::random::{Random, RandomUnavailable};

/// A text that is not an id: another length than it must have, or a character that is no hex digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: {expected_digits} hex digits are needed")]
pub struct IdMalformed {
    expected_digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Takes the bytes as they are.
            pub const fn from_bytes(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            #[doc = concat!("The id in a slice of exactly ", stringify!($size), " bytes, nothing in any other.")]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes, in the order in which they are stored and hashed.
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Every seal's context has ids in hex: a start makes some hundred thousand of them.
                let mut digits = [0; 2 * $size];
                f.write_str(base16ct::lower::encode_str(&self.0, &mut digits).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdMalformed;

            /// Reads exactly as many hex digits as the id has, in either case.
            fn from_str(text: &str) -> Result<Self, IdMalformed> {
                let malformed = IdMalformed { expected_digits: 2 * $size };
                let mut bytes = [0; $size];
                let decoded = base16ct::mixed::decode(text, &mut bytes).map_err(|_| malformed)?;
                if decoded.len() == $size { Ok(Self(bytes)) } else { Err(malformed) }
            }
        }
    };
}

macro_rules! generated {
    ($($name:ident, $size:literal);*) => {$(
        impl $name {
            /// A new random one.
            ///
            /// # Errors
            /// [`RandomUnavailable`] if `random` failed.
            pub fn generate(random: &Random) -> Result<Self, RandomUnavailable> {
                let mut bytes = [0; $size];
                random(&mut bytes)?;
                Ok(Self(bytes))
            }
        }
    )*};
}

id!(
    /// Which store: made with it, carried through every rotation and restore. 16 random bytes.
    StoreId, 16
);
id!(
    /// Which data key: never used again, even for a key of the same name. 8 random bytes.
    KeyId, 8
);
id!(
    /// Which version of a data key: stands in the header of every message sealed under it. 8 random bytes.
    VersionId, 8
);
id!(
    /// How people compare master keys without showing them: 8 bytes derived from the key.
    Fingerprint, 8
);
id!(
    /// Which root key: 32 bytes derived from it; the first 8 stand in the headers of seals.
    RootId, 32
);
generated!(StoreId, 16; KeyId, 8; VersionId, 8);

impl RootId {
    /// The first 8 bytes, which stand for the root in the header of what it seals.
    pub const fn prefix(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_shown_in_lower_hex_and_read_in_either_case() {
        let id = KeyId::from_bytes([0xa1, 0x15, 0xa1, 0x19, 0xf4, 0x6d, 0xe8, 0x61]);
        assert_eq!(id.to_string(), "a115a119f46de861");
        assert_eq!(format!("{id:?}"), "a115a119f46de861");
        assert_eq!("a115a119f46de861".parse(), Ok(id));
        assert_eq!("A115a119F46DE861".parse(), Ok(id));
    }

    #[test]
    fn a_text_of_another_length_or_alphabet_is_no_id() {
        for text in [
            "",
            "a1",
            "a115a119f46de86",
            "a115a119f46de8611",
            "a115a119f46de86g",
            " 115a119f46de861",
            "é15a119f46de861",
        ] {
            assert!(text.parse::<KeyId>().is_err(), "{text:?}");
        }
        assert!("a115a119f46de861".parse::<StoreId>().is_err());
        assert_eq!("".parse::<RootId>().unwrap_err().to_string(), "not an id: 64 hex digits are needed");
    }

    #[test]
    fn a_slice_is_an_id_only_at_its_exact_length() {
        assert_eq!(VersionId::from_slice(&[7; 8]), Some(VersionId::from_bytes([7; 8])));
        assert_eq!(VersionId::from_slice(&[7; 7]), None);
        assert_eq!(VersionId::from_slice(&[7; 9]), None);
        assert_eq!(StoreId::from_slice(&[]), None);
    }

    #[test]
    fn a_generated_id_is_what_the_random_source_gave() {
        let source = |bytes: &mut [u8]| {
            bytes.fill(0x5a);
            Ok(())
        };
        assert_eq!(StoreId::generate(&source).unwrap(), StoreId::from_bytes([0x5a; 16]));
    }

    #[test]
    fn no_id_is_made_without_randomness() {
        assert!(KeyId::generate(&|_| Err(RandomUnavailable)).is_err());
    }
}
