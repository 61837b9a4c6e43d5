//! A file that holds the master key: a key file, an env file, or a credential that systemd-creds encrypted.
//!
//! Must never leave anything but the old text or the new under its name, nor change a byte beside the key.
//! Called by the steps of `rotate_run` and by its undoing.

use super::credential::{decrypted, encrypted};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::keyctl::durable_file;
use crate::cli::keyctl::rotate_key_file::{FoundKey, agreed, line_of};
use crate::cli::keyctl::same_file::{self, Replaced};
use crate::config::mount::is_mount_point;
use crate::config::replacement;
use crate::custody::keys::MasterKey;
use crate::store::durable::beside;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq as _;

/// The largest file, in bytes.
const LIMIT_BYTES: usize = 64 * 1024;

/// A file that holds the key.
pub(super) struct Place {
    /// Its name; symbolic links are followed.
    pub(super) file: PathBuf,
    /// The name under which systemd-creds encrypted it; none for a key file or env file.
    pub(super) credential: Option<String>,
}

/// A key in the place of another one.
#[derive(Clone, Copy)]
pub(super) struct Change<'c> {
    /// The fingerprint of the one that goes.
    pub(super) away: &'c str,
    /// The fingerprint of the one that comes.
    pub(super) wanted: &'c str,
    /// The file that it comes from.
    pub(super) from: &'c Path,
    /// Files beside it that hold the one or the other, and are changed or taken away.
    pub(super) beside: &'c [&'c Path],
}

/// What came of a replacement.
pub(super) enum Put {
    /// The file holds the key, durably.
    Done,
    /// The file cannot be changed from here, and why.
    NotFromHere(String),
}

impl Place {
    /// Where the new key lies.
    pub(super) fn next(&self) -> PathBuf {
        beside(&self.file, ".next")
    }

    /// Where the old key is kept.
    pub(super) fn kept(&self, fingerprint: &str) -> PathBuf {
        beside(&self.file, &format!(".old-{fingerprint}"))
    }

    /// The key that it holds.
    ///
    /// # Errors
    /// Those of key files; what systemd-creds says.
    pub(super) fn held(&self, memory: &LockedMemory) -> Result<FoundKey, Failure> {
        self.held_in(&self.file, memory)
    }

    /// The key in a file of the same kind.
    ///
    /// # Errors
    /// As [`Self::held`].
    pub(super) fn held_in(&self, path: &Path, memory: &LockedMemory) -> Result<FoundKey, Failure> {
        match &self.credential {
            None => agreed(key::read_given(path, true, memory)?, memory),
            Some(name) => decrypted(name, path, memory),
        }
    }

    /// Whether it holds the key in this very text, and in no other: only one is kept, and put back.
    ///
    /// # Errors
    /// As [`Self::held`].
    pub(super) fn holds_only(&self, text: &[u8], memory: &LockedMemory) -> Result<bool, Failure> {
        let is_it = |other: &LockedBuffer| bool::from(other.expose_bytes().ct_eq(text));
        match self.credential {
            Some(_) => Ok(is_it(&self.held(memory)?.text)),
            None => Ok(key::read_given(&self.file, true, memory)?.iter().all(|source| is_it(&source.text))),
        }
    }

    /// Writes a key into a new file beside this one, in the same form, for those who may read this one.
    ///
    /// # Errors
    /// 73 if there is one, and what keeps a file from being made.
    pub(super) fn write_beside(
        &self,
        path: &Path,
        text: &[u8],
        variable: Option<&str>,
        memory: &LockedMemory,
    ) -> Result<(), Failure> {
        let model = self.file.metadata().map_err(|error| Failure::reading(&self.file, &error))?;
        if let Some(name) = &self.credential {
            let blob = encrypted(name, text, memory)?;
            return durable_file::write_like(path, blob.expose_bytes(), &model);
        }
        durable_file::write_like(path, line_of(text, variable, memory)?.expose_bytes(), &model)
    }

    /// Why the file may not be taken for one of its own: it is one with another that is changed or taken away.
    pub(super) fn one_with(&self, others: &[&Path]) -> Option<String> {
        let target = self.file.canonicalize().ok()?;
        let is_target = |other: &&&Path| other.canonicalize().is_ok_and(|other| other == target);
        let other = others.iter().find(is_target)?;
        Some(format!(
            "{} and {} are one file, and the latter does not stay as it is",
            self.file.display(),
            other.display()
        ))
    }

