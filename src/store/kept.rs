//! What stood where something new is put: kept beside it, under a name that tells when.
//!
//! Must never replace a file, nor lose one between two names.
//! Called by `operations::restore`, with the directory locked, and by `cli` for the commands that undo it.

use super::durable;
use super::port::StoreError;
use std::path::{Path, PathBuf};

/// Most bytes of a file that is kept as a copy.
const MAX_COPIED_BYTES: u64 = 4096;

/// Between a file's own name and the time at which it was kept.
const INFIX: &str = ".kept-";

/// Where what is at `path` goes that is kept under this stamp.
#[must_use]
pub fn name(path: &Path, stamp: &str) -> PathBuf {
    durable::beside(path, &format!("{INFIX}{stamp}"))
}

/// Where the commands that undo a restore put what lies at `path` by then.
#[must_use]
pub fn undone(path: &Path, stamp: &str) -> PathBuf {
    durable::beside(path, &format!(".undone-{stamp}"))
}

/// The stamp itself, or the first of `stamp-2`, `stamp-3`, ... under which none of the paths has something kept or
/// undone.
#[must_use]
pub fn free_stamp(paths: &[&Path], stamp: &str) -> String {
    let is_nothing = |path: PathBuf| path.symlink_metadata().is_err();
    // What was kept is moved back by an undo, and the next undo within a second would go over what that one left.
    let is_free =
        |stamp: &str| paths.iter().all(|path| is_nothing(name(path, stamp)) && is_nothing(undone(path, stamp)));
    let numbered = (2_u32..).map(|n| format!("{stamp}-{n}"));
    std::iter::once(stamp.to_owned()).chain(numbered).find(|stamp| is_free(stamp)).unwrap_or_default()
}

/// Moves what is at `path` to its name under `stamp`, durably; `None` if nothing is there. Whatever it is, it is not
/// opened.
///
/// # Errors
/// [`StoreError::AlreadyExists`] if the name is taken; what kept it from being moved.
pub fn aside(path: &Path, stamp: &str) -> Result<Option<PathBuf>, StoreError> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let kept = name(path, stamp);
    durable::rename_to_new(path, &kept)?;
    Ok(Some(kept))
}

/// Moves what was kept back to where nothing is, durably.
///
/// # Errors
/// As [`aside`].
pub fn back(kept: &Path, path: &Path) -> Result<(), StoreError> {
    durable::rename_to_new(kept, path)
}

/// Moves a copy that was kept back over what is there now, durably.
///
/// # Errors
/// What kept it from being moved.
pub fn back_over(kept: &Path, path: &Path) -> Result<(), StoreError> {
    durable::rename(kept, path)
}

/// Copies a small file to its name under `stamp`, durably, with mode 0600; `None` if nothing is there. What is no regular
/// file of at most 4,096 bytes is moved instead.
///
/// # Errors
/// What kept it from being read or written.
pub fn copy(path: &Path, stamp: &str) -> Result<Option<PathBuf>, StoreError> {
    match durable::read_regular(path, MAX_COPIED_BYTES) {
        Ok(Some(bytes)) => {
            let kept = name(path, stamp);
            durable::replace(&kept, &bytes)?;
            Ok(Some(kept))
        }
        Ok(None) | Err(StoreError::Foreign { .. }) => aside(path, stamp),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Everything that is kept of what stood at `path`, the oldest first; none where the directory cannot be read.
#[must_use]
pub fn list(path: &Path) -> Vec<PathBuf> {
    let prefix = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}{INFIX}"));
    let Some(prefix) = prefix else { return Vec::new() };
    let entries = std::fs::read_dir(durable::directory_of(path)).into_iter().flatten().flatten();
    let is_kept =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix));
    let mut kept: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_kept).collect();
    kept.sort();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_kept_is_moved_whatever_it_is_and_never_over_something() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyd.redb");
        assert_eq!(aside(&path, "T").unwrap(), None);
        fs::write(&path, "one").unwrap();
        let kept = aside(&path, "T").unwrap().unwrap();
        assert_eq!(kept, dir.path().join("keyd.redb.kept-T"));
        fs::create_dir(&path).unwrap();
        assert!(matches!(aside(&path, "T"), Err(StoreError::AlreadyExists { .. })));
        assert_eq!(free_stamp(&[&path], "T"), "T-2");
        let directory = aside(&path, &free_stamp(&[&path], "T")).unwrap().unwrap();
        assert!(directory.is_dir() && !path.exists());
        assert_eq!(list(&path), [kept.clone(), directory]);
        back(&kept, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_stamp_is_not_given_again_after_an_undo() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyd.redb");
        fs::write(dir.path().join("keyd.redb.undone-T"), "what was undone").unwrap();
        assert_eq!(free_stamp(&[&path], "T"), "T-2");
    }

    #[test]
    fn a_small_file_is_copied_and_what_is_none_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert_eq!(copy(&path, "T").unwrap(), None);
        fs::write(&path, "said").unwrap();
        assert_eq!(fs::read(copy(&path, "T").unwrap().unwrap()).unwrap(), b"said");
        assert_eq!(fs::read(&path).unwrap(), b"said");
        fs::write(&path, [0; 5000]).unwrap();
        assert_eq!(fs::read(copy(&path, "U").unwrap().unwrap()).unwrap(), [0; 5000]);
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        assert!(copy(&path, "V").unwrap().unwrap().is_dir());
    }
}
