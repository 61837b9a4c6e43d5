//! A master key's text: the two spellings that are taken, the near misses that are named, the keys that are refused.
//!
//! Must never put a byte of the text into an error: what goes wrong is told by lengths and kinds alone.
//! Called by the master key's constructors.

use base64ct::{Base64, Encoding as _};

/// Characters of a key in hex.
pub const HEX_CHARACTERS: usize = 64;
/// Characters of a key in base64, the padding included.
pub const BASE64_CHARACTERS: usize = 44;

/// Why a text is not a master key, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is no text at all.
    #[error("the master key is empty")]
    Empty,
    /// A quote at the beginning or the end.
    #[error("the master key is in quotes: take them off")]
    Quoted,
    /// A space, tab or line end at the beginning or the end.
    #[error("the master key has blanks or line ends around it: take them off")]
    Blanks,
    /// `0x` before the digits.
    #[error("the master key begins with 0x: take it off")]
    HexPrefix,
    /// Hex digits, but not 64.
    #[error("the master key has {digits} hex digits and needs 64: a character was lost or added in copying")]
    HexDigits {
        /// How many there are.
        digits: usize,
    },
    /// 43 characters of base64: the `=` at the end is missing.
    #[error("the master key is base64 without its padding: 43 characters, put = at the end")]
    Unpadded,
    /// base64url, with `-` or `_`.
    #[error("the master key is in base64url: write + for - and / for _")]
    UrlAlphabet,
    /// Standard base64 of another number of bytes.
    #[error("the master key is base64 of {bytes} bytes and needs to be of 32")]
    Base64Of {
        /// How many bytes it encodes.
        bytes: usize,
    },
    /// About 32 bytes that are no text: the key itself, not its hex or base64.
    #[error(
        "the master key is {bytes} bytes that are neither hex nor base64: a raw key must be encoded, as 64 hex digits"
    )]
    Raw {
        /// How many bytes there are.
        bytes: usize,
    },
    /// 64 characters, and not all are hex digits.
    #[error("the master key has 64 characters, but not all of them are hex digits")]
    NotHex,
    /// 44 characters, and they are not base64 of 32 bytes.
    #[error("the master key has 44 characters, but they are not standard base64 of 32 bytes")]
    NotBase64,
    /// Nothing that looks like a key.
    #[error("the master key is {bytes} bytes long: 64 hex digits or 44 characters of base64 are needed")]
    Length {
        /// How long the text is.
        bytes: usize,
    },
    /// All 32 bytes are printable ASCII.
    #[error("the master key decodes to printable text: it is a passphrase, not 32 random bytes (openssl rand -hex 32)")]
    Printable,
    /// All 32 bytes are the same one.
    #[error(
        "the master key is one byte repeated 32 times: it is a placeholder, not 32 random bytes (openssl rand -hex 32)"
    )]
    AllEqual,
}

/// Decodes a key's text into `key`: 64 characters are hex, 44 are base64, by length alone.
///
/// # Errors
/// What is wrong with the text or the key; `key` may then hold part of it, and the caller wipes it.
pub(super) fn decode(text: &[u8], key: &mut [u8; 32]) -> Result<(), Malformed> {
    let decoded_bytes = match text.len() {
        HEX_CHARACTERS => base16ct::mixed::decode(text, key).map(|bytes| bytes.len()).ok(),
        BASE64_CHARACTERS => Base64::decode(text, key).map(|bytes| bytes.len()).ok(),
        _ => None,
    };
    if decoded_bytes != Some(key.len()) {
        return Err(near_miss(text));
    }
    judge(key)
}

/// Refuses what 32 random bytes never are: a passphrase or a placeholder.
///
/// # Errors
/// [`Malformed::Printable`], [`Malformed::AllEqual`].
pub(super) fn judge(key: &[u8; 32]) -> Result<(), Malformed> {
    let [first, ..] = key;
    if key.iter().all(|byte| byte == first) {
        return Err(Malformed::AllEqual);
    }
    if key.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Malformed::Printable);
    }
    Ok(())
}

