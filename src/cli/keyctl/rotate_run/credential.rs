//! Credentials that systemd-creds encrypted, for this machine, each under its name.
//!
//! Must never put a key into an argument or the environment: it goes through pipes, into locked memory.
//! Called by `place`.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::rotate_key_file::FoundKey;
use crate::cli::program;
use crate::custody::keys::MasterKey;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use std::path::Path;

/// Decrypts a credential that holds the key alone.
///
/// # Errors
/// What systemd-creds says; 78 for what is no key alone.
pub(super) fn decrypted(name: &str, path: &Path, memory: &LockedMemory) -> Result<FoundKey, Failure> {
    let mut text =
        program::run("systemd-creds", &[&format!("--name={name}"), "decrypt", word(path)?, "-"], b"", memory).map_err(
            |failure| match path.symlink_metadata() {
                Err(error) => Failure::reading(path, &error),
                Ok(_) => Failure { message: format!("{}: {}", path.display(), failure.message), ..failure },
            },
        )?;
    let start = text.len() - text.expose_bytes().trim_ascii_start().len();
    let end = text.expose_bytes().trim_ascii_end().len();
    text.keep(start..end.max(start));
    let key = MasterKey::parse(text.expose_bytes(), memory).map_err(|error| {
        let failure = Failure::from(error);
        let message = format!("the credential {name} in {} holds no key alone: {}", path.display(), failure.message);
        Failure { message, ..failure }.with_hint("change it yourself: `servos-keyctl rotate run --by-hand FILE`")
    })?;
    Ok(FoundKey { key, text, variable: None, warnings: Vec::new() })
}

/// Encrypts a key's text as a credential.
pub(super) fn encrypted(name: &str, text: &[u8], memory: &LockedMemory) -> Result<LockedBuffer, Failure> {
    let mut blob = program::run("systemd-creds", &[&format!("--name={name}"), "encrypt", "-", "-"], text, memory)?;
    if blob.is_empty() {
        return Err(Failure::say(exit::DATA, "systemd-creds printed no credential"));
    }
    // As its own files end.
    if blob.expose_bytes().last() != Some(&b'\n') {
        blob.append(b"\n");
    }
    Ok(blob)
}

fn word(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::say(exit::USAGE, format!("the name {} is no UTF-8", path.display())))
}
