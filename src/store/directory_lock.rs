//! The lock on the state directory: one daemon or one offline tool at a time.
//!
//! Must never leave a lock file behind: the lock is on the directory itself and ends with the process.
//! Called by `cli`: exclusively for what writes, shared for what only reads.

use super::port::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The lock, held until it is dropped.
#[derive(Debug)]
#[must_use = "the directory is free again when the lock is dropped"]
pub struct DirectoryLock {
    /// flock(2) belongs to the open file, and ends when it is closed.
    _directory: File,
}

impl DirectoryLock {
    /// Takes `directory` for a daemon, or a tool that writes. Does not wait.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while any other holds it, [`StoreError::Missing`] if there is no such directory.
    pub fn acquire(directory: &Path) -> Result<Self, StoreError> {
        Self::lock(directory, File::try_lock)
    }

    /// Takes `directory` beside other readers. Does not wait.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while one that writes holds it, [`StoreError::Missing`] if there is no such directory.
    pub fn shared(directory: &Path) -> Result<Self, StoreError> {
        Self::lock(directory, File::try_lock_shared)
    }

    fn lock(directory: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Self, StoreError> {
        let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(directory).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing { path: directory.to_owned() },
            _ => StoreError::from_io(directory, e),
        })?;
        match lock(&opened) {
            Ok(()) => Ok(Self { _directory: opened }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: directory.to_owned() }),
            Err(TryLockError::Error(e)) => Err(StoreError::from_io(directory, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers_hold_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let in_use = |result| matches!(result, Err(StoreError::InUse { .. }));
        let writer = DirectoryLock::acquire(dir.path()).unwrap();
        assert!(in_use(DirectoryLock::acquire(dir.path())));
        assert!(in_use(DirectoryLock::shared(dir.path())));
        drop(writer);
        let readers = (DirectoryLock::shared(dir.path()).unwrap(), DirectoryLock::shared(dir.path()).unwrap());
        assert!(in_use(DirectoryLock::acquire(dir.path())));
        drop(readers);
        assert!(DirectoryLock::acquire(dir.path()).is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(DirectoryLock::acquire(&file), Err(StoreError::Unavailable { .. })));
        assert!(matches!(DirectoryLock::acquire(&dir.path().join("none")), Err(StoreError::Missing { .. })));
    }
}
