//! Sees that key files outlast a power cut, before a store is sealed under what was read from them.
//!
//! Must never change a byte of one, nor wait for anything that is not a file.
//! Called by `cli` for a rotation's begin and end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::key_source::Sources;
use super::key_source_error::KeySourceError;
use super::next_key::next_to;

impl Sources {
    /// Has the system write each key file that the daemon opens itself, and the `.next` beside it, to its disk, with the
    /// directory it lies in. One that is missing, or on what is never written, is left out. Can be called from any thread.
    ///
    /// # Errors
    /// [`KeySourceError::Unreadable`] if the disk does not take one.
    pub fn settle(&self) -> Result<(), KeySourceError> {
        for path in self.opened_files() {
            for path in [path, &next_to(path)] {
                settle(path)
                    .map_err(|source| KeySourceError::Unreadable { place: path.display().to_string(), source })?;
            }
        }
        Ok(())
    }
}

fn settle(path: &Path) -> io::Result<()> {
    // What a link leads to, and the directory that holds that.
    let Ok(path) = path.canonicalize() else { return Ok(()) };
    let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path) else { return Ok(()) };
    sync(&file)?;
    match path.parent().map(File::open) {
        Some(Ok(directory)) => sync(&directory),
        // One that may be passed through and not read.
        _ => Ok(()),
    }
}

fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        // File systems without a disk, and what is not a file, say so.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EROFS | libc::ENOTSUP | libc::ENOSYS)) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_has_no_disk_is_passed_over_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("key"), "key").unwrap();
        std::os::unix::fs::symlink(at("key"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        for path in [at("key"), at("link"), at("fifo"), at("missing"), directory.path().to_owned(), "/dev/null".into()]
        {
            settle(&path).unwrap();
        }
        assert_eq!(std::fs::read(at("key")).unwrap(), b"key");
    }
}
