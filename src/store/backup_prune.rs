//! The backups that are no longer kept: beyond the number to keep and older than the age to keep; and those never finished.
//!
//! Must never remove the backup of another store, the newest good one, nor, for its age, a file that the daemon did not name.
//! Called by `operations::backup`, after a newer one is durable, and by `cli` at a start.

use super::backup_file::{self, Backup};
use super::port::StoreError;
use super::{backup_peek, disk, durable, fault};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// How many backups stay.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// So many of the newest stay whatever their age: at least one.
    pub number: usize,
    /// One that is younger than so many seconds stays whatever their number.
    pub seconds: u64,
}

/// Removes backups of `store_id` in `directory` that are neither among the newest nor young. `written` is the generation
/// of the one that is durable and good: it stays, and so does what is newer. `now` is in Unix seconds. Answers how many
/// went.
///
/// Young is asked twice: against the clock, and against the time of the backup before the one that was written. So a clock
/// that jumps ahead does not age all of them at once.
///
/// # Errors
/// [`StoreError`] with what the system says; what was removed so far is gone.
pub fn prune(directory: &Path, store_id: &[u8; 16], written: u64, keep: Keep, now: i64) -> Result<usize, StoreError> {
    let generation_of = |path: &PathBuf| generation(path.file_name()?.to_str()?, store_id);
    // Names sort by generation, so the newest come first here.
    let own = backup_file::list(directory)?.into_iter().rev();
    let own = own.filter(|path| generation_of(path).is_some_and(|generation| generation <= written));
    let mut own = own.skip_while(|path| generation_of(path) == Some(written)).peekable();
    let Some(before) = own.peek().and_then(|path| backup_peek::made(path).ok()) else { return Ok(0) };
    let now = u64::try_from(now).unwrap_or(0).min(before);
    let is_young = |seconds: u64| now.saturating_sub(seconds) <= keep.seconds;
    let mut removed = 0;
    for path in own.skip(keep.number.saturating_sub(1)) {
        // A file's own age is asked first: it spares reading every young one. What decides is the backup's.
        let written = path.metadata().and_then(|file| file.modified()).ok();
        let written = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        if written.is_some_and(|at| is_young(at.as_secs())) {
            continue;
        }
        let Ok(backup) = backup_file::read(&path) else { continue };
        if is_named_by_it(&backup, &path) && backup.store_id == *store_id && !is_young(backup.unix_seconds) {
            disk::remove(&path).map_err(|error| StoreError::from_io(&path, error))?;
            fault::point("pruned");
            removed += 1;
        }
    }
    Ok(removed)
}

/// The generation that a backup's name tells; none for a name that no daemon gives.
pub(super) fn generation(name: &str, store_id: &[u8; 16]) -> Option<u64> {
    let prefix = format!("keyd-{}-", base16ct::lower::encode_string(store_id));
    let digits = name.strip_prefix(&prefix)?.strip_suffix(".skb1")?;
    let are_all = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if are_all { digits.parse().ok() } else { None }
}

