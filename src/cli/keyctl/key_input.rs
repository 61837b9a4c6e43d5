//! Keys that are named on a command line: by the file that holds them, or by their fingerprint.
//!
//! Must never repeat a key that was typed where a file's name or a fingerprint belongs.
//! Called by the commands that take a key: `legacy` and `rotate`.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::typed_key::{IN_HISTORY, looks_like_key};
use crate::config::key_source::{KeySource, Sources, Trust};
use crate::config::key_source_error::KeySourceError;
use crate::sys::locked::LockedMemory;
use nix::unistd::{getegid, geteuid};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Reads a file as the daemon reads key files and env files: at least one source.
///
/// # Errors
/// [`KeySourceError`]; `allow_readable` lets a mode pass that lets others read it.
pub(super) fn read(file: &Path, allow_readable: bool, memory: &LockedMemory) -> Result<Vec<KeySource>, KeySourceError> {
    // To read it is up to the caller, not to the daemon: for root, whoever has it may own it.
    let own = (geteuid(), getegid().as_raw());
    let owner = if own.0.is_root() { file.metadata().map_or(0, |file| file.uid()) } else { own.0.as_raw() };
    let trust = Trust { credentials_directory: None, allow_readable, daemon_uid: owner, daemon_gid: own.1 };
    let sources = Sources { key_files: Vec::new(), environment_key: Vec::new(), trust };
    sources.read_file(file, memory)
}

/// Refuses a key that somebody typed in place of a file's name.
pub(super) fn refuse_key(file: &Path) -> Result<(), Failure> {
    if file.exists() || !file.to_str().is_some_and(looks_like_key) {
        return Ok(());
    }
    let failure = Failure::say(exit::USAGE, "FILE is a file that holds the key, not the key itself");
    Err(failure.with_hint(IN_HISTORY))
}

/// A fingerprint, in lower case.
pub(super) fn fingerprint(text: &str) -> Result<String, String> {
    if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a fingerprint is 16 hex digits".to_owned())
}

/// A fingerprint that was typed where a new key is spoken of: what is none is not repeated, because it may be the key.
pub(super) fn fingerprint_of_new_key(text: &str) -> Result<String, Failure> {
    fingerprint(text).map_err(|what| {
        let failure = Failure::say(exit::USAGE, format!("--fingerprint: {what}"));
        if looks_like_key(text) { failure.with_hint(IN_HISTORY) } else { failure }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_has_sixteen_hex_digits() {
        assert_eq!(fingerprint("00AAbb2233445566").unwrap(), "00aabb2233445566");
        for text in ["", "00aabb223344556", "00aabb22334455667", "00aabb223344556g", "00aabb223344556é"] {
            assert!(fingerprint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_in_the_place_of_a_name_is_refused_and_not_repeated() {
        let key = "0123456789abcdef".repeat(4);
        let refused = [refuse_key(Path::new(&key)).unwrap_err(), fingerprint_of_new_key(&key).unwrap_err()];
        for failure in refused {
            assert_eq!((failure.exit, failure.hint.as_deref()), (exit::USAGE, Some(IN_HISTORY)));
            assert!(!failure.message.contains("0123"), "{}", failure.message);
        }
        assert!(refuse_key(Path::new("/etc/servos/master.key")).is_ok());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(&key), b"").unwrap();
        assert!(refuse_key(&dir.path().join(&key)).is_ok(), "a file that is there is a file");
    }
}
