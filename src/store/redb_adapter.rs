//! The store on one machine: a redb file, looked at without changing it, made, opened and committed to.
//!
//! Must never replace or begin anew what exists, nor go on with another file than the one it opened.
//! Called by `cli`, which opens it, and through the port by `operations`.

use super::fault;
use super::overlay::Overlay;
use super::packed::Packed;
use super::port::{Batch, Snapshot, Store, StoreError};
use super::redb_file::{self as file, Direct, FileId, Medium};
use super::redb_salvage;
use super::{disk, durable};
use redb::Database;
use std::path::{Path, PathBuf};

/// What the store at `path` holds, its integrity checked, and repaired in memory where it was not closed cleanly.
/// Changes not a byte of the file, and takes no lock on it: the caller holds the directory's.
///
/// # Security
/// What is shown is whole, and was committed once; that it is the newest only the mark can tell. One bit of redb's
/// header, under no checksum, says which of its last two commits is the current one.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Empty`], [`StoreError::Foreign`], [`StoreError::Damaged`], or what kept the
/// file from being read.
pub fn view(path: &Path) -> Result<Snapshot, StoreError> {
    over(path, |database| file::read_all(database, path))
}

/// What can still be read of a damaged store: every record that a way leads to which no fault lies on, unchecked.
/// The generation is 0 where it cannot be read. Changes not a byte of the file.
///
/// # Security
/// Values can be wrong, and a crafted file can end the process: only for opening what opens, never for writing.
///
/// # Errors
/// As [`view`], if nothing at all can be read.
pub fn danger_view_unchecked(path: &Path) -> Result<Snapshot, StoreError> {
    redb_salvage::salvage(path, &file::open_existing(path, false)?)
}

fn over<T>(path: &Path, read: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let overlay = Overlay::over(path, file::open_existing(path, false)?).map_err(|e| StoreError::from_io(path, e))?;
    file::guarded(path, || {
        let database = file::builder(true).create_with_backend(overlay).map_err(|e| file::fault(path, e))?;
        read(&database)
    })
}

/// Writes a whole new store beside `path`, under its name and `.new`: mode 0600, read back, synced. What an earlier
/// attempt left there is removed first. [`install`] then gives it its name.
///
/// # Errors
/// What kept it from being written; nothing is left then.
pub fn write_new(path: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
    write_beside(path, snapshot, &Direct).map(drop)
}

/// Gives what [`write_new`] wrote its name, durably.
///
/// # Errors
/// [`StoreError::AlreadyExists`] if anything is at `path`, which is then untouched; [`StoreError::Missing`] if
/// nothing was written.
pub fn install(path: &Path) -> Result<(), StoreError> {
    let new = unfinished(path);
    if !new.exists() {
        return Err(StoreError::Missing { path: new });
    }
    durable::rename_to_new(&new, path)
}

/// [`write_new`] and [`install`] in one.
///
/// # Errors
/// As both.
pub fn create(path: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
    write_new(path, snapshot)?;
    install(path).inspect_err(|_| drop(disk::remove(&unfinished(path))))
}

/// Removes what an interrupted [`write_new`] or rewrite left beside `path`. Answers whether there was something.
///
/// # Errors
/// What kept it from being removed.
pub fn discard_unfinished(path: &Path) -> Result<bool, StoreError> {
    durable::remove_leftover(&unfinished(path))
}

/// Where [`write_new`] and a rewrite write before the store's own name is given to it.
#[must_use]
pub fn unfinished(path: &Path) -> PathBuf {
    durable::beside(path, ".new")
}

fn write_beside(path: &Path, snapshot: &Snapshot, medium: &impl Medium) -> Result<FileId, StoreError> {
    let new = unfinished(path);
    durable::remove_leftover(&new)?;
    let written = fill(&new, snapshot, medium);
    if written.is_err() {
        let _ = disk::remove(&new);
    }
    written
}

fn fill(new: &Path, snapshot: &Snapshot, medium: &impl Medium) -> Result<FileId, StoreError> {
    let created = durable::create_new(new)?;
    let id = FileId::of(&created).map_err(|e| StoreError::from_io(new, e))?;
    fault::point("created");
    file::begin(new, created, medium, snapshot)?;
    fault::point("filled");
    let synced = file::open_existing(new, false)?;
    disk::sync(new, &synced).map_err(|e| StoreError::from_io(new, e))?;
    durable::sync_directory(durable::directory_of(new))?;
    if view(new)? != *snapshot {
        return Err(file::damaged(new, "it does not read back as it was written"));
    }
    Ok(id)
}

/// The store in its file, open for writing. Only the daemon, or a tool that holds the directory's lock, has one.
///
/// After an error of the medium redb refuses everything, so the file is then closed, and opened again, its integrity
/// checked, at the next use.
pub struct RedbStore<M: Medium = Direct> {
    path: PathBuf,
    medium: M,
    /// The file that was opened first, or that a rewrite put in its place: no other one is ever gone on with.
    id: FileId,
    /// The file that a rewrite was about to put there, as long as it is not known whether it did.
    renaming: Option<FileId>,
    database: Option<Database>,
}

impl RedbStore {
    /// Opens the store at `path` for writing, which changes the file: only after [`view`] and after its content was
    /// found to be trusted.
    ///
    /// # Errors
    /// As [`view`], [`StoreError::InUse`] while another process has it open, and [`StoreError::NotPermitted`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_on(path, Direct)
    }
}

