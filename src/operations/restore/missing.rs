//! What a backup lacks of what others name: versions and legacy keys, by their records in another store or backup.
//!
//! Must never claim more than that a file names them: no record here was believed by any key.
//! Called by `known` for what lies in place and among the backups, and by `cli` for what was kept.

use super::proof::Proven;
use crate::auth::key_name::KeyName;
use crate::custody::id::{Fingerprint, StoreId};
use crate::store::port::Snapshot;
use crate::store::record::{self, RecordName};
use crate::store::redb_adapter;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Something that opens values, and is not in the backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// A version of a key.
    Version {
        /// The key's name; empty if the record that has it cannot be read.
        key: String,
        /// The version's number.
        number: u32,
        /// When it was made: Unix seconds.
        created: i64,
        /// Its key was deleted.
        of_deleted: bool,
    },
    /// A key that legacy values are under.
    Legacy(Fingerprint),
}

/// What is missing, and where it was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// What.
    pub lost: Lost,
    /// A file that names it.
    pub seen_in: PathBuf,
}

/// Collects what other files name that a backup does not hold.
pub struct Comparison {
    held: BTreeSet<String>,
    missing: BTreeMap<String, Missing>,
}

impl Comparison {
    /// Nothing compared yet.
    #[must_use]
    pub fn with(proven: &Proven) -> Self {
        let held = proven.snapshot.records.keys().filter(|name| opens_values(name)).cloned().collect();
        Self { held, missing: BTreeMap::new() }
    }

    /// Compares with what a file names. The first file that names something is the one that is told.
    pub fn see(&mut self, path: &Path, records: &BTreeMap<String, Vec<u8>>) {
        for (name, value) in records.iter().filter(|(name, _)| opens_values(name)) {
            if self.held.contains(name) || self.missing.contains_key(name) {
                continue;
            }
            if let Some(lost) = lost(name, value, records) {
                self.missing.insert(name.clone(), Missing { lost, seen_in: path.to_owned() });
            }
        }
    }

    /// How much of what the backup holds others do not name.
    #[must_use]
    pub fn lacking_in(&self, records: &BTreeMap<String, Vec<u8>>) -> usize {
        self.held.iter().filter(|name| !records.contains_key(*name)).count()
    }

    /// Compares with what can still be read of a damaged store: last, and once nothing depends on it, because a crafted
    /// file can end the process.
    pub fn danger_see_damaged_store(&mut self, path: &Path, store_id: &StoreId) {
        if let Ok(found) = redb_adapter::danger_view_unchecked(path)
            && is_of(&found, store_id)
        {
            self.see(path, &found.records);
        }
    }

    /// What is missing, in order of key and number.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        let mut all: Vec<Missing> = self.missing.values().cloned().collect();
        all.sort();
        all
    }
}

/// Whether a store says that it is this one.
fn is_of(snapshot: &Snapshot, store_id: &StoreId) -> bool {
    let master = snapshot.records.get(record::MASTER);
    let master = master.and_then(|bytes| record::decode::<record::Master>(record::MASTER, bytes).ok());
    master.is_some_and(|master| master.store_id == store_id.as_bytes())
}

fn opens_values(name: &str) -> bool {
    matches!(RecordName::parse(name), Some(RecordName::Version(_) | RecordName::Legacy(_)))
}

fn lost(name: &str, value: &[u8], records: &BTreeMap<String, Vec<u8>>) -> Option<Lost> {
    match RecordName::parse(name)? {
        RecordName::Legacy(fingerprint) => Some(Lost::Legacy(Fingerprint::from_bytes(fingerprint))),
        RecordName::Version(_) => {
            let version: record::Version = record::decode(name, value).ok()?;
            let key = record::key(base16ct::lower::encode_string(&version.key_id));
            let key = records.get(&key).and_then(|bytes| record::decode::<record::Key>(&key, bytes).ok());
            let of_deleted = key.as_ref().is_some_and(|key| key.deleted != 0);
            // Only what could be a name: it is shown on a terminal, and nobody has vouched for it.
            let key = key.filter(|key| KeyName::parse(&key.name).is_ok()).map(|key| key.name).unwrap_or_default();
            Some(Lost::Version { key, number: version.number, created: version.created, of_deleted })
        }
        _ => None,
    }
}
