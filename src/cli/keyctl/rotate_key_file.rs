//! The key file of a rotation and the `.next` beside it, which holds the new key.
//!
//! Must never replace a `.next`, nor remove the last file that holds the new key.
//! Called by the subcommands of `rotate`.

use super::console::Console;
use super::{durable_file, key_input};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::config::key_source::{KeySource, is_in_memory};
use crate::config::key_source_error::KeySourceError;
use crate::custody::keys::{BASE64_CHARACTERS, HEX_CHARACTERS, KeyError, MasterKey};
use crate::operations::key_choice;
use crate::proto::v1::GetStatusResponse;
use crate::store::durable::beside;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use nix::sys::statfs::statfs;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".next";

/// Where the key in use and the new one lie.
pub(super) struct KeyPlace {
    /// The key file in use.
    pub(super) file: PathBuf,
    /// The file of the new key, beside it.
    pub(super) next: PathBuf,
    /// Whether the daemon reads the new key itself; else it is sent to it.
    pub(super) read_by_daemon: bool,
}

/// A key that a file holds.
pub(super) struct FoundKey {
    /// The key.
    pub(super) key: MasterKey,
    /// Exactly its text.
    pub(super) text: LockedBuffer,
    /// The variable that an env file assigns it to.
    pub(super) variable: Option<&'static str>,
    /// What should be mended about the file.
    pub(super) warnings: Vec<String>,
}

impl FoundKey {
    /// The key's fingerprint: 16 hex digits.
    pub(super) fn fingerprint(&self) -> String {
        self.key.fingerprint().to_string()
    }

    /// Whether it is written as base64.
    pub(super) fn is_base64(&self) -> bool {
        self.text.len() == BASE64_CHARACTERS
    }
}

/// What became of `.next` at the end of a rotation.
pub(super) enum Cleared {
    /// It is gone.
    Removed,
    /// It was not there.
    Absent,
    /// It stays: why, and what to do about it.
    Kept(String),
}

impl KeyPlace {
    /// From `--key-file`, else from what the daemon tells; none if neither names a place.
    pub(super) fn find(status: &GetStatusResponse, key_file: Option<&Path>) -> Result<Option<Self>, Failure> {
        let told = status.master_key.as_ref().map(|master| master.next_file.as_str()).filter(|next| !next.is_empty());
        if let Some(file) = key_file {
            let next = beside(file, SUFFIX);
            return Ok(Some(Self { file: file.to_owned(), next, read_by_daemon: told.is_some() }));
        }
        let Some(next) = told else { return Ok(None) };
        // What is no name beside a key file must not come to be removed.
        let file = next.strip_suffix(SUFFIX).filter(|file| !file.is_empty() && !file.ends_with('/'));
        let Some(file) = file else {
            return Err(Failure::say(
                exit::BUG,
                format!("the daemon names {next} for a new key, which is no {SUFFIX} file"),
            ));
        };
        Ok(Some(Self { file: file.into(), next: next.into(), read_by_daemon: true }))
    }

    /// Reads the key file in use.
    pub(super) fn read_file(&self, memory: &LockedMemory) -> Result<FoundKey, Failure> {
        agreed(key::read_given(&self.file, true, memory).map_err(Failure::from)?, memory)
    }

    /// Reads `.next`, judged like the key file: it may be as open as that one.
    ///
    /// # Errors
    /// Outer: the file as a whole; inner: what is in it.
    pub(super) fn read_next(&self, memory: &LockedMemory) -> Result<Result<FoundKey, Failure>, KeySourceError> {
        let is_readable = self.file.metadata().is_ok_and(|file| file.mode() & 0o044 != 0);
        let found = match self.read_by_daemon {
            true => key::read_given(&self.next, is_readable, memory),
            // Nobody else judges whose the key is that is sent.
            false => key_input::read_beside(&self.file, &self.next, is_readable, memory),
        };
        Ok(agreed(found?, memory))
    }

    /// Makes a new key in `.next`, durably, in the form of the key file, for those who may read that.
    ///
    /// # Errors
    /// 73 if something is there, and what keeps a file from being made.
    pub(super) fn make_next(&self, like: &FoundKey, base64: bool, memory: &LockedMemory) -> Result<(), Failure> {
        let model = self.file.metadata().map_err(|error| Failure::reading(&self.file, &error))?;
        let key = MasterKey::generate(memory, &key::random)?;
        let text = text_of(&key, base64 || like.is_base64(), memory)?;
        let line = line_of(text.expose_bytes(), like.variable, memory)?;
        durable_file::write_like(&self.next, line.expose_bytes(), &model)
    }

    /// Makes the new key survive a power cut, whoever put it there.
    ///
    /// # Errors
    /// What keeps the file or its directory from being synced.
    pub(super) fn settle_next(&self) -> Result<(), Failure> {
        durable_file::settle(&self.next).map_err(|error| {
            let text = format!("cannot make {} survive a power cut: {error}", self.next.display());
            Failure { message: text, ..Failure::writing(&self.next, &error) }
        })
    }

