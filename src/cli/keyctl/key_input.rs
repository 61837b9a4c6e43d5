//! Keys that are named on a command line: by the file that holds them, or by their fingerprint.
//!
//! Must never repeat a key that was typed where a file's name or a fingerprint belongs.
//! Called by the commands that take a key: `legacy`, `rotate` and `recover`.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::typed_key::{IN_HISTORY, looks_like_key};
use crate::config::key_source::KeySource;
use crate::config::key_source_error::{KeySourceError, chown, chown_name, user_name};
use crate::sys::locked::LockedMemory;
use nix::unistd::geteuid;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Reads a file whose key goes on to the daemon, which cannot judge the file then: it must belong to root, to the owner of
/// the key file that it lies beside, or to who runs this.
///
/// # Errors
/// Those of [`key::read_given`], and [`KeySourceError::Exposed`] for another owner, wherever the file lies and whatever its mode.
pub(super) fn read_beside(
    key_file: &Path,
    file: &Path,
    allow_readable: bool,
    memory: &LockedMemory,
) -> Result<Vec<KeySource>, KeySourceError> {
    let own = geteuid();
    let trusted = key_file.metadata().map_or(0, |file| file.uid());
    let owner = file.metadata().map_or(trusted, |file| file.uid());
    if ![0, trusted, own.as_raw()].contains(&owner) {
        let key_file = key_file.display();
        let (owner, given) = (user_name(owner), chown(&chown_name(trusted), file));
        let faults = format!("it belongs to {owner}, neither to root nor to the owner of {key_file}: {given}");
        return Err(KeySourceError::Exposed { place: file.display().to_string(), faults });
    }
    // Judged once more by what is opened.
    key::read_of(if own.is_root() { trusted } else { own.as_raw() }, file, allow_readable, memory)
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
    fn a_key_in_the_place_of_a_fingerprint_is_refused_and_not_repeated() {
        let failure = fingerprint_of_new_key(&"0123456789abcdef".repeat(4)).unwrap_err();
        assert_eq!((failure.exit, failure.hint.as_deref()), (exit::USAGE, Some(IN_HISTORY)));
        assert!(!failure.message.contains("0123"), "{}", failure.message);
    }
}
