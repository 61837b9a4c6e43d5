//! Tests of the redb adapter: making, viewing, opening and committing, over whole and damaged files.
//!
//! Must never name a path that exists outside of the test.
//! Called by cargo, as the tests of `redb_adapter`.

use super::*;
use redb::{ReadableDatabase as _, TableDefinition};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use tempfile::TempDir;

fn snapshot(generation: u64, records: &[(&str, &[u8])]) -> Snapshot {
    let records = records.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    Snapshot { generation, records }
}

fn put(name: &str, value: &[u8]) -> Batch {
    Batch { puts: [(name.to_owned(), value.to_vec())].into(), ..Batch::default() }
}

fn first() -> Snapshot {
    snapshot(1, &[("mac", &[1; 32]), ("master", &[2; 200]), ("version/00000000000000bb", b"")])
}

fn made() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyd.redb");
    create(&path, &first()).unwrap();
    (dir, path)
}

/// A store with some commits behind it, closed; and what it holds.
fn used() -> (TempDir, PathBuf, Snapshot) {
    let (dir, path) = made();
    let mut store = RedbStore::open(&path).unwrap();
    for generation in 1..8 {
        let value = vec![u8::try_from(generation).unwrap(); 3000];
        store.commit(generation, generation + 1, &put(&format!("history/{}", generation % 3), &value)).unwrap();
    }
    let holds = store.load().unwrap();
    drop(store);
    (dir, path, holds)
}

/// The same as a crash leaves it: copied from under the open store.
fn crashed() -> (TempDir, PathBuf, Snapshot) {
    let (dir, path, _) = used();
    let mut store = RedbStore::open(&path).unwrap();
    store.commit(8, 9, &put("canary", b"last")).unwrap();
    let copy = dir.path().join("crashed.redb");
    fs::copy(&path, &copy).unwrap();
    let holds = store.load().unwrap();
    (dir, copy, holds)
}

#[test]
fn a_made_store_is_private_and_gives_back_what_was_put() {
    let (dir, path) = made();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(view(&path).unwrap(), first());
    let mut store = RedbStore::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), first());
    let mut batch = put("canary", b"value");
    batch.deletes.extend(["mac".to_owned(), "not there".to_owned()]);
    store.commit(1, 1 << 32, &batch).unwrap();
    let after = first().after(1 << 32, &batch);
    assert_eq!(store.load().unwrap(), after);
    assert_eq!(store.read("canary").unwrap(), Some(b"value".to_vec()));
    assert_eq!(store.read("mac").unwrap(), None);
    drop(store);
    assert_eq!(view(&path).unwrap(), after);
}

#[test]
fn a_commit_on_another_generation_is_a_conflict_and_changes_nothing() {
    let (_dir, path) = made();
    let mut store = RedbStore::open(&path).unwrap();
    for rewriting in [false, true] {
        let mut commit = |expected, next| match rewriting {
            false => store.commit(expected, next, &put("a", b"1")),
            true => store.rewriting(expected, next, &put("a", b"1")),
        };
        assert!(matches!(commit(0, 1), Err(StoreError::Conflict { expected: 0, found: 1 })));
        assert!(matches!(commit(2, 3), Err(StoreError::Conflict { expected: 2, found: 1 })));
        assert!(matches!(commit(1, 1), Err(StoreError::GenerationNotRising { .. })));
    }
    let large = put("a", &vec![0; super::super::port::MAX_BATCH_BYTES]);
    assert!(matches!(store.commit(1, 2, &large), Err(StoreError::BatchTooLarge)));
    assert_eq!(store.load().unwrap(), first());
}

#[test]
fn a_store_is_never_made_over_something_that_exists() {
    let (_dir, path) = made();
    let before = fs::read(&path).unwrap();
    assert!(matches!(create(&path, &snapshot(5, &[])), Err(StoreError::AlreadyExists { .. })));
    assert!(fs::read(&path).unwrap() == before);
    assert!(!unfinished(&path).exists());
    assert!(matches!(install(&path), Err(StoreError::Missing { .. })));
}

#[test]
fn what_an_interrupted_creation_left_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyd.redb");
    fs::write(unfinished(&path), "half").unwrap();
    assert!(discard_unfinished(&path).unwrap());
    assert!(!discard_unfinished(&path).unwrap());
    fs::write(unfinished(&path), "half").unwrap();
    write_new(&path, &first()).unwrap();
    assert!(!path.exists());
    install(&path).unwrap();
    assert_eq!(view(&path).unwrap(), first());
}

