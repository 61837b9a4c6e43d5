//! Tests of backups as files: what lies in the directory afterwards, and is read from it.
//!
//! Must never name a path or key that exists outside of the test.
//! Called by cargo, as the tests of `backup_file`.

use super::*;
use std::os::unix::fs::MetadataExt as _;

fn backup(records: &[(&str, &[u8])]) -> Backup {
    let records = records.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    Backup { schema: 1, store_id: [7; 16], generation: 41, unix_seconds: 1_780_000_000, records }
}

#[test]
fn a_name_too_long_to_be_read_again_is_not_written() {
    let long = "n".repeat(513);
    assert!(matches!(encode(&backup(&[(&long, b"")])), Err(BackupError::TooLarge)));
}

#[test]
fn a_backup_is_written_private_under_its_name_and_listed_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let backups = dir.path().join("keyd-backup");
    assert_eq!(list(&backups).unwrap(), Vec::<PathBuf>::new());
    let (first, mut second) = (backup(&[("a", b"1")]), backup(&[("a", b"2")]));
    second.generation = 9;
    let paths = [&first, &second].map(|backup| write_durably(&backups, backup).unwrap());
    let name = format!("keyd-{}-00000000000000000041.skb1", "07".repeat(16));
    assert_eq!(paths[0], backups.join(name));
    assert_eq!(fs::metadata(&paths[0]).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(&backups).unwrap().mode() & 0o7777, 0o700);
    fs::write(backups.join("notes.txt"), "").unwrap();
    fs::write(backups.join("keyd-left-over.skb1.tmp"), "").unwrap();
    assert_eq!(list(&backups).unwrap(), [paths[1].clone(), paths[0].clone()]);
    assert!(read(&paths[0]).unwrap() == first);
}

#[test]
fn the_same_backup_again_is_fine_at_whatever_time_and_other_records_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = backup(&[("a", b"1")]);
    let path = write_durably(dir.path(), &first).unwrap();
    let before = fs::read(&path).unwrap();
    let later = Backup { unix_seconds: first.unix_seconds + 5, ..first.clone() };
    assert_eq!(write_durably(dir.path(), &later).unwrap(), path);
    let refused = write_durably(dir.path(), &backup(&[("a", b"2")]));
    assert!(matches!(refused, Err(BackupError::Differs { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_backup_under_the_same_name_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let first = backup(&[("a", b"1")]);
    let path = write_durably(dir.path(), &first).unwrap();
    for damage in [Vec::new(), encode(&first).unwrap()[..50].to_vec()] {
        fs::write(&path, damage).unwrap();
        write_durably(dir.path(), &first).unwrap();
        assert!(read(&path).unwrap() == first);
    }
}

#[test]
fn a_directory_whose_parent_is_missing_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let refused = write_durably(&dir.path().join("no/such"), &backup(&[]));
    assert!(matches!(refused, Err(BackupError::File(StoreError::Unavailable { .. }))));
}
