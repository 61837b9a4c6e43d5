//! One redb file: how it is opened, what its tables are, and what redb's errors mean.
//!
//! Must never begin a database in a file that exists, nor let a type or a panic of redb out of the adapter.
//! Called by the redb adapter and by salvage alone.

use super::packed::Packed;
use super::port::{Batch, Snapshot, StoreError};
#[cfg(any(test, feature = "fault-injection"))]
use super::redb_watched::Watched as Backend;
use super::{disk, durable};
#[cfg(not(any(test, feature = "fault-injection")))]
use redb::backends::FileBackend as Backend;
use redb::{Builder, Database, ReadableDatabase as _, ReadableTable, StorageBackend, TableDefinition};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub(super) const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
pub(super) const GENERATION: TableDefinition<&str, u64> = TableDefinition::new("generation");
/// The one key of [`GENERATION`].
const CURRENT: &str = "current";

/// redb's own default is 1 GiB, a whole store of ours less than 1 MiB. What is read is read once and copied, so pages
/// that redb kept would be resident for nothing; the kernel keeps them anyway.
const CACHE_BYTES: usize = 256 << 10;

/// The first bytes of every redb file. Source: redb's design document, "Super-header".
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// Bytes of the super-header up to the end of its second commit slot.
const HEADER_BYTES: usize = 320;

/// Where the two commit slots name the format of the file.
const FORMATS_AT: [usize; 2] = [64, 192];

/// The newest format that this program reads. Source: redb's `FILE_FORMAT_VERSION3`.
const FORMAT: u8 = 3;

/// What is no number of a format in any time that comes: text begins here.
const NO_FORMAT: u8 = 32;

/// No store is longer: a hundred thousand versions take less than 64 MiB. redb lays a map of the whole file out in memory.
const MAX_FILE_BYTES: u64 = 16 << 30;

/// How a file becomes what redb stores in: directly, or with faults between.
pub trait Medium: Send {
    /// What redb reads and writes.
    type Backend: StorageBackend;

    /// Stores in `file`, which was opened at `path`.
    ///
    /// # Errors
    /// As redb's own backend.
    fn backend(&self, path: &Path, file: File) -> Result<Self::Backend, redb::DatabaseError>;
}

/// The file itself.
#[derive(Clone, Copy, Debug)]
pub struct Direct;

impl Medium for Direct {
    type Backend = Backend;

    fn backend(&self, path: &Path, file: File) -> Result<Backend, redb::DatabaseError> {
        #[cfg(any(test, feature = "fault-injection"))]
        return Backend::new(path, file);
        #[cfg(not(any(test, feature = "fault-injection")))]
        {
            let _ = path;
            Backend::new(file)
        }
    }
}

/// The open file still has everything, and is gone for ever when the last process that has it open ends.
macro_rules! save_command {
    () => {
        ": put its file back; or save now what the daemon still has, by servos-keyctl backup /root/keyd-saved.skb1, then stop it \
         and run servos-keyd restore /root/keyd-saved.skb1, with the key. What is not saved is lost when the daemon ends"
    };
}

/// What is said of a path that names another file than before.
pub(super) const REPLACED: &str = concat!("another file was put in the place of the open store", save_command!());
/// What is said of a path that names nothing any more.
pub(super) const REMOVED: &str = concat!("the open store was moved away or removed", save_command!());

/// Which file it is, whatever its name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self(metadata.dev(), metadata.ino()))
    }

    pub(super) fn at(path: &Path) -> io::Result<Self> {
        std::fs::symlink_metadata(path).map(|metadata| Self(metadata.dev(), metadata.ino()))
    }
}

/// The settings of every open. `checked` verifies every page of the committed trees: without it a flipped bit can
/// give other data, a panic or an abort.
pub(super) fn builder(checked: bool) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(checked);
    builder
}

