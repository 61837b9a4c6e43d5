//! SKD1, one message: a plaintext sealed under a version of a data key and bound to a context.
//!
//! Must never return an empty plaintext for a message that did not open, nor leave a message key behind.
//! Called by operations for Encrypt, Decrypt and ReEncrypt, and for the self-test.

use std::mem;

use crate::custody::committing::{self, Fields, HEADER_BYTES, Owner, SALT_BYTES, SKD1};
use crate::custody::context::Context;
use crate::custody::keys::VersionKey;
use crate::custody::primitives::with_clean_stack;
use crate::custody::random::Random;

pub use crate::custody::committing::{Rejected, SealError};
pub use crate::sys::wipe::Zeroizing;

/// What sealing adds to a plaintext, in bytes: a header of 76 and a tag of 16.
pub const OVERHEAD: usize = committing::OVERHEAD;

/// Seals `plaintext` under `version` and binds it to `context`.
///
/// The salt is new for each call, so two calls never give the same message, and there is no limit to their number.
///
/// # Errors
/// [`SealError::Random`] if `random` failed, [`SealError::TooLong`] far above what any caller may send.
pub fn seal(version: &VersionKey, context: &Context, plaintext: &[u8], random: &Random) -> Result<Vec<u8>, SealError> {
    with_clean_stack(|| {
        let mut salt = [0; SALT_BYTES];
        random(&mut salt)?;
        // Holds the plaintext until that is sealed in place, so it is wiped on every way out but the last.
        let mut message = Zeroizing::new(Vec::with_capacity(plaintext.len().saturating_add(OVERHEAD)));
        message.extend_from_slice(&[0; HEADER_BYTES]);
        message.extend_from_slice(plaintext);
        let (header, body) = message.split_first_chunk_mut().ok_or(SealError::TooLong)?;
        let tag;
        (*header, tag) = committing::seal_in_place(&owner(version), context, &salt, body)?;
        message.extend_from_slice(&tag);
        Ok(mem::take(&mut *message))
    })
}