#[test]
fn viewing_leaves_the_bytes_and_times_of_a_closed_and_of_a_crashed_store() {
    for (_dir, path, holds) in [used(), crashed()] {
        let (bytes, times) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
        assert_eq!(view(&path).unwrap(), holds);
        assert_eq!(danger_view_unchecked(&path).unwrap(), holds);
        let after = fs::metadata(&path).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
        assert_eq!((after.modified().unwrap(), after.ctime_nsec()), (times.modified().unwrap(), times.ctime_nsec()));
    }
}

#[test]
fn a_crashed_store_is_opened_with_all_that_was_committed() {
    let (_dir, path, holds) = crashed();
    let mut store = RedbStore::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), holds);
    store.commit(9, 10, &put("a", b"1")).unwrap();
}

#[test]
fn what_is_not_a_store_is_refused_by_name_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let foreign = path("foreign.redb");
    let database = redb::Database::create(&foreign).unwrap();
    let transaction = database.begin_write().unwrap();
    drop(transaction.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap());
    transaction.commit().unwrap();
    drop(database);
    fs::write(path("empty"), "").unwrap();
    fs::write(path("sqlite"), [b"SQLite format 3\0".as_slice(), &[0; 8192]].concat()).unwrap();
    fs::write(path("zeros"), [0; 8192]).unwrap();
    fs::write(path("short"), "redb").unwrap();
    symlink(&foreign, path("link")).unwrap();
    fs::create_dir(path("directory")).unwrap();
    let open = |path: &Path| RedbStore::open(path).map(|_| Snapshot::default());
    for read in [&view as &dyn Fn(&Path) -> Result<Snapshot, StoreError>, &open] {
        assert!(matches!(read(&path("none")), Err(StoreError::Missing { .. })));
        assert!(matches!(read(&path("empty")), Err(StoreError::Empty { .. })));
        assert!(matches!(read(&path("sqlite")), Err(StoreError::Foreign { .. })));
        assert!(matches!(read(&path("zeros")), Err(StoreError::Foreign { .. })));
        assert!(matches!(read(&path("short")), Err(StoreError::Damaged { .. })));
        assert!(matches!(read(&path("link")), Err(StoreError::NotPermitted { .. })));
        assert!(matches!(read(&path("directory")), Err(StoreError::Foreign { .. })));
        assert!(matches!(read(&foreign), Err(StoreError::Foreign { .. })));
    }
    assert_eq!(fs::metadata(path("empty")).unwrap().len(), 0);
    assert!(!path("none").exists());
}

/// Damage is refused, or does no harm to what is read: never other data.
fn judge(path: &Path, holds: &Snapshot, what: &str) -> bool {
    match view(path) {
        Ok(read) => {
            assert!(read == *holds, "{what}: other data");
            true
        }
        Err(StoreError::Damaged { .. } | StoreError::Foreign { .. } | StoreError::Empty { .. }) => false,
        Err(e) => panic!("{what}: {e:?}"),
    }
}

/// The bit of redb's header that says which of its two commits is the current one; no checksum covers it.
const CURRENT_COMMIT: (usize, usize) = (9, 0);

#[test]
fn a_flipped_bit_is_damage_or_does_no_harm() {
    for (dir, path, holds) in [used(), crashed()] {
        let good = fs::read(&path).unwrap();
        let bad = dir.path().join("bad");
        let header = (0..32).flat_map(|at| (0..8).map(move |bit| (at, bit))).chain((32..320).map(|at| (at, at % 8)));
        let rest = (320..good.len()).step_by(good.len() / 150).map(|at| (at, at % 8));
        let pages_in_use = (4096..good.len()).filter(|at| good[*at] != 0).step_by(211).take(400).map(|at| (at, at % 8));
        let mut refused = 0;
        for (at, bit) in header.chain(rest).chain(pages_in_use).filter(|place| *place != CURRENT_COMMIT) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&bad, &bytes).unwrap();
            refused += usize::from(!judge(&bad, &holds, &format!("bit {bit} of byte {at}")));
        }
        assert!(refused > 20, "only {refused} noticed");
    }
}

/// It is what a cut before the last commit would have left, so only the mark can tell.
#[test]
fn the_one_flip_that_shows_another_state_shows_an_earlier_one_which_the_mark_refuses() {
    let (_dir, path, holds) = crashed();
    let mut bytes = fs::read(&path).unwrap();
    bytes[CURRENT_COMMIT.0] ^= 1 << CURRENT_COMMIT.1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(view(&path).unwrap().generation, holds.generation - 1);
}

