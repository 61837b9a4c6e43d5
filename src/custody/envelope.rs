//! What a value claims to be, told from its bytes alone, without a key.
//!
//! Must never be taken for proof: a legacy value may begin with any bytes, and only opening a value authenticates it.
//! Called by operations, to choose the one way in which a value is opened, and to refuse sealing what is sealed.

use base64ct::{Base64, Base64Url, Encoding as _};

use crate::custody::id::VersionId;
use crate::custody::{legacy, message};

/// What a value claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// One message (SKD1) under this version.
    Message(VersionId),
    /// A stream (SKS1) under this version.
    Stream(VersionId),
    /// The magic of a message or a stream, but under 92 bytes: cut off, or a legacy value that happens to begin so.
    Truncated,
    /// The magic of a format that a later servos-keyd may write: SKD2 to SKD9, SKS2 to SKS9.
    Newer,
    /// Base64 text of a message or a stream: to be decoded first.
    Base64Text,
    /// Under 28 bytes and without a magic: nothing that was ever sealed.
    TooShort,
    /// 28 bytes or more without a magic: legacy, or not ours.
    Unmarked,
}

/// The magic and the version id behind it: the first 12 bytes of every message and stream.
const CLAIM_BYTES: usize = 12;
/// That many bytes in base64.
const CLAIM_CHARACTERS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Magic {
    Message,
    Stream,
    Newer,
}

/// Tells what `value` claims to be.
pub fn classify(value: &[u8]) -> Envelope {
    match magic(value) {
        Some(Magic::Newer) => Envelope::Newer,
        Some(_) if value.len() < message::OVERHEAD => Envelope::Truncated,
        Some(_) => claim(value).unwrap_or(Envelope::Truncated),
        None if is_base64_of_ours(value) => Envelope::Base64Text,
        None if value.len() < legacy::OVERHEAD => Envelope::TooShort,
        None => Envelope::Unmarked,
    }
}

/// The version that a plaintext claims to be sealed under already: by its first 12 bytes, or by its first 16 characters
/// decoded as base64 of either alphabet.
///
/// Whether that version is one of this store is for the caller to look up.
pub fn sealed_version(plaintext: &[u8]) -> Option<VersionId> {
    if let Some(Envelope::Message(id) | Envelope::Stream(id)) = claim(plaintext) {
        return Some(id);
    }
    let decoded = decode_base64::<CLAIM_CHARACTERS, CLAIM_BYTES>(plaintext)?;
    match claim(&decoded) {
        Some(Envelope::Message(id) | Envelope::Stream(id)) => Some(id),
        _ => None,
    }
}

fn magic(value: &[u8]) -> Option<Magic> {
    match value {
        [b'S', b'K', b'D', b'1', ..] => Some(Magic::Message),
        [b'S', b'K', b'S', b'1', ..] => Some(Magic::Stream),
        [b'S', b'K', b'D' | b'S', b'2'..=b'9', ..] => Some(Magic::Newer),
        _ => None,
    }
}

/// What the first 12 bytes say, whatever the length of the rest.
fn claim(value: &[u8]) -> Option<Envelope> {
    let magic = magic(value)?;
    let id = VersionId::from_slice(value.get(4..CLAIM_BYTES)?)?;
    match magic {
        Magic::Message => Some(Envelope::Message(id)),
        Magic::Stream => Some(Envelope::Stream(id)),
        Magic::Newer => None,
    }
}

/// Base64 all through, and its first bytes decode to a magic of ours.
///
/// Eight characters fix the magic; asking the alphabet of every byte makes it certain that no legacy value is meant.
fn is_base64_of_ours(value: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n".contains(byte);
    let begins_with_magic = decode_base64::<8, 6>(value).is_some_and(|bytes| magic(&bytes).is_some());
    begins_with_magic && value.iter().all(is_base64)
}

