//! The sealed keyring in whatever form a database gave it out: raw, hex or base64.
//!
//! Must never show what was given: a wrong file may be the key's.
//! Called by `restore`, and by what checks a key against an export.

use base64ct::{Base64Unpadded, Encoding as _};

/// The bytes of SKB1 out of what a database printed: as they are, in hex (bare, `\x...` of psql, `X'...'` of sqlite's
/// quote), or in base64.
///
/// # Errors
/// What was found instead.
pub fn skb1(bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    if bytes.starts_with(b"SKB1\\000") {
        return Err("is bytea in PostgreSQL's escape format: `SET bytea_output = 'hex'`, and take it out again");
    }
    if bytes.starts_with(b"SKB1") {
        return Ok(bytes);
    }
    if bytes.is_empty() {
        return Err("is empty");
    }
    if bytes.starts_with(b"SQLite format 3\0") {
        return Err("is a whole SQLite database: take the export out of it, for instance with writefile()");
    }
    if bytes.starts_with(b"redb\x1a") {
        return Err("is a store's file, not what ExportKeyring left");
    }
    let text = without_white_space(&bytes);
    if text.is_empty() {
        return Err("holds nothing but white space");
    }
    if !text.is_ascii() {
        return Err("begins neither as a backup nor as the text of one");
    }
    let quoted = |open: &[u8]| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(b"'"));
    let marked = text.strip_prefix(b"\\x").or_else(|| quoted(b"X'")).or_else(|| quoted(b"x'"));
    if let Some(digits) = marked {
        return begins_as_backup(from_hex(digits).ok_or("is marked as hex, and is not: it may be cut")?);
    }
    if text.iter().all(u8::is_ascii_hexdigit) {
        return begins_as_backup(from_hex(&text).ok_or("has an odd number of hex digits: it is cut")?);
    }
    begins_as_backup(from_base64(&text).ok_or("is text, but neither hex nor base64, or it is cut")?)
}

fn begins_as_backup(bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    if bytes.starts_with(b"SKB1") { Ok(bytes) } else { Err("is the text of other bytes than a backup's") }
}

pub(super) fn without_white_space(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    base16ct::mixed::decode_vec(digits).ok()
}

/// Standard base64 or that for URLs, with or without its padding.
pub(super) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last.saturating_add(1));
    let (text, padding) = text.split_at_checked(end)?;
    let standard = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    let text: Vec<u8> = text.iter().map(standard).collect();
    let text = std::str::from_utf8(&text).ok().filter(|_| padding.len() <= 2)?;
    Base64Unpadded::decode_vec(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64ct::{Base64, Base64Url};

    /// Bytes whose base64 has every special character.
    fn export() -> Vec<u8> {
        [b"SKB1".as_slice(), &[0, 0, 0xfb, 0xef, 0xbe, 0xff, 0xff, 0xff, 0, 1]].concat()
    }

    #[test]
    fn an_export_is_known_in_every_form_that_a_database_gives_it_out() {
        let bytes = export();
        let hex = base16ct::lower::encode_string(&bytes);
        let (base64, url) = (Base64::encode_string(&bytes), Base64Url::encode_string(&bytes));
        assert!(base64.contains('/') && base64.contains('+'), "{base64}");
        let lines = |text: &str, end: &str| {
            let lines = text.as_bytes().chunks(7).map(|line| std::str::from_utf8(line).unwrap().to_owned() + end);
            lines.collect::<String>()
        };
        for text in [
            hex.clone(),
            hex.to_uppercase() + "\n",
            format!("\\x{hex}\n"),
            format!(" \\x{hex}\r\n"),
            format!("X'{}'\n", hex.to_uppercase()),
            format!("x'{hex}'"),
            lines(&hex, "\n"),
            base64.clone(),
            base64.trim_end_matches('=').to_owned(),
            lines(&base64, "\r\n"),
            lines(&base64, "\n") + "\n",
            url,
        ] {
            assert_eq!(skb1(text.clone().into_bytes()), Ok(bytes.clone()), "{text:?}");
        }
        assert_eq!(skb1(bytes.clone()), Ok(bytes), "as it is");
    }

    #[test]
    fn what_is_no_export_is_said_to_be_what_it_is_without_a_byte_of_it() {
        let hex = base16ct::lower::encode_string(&export());
        for (given, expected) in [
            (b"".to_vec(), "is empty"),
            (b" \n\t".to_vec(), "holds nothing but white space"),
            (b"SKB1\\000\\000".to_vec(), "is bytea in PostgreSQL's escape format"),
            (b"SQLite format 3\0...".to_vec(), "is a whole SQLite database"),
            (b"redb\x1a\x0a\xa9\x0d\x0a".to_vec(), "is a store's file"),
            (b"\x89PNG".to_vec(), "begins neither as a backup nor"),
            (format!("\\x{}", &hex[1..]).into_bytes(), "is marked as hex, and is not"),
            (format!("X'{hex}").into_bytes(), "is text, but neither"),
            (hex.as_bytes()[..9].to_vec(), "has an odd number of hex digits"),
            ("8c1f0ad2".repeat(8).into_bytes(), "is the text of other bytes than a backup's"),
            (b"SERVOS_MASTER_KEY=x".to_vec(), "is text, but neither"),
            (b"U0tEMQ==".to_vec(), "is the text of other bytes than a backup's"),
            (b"U0tC====".to_vec(), "is text, but neither"),
        ] {
            let said = skb1(given.clone()).unwrap_err();
            assert!(said.starts_with(expected), "{:?}: {said}", String::from_utf8_lossy(&given));
        }
    }
}
