//! A store's backups in a directory from the newest down, as far as the first good one; and what damaged ones still say.
//!
//! Must never pass a damaged backup for a good one: what is read of it is for telling people only. Nor let the name of a
//! copy end the search: a newer one may follow it.
//! Called by `operations`: for what a backup that is to be restored may lack, for what an acceptance goes on beyond, and for
//! the checks.

use super::backup_file::{self, Backup, BackupError, MAX_FILE_BYTES, SCHEMA};
use super::port::StoreError;
use super::{backup_prune, durable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A backup that was found.
pub struct Found {
    /// Its file.
    pub path: PathBuf,
    /// What it holds; of a damaged one, the records up to the damage, unchecked.
    pub backup: Backup,
    /// Whether it is good, as far as that can be told without a key.
    pub is_good: bool,
}

/// Those of [`backup_file::list`] whose names say that they are of this store, the newest first. What somebody named
/// comes last: such a name tells nothing of how new it is.
///
/// # Errors
/// As [`backup_file::list`].
pub fn newest_first(directory: &Path, store_id: &[u8; 16]) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = backup_file::list(directory)?;
    found.retain(|path| name_of(path).is_some_and(|name| backup_file::is_of(name, store_id)));
    found.reverse();
    found.sort_by_key(|path| !is_named_by_a_daemon(path, store_id));
    Ok(found)
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn is_named_by_a_daemon(path: &Path, store_id: &[u8; 16]) -> bool {
    name_of(path).is_some_and(|name| backup_prune::generation(name, store_id).is_some())
}

/// The newest generation that a good backup of `store_id` in `directory` holds; none if there is no such backup.
///
/// # Errors
/// As [`newest_first`].
pub fn newest_generation(directory: &Path, store_id: &[u8; 16]) -> Result<Option<u64>, StoreError> {
    let found = newest(directory, store_id, u64::MAX)?;
    Ok(found.into_iter().find(|found| found.is_good).map(|found| found.backup.generation))
}

/// The backups of `store_id` in `directory`, newest first: damaged ones above generation `above` that still say
/// something, and at last the newest good one, whatever its generation and its name.
///
/// # Errors
/// What kept the directory from being read.
pub fn newest(directory: &Path, store_id: &[u8; 16], above: u64) -> Result<Vec<Found>, StoreError> {
    let (mut all, mut good, mut are_older) = (Vec::new(), None::<Found>, false);
    for path in newest_first(directory, store_id)? {
        if are_older && is_named_by_a_daemon(&path, store_id) {
            continue;
        }
        // Name and content must agree: either may be what is damaged, and a copy can be older than its name.
        let is_named_so = |backup: &Backup| name_of(&path) == Some(backup.file_name().as_str());
        match backup_file::read(&path) {
            Ok(backup) if backup.store_id == *store_id => {
                // The rest of those that a daemon named.
                are_older |= is_named_so(&backup);
                if good.as_ref().is_none_or(|good| good.backup.generation < backup.generation) {
                    good = Some(Found { path, backup, is_good: true });
                }
            }
            Err(BackupError::Damaged { .. }) => {
                let unchecked = durable::read_regular(&path, MAX_FILE_BYTES).ok().flatten();
                let unchecked = unchecked.and_then(|bytes| danger_decode_unchecked(&bytes));
                let unchecked = unchecked.filter(|backup| is_named_so(backup) && backup.generation > above);
                all.extend(unchecked.map(|backup| Found { path, backup, is_good: false }));
            }
            _ => {}
        }
    }
    all.extend(good);
    Ok(all)
}

/// What can still be read of a damaged backup: its header, and every record up to the first that does not fit.
///
/// # Security
/// No digest is looked at: values can be wrong. Only for telling what may be missing, never for restoring.
fn danger_decode_unchecked(bytes: &[u8]) -> Option<Backup> {
    let mut rest = bytes.strip_prefix(b"SKB1")?;
    let schema = u32::from_be_bytes(array(&mut rest)?);
    if schema != SCHEMA {
        return None;
    }
    let store_id = array(&mut rest)?;
    let generation = u64::from_be_bytes(array(&mut rest)?);
    let unix_seconds = u64::from_be_bytes(array(&mut rest)?);
    let count = u32::from_be_bytes(array(&mut rest)?);
    let found = (0..count).map_while(|_| record(&mut rest));
    let records: BTreeMap<String, Vec<u8>> = found.collect();
    Some(Backup { schema, store_id, generation, unix_seconds, records })
}

fn record(rest: &mut &[u8]) -> Option<(String, Vec<u8>)> {
    let name = std::str::from_utf8(counted(rest)?).ok()?.to_owned();
    Some((name, counted(rest)?.to_vec()))
}

fn counted<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(u32::from_be_bytes(array(rest)?)).ok()?;
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::super::backup_file::{encode, write_durably};
    use super::super::port::Snapshot;
    use super::*;

    fn backup(store: u8, generation: u64) -> Backup {
        let records = [("a", "1"), ("b", "2"), ("c", "3")].map(|(name, value)| (name.to_owned(), value.into()));
        Backup::of([store; 16], 5, Snapshot { generation, records: records.into() })
    }

    #[test]
    fn the_newest_good_one_ends_the_list_and_damaged_ones_above_it_say_what_they_can() {
        let dir = tempfile::tempdir().unwrap();
        for (store, generation) in [(1, 3), (1, 5), (1, 8), (1, 9), (2, 70)] {
            write_durably(dir.path(), &backup(store, generation)).unwrap();
        }
        let damage = |generation, cut: usize| {
            let path = dir.path().join(backup(1, generation).file_name());
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() - cut]).unwrap();
        };
        damage(9, 40);
        damage(8, 1);
        let seen = |above| {
            let found = newest(dir.path(), &[1; 16], above).unwrap();
            found.iter().map(|f| (f.backup.generation, f.backup.records.len(), f.is_good)).collect::<Vec<_>>()
        };
        assert_eq!(seen(3), [(9, 2, false), (8, 3, false), (5, 3, true)]);
        assert_eq!(seen(8), [(9, 2, false), (5, 3, true)]);
        assert!(newest(&dir.path().join("none"), &[1; 16], 0).unwrap().is_empty());
    }

    #[test]
    fn what_people_named_hides_no_newer_one_and_is_not_overlooked_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = |generation| dir.path().join(backup(1, generation).file_name());
        for generation in [3, 5, 9] {
            write_durably(dir.path(), &backup(1, generation)).unwrap();
        }
        let newest_good = || {
            let found = newest(dir.path(), &[1; 16], 0).unwrap();
            let good = found.iter().find(|found| found.is_good).unwrap().backup.generation;
            assert_eq!(newest_generation(dir.path(), &[1; 16]).unwrap(), Some(good));
            good
        };
        let named = |end: &str| dir.path().join(format!("keyd-{}-{end}.skb1", "01".repeat(16)));
        for (generation, name) in [(3, "2"), (5, "before-the-update"), (3, "00000000000000000070")] {
            std::fs::copy(path(generation), named(name)).unwrap();
            assert_eq!(newest_good(), 9, "{name}");
        }
        assert_eq!(newest_first(dir.path(), &[1; 16]).unwrap().last(), Some(&named("2")), "behind those of the daemon");
        std::fs::rename(path(9), named("00 moved")).unwrap();
        assert_eq!(newest_good(), 9, "whatever it is called, it is there");
    }

    #[test]
    fn a_copy_of_an_old_one_under_a_newer_name_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for generation in [3, 5] {
            write_durably(dir.path(), &backup(1, generation)).unwrap();
        }
        let at = |generation| dir.path().join(backup(1, generation).file_name());
        std::fs::copy(at(3), at(9)).unwrap();
        let found = newest(dir.path(), &[1; 16], 3).unwrap();
        let found: Vec<_> = found.iter().map(|f| (f.path.clone(), f.backup.generation, f.is_good)).collect();
        assert_eq!(found, [(at(5), 5, true)]);
        assert_eq!(newest_generation(dir.path(), &[1; 16]).unwrap(), Some(5));
        // Whatever its name, it is a backup: where there is no other, it is the newest.
        std::fs::remove_file(at(3)).unwrap();
        std::fs::remove_file(at(5)).unwrap();
        assert_eq!(newest_generation(dir.path(), &[1; 16]).unwrap(), Some(3));
        assert_eq!(newest(dir.path(), &[1; 16], 3).unwrap()[0].path, at(9));
    }

    #[test]
    fn what_is_read_unchecked_never_runs_past_its_bytes() {
        let bytes = encode(&backup(1, 3)).unwrap();
        for length in 0..bytes.len() {
            let read = danger_decode_unchecked(&bytes[..length]);
            assert_eq!(read.is_some(), length >= 44, "{length}");
        }
        assert!(danger_decode_unchecked(&[b"SKB2".as_slice(), &bytes[4..]].concat()).is_none());
    }
}
