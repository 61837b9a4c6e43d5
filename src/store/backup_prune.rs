//! The backups that are no longer kept: beyond the number to keep and older than the age to keep; and those never finished.
//!
//! Must never remove the backup of another store, nor, for its age, a file that is no good backup.
//! Called by `operations::backup`, after a newer one is durable, and by `cli` at a start.

use super::backup_file;
use super::durable;
use super::fault;
use super::port::StoreError;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Removes backups of `store_id` in `directory` that are neither among the `keep` newest nor made within `keep_for`
/// seconds before `now` (Unix seconds). Answers how many went.
///
/// # Errors
/// [`StoreError`] with what the system says; what was removed so far is gone.
pub fn prune(directory: &Path, store_id: &[u8; 16], keep: usize, keep_for: u64, now: i64) -> Result<usize, StoreError> {
    let now = u64::try_from(now).unwrap_or(0);
    let prefix = format!("keyd-{}-", base16ct::lower::encode_string(store_id));
    let named_so =
        |path: &Path| path.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with(&prefix));
    // Names sort by generation, so the newest come first here and are never even read.
    let own = backup_file::list(directory)?.into_iter().filter(|path| named_so(path)).rev();
    let is_young = |seconds: u64| seconds <= keep_for;
    let mut removed = 0;
    for path in own.skip(keep.max(1)) {
        // A file's own age is asked first: it spares reading every young one. What decides is the backup's.
        let written = path.metadata().and_then(|file| file.modified()).ok();
        let written = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        if written.is_some_and(|at| is_young(now.saturating_sub(at.as_secs()))) {
            continue;
        }
        let Ok(backup) = backup_file::read(&path) else { continue };
        if backup.store_id == *store_id && !is_young(now.saturating_sub(backup.unix_seconds)) {
            std::fs::remove_file(&path).map_err(|error| StoreError::from_io(&path, error))?;
            fault::point("pruned");
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes what writers of backups of `store_id` left in `directory` that were cut off. The caller is the one writer of
/// that store. Answers how many went.
///
/// # Errors
/// [`StoreError`] with what the system says; what was removed so far is gone.
pub fn discard_unfinished(directory: &Path, store_id: &[u8; 16]) -> Result<usize, StoreError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(|error| StoreError::from_io(directory, error))?,
    };
    let mut removed = 0;
    for entry in entries {
        let name = entry.map_err(|error| StoreError::from_io(directory, error))?.file_name();
        let unfinished = name.to_str().is_some_and(|name| {
            backup_file::is_of(name, store_id) && name.strip_suffix(".tmp").is_some_and(|name| name.ends_with(".skb1"))
        });
        if unfinished {
            removed += usize::from(durable::remove_leftover(&directory.join(name))?);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::super::backup_file::{Backup, write_durably};
    use super::*;
    use crate::store::port::Snapshot;

    fn backup(store: u8, generation: u64, made: u64) -> Backup {
        Backup::of([store; 16], made, Snapshot { generation, ..Snapshot::default() })
    }

    #[test]
    fn only_old_backups_of_this_store_beyond_the_number_to_keep_go() {
        let directory = tempfile::tempdir().unwrap();
        for (store, generation, made) in [(1, 1, 100), (1, 2, 200), (1, 3, 300), (1, 4, 1000), (2, 1, 100)] {
            let path = write_durably(directory.path(), &backup(store, generation, made)).unwrap();
            let written = UNIX_EPOCH + std::time::Duration::from_secs(made);
            std::fs::File::open(path).unwrap().set_modified(written).unwrap();
        }
        std::fs::write(directory.path().join("keyd-notes.skb1"), "not a backup").unwrap();
        assert_eq!(prune(directory.path(), &[1; 16], 2, 850, 1050).unwrap(), 1);
        let left = backup_file::list(directory.path()).unwrap();
        assert_eq!(left.len(), 5, "generation 1 of store 1 went: {left:?}");
        assert_eq!(prune(directory.path(), &[1; 16], 0, 0, 5000).unwrap(), 2, "the newest always stays");
    }

    #[test]
    fn of_what_was_never_finished_only_this_stores_goes() {
        let directory = tempfile::tempdir().unwrap();
        let good = write_durably(directory.path(), &backup(1, 1, 100)).unwrap();
        let other = write_durably(directory.path(), &backup(2, 1, 100)).unwrap();
        let left = |path: &Path| durable::beside(path, ".tmp");
        for path in [&good, &other] {
            std::fs::write(left(path), "half").unwrap();
        }
        std::fs::write(directory.path().join("notes.tmp"), "mine").unwrap();
        assert_eq!(discard_unfinished(directory.path(), &[1; 16]).unwrap(), 1);
        assert!(good.exists() && other.exists() && left(&other).exists() && !left(&good).exists());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 4);
        assert_eq!(discard_unfinished(&directory.path().join("none"), &[1; 16]).unwrap(), 0);
    }
}