/// Opens the file of a store. It is judged through the descriptor that redb is then given, so that redb, which would
/// begin a database in an empty file, never sees one.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Empty`], [`StoreError::Foreign`], [`StoreError::NewerFormat`] and the rest of
/// what opening can meet.
pub(super) fn open_existing(path: &Path, writable: bool) -> Result<File, StoreError> {
    let file = durable::open_regular(path, writable)?;
    let unreadable = |e| StoreError::from_io(path, e);
    let length = file.metadata().map_err(unreadable)?.len();
    if length == 0 {
        return Err(StoreError::Empty { path: path.to_owned() });
    }
    let mut header = [0; HEADER_BYTES];
    let there = usize::try_from(length).map_or(HEADER_BYTES, |length| length.min(HEADER_BYTES));
    let header = header.get_mut(..there).unwrap_or_default();
    disk::perform(disk::Operation::Read(path), Some(&file), || file.read_exact_at(header, 0)).map_err(unreadable)?;
    if !MAGIC.iter().zip(header.iter()).all(|(magic, byte)| magic == byte) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if there < MAGIC.len() {
        return Err(damaged(path, "the file ends in its first bytes"));
    }
    if length > MAX_FILE_BYTES {
        return Err(damaged(path, "it is longer than 16 GiB, which no store is"));
    }
    match FORMATS_AT.map(|at| header.get(at).copied()) {
        // One slot alone that names another format is damage, which redb finds.
        [Some(one), Some(other)] if one == other && one > FORMAT && one < NO_FORMAT => {
            Err(StoreError::NewerFormat { path: path.to_owned(), found: one })
        }
        _ => Ok(file),
    }
}

/// Opens a database for writing, with its integrity checked; if `known` is given, only that file, which no other is
/// touched for.
pub(super) fn open_writable(
    path: &Path,
    known: Option<FileId>,
    medium: &impl Medium,
) -> Result<(Database, FileId), StoreError> {
    let file = open_existing(path, true)?;
    let id = FileId::of(&file).map_err(|e| StoreError::from_io(path, e))?;
    if known.is_some_and(|known| known != id) {
        return Err(StoreError::unavailable(path, REPLACED));
    }
    let database = guarded(path, || {
        let backend = medium.backend(path, file).map_err(|e| fault(path, e))?;
        builder(true).create_with_backend(backend).map_err(|e| fault(path, e))
    })?;
    Ok((database, id))
}

/// Begins a database in `file`, which is new and empty, with one commit of everything, and closes it.
pub(super) fn begin(path: &Path, file: File, medium: &impl Medium, snapshot: &Snapshot) -> Result<(), StoreError> {
    let puts = snapshot.records.clone();
    guarded(path, || {
        let backend = medium.backend(path, file).map_err(|e| fault(path, e))?;
        let database = builder(false).create_with_backend(backend).map_err(|e| fault(path, e))?;
        write(&database, path, None, snapshot.generation, &Batch { puts, ..Batch::default() })?;
        database.close().map_err(|e| fault(path, e))
    })
}

/// Everything that the database holds.
pub(super) fn read_all(database: &Database, path: &Path) -> Result<Snapshot, StoreError> {
    let transaction = database.begin_read().map_err(|e| fault(path, e))?;
    let generation = transaction.open_table(GENERATION).map_err(|e| fault(path, e))?;
    let records = transaction.open_table(RECORDS).map_err(|e| fault(path, e))?;
    // Collected: from records that come in order the whole tree is built at once, which takes half the time.
    let records = records.iter().map_err(|e| fault(path, e))?.map(|entry| {
        let (name, value) = entry.map_err(|e| fault(path, e))?;
        Ok((name.value().to_owned(), value.value().to_vec()))
    });
    Ok(Snapshot { generation: current(&generation, path)?, records: records.collect::<Result<_, StoreError>>()? })
}

/// The same, packed.
pub(super) fn read_packed(database: &Database, path: &Path) -> Result<Packed, StoreError> {
    let transaction = database.begin_read().map_err(|e| fault(path, e))?;
    let generation = transaction.open_table(GENERATION).map_err(|e| fault(path, e))?;
    let records = transaction.open_table(RECORDS).map_err(|e| fault(path, e))?;
    let mut packed = Packed::new(current(&generation, path)?);
    for entry in records.iter().map_err(|e| fault(path, e))? {
        let (name, value) = entry.map_err(|e| fault(path, e))?;
        packed.push(name.value(), value.value());
    }
    Ok(packed)
}

/// The generation alone.
pub(super) fn read_generation(database: &Database, path: &Path) -> Result<u64, StoreError> {
    let transaction = database.begin_read().map_err(|e| fault(path, e))?;
    current(&transaction.open_table(GENERATION).map_err(|e| fault(path, e))?, path)
}