    /// Puts the key of a file of the same kind into the place of another one.
    ///
    /// # Errors
    /// 65 if neither key is there, 75 if somebody changed the file meanwhile, and what keeps it from being written.
    pub(super) fn put(&self, change: &Change<'_>, memory: &LockedMemory) -> Result<Put, Failure> {
        let Change { wanted, from, beside, .. } = *change;
        if let Some(why) = self.one_with(beside) {
            return Ok(Put::NotFromHere(why));
        }
        let Some(held) = self.before(change, memory)? else {
            durable_file::settle(&self.file).map_err(|error| Failure::writing(&self.file, &error))?;
            return Ok(Put::Done);
        };
        let new = self.held_in(from, memory)?;
        if new.fingerprint() != wanted {
            let text = format!("{} holds the key {}, not {wanted}", from.display(), new.fingerprint());
            return Err(Failure::say(exit::DATA, text));
        }
        let unreadable = |error: io::Error| Failure::reading(&self.file, &error);
        let target = std::fs::canonicalize(&self.file).map_err(unreadable)?;
        let mut file = open(&target).map_err(unreadable)?;
        let before = file.metadata().map_err(unreadable)?;
        if let Some(why) = self.kept_from(&before) {
            return Ok(Put::NotFromHere(why));
        }
        let content = read(&mut file, &before, memory).map_err(unreadable)?;
        let bytes = match self.credential {
            Some(_) => read_whole(from, memory)?,
            None => {
                let is_old = |text: &[u8]| MasterKey::parse(text, memory).is_ok_and(|key| key.same_as(&held.key));
                let name = self.file.display().to_string();
                replacement::replace(content.expose_bytes(), &name, &is_old, new.text.expose_bytes(), memory)?.content
            }
        };
        // Judged as whoever reads it next will: only then does it take the name.
        let is_good = |written: &Path| {
            let yields = self.held_in(written, memory)?;
            if yields.key.same_as(&new.key) {
                return Ok(());
            }
            let text = format!(
                "{} would hold {} after the change; it was not changed",
                self.file.display(),
                yields.fingerprint()
            );
            Err(Failure::say(exit::BUG, text))
        };
        match same_file::replace_same(&target, bytes.expose_bytes(), &file, &before, &is_good)? {
            Replaced::Done => Ok(Put::Done),
            Replaced::NotFromHere(error) => {
                Ok(Put::NotFromHere(format!("{} cannot be replaced: {error}", self.file.display())))
            }
        }
    }

    /// The key that goes; none where the one that comes is there already.
    fn before(&self, change: &Change<'_>, memory: &LockedMemory) -> Result<Option<FoundKey>, Failure> {
        let Change { away, wanted, from, .. } = *change;
        let held = self.held(memory).map_err(|failure| {
            let (from, file) = (from.display(), self.file.display());
            failure.with_hint(format!("put the key {wanted} from {from} into {file}, whole as it was"))
        })?;
        match held.fingerprint() {
            key if key == wanted => Ok(None),
            key if key == away => Ok(Some(held)),
            third => {
                let text =
                    format!("{} holds the key {third}, neither the old one nor the new one", self.file.display());
                Err(Failure::say(exit::DATA, text).with_hint(format!("put {away} back there")))
            }
        }
    }

    /// The lines on which a key's text stands, where nobody reads it as the key; none where the file is encrypted.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub(super) fn lines_with(&self, text: &[u8], memory: &LockedMemory) -> Result<Vec<usize>, Failure> {
        if self.credential.is_some() {
            return Ok(Vec::new());
        }
        let target = std::fs::canonicalize(&self.file).map_err(|error| Failure::reading(&self.file, &error))?;
        Ok(replacement::lines_with(read_whole(&target, memory)?.expose_bytes(), text))
    }

    /// Why a file is not replaced by another one of its name.
    fn kept_from(&self, file: &Metadata) -> Option<String> {
        let name = self.file.display();
        if file.nlink() > 1 {
            return Some(format!("{name} has {} names, and only one of them would change", file.nlink()));
        }
        is_mount_point(&self.file).then(|| format!("{name} is mounted by itself, and changes where it comes from"))
    }
}

/// A new key.
///
/// # Errors
/// No randomness, or no locked memory.
pub(super) fn generate(memory: &LockedMemory) -> Result<MasterKey, Failure> {
    Ok(MasterKey::generate(memory, &key::random)?)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW).open(path)
}

fn read(file: &mut File, metadata: &Metadata, memory: &LockedMemory) -> io::Result<LockedBuffer> {
    let length = usize::try_from(metadata.len()).ok().filter(|length| *length <= LIMIT_BYTES);
    let length = length.ok_or_else(|| io::Error::new(ErrorKind::FileTooLarge, "it has more than 64 KiB"))?;
    let mut content = memory.buffer(length).map_err(io::Error::other)?;
    match content.read_from(file)? {
        true => Ok(content),
        false => Err(io::Error::other("it grew while it was read")),
    }
}

fn read_whole(path: &Path, memory: &LockedMemory) -> Result<LockedBuffer, Failure> {
    let unreadable = |error: io::Error| Failure::reading(path, &error);
    let mut file = open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    read(&mut file, &metadata, memory).map_err(unreadable)
}
