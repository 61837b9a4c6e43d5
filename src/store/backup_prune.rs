//! The backups that are no longer kept: beyond the number to keep and older than the age to keep.
//!
//! Must never remove the backup of another store, nor a file that is no good backup.
//! Called by `operations::backup`, after a newer one is durable.

use super::backup_file;
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
            removed += 1;
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
    fn a_clock_that_jumps_costs_none_of_the_newest_and_one_that_is_behind_costs_none() {
        let directory = tempfile::tempdir().unwrap();
        for generation in 1..6 {
            write_durably(directory.path(), &backup(1, generation, 1_800_000_000)).unwrap();
        }
        for behind in [i64::MIN, -1, 0, 1_000_000_000, 1_800_000_000] {
            assert_eq!(prune(directory.path(), &[1; 16], 3, 90 * 86_400, behind).unwrap(), 0, "at {behind}");
        }
        assert_eq!(prune(directory.path(), &[1; 16], 3, 90 * 86_400, i64::MAX).unwrap(), 2);
        assert_eq!(backup_file::list(directory.path()).unwrap().len(), 3);
    }
}
