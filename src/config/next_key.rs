//! The new master key of a rotation, from the file `.next` beside each key file that the daemon opens itself.
//!
//! Must never write or remove one, nor judge it less strictly than the key file.
//! Called by `cli` for a rotation's begin, and for what status names.

use std::path::{Path, PathBuf};

use super::key_file;
use super::key_source::{KeySource, Sources};
use super::key_source_error::KeySourceError;
use super::mount;
use crate::sys::locked::LockedMemory;

impl Sources {
    /// Reads the `.next` beside each key file that is no credential, as [`Self::read`] reads key files. One that is not
    /// there is left out; they need not agree. Can be called at any time, from any thread.
    ///
    /// # Errors
    /// [`KeySourceError`], for the first that is there and cannot be read.
    pub fn read_next(&self, memory: &LockedMemory) -> Result<Vec<KeySource>, KeySourceError> {
        let mut found: Vec<KeySource> = Vec::new();
        for next in self.opened_files().map(next_to) {
            // One file named twice is one source.
            if found.iter().any(|source| source.path.as_ref() == Some(&next)) {
                continue;
            }
            match self.read_file(&next, memory) {
                Err(KeySourceError::Missing { .. }) => {}
                Err(KeySourceError::Denied { place, daemon_uid, mend }) => {
                    return Err(KeySourceError::NextDenied { place, daemon_uid, mend });
                }
                read => found.extend(read?),
            }
        }
        Ok(found)
    }

    /// The `.next` that an operator can make: beside the first key file that is neither a credential nor mounted by
    /// itself, for beside those there is no room. Can be called at any time, from any thread.
    #[must_use]
    pub fn next_file(&self) -> Option<PathBuf> {
        self.opened_files().find(|path| !mount::is_mount_point(path)).map(next_to)
    }

    pub(super) fn opened_files(&self) -> impl Iterator<Item = &Path> {
        self.key_files.iter().map(PathBuf::as_path).filter(|path| !key_file::is_credential(path, &self.trust))
    }
}

pub(super) fn next_to(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

#[cfg(test)]
#[path = "next_key_tests.rs"]
mod tests;
