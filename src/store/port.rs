//! The store's port: a snapshot with its generation, and bounded commits on exactly that generation.
//!
//! Must never name a database: an adapter for another medium must fit without a change above it.
//! Called by `operations`, which owns the writer's thread; implemented by the adapters.

use super::packed::Packed;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Most records that one commit puts and deletes.
pub const MAX_BATCH_RECORDS: usize = 100;

/// Most bytes that the names and values of one commit take.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// Every record of a store at one generation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Rises with every commit.
    pub generation: u64,
    /// The values by name, as stored.
    pub records: BTreeMap<String, Vec<u8>>,
}

impl Snapshot {
    /// Every name and value, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))
    }

    /// The same records, packed.
    #[must_use]
    pub fn packed(&self) -> Packed {
        let mut packed = Packed::new(self.generation);
        self.records.iter().for_each(|(name, value)| packed.push(name, value));
        packed
    }

    /// The snapshot that a commit of `batch` yields: deletes first, then puts.
    #[must_use]
    pub fn after(mut self, next: u64, batch: &Batch) -> Self {
        self.records.retain(|name, _| !batch.deletes.contains(name));
        self.records.extend(batch.puts.iter().map(|(name, value)| (name.clone(), value.clone())));
        self.generation = next;
        self
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

/// What one commit changes. A name that is both deleted and put ends with the value put.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// New values by name.
    pub puts: BTreeMap<String, Vec<u8>>,
    /// Names to drop; one that is not there is no fault.
    pub deletes: BTreeSet<String>,
}

impl Batch {
    /// Holds the batch to [`MAX_BATCH_RECORDS`] and [`MAX_BATCH_BYTES`].
    ///
    /// # Errors
    /// [`StoreError::BatchTooLarge`].
    pub fn check_size(&self) -> Result<(), StoreError> {
        let records = self.puts.len().saturating_add(self.deletes.len());
        let put_bytes = self.puts.iter().map(|(name, value)| name.len().saturating_add(value.len()));
        let bytes = put_bytes.chain(self.deletes.iter().map(String::len)).fold(0, usize::saturating_add);
        if records > MAX_BATCH_RECORDS || bytes > MAX_BATCH_BYTES {
            return Err(StoreError::BatchTooLarge);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("puts", &self.puts.len()).field("deletes", &self.deletes.len()).finish()
    }
}

/// A medium that keeps named records. One owner at a time; every call blocks.
///
/// After any error but [`StoreError::Conflict`], [`StoreError::BatchTooLarge`] and
/// [`StoreError::GenerationNotRising`], a commit may or may not have reached the medium: the next [`Store::load`]
/// says which, and a commit on the old generation then either goes through or is a conflict. Never is half of it there.
pub trait Store: Send {
    /// Every record, with the generation they are of.
    ///
    /// # Errors
    /// What kept the medium from being read.
    fn load(&mut self) -> Result<Snapshot, StoreError>;

    /// The same, packed: for what goes through all of them once.
    ///
    /// # Errors
    /// As [`Store::load`].
    fn load_packed(&mut self) -> Result<Packed, StoreError> {
        self.load().map(|snapshot| snapshot.packed())
    }

    /// Like [`Store::load`], but past every copy in memory, as far as the medium can be asked for its own bytes: what a
    /// start would find. Changes nothing.
    ///
    /// # Errors
    /// As [`Store::load`].
    fn load_from_medium(&mut self) -> Result<Snapshot, StoreError> {
        self.load()
    }

    /// The value of one record as the store has it now, not as it was loaded; `None` if there is no such record.
    ///
    /// # Errors
    /// What kept the medium from being read.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Makes the whole of `batch` durable, or nothing of it, if the generation is still `expected`; it becomes `next`,
    /// which is normally `expected + 1` and more after a restore. When this returns `Ok`, a power cut cannot undo it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the generation is another one; else what kept the medium from being written.
    fn commit(&mut self, expected: u64, next: u64, batch: &Batch) -> Result<(), StoreError>;