/// A copy that somebody named like it is theirs.
fn is_named_by_it(backup: &Backup, path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == backup.file_name().as_str())
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
        if name.to_str().is_some_and(|name| backup_file::is_of(name, store_id) && backup_file::is_unfinished(name)) {
            removed += usize::from(durable::remove_leftover(&directory.join(name))?);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::super::backup_file::write_durably;
    use super::*;
    use crate::store::port::Snapshot;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const DAY: u64 = 24 * 60 * 60;
    const FOR: u64 = 90 * DAY;
    const BEGIN: u64 = 1_800_000_000;

    struct Directory(tempfile::TempDir);

    impl Directory {
        /// Backups of store 1, by generation and the day that each was made on.
        fn with(days: &[(u64, u64)]) -> Self {
            let directory = Self(tempfile::tempdir().unwrap());
            days.iter().for_each(|(generation, day)| drop(directory.add(1, *generation, *day)));
            directory
        }

        fn add(&self, store: u8, generation: u64, day: u64) -> PathBuf {
            let made = BEGIN + day * DAY;
            let backup = Backup::of([store; 16], made, Snapshot { generation, ..Snapshot::default() });
            let path = write_durably(self.0.path(), &backup).unwrap();
            self.age(&path, made);
            path
        }

        fn age(&self, path: &Path, written: u64) {
            let written = UNIX_EPOCH + Duration::from_secs(written);
            std::fs::File::open(path).unwrap().set_modified(written).unwrap();
        }

        /// Prunes behind `written` on a day; answers the generations of store 1 that are left and good.
        fn pruned(&self, written: u64, number: usize, day: u64) -> BTreeSet<u64> {
            let now = i64::try_from(BEGIN + day * DAY).unwrap();
            prune(self.0.path(), &[1; 16], written, Keep { number, seconds: FOR }, now).unwrap();
            let left = backup_file::list(self.0.path()).unwrap();
            let good = left.iter().filter_map(|path| backup_file::read(path).ok());
            good.filter(|backup| backup.store_id == [1; 16]).map(|backup| backup.generation).collect()
        }

        fn damage(&self, path: &Path) {
            let written = path.metadata().unwrap().modified().unwrap();
            let mut bytes = std::fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(path, bytes).unwrap();
            std::fs::File::open(path).unwrap().set_modified(written).unwrap();
        }
    }

    fn set(generations: &[u64]) -> BTreeSet<u64> {
        generations.iter().copied().collect()
    }

    #[test]
    fn only_old_backups_of_this_store_beyond_the_number_to_keep_go() {
        let directory = Directory::with(&[(1, 0), (2, 9), (3, 20), (4, 100), (5, 105)]);
        let other = directory.add(2, 1, 0);
        std::fs::write(directory.0.path().join("keyd-notes.skb1"), "not a backup").unwrap();
        assert_eq!(directory.pruned(5, 4, 105), set(&[2, 3, 4, 5]), "1 is old, and four are kept");
        assert_eq!(directory.pruned(5, 2, 105), set(&[3, 4, 5]), "3 is 85 days old, and 80 at the one before");
        assert_eq!(directory.pruned(5, 0, 1000), set(&[3, 4, 5]), "the one before is of day 100");
        assert!(other.exists() && directory.0.path().join("keyd-notes.skb1").exists());
    }

    #[test]
    fn a_clock_that_jumps_ahead_or_back_costs_no_backup() {
        let days: Vec<(u64, u64)> = (1..=20).map(|generation| (generation, generation)).collect();
        let directory = Directory::with(&days);
        // Forty years ahead, for one backup; then it is right again, and the one of the future is the one before.
        directory.add(1, 21, 14_600);
        assert_eq!(directory.pruned(21, 1, 14_600).len(), 21);
        directory.add(1, 22, 22);
        assert_eq!(directory.pruned(22, 1, 22).len(), 22);
        // Before 1970, and at the end of time.
        let keep = Keep { number: 1, seconds: 0 };
        for now in [i64::MIN, -1, 0] {
            assert_eq!(prune(directory.0.path(), &[1; 16], 22, keep, now).unwrap(), 0, "{now}");
        }
        // The time passes after all: what is old at two backups in a row goes, the newest do not.
        directory.add(1, 23, 200);
        assert_eq!(directory.pruned(23, 3, 200).len(), 23);
        directory.add(1, 24, 201);
        assert_eq!(directory.pruned(24, 3, 201), set(&[21, 22, 23, 24]), "that of the future is young");
    }

    #[test]
    fn a_damaged_newest_or_one_that_is_newer_does_not_cost_the_last_good_one() {
        let directory = Directory::with(&[(1, 0), (2, 1), (3, 500)]);
        let newer = directory.add(1, 9, 499);
        directory.damage(&newer);
        std::fs::write(directory.0.path().join(format!("keyd-{}-zzz.skb1", "01".repeat(16))), "no backup").unwrap();
        assert_eq!(directory.pruned(3, 1, 500), set(&[1, 2, 3]), "the one before is of day 1");
        directory.add(1, 4, 501);
        assert_eq!(directory.pruned(4, 1, 501), set(&[3, 4]));
        assert!(newer.exists(), "what is no good backup is for people to look at");
    }

    #[test]
    fn what_people_put_there_stays() {
        let directory = Directory::with(&[(1, 0), (8, 500), (9, 500)]);
        let own = directory.add(1, 2, 0);
        let bytes = std::fs::read(&own).unwrap();
        let id = "01".repeat(16);
        let copies = [
            format!("keyd-{id}-00000000000000000002 (copy).skb1"),
            format!("keyd-{id}-00000000000000000003.skb1"),
            format!("keyd-{id}-2.skb1"),
            "keyd-before-the-move.skb1".to_owned(),
        ];
        for copy in &copies {
            std::fs::write(directory.0.path().join(copy), &bytes).unwrap();
            directory.age(&directory.0.path().join(copy), BEGIN);
        }
        assert_eq!(directory.pruned(9, 1, 500), set(&[2, 8, 9]), "the copies hold generation 2");
        assert!(!own.exists() && copies.iter().all(|copy| directory.0.path().join(copy).exists()));
    }

    #[test]
    fn of_what_was_never_finished_only_this_stores_goes() {
        let directory = Directory::with(&[]);
        let (good, other) = (directory.add(1, 1, 0), directory.add(2, 1, 0));
        let directory = directory.0;
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
