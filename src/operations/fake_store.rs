//! A store in memory, or in a file too, that fails as it is told: before a commit, after it, or in the middle of the thread.
//!
//! Must never be gentler than a real one: it holds batches to their limits and generations to their order.
//! Called by `test_rig`, which keeps the medium when the store is dropped as in a crash.

use crate::store::port::{Batch, Snapshot, Store, StoreError};
use crate::store::redb_adapter::RedbStore;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the next commit does instead of what it should.
pub(super) enum Fault {
    /// Nothing goes wrong with this one.
    None,
    /// Nothing is written, and this is said.
    Fails(StoreError),
    /// Everything is written, and this is said.
    WrittenButSaysSo(StoreError),
    /// It panics: before it wrote, or after.
    Panics {
        /// Whether it wrote.
        written: bool,
    },
}

/// What outlives the store.
#[derive(Default)]
pub(super) struct Medium {
    pub(super) snapshot: Snapshot,
    /// One is taken by each of the next commits.
    pub(super) faults: VecDeque<Fault>,
    /// Said by every load and read as long as it is here.
    pub(super) unreadable: bool,
    /// The same from the end of this commit on, counted from the first.
    pub(super) unreadable_from: Option<u32>,
    /// Commits so far, those included that failed.
    pub(super) commits_tried: u32,
    /// Said by every commit that meets no fault of its own, as long as it is here; nothing is written.
    pub(super) refuses: Option<fn() -> StoreError>,
    /// The same of commits that write the whole file anew.
    pub(super) refuses_rewrites: Option<fn() -> StoreError>,
    /// Records of each commit so far, and whether it rewrote.
    pub(super) commits: Vec<(usize, bool)>,
    /// Loads so far.
    pub(super) loads: usize,
    /// Done to what is read after the next load, as by a disk that gives other bytes from then on.
    pub(super) spoils: Option<fn(&mut Snapshot)>,
    /// Reads of one record so far.
    pub(super) reads: usize,
    /// The file that everything is really in, where there is one; `snapshot` is what must be in it.
    pub(super) file: Option<RedbStore>,
}

/// The store.
pub(super) struct FakeStore(pub(super) Arc<Mutex<Medium>>);

pub(super) fn locked(medium: &Mutex<Medium>) -> MutexGuard<'_, Medium> {
    medium.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn unavailable() -> StoreError {
    StoreError::Unavailable { path: "fake".into(), source: io::Error::from_raw_os_error(libc::EIO) }
}

pub(super) fn full() -> StoreError {
    StoreError::Full { path: "fake".into() }
}

/// One of each kind of error that a commit can say but a conflict.
pub(super) fn every_failure() -> Vec<StoreError> {
    let path = || Path::new("fake").to_owned();
    let detail = || "detail".to_owned();
    vec![
        StoreError::Missing { path: path() },
        StoreError::AlreadyExists { path: path() },
        StoreError::Empty { path: path() },
        StoreError::Foreign { path: path() },
        StoreError::NewerFormat { path: path(), found: 4 },
        StoreError::Damaged { path: path(), detail: detail() },
        StoreError::InUse { path: path() },
        StoreError::GenerationNotRising { expected: 1, next: 1 },
        StoreError::BatchTooLarge,
        StoreError::Full { path: path() },
        unavailable(),
        StoreError::NotPermitted { path: path(), detail: detail() },
    ]
}

impl FakeStore {
    fn write(&mut self, now: Option<Snapshot>, expected: u64, next: u64, batch: &Batch) -> Result<(), StoreError> {
        let mut medium = locked(&self.0);
        let rewrites = now.is_some();
        if next <= expected {
            return Err(StoreError::GenerationNotRising { expected, next });
        }
        batch.check_size()?;
        medium.commits_tried += 1;
        medium.unreadable |= medium.unreadable_from.is_some_and(|from| medium.commits_tried >= from);
        let fault = medium.faults.pop_front();
        let refuses = medium.refuses.or(medium.refuses_rewrites.filter(|_| rewrites));
        if let (None, Some(error)) = (&fault, refuses) {
            return Err(error());
        }
        if let Some(Fault::Fails(error)) = fault {
            return Err(error);
        }
        assert!(!matches!(fault, Some(Fault::Panics { written: false })), "planted");
        let found = medium.snapshot.generation;
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        match (&mut medium.file, &now) {
            (Some(file), Some(now)) => file.commit_rewriting(now.clone(), next, batch)?,
            (Some(file), None) => file.commit(expected, next, batch)?,
            (None, _) => {}
        }
        medium.snapshot = now.unwrap_or_else(|| medium.snapshot.clone()).after(next, batch);
        medium.commits.push((batch.puts.len() + batch.deletes.len(), rewrites));
        match fault {
            Some(Fault::WrittenButSaysSo(error)) => Err(error),
            Some(Fault::Panics { .. }) => panic!("planted"),
            _ => Ok(()),
        }
    }
}

impl Store for FakeStore {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        let mut medium = locked(&self.0);
        medium.loads += 1;
        if medium.unreadable {
            return Err(unavailable());
        }
        if let Some(file) = &mut medium.file {
            let found = file.load()?;
            assert!(found == medium.snapshot, "the file holds something else");
        }
        let found = medium.snapshot.clone();
        if let Some(spoil) = medium.spoils.take() {
            spoil(&mut medium.snapshot);
        }
        Ok(found)
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut medium = locked(&self.0);
        medium.reads += 1;
        if medium.unreadable { Err(unavailable()) } else { Ok(medium.snapshot.records.get(name).cloned()) }
    }

    fn commit(&mut self, expected: u64, next: u64, batch: &Batch) -> Result<(), StoreError> {
        self.write(None, expected, next, batch)
    }

    fn commit_rewriting(&mut self, now: Snapshot, next: u64, batch: &Batch) -> Result<(), StoreError> {
        let expected = now.generation;
        self.write(Some(now), expected, next, batch)
    }
}