#[test]
fn a_truncated_or_lengthened_store_is_damage_or_does_no_harm() {
    for (dir, path, holds) in [used(), crashed()] {
        let good = fs::read(&path).unwrap();
        let bad = dir.path().join("bad");
        let lengths = (0..64).chain((64..good.len()).step_by(good.len() / 120)).chain([good.len() - 1]);
        for length in lengths {
            fs::write(&bad, &good[..length]).unwrap();
            judge(&bad, &holds, &format!("cut to {length}"));
        }
        for garbage in [1, 4095, 4096, 100_000] {
            fs::write(&bad, [&good[..], &vec![0xa5; garbage]].concat()).unwrap();
            judge(&bad, &holds, &format!("{garbage} bytes appended"));
        }
    }
}

#[test]
fn salvage_reads_what_a_damaged_store_still_gives() {
    let (dir, path) = made();
    let mut store = RedbStore::open(&path).unwrap();
    for n in 0..20_u64 {
        store.commit(n + 1, n + 2, &put(&format!("version/{n:016x}"), &[0x77; 2000])).unwrap();
    }
    let holds = store.load().unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let value = bytes.windows(2000).position(|window| window == [0x77; 2000]).unwrap();
    bytes[value + 1000] ^= 1;
    let bad = dir.path().join("bad");
    fs::write(&bad, bytes).unwrap();
    let salvaged = danger_view_unchecked(&bad).unwrap();
    let right = salvaged.records.iter().filter(|(name, value)| holds.records.get(*name) == Some(value)).count();
    assert!(right >= holds.records.len() - 1, "{right} of {}", holds.records.len());
}

#[test]
fn salvage_reads_around_pages_that_are_gone() {
    let (dir, path) = made();
    let mut store = RedbStore::open(&path).unwrap();
    let record = |n: u64| format!("version/{:016x}", n.wrapping_mul(0x0409_3b1f_77d1_91a5));
    let value = |n: u64| [&n.to_be_bytes()[..], &[0x77; 1500]].concat();
    for n in 0..60 {
        store.commit(n + 1, n + 2, &put(&record(n), &value(n))).unwrap();
    }
    let holds = store.load().unwrap();
    drop(store);
    // The pages of three values, far from each other in the order of names; freed copies of them too.
    let mut names: Vec<u64> = (0..60).collect();
    names.sort_by_key(|n| record(*n));
    let mut bytes = fs::read(&path).unwrap();
    for n in [names[10], names[30], names[50]] {
        let wanted = value(n);
        let places: Vec<usize> = (0..bytes.len() - 8).filter(|at| bytes[*at..].starts_with(&wanted)).collect();
        places.iter().for_each(|at| bytes[at / 4096 * 4096..][..4096].fill(0));
    }
    let bad = dir.path().join("bad");
    fs::write(&bad, bytes).unwrap();
    assert!(matches!(view(&bad), Err(StoreError::Damaged { .. })));
    let salvaged = danger_view_unchecked(&bad).unwrap();
    assert!(salvaged.records.iter().all(|(name, value)| holds.records.get(name) == Some(value)));
    let lost = holds.records.len() - salvaged.records.len();
    assert!((3..=9).contains(&lost), "{lost} of {} lost", holds.records.len());
}

#[test]
fn a_format_that_both_commits_name_is_a_newer_one_and_one_commit_alone_is_damaged() {
    let (dir, path) = made();
    let bad = dir.path().join("bad");
    let with = |first: u8, second: u8| {
        let mut bytes = fs::read(&path).unwrap();
        (bytes[64], bytes[192]) = (first, second);
        fs::write(&bad, bytes).unwrap();
        view(&bad)
    };
    assert!(matches!(with(4, 4), Err(StoreError::NewerFormat { found: 4, .. })));
    assert!(matches!(with(4, 5), Err(StoreError::Damaged { .. })));
    assert!(matches!(with(2, 2), Err(StoreError::Damaged { .. })), "older than any of ours");
    assert!(matches!(with(b'x', b'x'), Err(StoreError::Damaged { .. })), "text is no format");
}

#[test]
fn a_second_opener_is_told_that_it_is_in_use() {
    let (_dir, path) = made();
    let store = RedbStore::open(&path).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::InUse { .. })));
    drop(store);
    assert!(RedbStore::open(&path).is_ok());
}

