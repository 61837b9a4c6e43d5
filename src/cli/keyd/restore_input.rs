//! What `restore` is given: a backup in a file, or as a database gave it out, and clients' canaries.
//!
//! Must never show what was given: a wrong file may be the key's.
//! Called by `restore`.

use super::restore::Arguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::key_source_error::shell_quoted;
use crate::operations::restore::canary::{self, CanarySeen};
use crate::operations::restore::proof::{Proven, Source, Unproven, read_backup};
use crate::operations::start_failure::StartFailure;
use crate::store::backup_file::{self, MAX_FILE_BYTES};
use base64ct::{Base64Unpadded, Encoding as _};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A canary has 64 bytes; its base64 text 88 and perhaps some white space.
const MAX_CANARY_BYTES: u64 = 128;

/// Reads the backup that the arguments name.
///
/// # Errors
/// 66 for a file that is missing, 65 for what is no export, 74 and 78 for what is no good backup.
pub(super) fn backup(arguments: &Arguments) -> Result<Unproven, Failure> {
    let Some(path) = &arguments.from_export else {
        let path = arguments.file.clone().unwrap_or_default();
        return Ok(read_backup(&path, shell_quoted(&path))?);
    };
    let (name, bytes) = read(path, MAX_FILE_BYTES)?;
    let rejected = |problem: &str| Failure::say(exit::DATA, format!("{}: {problem}", name.display()));
    let bytes = bytes.ok_or_else(|| rejected("is longer than 1 GiB"))?;
    let bytes = skb1(bytes).map_err(rejected)?;
    let backup = backup_file::decode(&bytes)
        .map_err(|error| StartFailure::from(error).in_backup(&name))
        .map_err(Failure::from)?;
    Ok(Unproven::new(Source { name, argument: format!("--from-export {}", shell_quoted(path)) }, backup))
}

/// Verifies canaries against the backup.
///
/// # Errors
/// 65 for what is no canary, and for one of another store or a damaged one.
pub(super) fn canaries(files: &[PathBuf], proven: &Proven) -> Result<Vec<CanarySeen>, Failure> {
    let one = |file: &PathBuf| {
        let (name, bytes) = read(file, MAX_CANARY_BYTES)?;
        let canary = bytes.as_deref().and_then(canary_of).ok_or_else(|| {
            let problem = "holds no canary: 64 bytes, or their base64 text, as `servos-keyctl canary issue` writes it";
            Failure::say(exit::DATA, format!("{} {problem}", name.display()))
        })?;
        Ok(canary::check(proven, &name, &canary)?)
    };
    files.iter().map(one).collect()
}

/// The whole of a file, or of standard input for `-`; `None` if it is longer than `limit`.
fn read(path: &Path, limit: u64) -> Result<(PathBuf, Option<Vec<u8>>), Failure> {
    let mut bytes = Vec::new();
    let name = if path == Path::new("-") {
        let name = PathBuf::from("standard input");
        let read = std::io::stdin().lock().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| Failure::reading(&name, &error))?;
        name
    } else {
        let read = opened(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
        read.map_err(|error| Failure::reading(path, &error))?;
        path.to_owned()
    };
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= limit);
    Ok((name, fits.then_some(bytes)))
}

/// A FIFO without a writer does not block: it is empty. One that has a writer, as `<(...)` of a shell, is waited for.
fn opened(path: &Path) -> std::io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))?;
    Ok(file)
}

fn canary_of(bytes: &[u8]) -> Option<[u8; 64]> {
    if let Ok(raw) = bytes.try_into() {
        return Some(raw);
    }
    from_base64(&without_white_space(bytes))?.try_into().ok()
}

/// The bytes of SKB1 out of what a database printed: as they are, in hex (bare, `\x...` of psql, `X'...'` of sqlite's
/// quote), or in base64.
///
/// # Errors
/// What was found instead.
fn skb1(bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
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

fn without_white_space(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    base16ct::mixed::decode_vec(digits).ok()
}

/// Standard base64 or that for URLs, with or without its padding.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
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

    #[test]
    fn a_canary_is_64_bytes_or_their_text() {
        let raw = [7; 64];
        let text = Base64::encode_string(&raw) + "\n";
        assert_eq!(canary_of(&raw), Some(raw));
        assert_eq!(canary_of(text.as_bytes()), Some(raw));
        assert_eq!(canary_of(&raw[1..]), None);
        assert_eq!(canary_of(b""), None);
        assert_eq!(canary_of(b"not a canary"), None);
    }
}