/// The first `CHARACTERS` of `text`, decoded from either alphabet.
fn decode_base64<const CHARACTERS: usize, const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    let text = text.first_chunk::<CHARACTERS>()?;
    let mut decoded = [0; BYTES];
    let complete = Base64::decode(text, &mut decoded).is_ok_and(|bytes| bytes.len() == BYTES)
        || Base64Url::decode(text, &mut decoded).is_ok_and(|bytes| bytes.len() == BYTES);
    complete.then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::fixtures;

    const ID: VersionId = VersionId::from_bytes([0xd5, 0x9e, 0x9e, 0xf0, 0x42, 0x8d, 0xa8, 0x95]);

    fn value(magic: &[u8; 4], length: usize) -> Vec<u8> {
        let mut value = [magic.as_slice(), ID.as_bytes(), &[0x80; 100]].concat();
        value.truncate(length);
        value
    }

    #[test]
    fn every_valid_vector_claims_what_it_is_or_happens_to_look_like() {
        for row in fixtures::skd1().messages.into_iter().filter(|row| row.valid) {
            let id = VersionId::from_bytes(row.version_id.0);
            assert_eq!(classify(&row.ciphertext.0), Envelope::Message(id), "row {}", row.id);
            let text = Base64::encode_string(&row.ciphertext.0);
            assert_eq!(classify(text.as_bytes()), Envelope::Base64Text, "row {}", row.id);
        }
        for row in fixtures::legacy().rows.into_iter().filter(|row| row.valid) {
            let claimed = classify(&Base64::decode_vec(&row.stored).unwrap());
            match row.why.as_str() {
                "a nonce that begins with the magic, too short for SKD1" => assert_eq!(claimed, Envelope::Truncated),
                "a nonce that begins with the magic, long enough for SKD1, version id unknown" => {
                    assert!(matches!(claimed, Envelope::Message(_)));
                }
                _ => assert_eq!(claimed, Envelope::Unmarked, "row {}", row.id),
            }
        }
    }

    #[test]
    fn a_magic_and_92_bytes_are_a_message_or_a_stream() {
        assert_eq!(classify(&value(b"SKD1", 92)), Envelope::Message(ID));
        assert_eq!(classify(&value(b"SKS1", 112)), Envelope::Stream(ID));
    }

    #[test]
    fn a_magic_and_less_is_truncated_at_every_length() {
        for length in 4..92 {
            assert_eq!(classify(&value(b"SKD1", length)), Envelope::Truncated);
            assert_eq!(classify(&value(b"SKS1", length)), Envelope::Truncated);
        }
    }

    #[test]
    fn later_digits_are_newer_and_other_letters_are_unmarked() {
        for digit in b'2'..=b'9' {
            assert_eq!(classify(&value(&[b'S', b'K', b'D', digit], 100)), Envelope::Newer);
            assert_eq!(classify(&value(&[b'S', b'K', b'S', digit], 5)), Envelope::Newer);
        }
        for other in [b"SKD0", b"SKR1", b"SKB1", b"skd1", b"SKD:"] {
            assert_eq!(classify(&value(other, 100)), Envelope::Unmarked);
        }
    }

    #[test]
    fn without_a_magic_28_bytes_decide() {
        assert_eq!(classify(&[]), Envelope::TooShort);
        assert_eq!(classify(b"SKD"), Envelope::TooShort);
        assert_eq!(classify(&[0x80; 27]), Envelope::TooShort);
        assert_eq!(classify(&[0x80; 28]), Envelope::Unmarked);
    }

    #[test]
    fn base64_text_of_a_message_is_named_as_such() {
        for magic in [b"SKD1", b"SKS1", b"SKD2"] {
            let bytes = value(magic, 92);
            assert_eq!(classify(Base64::encode_string(&bytes).as_bytes()), Envelope::Base64Text);
            assert_eq!(classify(Base64Url::encode_string(&bytes).as_bytes()), Envelope::Base64Text);
            assert_eq!(classify(format!("{}\n", Base64::encode_string(&bytes)).as_bytes()), Envelope::Base64Text);
        }
    }

    #[test]
    fn base64_of_a_neighbouring_magic_is_not_taken_for_ours() {
        // SKD0 and SKD1 share their first five characters in base64.
        let text = Base64::encode_string(&value(b"SKD0", 92));
        assert!(text.starts_with("U0tEM"));
        assert_eq!(classify(text.as_bytes()), Envelope::Unmarked);
    }

    #[test]
    fn bytes_that_only_begin_like_base64_text_are_unmarked() {
        let mut bytes = Base64::encode_string(&value(b"SKD1", 92)).into_bytes();
        bytes.push(0x80);
        assert_eq!(classify(&bytes), Envelope::Unmarked);
    }

    #[test]
    fn a_plaintext_that_is_sealed_already_names_its_version_raw_and_in_base64() {
        for magic in [b"SKD1", b"SKS1"] {
            let sealed = value(magic, 92);
            assert_eq!(sealed_version(&sealed), Some(ID));
            assert_eq!(sealed_version(&sealed[..12]), Some(ID));
            assert_eq!(sealed_version(&sealed[..11]), None);
            assert_eq!(sealed_version(Base64::encode_string(&sealed).as_bytes()), Some(ID));
            assert_eq!(sealed_version(Base64Url::encode_string(&sealed).as_bytes()), Some(ID));
            assert_eq!(sealed_version(&Base64::encode_string(&sealed).as_bytes()[..15]), None);
        }
    }

    #[test]
    fn an_ordinary_plaintext_names_no_version() {
        for plaintext in [
            &b""[..],
            b"x",
            b"postgres://servos:hunter2@db:5432/servos",
            b"SKD",
            b"-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            assert_eq!(sealed_version(plaintext), None);
        }
        assert_eq!(sealed_version(&value(b"SKD2", 92)), None);
    }
}
