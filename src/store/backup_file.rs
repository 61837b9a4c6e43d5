//! SKB1, a backup of every record at one generation. Not a database file: it outlives the adapter.
//!
//! Must never believe a length or count that the file promises, nor replace a good backup by another.
//! Called by `operations` before a version becomes primary and for `Backup`, and by `cli` for restore and inspect.

use super::backup_pieces::{Image, Pieces};
use super::port::{Snapshot, StoreError};
use super::{disk, durable};
use base16ct::lower as hex;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The newest schema that this program reads and the one it writes.
pub const SCHEMA: u32 = 1;

/// Longest name of a record in bytes.
pub const MAX_NAME_BYTES: usize = 512;

/// Most bytes of a file that [`read`] takes into memory.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

const MAGIC: &[u8; 4] = b"SKB1";
const DIGEST_BYTES: usize = 32;

/// What stands before the records and behind them.
pub(super) const FRAME_BYTES: usize = MAGIC.len() + 4 + 16 + 8 + 8 + 4 + DIGEST_BYTES;

const EXTENSION: &str = "skb1";

/// What a backup holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Backup {
    /// Version of the records' format.
    pub schema: u32,
    /// Whose records they are.
    pub store_id: [u8; 16],
    /// The generation they are of.
    pub generation: u64,
    /// When the backup was made: Unix seconds.
    pub unix_seconds: u64,
    /// Every record of the snapshot by name, the MAC's too.
    pub records: BTreeMap<String, Vec<u8>>,
}

impl Backup {
    /// A backup of `snapshot` in today's schema.
    #[must_use]
    pub fn of(store_id: [u8; 16], unix_seconds: u64, snapshot: Snapshot) -> Self {
        let Snapshot { generation, records } = snapshot;
        Self { schema: SCHEMA, store_id, generation, unix_seconds, records }
    }

    /// `keyd-<store id>-<generation, 20 digits>.skb1`: names sort by generation within a store.
    #[must_use]
    pub fn file_name(&self) -> String {
        file_name(&self.store_id, self.generation)
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("generation", &self.generation)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
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

/// Why bytes are not a backup, or a backup could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The bytes do not begin as a backup does.
    #[error("this is not a backup of servos-keyd")]
    Foreign,
    /// The bytes end early, go on too long, or were changed.
    #[error("the backup is damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: &'static str,
    },
    /// Made by a newer servos-keyd.
    #[error("the backup has schema {found}; this program reads {SCHEMA}")]
    NewerSchema {
        /// The schema it names.
        found: u32,
    },
    /// A name or value that the format cannot hold.
    #[error("a record's name or value is too long for a backup")]
    TooLarge,
    /// A backup of the same store and generation is there and holds something else.
    #[error("{path} holds other records of the same generation: move it away", path = path.display())]
    Differs {
        /// The file that is there.
        path: PathBuf,
    },
    /// A file or directory could not be read or written.
    #[error(transparent)]
    File(#[from] StoreError),
}

/// The bytes of SKB1.
///
/// # Errors
/// [`BackupError::TooLarge`] for a name above [`MAX_NAME_BYTES`] or 4 GiB of anything.
pub fn encode(backup: &Backup) -> Result<Vec<u8>, BackupError> {
    Ok(Pieces::of(Image::of(backup))?.flatten().collect())
}

/// What stands before the records.
pub(super) fn header(
    schema: u32,
    store_id: &[u8; 16],
    generation: u64,
    unix_seconds: u64,
    records: usize,
) -> Result<Vec<u8>, BackupError> {
    let mut out = MAGIC.to_vec();
    out.extend(schema.to_be_bytes());
    out.extend(store_id);
    out.extend(generation.to_be_bytes());
    out.extend(unix_seconds.to_be_bytes());
    out.extend(length(records)?);
    Ok(out)
}

fn length(length: usize) -> Result<[u8; 4], BackupError> {
    u32::try_from(length).map(u32::to_be_bytes).map_err(|_| BackupError::TooLarge)
}

/// Reads SKB1 as hostile bytes. The digest finds damage, not forgery: the snapshot's MAC does that.
///
/// # Errors
/// [`BackupError::Foreign`], [`BackupError::Damaged`] or [`BackupError::NewerSchema`].
pub fn decode(bytes: &[u8]) -> Result<Backup, BackupError> {
    if !bytes.starts_with(MAGIC) {
        return Err(BackupError::Foreign);
    }
    let (body, sum) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or(CUT)?;
    let mut input = Input { rest: body };
    input.take(MAGIC.len())?;
    let schema = input.number()?;
    // A newer file's digest need not stand where ours does, so its schema is judged first.
    if schema > SCHEMA {
        return Err(BackupError::NewerSchema { found: schema });
    }
    if digest(&SHA256, body).as_ref() != sum {
        return Err(BackupError::Damaged { detail: "its digest does not fit" });
    }
    if schema == 0 {
        return Err(BackupError::Damaged { detail: "it has no schema" });
    }
    let store_id = input.array()?;
    let generation = u64::from_be_bytes(input.array()?);
    let unix_seconds = u64::from_be_bytes(input.array()?);
    let records = input.records()?;
    Ok(Backup { schema, store_id, generation, unix_seconds, records })
}

const CUT: BackupError = BackupError::Damaged { detail: "it ends early" };

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BackupError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        self.take(N)?.try_into().map_err(|_| CUT)
    }

    fn number(&mut self) -> Result<u32, BackupError> {
        self.array().map(u32::from_be_bytes)
    }

    fn counted(&mut self) -> Result<&'a [u8], BackupError> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| CUT)?)
    }

    /// Nothing is set aside for the count that is promised: each record is taken from bytes that are there.
    fn records(&mut self) -> Result<BTreeMap<String, Vec<u8>>, BackupError> {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        for _ in 0..self.number()? {
            let name = std::str::from_utf8(self.counted()?)
                .ok()
                .filter(|name| name.len() <= MAX_NAME_BYTES)
                .ok_or(BackupError::Damaged { detail: "a record's name is not text of at most 512 bytes" })?;
            if records.last().is_some_and(|(last, _)| last.as_str() >= name) {
                return Err(BackupError::Damaged { detail: "its records are not in order" });
            }
            records.push((name.to_owned(), self.counted()?.to_vec()));
        }
        if !self.rest.is_empty() {
            return Err(BackupError::Damaged { detail: "bytes follow its last record" });
        }
        Ok(records.into_iter().collect())
    }
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
