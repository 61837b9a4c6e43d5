//! The beginning of a backup, without reading the rest: when it was made, and which master key opens it.
//!
//! Must never be believed: the digest at the file's end is not looked at.
//! Called by `operations::rotation`, for the list of backups that a key opens, and by `backup_prune`.

use super::backup_format::{BackupError, MAGIC, MAX_NAME_BYTES, SCHEMA};
use super::durable;
use super::port::StoreError;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest value that is taken.
const MAX_VALUE_BYTES: u32 = 64 * 1024;

/// The value of the first record of the backup at `path`, if it is one of `store_id` and its first record has this name;
/// records stand in order of name.
///
/// # Errors
/// [`BackupError::Foreign`], [`BackupError::NewerSchema`], [`BackupError::Damaged`] for a file that ends early or has a
/// value of more than 64 KiB there, [`BackupError::File`].
pub fn first_record(path: &Path, store_id: &[u8; 16], name: &str) -> Result<Option<Vec<u8>>, BackupError> {
    let mut input = Input::open(path)?;
    let schema = u32::from_be_bytes(input.array()?);
    if schema > SCHEMA {
        return Err(BackupError::NewerSchema { found: schema });
    }
    let found: [u8; 16] = input.array()?;
    // Generation and time.
    let _: [u8; 16] = input.array()?;
    let count = u32::from_be_bytes(input.array()?);
    if found != *store_id || count == 0 {
        return Ok(None);
    }
    let first = input.counted(u32::try_from(MAX_NAME_BYTES).unwrap_or(u32::MAX))?;
    let value = input.counted(MAX_VALUE_BYTES)?;
    Ok((first == name.as_bytes()).then_some(value))
}

/// When the backup at `path` was made, as its header says: Unix seconds.
///
/// # Errors
/// As [`header`].
pub fn made(path: &Path) -> Result<u64, BackupError> {
    header(path).map(|(_, made)| made)
}

/// The generation that the backup at `path` holds and when it was made, in Unix seconds, as its header says.
///
/// # Errors
/// [`BackupError::Foreign`], [`BackupError::Damaged`] for a file that ends early, [`BackupError::File`].
pub fn header(path: &Path) -> Result<(u64, u64), BackupError> {
    let mut input = Input::open(path)?;
    // Schema and store id.
    let _: [u8; 20] = input.array()?;
    Ok((u64::from_be_bytes(input.array()?), u64::from_be_bytes(input.array()?)))
}

struct Input<'i> {
    path: &'i Path,
    file: File,
}

impl<'i> Input<'i> {
    /// Behind what every backup begins with.
    fn open(path: &'i Path) -> Result<Self, BackupError> {
        let mut input = Self { path, file: durable::open_regular(path, false)? };
        if input.array()? != *MAGIC {
            return Err(BackupError::Foreign);
        }
        Ok(input)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn counted(&mut self, most: u32) -> Result<Vec<u8>, BackupError> {
        let length = u32::from_be_bytes(self.array()?);
        if length > most {
            return Err(BackupError::Damaged { detail: "its first record is too long" });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => BackupError::Damaged { detail: "it ends early" },
            _ => StoreError::from_io(self.path, error).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::backup_file::{Backup, encode};
    use super::super::port::Snapshot;
    use super::*;

    const STORE: [u8; 16] = [7; 16];

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn backup(value: &[u8]) -> Vec<u8> {
        let records = [("canary", value), ("master", b"m")].map(|(name, value)| (name.to_owned(), value.to_vec()));
        let snapshot = Snapshot { generation: 3, records: records.into_iter().collect() };
        encode(&Backup::of(STORE, 5, snapshot)).unwrap()
    }

    #[test]
    fn the_first_record_is_found_by_its_name_in_a_backup_of_this_store_alone() {
        let whole = file(&backup(b"seals"));
        assert_eq!(first_record(whole.path(), &STORE, "canary").unwrap().as_deref(), Some(&b"seals"[..]));
        assert_eq!(first_record(whole.path(), &STORE, "master").unwrap(), None, "it is not the first");
        assert_eq!(first_record(whole.path(), &[8; 16], "canary").unwrap(), None);
    }

    #[test]
    fn the_time_stands_in_the_header() {
        let bytes = backup(b"seals");
        assert_eq!(made(file(&bytes).path()).unwrap(), 5);
        assert_eq!(made(file(&bytes[..40]).path()).unwrap(), 5);
        for length in 0..40 {
            assert!(made(file(&bytes[..length]).path()).is_err(), "{length} bytes");
        }
        assert!(matches!(made(file(&[b"redb".as_slice(), &[0; 60]].concat()).path()), Err(BackupError::Foreign)));
    }

    #[test]
    fn what_is_no_backup_or_ends_early_is_an_error_and_nothing_is_set_aside_for_a_promised_length() {
        let bytes = backup(b"seals");
        for length in 0..63 {
            assert!(first_record(file(&bytes[..length]).path(), &STORE, "canary").is_err(), "{length} bytes");
        }
        assert!(matches!(first_record(file(b"SKB2....").path(), &STORE, "canary"), Err(BackupError::Foreign)));
        let mut newer = bytes.clone();
        newer[7] = 2;
        let newer = first_record(file(&newer).path(), &STORE, "canary");
        assert!(matches!(newer, Err(BackupError::NewerSchema { found: 2 })));
        let mut promising = bytes;
        promising[54..58].fill(0xff);
        let promising = first_record(file(&promising).path(), &STORE, "canary");
        assert!(matches!(promising, Err(BackupError::Damaged { .. })));
    }
}
