//! What the store does to the disk, one operation each: so that a test can look on, and let any of them fail.
//!
//! Must never do anything of its own in a release: there, each is the bare call of the system.
//! Called by the store's own files, for all that they create, read, write, sync, rename and remove.

pub use super::disk_operation::Operation;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
#[cfg(any(test, feature = "fault-injection"))]
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Does an operation; `file` is the open file that it is done to.
#[inline]
pub(super) fn perform<T>(
    operation: Operation<'_>,
    file: Option<&File>,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    #[cfg(any(test, feature = "fault-injection"))]
    return watch::perform(operation, file.and_then(|file| file.metadata().ok()).map(|file| file.ino()), act);
    #[cfg(not(any(test, feature = "fault-injection")))]
    {
        let _ = (operation, file);
        act()
    }
}

/// Makes a new file by what `open` says.
pub(super) fn create(path: &Path, open: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    let operation = Operation::Create(path);
    #[cfg(any(test, feature = "fault-injection"))]
    return watch::create(operation, open);
    #[cfg(not(any(test, feature = "fault-injection")))]
    perform(operation, None, open)
}

/// The rest of a file of which at most `limit` bytes are read.
pub(super) fn read_to(path: &Path, file: &File, limit: u64, out: &mut Vec<u8>) -> io::Result<usize> {
    perform(Operation::Read(path), Some(file), || file.take(limit).read_to_end(out))
}

/// Writes a new file's bytes.
pub(super) fn write_all(path: &Path, file: &File, offset: u64, bytes: &[u8]) -> io::Result<u64> {
    perform(Operation::Write(path, offset, bytes), Some(file), || file.write_all_at(bytes, offset))?;
    Ok(offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
}

/// Sees a file's bytes to the disk.
pub(super) fn sync(path: &Path, file: &File) -> io::Result<()> {
    perform(Operation::Sync(path), Some(file), || file.sync_all())
}

/// Sees a directory's names to the disk.
pub(super) fn sync_directory(path: &Path, opened: &File) -> io::Result<()> {
    perform(Operation::SyncDirectory(path), None, || opened.sync_all())
}

/// Gives an entry another name.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    perform(Operation::Rename(from, to), None, || fs::rename(from, to))
}

/// Gives a file a second name.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    perform(Operation::Link(from, to), None, || fs::hard_link(from, to))
}

/// Takes a name away.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    perform(Operation::Remove(path), None, || fs::remove_file(path))
}

#[cfg(any(test, feature = "fault-injection"))]
#[path = "disk_watch.rs"]
pub mod watch;
