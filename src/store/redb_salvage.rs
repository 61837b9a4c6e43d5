//! What can still be read of a redb file whose integrity nobody checked: around each fault, from many places.
//!
//! Must never be believed, nor go on for ever where damage leads in a circle.
//! Called by the redb adapter alone, over a copy in memory.

use super::overlay::Overlay;
use super::port::{Snapshot, StoreError};
use super::redb_file::{GENERATION, RECORDS, builder, current, damaged, fault, guarded};
use redb::{BackendError, ConcurrencyMode, ReadOnlyDatabase, ReadableDatabase as _, StorageBackend};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;

/// Where redb's header says how the file was left, and which of its two last commits counts.
/// Source: redb's design document, "god byte".
const STATE_AT: u64 = 9;
const WHICH_COMMIT: u8 = 1;
const NOT_CLOSED: u8 = 2 | 8;

/// Records that are there once.
const SINGLE: [&str; 5] = ["canary", "identity", "mac", "master", "meta"];

/// What the names of records that are there many times begin with; an id in hex follows.
const MANY: [&str; 4] = ["key/", "legacy/", "request/", "version/"];

/// Every record that can be had of the last commit; where something of it is lost, what the one before has instead.
///
/// # Errors
/// What the last commit met first, if nothing at all can be had.
pub(super) fn salvage(path: &Path, file: &File) -> Result<Snapshot, StoreError> {
    let mut found = Snapshot::default();
    let Err(first) = of_commit(path, file, false, &mut found) else { return Ok(found) };
    let _ = of_commit(path, file, true, &mut found);
    if found.records.is_empty() { Err(first) } else { Ok(found) }
}

fn of_commit(path: &Path, file: &File, before: bool, found: &mut Snapshot) -> Result<(), StoreError> {
    let shown = Shown::of(path, file, before).map_err(|e| StoreError::from_io(path, e))?;
    let mut database = None;
    guarded(path, || {
        // As one of many processes that only look, redb needs neither a repair nor the map of what is free.
        let mut builder = builder(false);
        builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
        database = Some(builder.open_read_only_with_backend(shown).map_err(|e| fault(path, e))?);
        Ok(())
    })?;
    database.as_ref().map_or(Ok(()), |database| read(database, path, found))
}

/// The file as redb is shown it here: closed cleanly, locked by nobody, and zeros behind its end, for one error of the
/// medium would keep redb from all the rest.
#[derive(Debug)]
struct Shown(Overlay);

impl Shown {
    fn of(path: &Path, file: &File, before: bool) -> io::Result<Self> {
        let overlay = Overlay::over(path, file.try_clone()?)?;
        let mut state = [0];
        overlay.read(STATE_AT, &mut state)?;
        let [state] = state;
        overlay.write(STATE_AT, &[(state & !NOT_CLOSED) ^ if before { WHICH_COMMIT } else { 0 }])?;
        Ok(Self(overlay))
    }
}

type Locked<T> = Result<T, BackendError>;

impl StorageBackend for Shown {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let there = usize::try_from(self.0.len()?.saturating_sub(offset)).unwrap_or(out.len()).min(out.len());
        out.get_mut(..there).map_or(Ok(()), |there| self.0.read(offset, there))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    // The caller holds the lock of the directory.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Locked<bool> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Locked<bool> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Locked<()> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Locked<()> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Locked<()> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Locked<bool> {
        Ok(false)
    }
}

/// What is there when redb gives up, or panics, was read before. Each place that reading begins at is a way of its own
/// down the tree, so that a fault hides little but its own page.
fn read(database: &ReadOnlyDatabase, path: &Path, found: &mut Snapshot) -> Result<(), StoreError> {
    let mut seen = BTreeSet::new();
    let mut answer = guarded(path, || upwards(database, path, "", &mut seen, found));
    if answer.is_err() {
        for start in starts() {
            let _ = guarded(path, || upwards(database, path, &start, &mut seen, found));
        }
        let _ = guarded(path, || downwards(database, path, &mut seen, found));
    }
    let generation = guarded(path, || {
        let transaction = database.begin_read().map_err(|e| fault(path, e))?;
        current(&transaction.open_table(GENERATION).map_err(|e| fault(path, e))?, path)
    });
    match generation {
        // That of the newer commit, where both can be read.
        Ok(generation) => found.generation = found.generation.max(generation),
        Err(error) => answer = answer.and(Err(error)),
    }
    answer
}

fn starts() -> impl Iterator<Item = String> {
    let many = MANY.into_iter().flat_map(|prefix| (0..=u8::MAX).map(move |byte| format!("{prefix}{byte:02x}")));
    SINGLE.into_iter().chain(["history/"]).map(str::to_owned).chain(many)
}

/// From `start` on, up to a fault, or to what was seen before. Names that do not rise are a circle.
fn upwards(
    database: &ReadOnlyDatabase,
    path: &Path,
    start: &str,
    seen: &mut BTreeSet<String>,
    found: &mut Snapshot,
) -> Result<(), StoreError> {
    let transaction = database.begin_read().map_err(|e| fault(path, e))?;
    let records = transaction.open_table(RECORDS).map_err(|e| fault(path, e))?;
    let mut last = None;
    for entry in records.range(start..).map_err(|e| fault(path, e))? {
        let (name, value) = entry.map_err(|e| fault(path, e))?;
        let name = name.value().to_owned();
        if last.is_some_and(|last| name <= last) {
            return Err(damaged(path, "its records are not in order"));
        }
        if !seen.insert(name.clone()) {
            break;
        }
        found.records.entry(name.clone()).or_insert_with(|| value.value().to_vec());
        last = Some(name);
    }
    Ok(())
}

fn downwards(
    database: &ReadOnlyDatabase,
    path: &Path,
    seen: &mut BTreeSet<String>,
    found: &mut Snapshot,
) -> Result<(), StoreError> {
    let transaction = database.begin_read().map_err(|e| fault(path, e))?;
    let records = transaction.open_table(RECORDS).map_err(|e| fault(path, e))?;
    for entry in records.range::<&str>(..).map_err(|e| fault(path, e))?.rev() {
        let (name, value) = entry.map_err(|e| fault(path, e))?;
        if !seen.insert(name.value().to_owned()) {
            break;
        }
        found.records.entry(name.value().to_owned()).or_insert_with(|| value.value().to_vec());
    }
    Ok(())
}
