//! Watchers of what the store does to the disk below a directory: a test registers one, and sees each operation in turn.
//!
//! Must never be compiled into a release. Must never let an operation happen that its watcher answered with an error.
//! Called by `disk` and `redb_watched`, and by the tests that register a watcher.

use super::Operation;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Who looks on.
pub trait Watcher: Send + Sync {
    /// Before an operation. `inode` names the open file that it is done to, if it is done to one.
    ///
    /// # Errors
    /// What the operation answers, which then does not happen.
    fn before(&self, operation: Operation<'_>, inode: Option<u64>) -> io::Result<()>;

    /// After an operation that happened; of a new file, `inode` names it.
    fn done(&self, operation: Operation<'_>, inode: Option<u64>);
}

static WATCHERS: RwLock<Vec<(PathBuf, Arc<dyn Watcher>)>> = RwLock::new(Vec::new());

/// A watcher at its place, until this is dropped.
#[must_use = "nobody looks on any more when this is dropped"]
pub struct Watch(Arc<dyn Watcher>);

/// Lets `watcher` see everything that is done below `directory` from now on, by whatever thread.
pub fn watch(directory: &Path, watcher: Arc<dyn Watcher>) -> Watch {
    let entry = (directory.to_owned(), Arc::clone(&watcher));
    WATCHERS.write().unwrap_or_else(PoisonError::into_inner).push(entry);
    Watch(watcher)
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = WATCHERS.write().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|(_, watcher)| !Arc::ptr_eq(watcher, &self.0));
    }
}

fn watcher(operation: Operation<'_>) -> Option<Arc<dyn Watcher>> {
    use Operation as O;
    let (O::Create(path)
    | O::Read(path)
    | O::Write(path, ..)
    | O::SetLength(path, _)
    | O::Sync(path)
    | O::Rename(path, _)
    | O::Link(path, _)
    | O::Remove(path)
    | O::MakeDirectory(path)
    | O::SyncDirectory(path)) = operation;
    let watchers = WATCHERS.read().unwrap_or_else(PoisonError::into_inner);
    watchers.iter().find(|(directory, _)| path.starts_with(directory)).map(|(_, watcher)| Arc::clone(watcher))
}

/// Does an operation, if its watcher lets it.
pub(in crate::store) fn perform<T>(
    operation: Operation<'_>,
    inode: Option<u64>,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Some(watcher) = watcher(operation) else { return act() };
    watcher.before(operation, inode)?;
    let answer = act()?;
    watcher.done(operation, inode);
    Ok(answer)
}

/// The same for a new file.
pub(super) fn create(operation: Operation<'_>, open: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    let Some(watcher) = watcher(operation) else { return open() };
    watcher.before(operation, None)?;
    let file = open()?;
    watcher.done(operation, Some(file.metadata()?.ino()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::mark::{self, Mark, State};
    use std::fs;
    use std::sync::Mutex;

    /// Writes down what it sees, and answers renames with an error when it is told to.
    #[derive(Default)]
    struct Notes {
        seen: Mutex<Vec<String>>,
        no_renames: Mutex<bool>,
    }

    impl Watcher for Notes {
        fn before(&self, operation: Operation<'_>, _: Option<u64>) -> io::Result<()> {
            if *self.no_renames.lock().unwrap() && matches!(operation, Operation::Rename(..)) {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            Ok(())
        }

        fn done(&self, operation: Operation<'_>, _: Option<u64>) {
            let line = format!("{operation:?}");
            let name = line.split(['(', ' ']).next().unwrap_or_default();
            self.seen.lock().unwrap().push(name.to_owned());
        }
    }

    fn write_mark(directory: &Path) -> Result<(), mark::MarkError> {
        let now = Some(State { store_id: [1; 16], generation: 7, root_id: [2; 32] });
        mark::write(&directory.join("mark"), &Mark { now, to_come: None })
    }

    #[test]
    fn a_watcher_sees_each_operation_below_its_directory_until_it_goes() {
        let (watched, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let notes = Arc::new(Notes::default());
        let watch = watch(watched.path(), Arc::clone(&notes) as Arc<dyn Watcher>);
        write_mark(other.path()).unwrap();
        write_mark(watched.path()).unwrap();
        drop(watch);
        write_mark(watched.path()).unwrap();
        assert_eq!(*notes.seen.lock().unwrap(), ["Create", "Write", "Sync", "Rename", "SyncDirectory"]);
    }

    #[test]
    fn what_the_watcher_answers_with_an_error_does_not_happen() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Arc::new(Notes::default());
        *notes.no_renames.lock().unwrap() = true;
        let _watch = watch(directory.path(), Arc::clone(&notes) as Arc<dyn Watcher>);
        assert!(write_mark(directory.path()).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "no mark, and nothing left over");
        assert_eq!(*notes.seen.lock().unwrap(), ["Create", "Write", "Sync", "Remove"]);
    }
}