    /// Like [`Store::commit`] on the generation of `now`, and afterwards the medium holds no byte of a value that was ever
    /// replaced or dropped. What it holds then is made of `now`, which the caller has loaded and judged: read again, a
    /// record could be another one.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn commit_rewriting(&mut self, now: Snapshot, next: u64, batch: &Batch) -> Result<(), StoreError>;
}

/// Why the store could not be read, written or made.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no file at the path.
    #[error("there is no store at {path}", path = path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something is there already that must not be replaced.
    #[error("{path} exists already and is not replaced", path = path.display())]
    AlreadyExists {
        /// What is there.
        path: PathBuf,
    },
    /// The file has no bytes.
    #[error("{path} is empty, not a store", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// What is there is not a store of this daemon.
    #[error("{path} is not a store of servos-keyd", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was a store once and is not whole.
    #[error("the store at {path} is damaged: {detail}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file's format is newer than what this program reads.
    #[error("the store at {path} has file format {found}, and was written by a newer servos-keyd: install that version",
            path = path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u8,
    },
    /// Another process has it.
    #[error("{path} is in use by another process", path = path.display())]
    InUse {
        /// The file or directory.
        path: PathBuf,
    },
    /// The generation is not the one the commit was made for.
    #[error("the store is at generation {found}, not {expected}")]
    Conflict {
        /// What the caller had seen.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The commit's next generation does not lie above the one it was made for.
    #[error("generation {next} does not lie above {expected}")]
    GenerationNotRising {
        /// What the caller had seen.
        expected: u64,
        /// What it wanted next.
        next: u64,
    },
    /// More than [`MAX_BATCH_RECORDS`] records or [`MAX_BATCH_BYTES`] bytes.
    #[error("a commit takes at most {MAX_BATCH_RECORDS} records and {MAX_BATCH_BYTES} bytes")]
    BatchTooLarge,
    /// No space, or no quota, is left.
    #[error("no space is left for {path}", path = path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The medium did not do what it was asked.
    #[error("{path} cannot be used", path = path.display())]
    Unavailable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The process may not do this there.
    #[error("not permitted on {path}: {detail}", path = path.display())]
    NotPermitted {
        /// The file or directory.
        path: PathBuf,
        /// Which rule stands against it.
        detail: String,
    },
}

/// The detail where the system says no more: modes, or a sandbox.
pub const DENIED: &str = "permission denied";

const LINK: &str = "it is a symbolic link, which is not followed: name the file that it leads to in the configuration, or \
                    put that file here";

impl StoreError {
    /// What an error of the system means for the file or directory at `path`.
    #[must_use]
    pub fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.raw_os_error() == Some(libc::ELOOP) {
            return Self::NotPermitted { path, detail: LINK.into() };
        }
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { path, detail: DENIED.into() },
            io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotPermitted { path, detail: "the file system is read-only".into() }
            }
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            _ => Self::Unavailable { path, source },
        }
    }

    /// An unavailability that the system has no error for.
    #[must_use]
    pub fn unavailable(path: &Path, detail: &'static str) -> Self {
        Self::Unavailable { path: path.to_owned(), source: io::Error::other(detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_at_its_limits_passes_and_one_above_is_refused() {
        let mut batch = Batch::default();
        for n in 0..MAX_BATCH_RECORDS {
            batch.puts.insert(format!("{n:03}"), Vec::new());
        }
        assert!(batch.check_size().is_ok());
        batch.deletes.insert("x".into());
        assert!(matches!(batch.check_size(), Err(StoreError::BatchTooLarge)));

        let mut batch = Batch::default();
        batch.puts.insert("n".into(), vec![0; MAX_BATCH_BYTES - 1]);
        assert!(batch.check_size().is_ok());
        batch.deletes.insert("x".into());
        assert!(matches!(batch.check_size(), Err(StoreError::BatchTooLarge)));
    }

    #[test]
    fn system_errors_become_the_fault_they_mean() {
        let of = |code| StoreError::from_io(Path::new("p"), io::Error::from_raw_os_error(code));
        assert!(matches!(of(libc::ENOSPC), StoreError::Full { .. }));
        assert!(matches!(of(libc::EDQUOT), StoreError::Full { .. }));
        assert!(matches!(of(libc::EACCES), StoreError::NotPermitted { .. }));
        assert!(matches!(of(libc::EROFS), StoreError::NotPermitted { .. }));
        assert!(matches!(of(libc::ELOOP), StoreError::NotPermitted { .. }));
        assert!(matches!(of(libc::EIO), StoreError::Unavailable { .. }));
    }

    #[test]
    fn a_name_both_deleted_and_put_ends_with_the_value_put() {
        let mut batch = Batch::default();
        batch.puts.insert("a".into(), b"new".to_vec());
        batch.deletes.extend(["a".to_owned(), "b".to_owned()]);
        let before = Snapshot {
            generation: 1,
            records: [("a".to_owned(), b"old".to_vec()), ("b".to_owned(), Vec::new())].into(),
        };
        let after = before.after(9, &batch);
        assert_eq!((after.generation, after.records), (9, [("a".to_owned(), b"new".to_vec())].into()));
    }

    #[test]
    fn debug_output_shows_no_value() {
        let snapshot = Snapshot { generation: 1, records: [("a".to_owned(), b"value".to_vec())].into() };
        assert!(!format!("{snapshot:?}").contains("118"));
    }
}
