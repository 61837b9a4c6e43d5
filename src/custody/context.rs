//! The context of a message: what it belongs to, as pairs that are bound to it and not stored in it.
//!
//! Must never normalise, trim or reinterpret a byte: what was given is what is bound.
//! Called by operations for what components send, and by the record seals for theirs.

use std::fmt;

/// Most pairs that a context may hold.
pub const MAX_PAIRS: usize = 64;
/// Longest key of a pair, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest value of a pair, in bytes of UTF-8.
pub const MAX_VALUE_BYTES: usize = 4 * 1024;
/// Longest encoding of a context, in bytes.
pub const MAX_ENCODED_BYTES: usize = 8 * 1024;

/// A context as it is bound to a message: valid, in its one encoding.
///
/// The encoding: `u32 count`, then for each pair in ascending order of the key's bytes `u32 len, key, u32 len, value`,
/// integers big endian. No two sets of pairs share an encoding.
#[derive(Clone, PartialEq, Eq)]
pub struct Context {
    encoded: Vec<u8>,
}

/// Why pairs are not a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// More than [`MAX_PAIRS`] pairs.
    #[error("the context has more than {MAX_PAIRS} pairs")]
    TooManyPairs,
    /// A key longer than [`MAX_KEY_BYTES`].
    #[error("a key of the context is longer than {MAX_KEY_BYTES} bytes")]
    KeyTooLong,
    /// A value longer than [`MAX_VALUE_BYTES`].
    #[error("a value of the context is longer than {MAX_VALUE_BYTES} bytes")]
    ValueTooLong,
    /// An encoding longer than [`MAX_ENCODED_BYTES`].
    #[error("the context is longer than {MAX_ENCODED_BYTES} bytes in all")]
    TooLong,
    /// The same key twice.
    #[error("the context names a key twice")]
    DuplicateKey,
}

impl Context {
    /// The context of these pairs, in whatever order they come.
    ///
    /// # Errors
    /// The limit that was passed, or [`ContextError::DuplicateKey`].
    pub fn new<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, ContextError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut pairs: Vec<(K, V)> = pairs.into_iter().take(MAX_PAIRS + 1).collect();
        if pairs.len() > MAX_PAIRS {
            return Err(ContextError::TooManyPairs);
        }
        // Rust orders strings by their bytes, and that is the order of the format.
        pairs.sort_by(|(one, _), (other, _)| one.as_ref().cmp(other.as_ref()));
        for (key, value) in &pairs {
            if key.as_ref().len() > MAX_KEY_BYTES {
                return Err(ContextError::KeyTooLong);
            }
            if value.as_ref().len() > MAX_VALUE_BYTES {
                return Err(ContextError::ValueTooLong);
            }
        }
        if pairs.windows(2).any(|two| matches!(two, [(one, _), (next, _)] if one.as_ref() == next.as_ref())) {
            return Err(ContextError::DuplicateKey);
        }
        let context = Self::from_sorted(pairs.iter().map(|(key, value)| (key.as_ref(), value.as_ref())));
        if context.encoded.len() > MAX_ENCODED_BYTES { Err(ContextError::TooLong) } else { Ok(context) }
    }

    /// The context without a pair: four zero bytes.
    pub fn empty() -> Self {
        Self::from_sorted([].into_iter())
    }

    /// The one encoding of these pairs.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Encodes pairs that are known to be in order, distinct and within the limits.
    pub(super) fn from_sorted<'a>(pairs: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut encoded = length_prefix(pairs.len()).to_vec();
        for (key, value) in pairs {
            for part in [key, value] {
                encoded.extend_from_slice(&length_prefix(part.len()));
                encoded.extend_from_slice(part.as_bytes());
            }
        }
        Self { encoded }
    }
}

/// A count or length as every format of this room writes it: `u32`, big endian.
///
/// What is counted is limited far below 2^32 wherever it comes from; a number above it is written as the greatest
/// `u32`, which matches no real length.
pub(super) fn length_prefix(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

impl fmt::Debug for Context {
    /// Shows the size alone: a context names rows of somebody's database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} bytes)", self.encoded.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_count_then_length_and_bytes_in_order_of_keys() {
        let context = Context::new([("b", "2"), ("aa", ""), ("a", "1")]).unwrap();
        let expected = b"\0\0\0\x03\0\0\0\x01a\0\0\0\x011\0\0\0\x02aa\0\0\0\0\0\0\0\x01b\0\0\0\x012";
        assert_eq!(context.encoded(), expected);
    }

    #[test]
    fn the_empty_context_is_four_zero_bytes() {
        assert_eq!(Context::empty().encoded(), [0; 4]);
        assert_eq!(Context::new::<&str, &str>([]).unwrap(), Context::empty());
    }

    #[test]
    fn keys_are_ordered_by_their_bytes_and_not_as_utf_16() {
        let context = Context::new([("\u{10000}", ""), ("\u{ff5e}", "")]).unwrap();
        assert_eq!(context.encoded().get(8..11), Some("\u{ff5e}".as_bytes()));
    }

    #[test]
    fn moving_bytes_between_key_and_value_gives_another_encoding() {
        assert_ne!(Context::new([("ab", "c")]).unwrap(), Context::new([("a", "bc")]).unwrap());
        assert_ne!(Context::new([("a", "")]).unwrap(), Context::empty());
    }

    #[test]
    fn composed_and_decomposed_letters_stay_different() {
        assert_ne!(Context::new([("\u{e9}", "")]).unwrap(), Context::new([("e\u{301}", "")]).unwrap());
    }

    #[test]
    fn every_limit_is_kept_to_the_byte() {
        let numbered = |count: usize| Context::new((0..count).map(|n| (n.to_string(), "")));
        assert!(numbered(64).is_ok());
        assert_eq!(numbered(65), Err(ContextError::TooManyPairs));

        assert!(Context::new([("k".repeat(256), "")]).is_ok());
        assert_eq!(Context::new([("k".repeat(257), "")]), Err(ContextError::KeyTooLong));

        assert!(Context::new([("", "v".repeat(4096))]).is_ok());
        assert_eq!(Context::new([("", "v".repeat(4097))]), Err(ContextError::ValueTooLong));

        // 4 for the count, 8 of lengths for each pair, one byte of key in the second: 8,192 with values of 4,096 and
        // 4,075.
        let two = |bytes: usize| Context::new([("", "v".repeat(4096)), ("k", "v".repeat(bytes))]);
        assert_eq!(two(4075).map(|context| context.encoded().len()), Ok(8192));
        assert_eq!(two(4076), Err(ContextError::TooLong));
    }

    #[test]
    fn an_endless_iterator_is_refused_and_not_collected() {
        assert_eq!(Context::new(std::iter::repeat(("a", "b"))), Err(ContextError::TooManyPairs));
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        assert_eq!(Context::new([("a", "1"), ("b", "2"), ("a", "1")]), Err(ContextError::DuplicateKey));
    }

    #[test]
    fn debug_shows_no_byte_of_the_pairs() {
        assert_eq!(format!("{:?}", Context::new([("table", "servers")]).unwrap()), "Context(24 bytes)");
    }
}
