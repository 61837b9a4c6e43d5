//! Backups as files: each under a name that says of which store and generation it is.
//!
//! Must never replace a good backup by another, nor take a name for a proof of what the file holds.
//! Called by `operations` before a version becomes primary and for `Backup`, and by `cli` for restore and inspect.

pub use super::backup_format::{Backup, BackupError, MAX_NAME_BYTES, SCHEMA, decode};
use super::backup_pieces::{Image, Pieces};
use super::port::StoreError;
use super::{disk, durable};
use base16ct::lower as hex;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Most bytes of a file that [`read`] takes into memory.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

const EXTENSION: &str = "skb1";

impl Backup {
    /// `keyd-<store id>-<generation, 20 digits>.skb1`: names sort by generation within a store.
    #[must_use]
    pub fn file_name(&self) -> String {
        file_name(&self.store_id, self.generation)
    }
}

fn file_name(store_id: &[u8; 16], generation: u64) -> String {
    format!("keyd-{}-{generation:020}.{EXTENSION}", hex::encode_string(store_id))
}

/// Where [`keep`] puts the backup of a store at a generation.
#[must_use]
pub fn path_of(directory: &Path, store_id: &[u8; 16], generation: u64) -> PathBuf {
    directory.join(file_name(store_id, generation))
}

/// Gives a file that has a backup's name and is none another one, with `.damaged` behind it, so that its place is free;
/// `.damaged-2` and so on where that was given before.
///
/// # Errors
/// What kept it from being renamed; [`StoreError::AlreadyExists`] if a hundred were put aside there before.
pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let first = durable::beside(path, ".damaged");
    let numbered = (2..=100).map(|n| durable::beside(path, &format!(".damaged-{n}")));
    for aside in std::iter::once(first.clone()).chain(numbered) {
        match durable::rename_to_new(path, &aside) {
            Err(StoreError::AlreadyExists { .. }) => {}
            done => return done.map(|()| aside),
        }
    }
    Err(StoreError::AlreadyExists { path: first })
}

/// The bytes of SKB1.
///
/// # Errors
/// [`BackupError::TooLarge`] for a name above [`MAX_NAME_BYTES`] or 4 GiB of anything.
pub fn encode(backup: &Backup) -> Result<Vec<u8>, BackupError> {
    Ok(Pieces::of(Image::of(backup))?.flatten().collect())
}

/// Reads the backup at `path`.
///
/// # Errors
/// As [`decode`], and [`BackupError::File`].
pub fn read(path: &Path) -> Result<Backup, BackupError> {
    let bytes = durable::read_regular(path, MAX_FILE_BYTES)?;
    decode(&bytes.ok_or(BackupError::Damaged { detail: "it is longer than 1 GiB" })?)
}

/// A backup that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its file.
    pub path: PathBuf,
    /// When it was made, as the file says: Unix seconds.
    pub unix_seconds: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Does what [`keep`] does; answers the file.
///
/// # Errors
/// Those of [`keep`].
pub fn write_durably(directory: &Path, backup: &Backup) -> Result<PathBuf, BackupError> {
    keep(directory, Image::of(backup)).map(|kept| kept.path)
}

/// Writes a backup into `directory`, which is made with mode 0700 if only it is missing, under its own file name with
/// mode 0600. When this returns, a power cut cannot undo it. A backup of the same records that is there already, made
/// at whatever time, is kept as it is; a damaged one under that name is replaced.
///
/// # Errors
/// [`BackupError::Differs`] if a good file of that name holds something else, [`BackupError::File`].
pub fn keep(directory: &Path, image: Image) -> Result<Kept, BackupError> {
    durable::make_directory(directory)?;
    let path = path_of(directory, &image.store_id, image.records.generation);
    let (unix_seconds, bytes) = (image.unix_seconds, image.bytes()?);
    match read(&path) {
        Ok(there) if image.holds_the_same(&there) => {
            sync_again(&path)?;
            Ok(Kept { path, unix_seconds: there.unix_seconds, bytes })
        }
        Ok(_) | Err(BackupError::NewerSchema { .. }) => Err(BackupError::Differs { path }),
        Err(BackupError::File(StoreError::Missing { .. }) | BackupError::Damaged { .. } | BackupError::Foreign) => {
            durable::replace_with(&path, Pieces::of(image)?)?;
            Ok(Kept { path, unix_seconds, bytes })
        }
        Err(e) => Err(e),
    }
}

/// The one who wrote it may have been cut off between the rename and the directory's sync.
fn sync_again(path: &Path) -> Result<(), StoreError> {
    let file = durable::open_regular(path, false)?;
    disk::sync(path, &file).map_err(|e| StoreError::from_io(path, e))?;
    durable::sync_directory(durable::directory_of(path))
}

/// The backups in `directory` by name, so by store and generation; none if there is no such directory.
/// Judges names only: what a file holds is for [`read`] to say.
///
/// # Errors
/// What kept the directory from being read.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let unreadable = |e| StoreError::from_io(directory, e);
    let entries = match disk::perform(disk::Operation::Read(directory), None, || fs::read_dir(directory)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_backups) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file's name says that it is a backup of this store.
#[must_use]
pub fn is_of(name: &str, store_id: &[u8; 16]) -> bool {
    name.starts_with(&format!("keyd-{}-", hex::encode_string(store_id)))
}

/// Whether a file's name says that a backup was being written to it, of whichever store.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(is_backups)
}

/// What every backup's name begins and ends with.
fn is_backups(name: &str) -> bool {
    let end = name.strip_suffix(EXTENSION).and_then(|name| name.strip_suffix('.'));
    end.is_some_and(|name| name.starts_with("keyd-"))
}

#[cfg(test)]
#[path = "backup_file_tests.rs"]
mod tests;
