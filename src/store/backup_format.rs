//! SKB1, a backup of every record at one generation. Not a database file: it outlives the adapter.
//!
//! Must never believe a length or count that the bytes promise.
//! Called by `backup_file`, `backup_pieces` and `backup_peek`, which read and write it.

use super::port::{Snapshot, StoreError};
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The newest schema that this program reads and the one it writes.
pub const SCHEMA: u32 = 1;

/// Longest name of a record in bytes.
pub const MAX_NAME_BYTES: usize = 512;

/// What a backup begins with.
pub(super) const MAGIC: &[u8; 4] = b"SKB1";
const DIGEST_BYTES: usize = 32;

/// What stands before the records and behind them.
pub(super) const FRAME_BYTES: usize = MAGIC.len() + 4 + 16 + 8 + 8 + 4 + DIGEST_BYTES;

/// What a backup holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Backup {
    /// Version of the records' format.
    pub schema: u32,
    /// Whose records they are.
    pub store_id: [u8; 16],
    /// The generation they are of.
    pub generation: u64,
    /// When the backup was made: Unix seconds.
    pub unix_seconds: u64,
    /// Every record of the snapshot by name, the MAC's too.
    pub records: BTreeMap<String, Vec<u8>>,
}

impl Backup {
    /// A backup of `snapshot` in today's schema.
    #[must_use]
    pub fn of(store_id: [u8; 16], unix_seconds: u64, snapshot: Snapshot) -> Self {
        let Snapshot { generation, records } = snapshot;
        Self { schema: SCHEMA, store_id, generation, unix_seconds, records }
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("generation", &self.generation)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

/// Why bytes are not a backup, or a backup could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The bytes do not begin as a backup does.
    #[error("this is not a backup of servos-keyd")]
    Foreign,
    /// The bytes end early, go on too long, or were changed.
    #[error("the backup is damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: &'static str,
    },
    /// Made by a newer servos-keyd.
    #[error("the backup has schema {found}; this program reads {SCHEMA}")]
    NewerSchema {
        /// The schema it names.
        found: u32,
    },
    /// A name or value that the format cannot hold.
    #[error("a record's name or value is too long for a backup")]
    TooLarge,
    /// A backup of the same store and generation is there and holds something else.
    #[error("{path} holds other records of the same generation: move it away", path = path.display())]
    Differs {
        /// The file that is there.
        path: PathBuf,
    },
    /// A file or directory could not be read or written.
    #[error(transparent)]
    File(#[from] StoreError),
}

/// What stands before the records.
pub(super) fn header(
    schema: u32,
    store_id: &[u8; 16],
    generation: u64,
    unix_seconds: u64,
    records: usize,
) -> Result<Vec<u8>, BackupError> {
    let mut out = MAGIC.to_vec();
    out.extend(schema.to_be_bytes());
    out.extend(store_id);
    out.extend(generation.to_be_bytes());
    out.extend(unix_seconds.to_be_bytes());
    out.extend(length(records)?);
    Ok(out)
}

fn length(length: usize) -> Result<[u8; 4], BackupError> {
    u32::try_from(length).map(u32::to_be_bytes).map_err(|_| BackupError::TooLarge)
}

/// Reads SKB1 as hostile bytes. The digest finds damage, not forgery: the snapshot's MAC does that.
///
/// # Errors
/// [`BackupError::Foreign`], [`BackupError::Damaged`] or [`BackupError::NewerSchema`].
pub fn decode(bytes: &[u8]) -> Result<Backup, BackupError> {
    if !bytes.starts_with(MAGIC) {
        return Err(BackupError::Foreign);
    }
    let (body, sum) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or(CUT)?;
    let mut input = Input { rest: body };
    input.take(MAGIC.len())?;
    let schema = input.number()?;
    // A newer file's digest need not stand where ours does, so its schema is judged first.
    if schema > SCHEMA {
        return Err(BackupError::NewerSchema { found: schema });
    }
    if digest(&SHA256, body).as_ref() != sum {
        return Err(BackupError::Damaged { detail: "its digest does not fit" });
    }
    if schema == 0 {
        return Err(BackupError::Damaged { detail: "it has no schema" });
    }
    let store_id = input.array()?;
    let generation = u64::from_be_bytes(input.array()?);
    let unix_seconds = u64::from_be_bytes(input.array()?);
    let records = input.records()?;
    Ok(Backup { schema, store_id, generation, unix_seconds, records })
}

const CUT: BackupError = BackupError::Damaged { detail: "it ends early" };

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BackupError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        self.take(N)?.try_into().map_err(|_| CUT)
    }

    fn number(&mut self) -> Result<u32, BackupError> {
        self.array().map(u32::from_be_bytes)
    }

    fn counted(&mut self) -> Result<&'a [u8], BackupError> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| CUT)?)
    }

    /// Nothing is set aside for the count that is promised: each record is taken from bytes that are there.
    fn records(&mut self) -> Result<BTreeMap<String, Vec<u8>>, BackupError> {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        for _ in 0..self.number()? {
            let name = std::str::from_utf8(self.counted()?)
                .ok()
                .filter(|name| name.len() <= MAX_NAME_BYTES)
                .ok_or(BackupError::Damaged { detail: "a record's name is not text of at most 512 bytes" })?;
            if records.last().is_some_and(|(last, _)| last.as_str() >= name) {
                return Err(BackupError::Damaged { detail: "its records are not in order" });
            }
            records.push((name.to_owned(), self.counted()?.to_vec()));
        }
        if !self.rest.is_empty() {
            return Err(BackupError::Damaged { detail: "bytes follow its last record" });
        }
        Ok(records.into_iter().collect())
    }
}

#[cfg(test)]
#[path = "backup_format_tests.rs"]
mod tests;
