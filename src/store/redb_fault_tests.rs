//! Tests of the redb adapter on a medium that fails: errors at every operation, and power cuts at every sync.
//!
//! Must never pass because no fault was met: each walk counts its faults.
//! Called by cargo, as the fault tests of `redb_adapter`.

use super::*;
use redb::StorageBackend;
use redb::backends::FileBackend;
use std::fs::{self, File};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
    SetLen,
    Sync,
}

/// Fails the operation that the countdown ends at, once or from then on.
#[derive(Clone, Copy, Debug)]
struct Fault {
    of: Operation,
    countdown: u64,
    error: i32,
    lasting: bool,
}

/// What the disk holds for certain, and what it has only been told.
#[derive(Debug, Default)]
struct Disk {
    fault: Option<Fault>,
    faults_met: u64,
    durable: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
    /// What was unsynced at the first sync that failed: a power cut there keeps any part of it.
    lost: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone, Debug, Default)]
struct Faulty(Arc<Mutex<Disk>>);

impl Faulty {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    fn plan(&self, fault: Option<Fault>) {
        let mut disk = self.disk();
        disk.fault = fault;
        disk.faults_met = 0;
    }
}

impl Medium for Faulty {
    type Backend = FaultyBackend;

    fn backend(&self, _: &Path, file: File) -> Result<FaultyBackend, redb::DatabaseError> {
        Ok(FaultyBackend { inner: FileBackend::new(file)?, medium: self.clone() })
    }
}

#[derive(Debug)]
struct FaultyBackend {
    inner: FileBackend,
    medium: Faulty,
}