/// Opens a message that was sealed under `version` and bound to `context`.
///
/// # Errors
/// [`Rejected`] for every message that is not exactly as it was sealed, or of another key or context.
///
/// # Security
/// The reason is for the log. Whoever asked is told no more than that it was rejected.
pub fn open(version: &VersionKey, context: &Context, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Rejected> {
    with_clean_stack(|| {
        let fields = Fields::cut(message).ok_or(Rejected::Length)?;
        let mut plaintext = Zeroizing::new(fields.body.to_vec());
        committing::open_in_place(&owner(version), context, &fields, &mut plaintext)?;
        Ok(plaintext)
    })
}

fn owner(version: &VersionKey) -> Owner<'_> {
    Owner { format: SKD1, key: version.expose_key(), id: *version.id().as_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::fixtures::{self, failing, giving, random, version_key, with_each_bit_flipped};

    fn version() -> VersionKey {
        version_key(&[0x42; 32], *b"version1")
    }

    fn cell(row: &str) -> Context {
        Context::new([("table", "servers"), ("row", row)]).unwrap()
    }

    #[test]
    fn every_vector_row_is_sealed_to_the_byte_and_opened_or_rejected() {
        let vectors = fixtures::skd1();
        assert_eq!(vectors.format, "SKD1");
        let mut rejected = 0;
        for row in &vectors.messages {
            let version = version_key(&row.data_key.0, row.version_id.0);
            let context = fixtures::context(&row.context);
            let opened = open(&version, &context, &row.ciphertext.0);
            if row.valid {
                let sealed = seal(&version, &context, &row.plaintext.0, &giving(row.salt.0)).unwrap();
                assert_eq!(sealed, row.ciphertext.0, "row {}", row.id);
                assert_eq!(*opened.unwrap(), row.plaintext.0, "row {}", row.id);
            } else {
                assert_eq!(opened, Err(reason_of(&row.why)), "row {}: {}", row.id, row.why);
                rejected += 1;
            }
        }
        assert_eq!((vectors.messages.len(), rejected), (41, 16));
    }

    /// The check that must be the one to catch the defect of a row.
    fn reason_of(defect: &str) -> Rejected {
        match defect {
            "one bit flipped in the magic" => Rejected::Magic,
            "one bit flipped in the version id" => Rejected::Owner,
            "one bit flipped in the salt"
            | "one bit flipped in the commitment"
            | "context value changed"
            | "context missing"
            | "context with one more pair"
            | "right key and a valid tag, commitment zeroed" => Rejected::Commitment,
            "one bit flipped in the body"
            | "one bit flipped in the tag"
            | "truncated by one byte"
            | "one byte appended"
            | "sealed under another data key, header kept" => Rejected::Body,
            "header only" | "shorter than a header" | "empty" => Rejected::Length,
            unknown => panic!("a defect without an expected reason: {unknown}"),
        }
    }

    #[test]
    fn what_is_sealed_opens_again_at_every_length_around_a_block() {
        for length in (0..=70).chain([1 << 20]) {
            let plaintext = vec![0xa5; length];
            let sealed = seal(&version(), &cell("42"), &plaintext, &random).unwrap();
            assert_eq!(sealed.len(), length + OVERHEAD);
            assert_eq!(sealed.capacity(), sealed.len());
            assert_eq!(*open(&version(), &cell("42"), &sealed).unwrap(), plaintext);
        }
    }

    #[test]
    fn a_message_with_any_bit_flipped_is_rejected() {
        for plaintext in [&b""[..], b"postgres://servos"] {
            let sealed = seal(&version(), &cell("42"), plaintext, &random).unwrap();
            for damaged in with_each_bit_flipped(&sealed) {
                assert!(open(&version(), &cell("42"), &damaged).is_err());
            }
        }
    }

    #[test]
    fn a_message_cut_at_any_place_or_lengthened_is_rejected() {
        let sealed = seal(&version(), &cell("42"), b"postgres://servos", &random).unwrap();
        for length in 0..sealed.len() {
            assert!(open(&version(), &cell("42"), &sealed[..length]).is_err(), "the first {length} bytes");
            assert!(
                open(&version(), &cell("42"), &sealed[sealed.len() - length..]).is_err(),
                "the last {length} bytes"
            );
        }
        for byte in [0, 0xff] {
            assert!(open(&version(), &cell("42"), &[&sealed[..], &[byte]].concat()).is_err());
        }
    }

    #[test]
    fn parts_of_two_messages_never_make_a_third() {
        let one = seal(&version(), &cell("42"), b"one", &random).unwrap();
        let two = seal(&version(), &cell("42"), b"two", &random).unwrap();
        // The ends of version id, salt, commitment, header, and body; up to the version id both are alike.
        for boundary in [44, 76, 79] {
            let swapped = [&one[..boundary], &two[boundary..]].concat();
            assert!(open(&version(), &cell("42"), &swapped).is_err(), "cut at {boundary}");
        }
    }

    #[test]
    fn a_message_opens_in_its_own_context_alone() {
        let sealed = seal(&version(), &cell("42"), b"secret", &random).unwrap();
        for other in [cell("43"), Context::empty(), Context::new([("table", "servers")]).unwrap()] {
            assert_eq!(open(&version(), &other, &sealed), Err(Rejected::Commitment));
        }
    }

    #[test]
    fn a_message_opens_under_its_own_version_alone() {
        let sealed = seal(&version(), &cell("42"), b"secret", &random).unwrap();
        let other_id = version_key(&[0x42; 32], *b"version2");
        let other_key = version_key(&[0x43; 32], *b"version1");
        assert_eq!(open(&other_id, &cell("42"), &sealed), Err(Rejected::Owner));
        assert_eq!(open(&other_key, &cell("42"), &sealed), Err(Rejected::Commitment));

        let mut renamed = sealed;
        renamed[4..12].copy_from_slice(b"version2");
        assert_eq!(open(&other_id, &cell("42"), &renamed), Err(Rejected::Commitment));
    }

    #[test]
    fn the_same_plaintext_sealed_twice_gives_two_messages_that_share_nothing_but_magic_and_version() {
        let one = seal(&version(), &cell("42"), &[0; 64], &random).unwrap();
        let two = seal(&version(), &cell("42"), &[0; 64], &random).unwrap();
        assert_eq!(one[..12], two[..12]);
        for part in [12..44, 44..76, 76..140, 140..156] {
            assert_ne!(one[part.clone()], two[part]);
        }
    }

    #[test]
    fn nothing_is_sealed_without_a_salt() {
        assert_eq!(
            seal(&version(), &cell("42"), b"secret", &failing),
            Err(SealError::Random(crate::custody::random::RandomUnavailable,))
        );
    }

    #[test]
    fn nothing_is_sealed_while_the_kernel_refuses_a_salt_and_what_is_sealed_opens() {
        let version = version();
        let sealed = seal(&version, &cell("42"), b"secret", &random).unwrap();
        fixtures::without_getrandom(|| {
            assert!(matches!(seal(&version, &cell("42"), b"secret", &random), Err(SealError::Random(_))));
            assert_eq!(**open(&version, &cell("42"), &sealed).unwrap(), *b"secret");
        });
        assert!(seal(&version, &cell("42"), b"secret", &random).is_ok());
    }

    #[test]
    fn an_empty_plaintext_and_a_failure_are_different_types() {
        let sealed = seal(&version(), &cell("42"), b"", &random).unwrap();
        let opened: Result<Zeroizing<Vec<u8>>, Rejected> = open(&version(), &cell("42"), &sealed);
        assert!(opened.unwrap().is_empty());
        let opened: Result<Zeroizing<Vec<u8>>, Rejected> = open(&version(), &cell("43"), &sealed);
        assert!(opened.is_err());
    }
}
