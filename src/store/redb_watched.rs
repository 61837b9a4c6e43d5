//! The file that redb stores in, with whoever watches the disk between.
//!
//! Must never be compiled into a release: there, redb has the bare file.
//! Called by `redb_file`, as its medium in tests.

use super::disk::Operation;
use super::disk::watch::perform;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The file that redb stores in, with whoever watches between.
#[derive(Debug)]
pub struct Watched {
    inner: FileBackend,
    path: PathBuf,
    inode: u64,
}

impl Watched {
    /// Stores in `file`, which was opened at `path`.
    ///
    /// # Errors
    /// As redb's own backend.
    pub(super) fn new(path: &Path, file: File) -> Result<Self, redb::DatabaseError> {
        let inode = file.metadata()?.ino();
        Ok(Self { inner: FileBackend::new(file)?, path: path.to_owned(), inode })
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        perform(Operation::Read(&self.path), Some(self.inode), || self.inner.read(offset, out))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        perform(Operation::SetLength(&self.path, length), Some(self.inode), || self.inner.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        perform(Operation::Sync(&self.path), Some(self.inode), || self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        perform(Operation::Write(&self.path, offset, data), Some(self.inode), || self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