impl<M: Medium> RedbStore<M> {
    fn open_on(path: &Path, medium: M) -> Result<Self, StoreError> {
        let (database, id) = file::open_writable(path, None, &medium)?;
        fault::point("opened");
        let mut store = Self { path: path.to_owned(), medium, id, renaming: None, database: Some(database) };
        store.check_path()?;
        store.using(|database, path| file::read_all(database, path).map(drop))?;
        Ok(store)
    }

    /// Holds the path to still name the file that was opened: what is committed to any other is lost, and what would
    /// be read from any other nobody has judged.
    fn check_path(&mut self) -> Result<(), StoreError> {
        match FileId::at(&self.path) {
            Ok(id) if id == self.id => {
                self.renaming = None;
                Ok(())
            }
            Ok(id) if self.renaming == Some(id) => {
                self.adopt(id);
                Ok(())
            }
            Ok(_) => Err(StoreError::unavailable(&self.path, file::REPLACED)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::unavailable(&self.path, file::REMOVED))
            }
            Err(e) => Err(StoreError::from_io(&self.path, e)),
        }
    }

    fn using<T>(&mut self, work: impl FnOnce(&Database, &Path) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.check_path()?;
        let path = self.path.clone();
        let database = match self.database.take() {
            Some(database) => database,
            None => file::open_writable(&path, Some(self.id), &self.medium)?.0,
        };
        let answer = file::guarded(&path, || work(&database, &path));
        self.database = Some(database);
        if !matches!(answer, Ok(_) | Err(StoreError::Conflict { .. })) {
            self.close();
        }
        answer
    }

    /// Reads all of it. Where the path names another file, or none, the open one is still read, though nothing is written to
    /// it: nobody else has what it holds. But where a rewrite may have put its own file there, that could be the newer one.
    fn reading<T>(&mut self, read: fn(&Database, &Path) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match (self.check_path(), &self.database) {
            (Err(_), Some(database)) if self.renaming.is_none() => {
                file::guarded(&self.path, || read(database, &self.path))
            }
            _ => self.using(read),
        }
    }

    /// Without a word: after an error there is nothing to save, and the next open repairs what is there.
    fn close(&mut self) {
        if let Some(database) = self.database.take() {
            let _ = file::guarded(&self.path, || database.close().map_err(|e| file::fault(&self.path, e)));
        }
    }

    /// A file that has no room for a repair can still be read: the repair is then made in memory.
    fn or_by_view<T>(
        &mut self,
        answer: Result<T, StoreError>,
        pick: impl FnOnce(Snapshot) -> T,
    ) -> Result<T, StoreError> {
        match answer {
            Err(StoreError::Full { .. } | StoreError::NotPermitted { .. }) => {
                let snapshot = view(&self.path)?;
                self.check_path()?;
                Ok(pick(snapshot))
            }
            answer => answer,
        }
    }

    fn rewrite(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let id = write_beside(&self.path, snapshot, &self.medium)?;
        self.renaming = Some(id);
        let renamed = durable::rename(&unfinished(&self.path), &self.path);
        // An error may have come after the rename, from the directory's sync. Which file is there then is looked at now,
        // and where even that fails, at the next use.
        match FileId::at(&self.path) {
            Ok(now) if now == id => self.adopt(id),
            Ok(_) => {
                self.renaming = None;
                let _ = disk::remove(&unfinished(&self.path));
            }
            Err(_) => {}
        }
        renamed
    }

    /// Goes on with the file that a rewrite put in the place of the one before.
    fn adopt(&mut self, id: FileId) {
        self.id = id;
        self.renaming = None;
        self.close();
    }
}

fn check(expected: u64, next: u64, batch: &Batch) -> Result<(), StoreError> {
    if next <= expected {
        return Err(StoreError::GenerationNotRising { expected, next });
    }
    batch.check_size()
}

impl<M: Medium> Store for RedbStore<M> {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        let answer = self.reading(file::read_all);
        self.or_by_view(answer, |snapshot| snapshot)
    }

    fn load_packed(&mut self) -> Result<Packed, StoreError> {
        let answer = self.reading(file::read_packed);
        self.or_by_view(answer, |snapshot| snapshot.packed())
    }

    fn load_from_medium(&mut self) -> Result<Snapshot, StoreError> {
        self.check_path()?;
        durable::forget_cached(&file::open_existing(&self.path, false)?);
        let snapshot = view(&self.path)?;
        self.check_path()?;
        Ok(snapshot)
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let answer = self.using(|database, path| file::read_one(database, path, name));
        self.or_by_view(answer, |mut snapshot| snapshot.records.remove(name))
    }

    fn commit(&mut self, expected: u64, next: u64, batch: &Batch) -> Result<(), StoreError> {
        check(expected, next, batch)?;
        self.using(|database, path| file::write(database, path, Some(expected), next, batch))
    }

    fn commit_rewriting(&mut self, now: Snapshot, next: u64, batch: &Batch) -> Result<(), StoreError> {
        let expected = now.generation;
        check(expected, next, batch)?;
        let found = self.using(file::read_generation)?;
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        self.rewrite(&now.after(next, batch))?;
        // Open again at once, so that a file that cannot be is heard of now.
        self.using(|_, _| Ok(()))
    }
}

impl<M: Medium> Drop for RedbStore<M> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<M: Medium> std::fmt::Debug for RedbStore<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "redb_adapter_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "redb_fault_tests.rs"]
mod fault_tests;