/// Names the mistake in a text that is not a key, the likeliest first.
fn near_miss(text: &[u8]) -> Malformed {
    let bytes = text.len();
    let (Some(first), Some(last)) = (text.first(), text.last()) else {
        return Malformed::Empty;
    };
    if matches!(bytes, 31..=33) && !text.is_ascii() {
        return Malformed::Raw { bytes };
    }
    if [first, last].into_iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        return Malformed::Quoted;
    }
    if [first, last].into_iter().any(u8::is_ascii_whitespace) {
        return Malformed::Blanks;
    }
    if text.starts_with(b"0x") || text.starts_with(b"0X") {
        return Malformed::HexPrefix;
    }
    if text.iter().all(u8::is_ascii_hexdigit) && bytes != BASE64_CHARACTERS {
        return Malformed::HexDigits { digits: bytes };
    }
    near_miss_of_base64(text).unwrap_or(match bytes {
        HEX_CHARACTERS => Malformed::NotHex,
        BASE64_CHARACTERS => Malformed::NotBase64,
        31..=33 => Malformed::Raw { bytes },
        _ => Malformed::Length { bytes },
    })
}

fn near_miss_of_base64(text: &[u8]) -> Option<Malformed> {
    let unpadded = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    if !unpadded.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte)) {
        return None;
    }
    let characters = unpadded.len();
    match characters {
        43 if unpadded.iter().any(|byte| b"-_".contains(byte)) => Some(Malformed::UrlAlphabet),
        43 if text.len() == characters => Some(Malformed::Unpadded),
        42 | 44 if text.len() == BASE64_CHARACTERS => Some(Malformed::Base64Of { bytes: characters * 3 / 4 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = *b"\x7b\x1d\x3e\xca\x22\xfa\x84\xbe\xe4\x7e\x3d\x1c\xac\x2d\x68\x8f\
                             \x4b\x8d\x36\xd3\x73\xdc\x7e\x87\x4a\x7f\x2b\x67\x9f\x61\x86\xcb";
    const HEX: &str = "7b1d3eca22fa84bee47e3d1cac2d688f4b8d36d373dc7e874a7f2b679f6186cb";
    const BASE64: &str = "ex0+yiL6hL7kfj0crC1oj0uNNtNz3H6HSn8rZ59hhss=";

    fn decoded(text: impl AsRef<[u8]>) -> Result<[u8; 32], Malformed> {
        let mut key = [0; 32];
        decode(text.as_ref(), &mut key).map(|()| key)
    }

    #[test]
    fn hex_in_either_case_and_padded_base64_are_taken() {
        assert_eq!(decoded(HEX), Ok(KEY));
        assert_eq!(decoded(HEX.to_uppercase()), Ok(KEY));
        assert_eq!(decoded(HEX.replace('b', "B")), Ok(KEY));
        assert_eq!(decoded(BASE64), Ok(KEY));
    }

    /// Every near miss with what is said of it.
    fn near_misses() -> Vec<(Vec<u8>, Malformed)> {
        let url = "ex0-yiL6hL7kfj0crC1oj0uNNtNz3H6HSn8rZ59hhss";
        let text = |text: &str| text.as_bytes().to_vec();
        vec![
            (text(""), Malformed::Empty),
            (text(&format!("\"{HEX}\"")), Malformed::Quoted),
            (text(&format!("'{BASE64}'")), Malformed::Quoted),
            (text(&format!("{HEX}\"")), Malformed::Quoted),
            (text(&format!("\"{}\"", &HEX[..62])), Malformed::Quoted),
            (text(&format!("{HEX}\n")), Malformed::Blanks),
            (text(&format!("{BASE64}\r\n")), Malformed::Blanks),
            (text(&format!(" {HEX}")), Malformed::Blanks),
            (text(&format!("{}\n", &HEX[..63])), Malformed::Blanks),
            (text(&format!("{}\n", &BASE64[..43])), Malformed::Blanks),
            (text(&format!("0x{HEX}")), Malformed::HexPrefix),
            (text(&format!("0X{}", &HEX[..62])), Malformed::HexPrefix),
            (text(&HEX[..63]), Malformed::HexDigits { digits: 63 }),
            (text(&format!("{HEX}0")), Malformed::HexDigits { digits: 65 }),
            (text(&HEX[..62]), Malformed::HexDigits { digits: 62 }),
            (text(&format!("{HEX}00")), Malformed::HexDigits { digits: 66 }),
            (text(&HEX[..32]), Malformed::HexDigits { digits: 32 }),
            (text(&BASE64[..43]), Malformed::Unpadded),
            (text(url), Malformed::UrlAlphabet),
            (text(&format!("{url}=")), Malformed::UrlAlphabet),
            (text(&Base64::encode_string(&KEY[..31])), Malformed::Base64Of { bytes: 31 }),
            (text(&Base64::encode_string(&[&KEY[..], &[1]].concat())), Malformed::Base64Of { bytes: 33 }),
            (text(&HEX[..44]), Malformed::Base64Of { bytes: 33 }),
            (KEY.to_vec(), Malformed::Raw { bytes: 32 }),
            (KEY[..31].to_vec(), Malformed::Raw { bytes: 31 }),
            ([&KEY[..], &[0x80]].concat(), Malformed::Raw { bytes: 33 }),
            ([b"\n", &KEY[1..]].concat(), Malformed::Raw { bytes: 32 }),
            (text("correct horse battery staple wxyz").split_off(1), Malformed::Raw { bytes: 32 }),
            (text(&format!("{}g", &HEX[..63])), Malformed::NotHex),
            (text(&format!("{}\u{e9}", &HEX[..62])), Malformed::NotHex),
            (text(&BASE64.replace('+', "*")), Malformed::NotBase64),
            (text(&BASE64.replace("ss=", "st=")), Malformed::NotBase64),
            (text(&BASE64.replacen('x', "=", 1)), Malformed::NotBase64),
            (text("changeme"), Malformed::Length { bytes: 8 }),
            (text(&format!("{HEX}{HEX}x")), Malformed::Length { bytes: 129 }),
        ]
    }

    #[test]
    fn every_near_miss_is_refused_by_name() {
        for (text, expected) in near_misses() {
            assert_eq!(decoded(&text), Err(expected), "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn no_message_repeats_any_part_of_the_text() {
        for (text, malformed) in near_misses() {
            let shown = format!("{malformed} {malformed:?}");
            for part in text.windows(5) {
                assert!(!shown.as_bytes().windows(5).any(|window| window == part), "{shown}");
            }
        }
    }

    #[test]
    fn no_text_of_another_length_is_ever_a_key() {
        for length in (0..200).filter(|length| ![44, 64].contains(length)) {
            for filling in [b'a', b'A', b'0', b'=', b'-', b' ', 0, 0xff] {
                assert!(decoded(vec![filling; length]).is_err(), "{length} times {filling}");
            }
        }
    }

    #[test]
    fn base64_that_decodes_with_bits_to_spare_is_refused() {
        // Both spell the same 32 bytes to a careless decoder; only one is what openssl writes.
        assert!(decoded(BASE64).is_ok());
        assert!(decoded(BASE64.replace("s=", "t=")).is_err());
    }

    #[test]
    fn a_passphrase_in_hex_or_base64_is_refused_as_one() {
        let passphrase = b"correct horse battery staple ~!?";
        assert_eq!(decoded(base16ct::lower::encode_string(passphrase)), Err(Malformed::Printable));
        assert_eq!(decoded(Base64::encode_string(passphrase)), Err(Malformed::Printable));
        let mut nearly = *passphrase;
        nearly[31] = 0x7f;
        assert!(decoded(Base64::encode_string(&nearly)).is_ok());
    }

    #[test]
    fn one_byte_repeated_is_refused_whatever_the_byte() {
        for byte in 0..=255 {
            assert_eq!(decoded(base16ct::lower::encode_string(&[byte; 32])), Err(Malformed::AllEqual));
        }
        let mut nearly = [0; 32];
        nearly[31] = 1;
        assert_eq!(decoded(base16ct::lower::encode_string(&nearly)), Ok(nearly));
    }
}