impl FaultyBackend {
    fn meet(&self, operation: Operation) -> io::Result<()> {
        let mut disk = self.medium.disk();
        let Some(fault) = disk.fault.as_mut().filter(|fault| fault.of == operation) else { return Ok(()) };
        if fault.countdown > 0 {
            fault.countdown -= 1;
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(fault.error);
        if !fault.lasting {
            disk.fault = None;
        }
        disk.faults_met += 1;
        if operation == Operation::Sync {
            // As Linux does: what could not be written is marked clean, and the next sync knows nothing of it.
            let unsynced = std::mem::take(&mut disk.unsynced);
            if disk.faults_met == 1 {
                disk.lost = unsynced;
            }
        }
        Err(error)
    }
}

impl StorageBackend for FaultyBackend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.meet(Operation::Read)?;
        self.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.meet(Operation::SetLen)?;
        self.inner.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meet(Operation::Sync)?;
        self.inner.sync_data()?;
        let length = usize::try_from(self.inner.len()?).unwrap();
        let mut disk = self.medium.disk();
        disk.durable.resize(length, 0);
        for (offset, data) in std::mem::take(&mut disk.unsynced) {
            write_into(&mut disk.durable, offset, &data);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.meet(Operation::Write)?;
        self.inner.write(offset, data)?;
        self.medium.disk().unsynced.push((offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

impl<M: Medium> RedbStore<M> {
    /// A rewrite of what the store shows, taken for what it was at a generation.
    pub(super) fn rewriting(&mut self, expected: u64, next: u64, batch: &Batch) -> Result<(), StoreError> {
        let now = self.load()?;
        self.commit_rewriting(Snapshot { generation: expected, ..now }, next, batch)
    }
}

fn write_into(image: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    image.resize(image.len().max(start + data.len()), 0);
    image[start..start + data.len()].copy_from_slice(data);
}

fn put(generation: u64) -> Batch {
    let value = vec![u8::try_from(generation % 256).unwrap(); 5000];
    Batch { puts: [(format!("history/{}", generation % 4), value)].into(), ..Batch::default() }
}

/// A store on a faulty medium with some commits behind it, so that pages are freed and used again.
fn faulty() -> (tempfile::TempDir, PathBuf, Faulty, RedbStore<Faulty>, Snapshot) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyd.redb");
    create(&path, &Snapshot { generation: 1, ..Snapshot::default() }).unwrap();
    let medium = Faulty::default();
    medium.disk().durable = fs::read(&path).unwrap();
    let mut store = RedbStore::open_on(&path, medium.clone()).unwrap();
    for generation in 1..6 {
        store.commit(generation, generation + 1, &put(generation)).unwrap();
    }
    let holds = store.load().unwrap();
    (dir, path, medium, store, holds)
}

type Commit = fn(&mut RedbStore<Faulty>, u64, u64, &Batch) -> Result<(), StoreError>;

/// Fails each operation of a commit in turn, until one run meets no fault. After each, the store holds the old or the
/// new state, the next commit goes through or is a conflict, and what was said to be committed is there.
fn walk(commit: Commit, of: Operation, error: i32, lasting: bool) -> u64 {
    let mut faults = 0;
    for countdown in 0..10_000 {
        let (_dir, path, medium, mut store, old) = faulty();
        let batch = put(6);
        let new = old.clone().after(7, &batch);
        medium.plan(Some(Fault { of, countdown, error, lasting }));
        let answer = commit(&mut store, 6, 7, &batch);
        let met = medium.disk().faults_met;
        faults += met.min(1);
        if lasting && met > 0 {
            // A full disk can still be read; any other fault is refused for as long as it lasts.
            match store.load() {
                Ok(read) => assert!(read == old || read == new, "{of:?} {countdown}"),
                Err(e) => assert!(matches!(e, StoreError::Unavailable { .. }), "{of:?} {countdown}: {e:?}"),
            }
        }
        medium.plan(None);
        let read = store.load().unwrap();
        match &answer {
            Ok(()) => assert!(read == new, "{of:?} {countdown}: an acknowledged commit is lost"),
            Err(StoreError::Full { .. }) => assert!(error == libc::ENOSPC),
            Err(StoreError::Unavailable { .. }) => {}
            Err(e) => panic!("{of:?} {countdown}: {e:?}"),
        }
        assert!(read == old || read == new, "{of:?} {countdown}: neither old nor new");
        match store.commit(6, 7, &batch) {
            Ok(()) => assert!(read == old),
            Err(StoreError::Conflict { found: 7, .. }) => assert!(read == new),
            Err(e) => panic!("{of:?} {countdown}: {e:?}"),
        }
        store.commit(7, 8, &put(7)).unwrap();
        drop(store);
        assert!(view(&path).unwrap() == new.after(8, &put(7)));
        if met == 0 {
            assert!(answer.is_ok());
            return faults;
        }
    }
    panic!("no run without a fault");
}

#[test]
fn a_commit_survives_an_error_of_every_write_and_sync() {
    for lasting in [false, true] {
        assert!(walk(RedbStore::commit, Operation::Write, libc::EIO, lasting) > 2);
        assert!(walk(RedbStore::commit, Operation::Write, libc::ENOSPC, lasting) > 2);
        assert!(walk(RedbStore::commit, Operation::Sync, libc::EIO, lasting) > 1);
        walk(RedbStore::commit, Operation::Read, libc::EIO, lasting);
        walk(RedbStore::commit, Operation::SetLen, libc::ENOSPC, lasting);
    }
}

#[test]
fn a_rewrite_survives_an_error_of_every_operation() {
    for lasting in [false, true] {
        assert!(walk(RedbStore::rewriting, Operation::Write, libc::ENOSPC, lasting) > 2);
        assert!(walk(RedbStore::rewriting, Operation::Sync, libc::EIO, lasting) > 1);
        assert!(walk(RedbStore::rewriting, Operation::SetLen, libc::ENOSPC, lasting) > 0);
        walk(RedbStore::rewriting, Operation::Read, libc::EIO, lasting);
    }
}

#[test]
fn a_commit_that_makes_the_file_grow_survives_a_full_disk() {
    let (_dir, _path, medium, mut store, old) = faulty();
    medium.plan(Some(Fault { of: Operation::SetLen, countdown: 0, error: libc::ENOSPC, lasting: true }));
    let large = |n: u64| Batch { puts: [(format!("version/{n:016x}"), vec![1; 900_000])].into(), ..Batch::default() };
    let mut generation = old.generation;
    let refused = loop {
        match store.commit(generation, generation + 1, &large(generation)) {
            Ok(()) => generation += 1,
            Err(e) => break e,
        }
        assert!(generation < 100, "the file never grew");
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused:?}");
    assert_eq!(store.load().unwrap().generation, generation);
    assert!(store.read("history/1").unwrap().is_some());
    medium.plan(None);
    store.commit(generation, generation + 1, &large(generation)).unwrap();
}

#[test]
fn a_power_cut_at_every_sync_leaves_the_old_or_the_new_state_and_a_second_cut_no_less() {
    for countdown in 0..100 {
        let (dir, _path, medium, mut store, old) = faulty();
        let batch = put(6);
        let new = old.clone().after(7, &batch);
        medium.plan(Some(Fault { of: Operation::Sync, countdown, error: libc::EIO, lasting: true }));
        let acknowledged = store.commit(6, 7, &batch).is_ok();
        let met = medium.disk().faults_met > 0;
        let image = medium.disk().durable.clone();
        let state = judge_image(&dir.path().join("first"), &image, &[&old, &new]);
        assert!(!acknowledged || state == new, "an acknowledged commit is lost");
        for seed in 0..12 {
            let torn = torn_image(&medium.disk(), seed);
            judge_image(&dir.path().join("torn"), &torn, &[&old, &new]);
        }
        second_cut(dir.path(), &image, &state);
        if !met {
            assert!(acknowledged && countdown > 1);
            return;
        }
    }
    panic!("no run without a cut");
}

/// The disk after a cut in the middle of writing: some sectors of what was not yet synced, all with seed 0.
fn torn_image(disk: &Disk, seed: u64) -> Vec<u8> {
    let mut image = disk.durable.clone();
    let mut state = seed;
    for (offset, data) in &disk.lost {
        for (sector, at) in data.chunks(512).zip((*offset..).step_by(512)) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if seed == 0 || state >> 63 == 0 {
                write_into(&mut image, at, sector);
            }
        }
    }
    image
}

fn judge_image(path: &Path, image: &[u8], either: &[&Snapshot]) -> Snapshot {
    fs::write(path, image).unwrap();
    let read = view(path).unwrap();
    assert!(either.contains(&&read));
    read
}

/// Cuts the power again at every sync of the repair.
fn second_cut(dir: &Path, image: &[u8], state: &Snapshot) {
    for countdown in 0..100 {
        let path = dir.join("second");
        fs::write(&path, image).unwrap();
        let medium = Faulty::default();
        medium.disk().durable = image.to_vec();
        medium.plan(Some(Fault { of: Operation::Sync, countdown, error: libc::EIO, lasting: true }));
        drop(RedbStore::open_on(&path, medium.clone()));
        let met = medium.disk().faults_met > 0;
        let durable = medium.disk().durable.clone();
        judge_image(&dir.join("third"), &durable, &[state]);
        if !met {
            return;
        }
    }
    panic!("no repair without a cut");
}

#[test]
fn a_sync_that_fails_once_and_then_succeeds_loses_nothing_at_a_power_cut() {
    for countdown in 0..100 {
        let (dir, _path, medium, mut store, old) = faulty();
        let batch = put(6);
        let new = old.clone().after(7, &batch);
        medium.plan(Some(Fault { of: Operation::Sync, countdown, error: libc::EIO, lasting: false }));
        let first = store.commit(6, 7, &batch);
        let met = medium.disk().faults_met > 0;
        medium.plan(None);
        let now = store.load().unwrap();
        assert!(now == new || (now == old && first.is_err()));
        // What is read now counts as committed: it is what a power cut leaves, before anything else is written.
        judge_image(&dir.path().join("at-once"), &medium.disk().durable.clone(), &[&now]);
        store.commit(now.generation, 8, &put(7)).unwrap();
        let image = medium.disk().durable.clone();
        judge_image(&dir.path().join("image"), &image, &[&now.after(8, &put(7))]);
        if !met {
            return;
        }
    }
    panic!("no run without a fault");
}

#[test]
fn a_store_that_cannot_be_made_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyd.redb");
    let first = Snapshot { generation: 1, records: put(1).puts };
    for of in [Operation::Write, Operation::Sync, Operation::SetLen] {
        for countdown in 0..1000 {
            let medium = Faulty::default();
            medium.plan(Some(Fault { of, countdown, error: libc::ENOSPC, lasting: true }));
            let answer = write_beside(&path, &first, &medium);
            if medium.disk().faults_met == 0 {
                assert!(answer.is_ok() && countdown > 0);
                break;
            }
            assert!(matches!(answer, Err(StoreError::Full { .. })), "{of:?} {countdown}: {answer:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        discard_unfinished(&path).unwrap();
    }
}