    /// The key file in use, or `.next`, if it is gone when the machine stops.
    pub(super) fn in_memory(&self) -> Option<&Path> {
        [&self.file, &self.next].into_iter().map(PathBuf::as_path).find(|file| lies_in_memory(file))
    }

    /// Makes what an operator put into the key file survive a power cut; what cannot be done is seen later.
    pub(super) fn settle(&self) {
        let _ = durable_file::settle(&self.file);
    }

    /// Removes `.next` once the key file durably holds the same key, which `fingerprint` names.
    pub(super) fn clear_next(&self, fingerprint: &str, memory: &LockedMemory) -> Cleared {
        match fs::symlink_metadata(&self.next) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Cleared::Absent,
            Err(error) => return self.kept(&error.to_string()),
            Ok(_) => {}
        }
        let next = match self.read_next(memory).map_err(Failure::from).flatten() {
            Ok(next) => next,
            Err(failure) => return self.kept(&failure.message),
        };
        if next.fingerprint() != fingerprint {
            return self.kept(&format!("it holds another key, {}", next.fingerprint()));
        }
        let file = self.file.display();
        let why = match self.read_file(memory) {
            Ok(held) if held.key.same_as(&next.key) => None,
            Ok(held) => Some(format!("{file} holds another key, {}", held.fingerprint())),
            Err(failure) => Some(failure.message),
        };
        if let Some(why) = why {
            return self
                .kept(&format!("{why}; once that file holds the new key, `servos-keyctl rotate finish` removes it"));
        }
        // A link to `.next` would lead to nothing.
        if fs::canonicalize(&self.file).ok() == fs::canonicalize(&self.next).ok() {
            return self.kept(&format!("{file} leads to it"));
        }
        // A copy that is still only in memory must not become the only one.
        match durable_file::settle(&self.file).and_then(|()| durable_file::remove(&self.next)) {
            Ok(()) => Cleared::Removed,
            Err(error) => self.kept(&error.to_string()),
        }
    }

    fn kept(&self, why: &str) -> Cleared {
        Cleared::Kept(format!("{} stays: {why}.", self.next.display()))
    }
}

/// Refuses what cannot be a key file, before anybody is asked.
pub(super) fn check_key_file(file: Option<&Path>) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    if file == Path::new("-") {
        let failure = Failure::say(exit::USAGE, "the new key comes from a file that stays, not from standard input");
        return Err(failure.with_hint("name the key file in use; the new key lies beside it, in FILE.next"));
    }
    if file.extension().is_some_and(|extension| extension == "next") {
        let failure = Failure::say(exit::USAGE, format!("{} is the file of the new key", file.display()));
        return Err(failure.with_hint("name the key file in use, without .next"));
    }
    match file.metadata().map(|metadata| metadata.file_type()) {
        Ok(kind) if !kind.is_file() => {
            let kind = match kind {
                _ if kind.is_dir() => "a directory",
                _ if kind.is_fifo() => "a FIFO",
                _ if kind.is_socket() => "a socket",
                _ => "a device",
            };
            Err(KeySourceError::NotAFile { place: file.display().to_string(), kind }.into())
        }
        // What cannot be looked at is told where it is needed.
        _ => Ok(()),
    }
}

/// A key's text.
///
/// # Errors
/// No locked memory.
pub(super) fn text_of(key: &MasterKey, base64: bool, memory: &LockedMemory) -> Result<LockedBuffer, KeyError> {
    let mut text = memory.buffer(HEX_CHARACTERS)?;
    if base64 { key.write_base64(&mut text) } else { key.write_hex(&mut text) }?;
    Ok(text)
}

/// A key's text as a file of its own: alone, or assigned to a variable.
///
/// # Errors
/// No locked memory.
pub(super) fn line_of(text: &[u8], variable: Option<&str>, memory: &LockedMemory) -> Result<LockedBuffer, KeyError> {
    let variable = variable.unwrap_or_default();
    let mut line = memory.buffer(variable.len() + text.len() + 2)?;
    if !variable.is_empty() {
        line.append(variable.as_bytes());
        line.append(b"=");
    }
    line.append(text);
    line.append(b"\n");
    Ok(line)
}

/// Whether a file is gone when the machine stops.
pub(super) fn lies_in_memory(file: &Path) -> bool {
    statfs(file).is_ok_and(|place| is_in_memory(place.filesystem_type()))
}

/// Tells what should be mended about a file.
pub(super) fn warn(console: &mut Console, found: &FoundKey) {
    found.warnings.iter().for_each(|warning| console.hint(&format!("warning: {warning}")));
}

/// The one key that the sources of a file hold.
pub(super) fn agreed(found: Vec<KeySource>, memory: &LockedMemory) -> Result<FoundKey, Failure> {
    let chosen = key::choose_among(&found, key_choice::no_store(), memory)?;
    // All of them hold the same key.
    let first = found.into_iter().next().map(|source| (source.variable, source.text));
    let (variable, text) = first.ok_or_else(|| Failure::say(exit::MISSING, "the file holds no key"))?;
    Ok(FoundKey { key: chosen.key, text, variable, warnings: chosen.warnings })
}