#[test]
fn a_store_moved_away_or_replaced_is_not_gone_on_with_until_it_is_back_but_what_it_held_is_still_read() {
    let (dir, path) = made();
    let (away, other) = (dir.path().join("away"), dir.path().join("other"));
    create(&other, &first()).unwrap();
    let untouched = fs::read(&other).unwrap();
    let mut store = RedbStore::open(&path).unwrap();
    fs::rename(&path, &away).unwrap();
    let unavailable = |answer| matches!(answer, Err(StoreError::Unavailable { .. }));
    assert!(unavailable(store.commit(1, 2, &put("a", b"1"))));
    assert!(unavailable(store.rewriting(1, 2, &put("a", b"1"))));
    assert!(unavailable(store.read("a").map(drop)));
    assert!(!path.exists());
    fs::rename(&other, &path).unwrap();
    assert!(unavailable(store.commit(1, 2, &put("a", b"1"))));
    assert!(unavailable(store.load_from_medium().map(drop)));
    assert!(store.load().unwrap() == first() && store.load_packed().unwrap().generation == 1);
    store.close();
    assert!(unavailable(store.load().map(drop)), "nor opened after a fault");
    assert!(fs::read(&path).unwrap() == untouched);
    fs::rename(&away, &path).unwrap();
    store.commit(1, 2, &put("a", b"1")).unwrap();
}

#[test]
fn after_a_rewrite_no_byte_of_a_dropped_value_is_in_the_file() {
    let (dir, path) = made();
    let mut store = RedbStore::open(&path).unwrap();
    let (replaced, dropped, kept) = ([0xd1; 100], [0xd2; 100], [0xd3; 100]);
    store.commit(1, 2, &put("identity", &replaced)).unwrap();
    store.commit(2, 3, &put("legacy/00000000000000aa", &dropped)).unwrap();
    let mut batch = put("identity", &kept);
    batch.deletes.insert("legacy/00000000000000aa".into());
    let holds = |value: &[u8]| fs::read(&path).unwrap().windows(16).any(|window| window == &value[..16]);
    store.commit(3, 4, &batch).unwrap();
    assert!(holds(&replaced) && holds(&dropped), "redb itself leaves them, which is what the rewrite is for");
    store.rewriting(4, 5, &put("meta", b"rewritten")).unwrap();
    assert!(!holds(&replaced) && !holds(&dropped) && holds(&kept));
    store.rewriting(5, 6, &put("identity", b"")).unwrap();
    assert!(!holds(&kept));
    assert_eq!(store.load().unwrap().generation, 6);
    store.commit(6, 7, &put("a", b"1")).unwrap();
    drop(store);
    assert_eq!(view(&path).unwrap().generation, 7);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_rewrite_leaves_the_store_as_it_was() {
    let (_dir, path) = made();
    let mut store = RedbStore::open(&path).unwrap();
    fs::create_dir(unfinished(&path)).unwrap();
    assert!(store.rewriting(1, 2, &put("a", b"1")).is_err());
    assert_eq!(store.load().unwrap(), first());
    fs::remove_dir(unfinished(&path)).unwrap();
    store.rewriting(1, 2, &put("a", b"1")).unwrap();
}

#[test]
fn a_store_with_an_unreadable_table_is_damage_not_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyd.redb");
    create(&path, &Snapshot { generation: 3, ..Snapshot::default() }).unwrap();
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<&str, u64>::new("generation")).unwrap().remove("current").unwrap();
    transaction.commit().unwrap();
    assert!(database.begin_read().is_ok());
    drop(database);
    assert!(matches!(view(&path), Err(StoreError::Damaged { .. })));
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_rewrite_whose_rename_could_not_be_looked_at_is_gone_on_with_as_it_then_is() {
    for renamed in [true, false] {
        let (_dir, path) = made();
        let mut store = RedbStore::open(&path).unwrap();
        let after = first().after(2, &put("a", b"1"));
        // What a rewrite leaves when nothing can be asked of the path behind its rename.
        store.renaming = Some(write_beside(&path, &after, &Direct).unwrap());
        if renamed {
            fs::rename(unfinished(&path), &path).unwrap();
        }
        let found = store.load().unwrap();
        assert!(found == if renamed { after } else { first() });
        store.commit(found.generation, found.generation + 1, &put("b", b"2")).unwrap();
        assert_eq!(store.renaming, None);
        // From then on no other file is.
        write_new(&path, &first()).unwrap();
        fs::rename(unfinished(&path), &path).unwrap();
        assert!(matches!(store.read("a"), Err(StoreError::Unavailable { .. })));
        store.renaming = Some(store.id);
        assert!(matches!(store.load(), Err(StoreError::Unavailable { .. })), "which of both it is is not known");
    }
}