/// One value.
pub(super) fn read_one(database: &Database, path: &Path, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let transaction = database.begin_read().map_err(|e| fault(path, e))?;
    let records = transaction.open_table(RECORDS).map_err(|e| fault(path, e))?;
    let value = records.get(name).map_err(|e| fault(path, e))?;
    Ok(value.map(|value| value.value().to_vec()))
}

/// One durable commit; `expected` is `None` in a database that has just been begun.
pub(super) fn write(
    database: &Database,
    path: &Path,
    expected: Option<u64>,
    next: u64,
    batch: &Batch,
) -> Result<(), StoreError> {
    let mut transaction = database.begin_write().map_err(|e| fault(path, e))?;
    // One phase relies on checksums alone to find a torn commit: a crafted one could pass.
    transaction.set_two_phase_commit(true);
    {
        let mut generation = transaction.open_table(GENERATION).map_err(|e| fault(path, e))?;
        if let Some(expected) = expected {
            let found = current(&generation, path)?;
            if found != expected {
                return Err(StoreError::Conflict { expected, found });
            }
        }
        generation.insert(CURRENT, next).map_err(|e| fault(path, e))?;
        let mut records = transaction.open_table(RECORDS).map_err(|e| fault(path, e))?;
        for name in &batch.deletes {
            records.remove(name.as_str()).map_err(|e| fault(path, e))?;
        }
        for (name, value) in &batch.puts {
            records.insert(name.as_str(), value.as_slice()).map_err(|e| fault(path, e))?;
        }
    }
    transaction.commit().map_err(|e| fault(path, e))
}

pub(super) fn current(generation: &impl ReadableTable<&'static str, u64>, path: &Path) -> Result<u64, StoreError> {
    let found = generation.get(CURRENT).map_err(|e| fault(path, e))?;
    Ok(found.ok_or_else(|| damaged(path, "it has no generation"))?.value())
}

/// Runs what uses redb. A panic there means that the file is not what redb takes it for.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What a panic leaves half done is the database in memory, and that is dropped with the error.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(damaged(path, "redb panicked over it")))
}

pub(super) fn damaged(path: &Path, detail: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), detail: detail.to_owned() }
}

/// What an error of redb means for the file at `path`.
pub(super) fn fault(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    use redb::Error as E;
    match error.into() {
        E::Corrupted(detail) => damaged(path, &detail),
        E::UpgradeRequired(version) => damaged(path, &format!("its file format is version {version}")),
        E::RepairAborted => damaged(path, "its repair was given up"),
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch => StoreError::InUse { path: path.to_owned() },
        E::TableDoesNotExist(_)
        | E::TableTypeMismatch { .. }
        | E::TableIsMultimap(_)
        | E::TableIsNotMultimap(_)
        | E::TypeDefinitionChanged { .. } => StoreError::Foreign { path: path.to_owned() },
        E::Io(e) => match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged(path, "it ends early"),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => damaged(path, "its layout does not fit"),
            _ => StoreError::from_io(path, e),
        },
        other => StoreError::Unavailable { path: path.to_owned(), source: io::Error::other(other.to_string()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_redb_become_the_fault_they_mean() {
        let of = |error: redb::Error| fault(Path::new("p"), error);
        let system = |code| of(redb::Error::Io(io::Error::from_raw_os_error(code)));
        assert!(matches!(of(redb::Error::Corrupted("x".into())), StoreError::Damaged { .. }));
        assert!(matches!(of(redb::Error::UpgradeRequired(2)), StoreError::Damaged { .. }));
        assert!(matches!(of(redb::Error::DatabaseAlreadyOpen), StoreError::InUse { .. }));
        assert!(matches!(of(redb::Error::TableDoesNotExist("t".into())), StoreError::Foreign { .. }));
        assert!(matches!(of(redb::Error::PreviousIo), StoreError::Unavailable { .. }));
        assert!(matches!(system(libc::ENOSPC), StoreError::Full { .. }));
        assert!(matches!(system(libc::EDQUOT), StoreError::Full { .. }));
        assert!(matches!(system(libc::EIO), StoreError::Unavailable { .. }));
        assert!(matches!(system(libc::EACCES), StoreError::NotPermitted { .. }));
        assert!(matches!(system(libc::EROFS), StoreError::NotPermitted { .. }));
    }

    #[test]
    fn a_panic_becomes_damage() {
        let answer: Result<(), _> = guarded(Path::new("p"), || panic!("planted"));
        assert!(matches!(answer, Err(StoreError::Damaged { .. })));
    }
}
