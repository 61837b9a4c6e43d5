//! Inspect: what a backup says that it holds and which key opens it, and whether a key opens all of it.
//!
//! Must never pass a backup's own word for more than that, nor stop at the first record that is not good.
//! Called by `cli` for `servos-keyctl inspect`.

use super::rotation::Rotation;
use super::start_failure::StartFailure;
use super::{claim, load, stored};
use crate::auth::key_name::KeyName;
use crate::custody::id::{Fingerprint, KeyId, StoreId, VersionId};
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::backup_file::Backup;
use crate::store::port::Snapshot;
use crate::store::record::{self, RecordError, RecordName};
use std::collections::BTreeMap;

/// What a backup says. Nothing of it is verified: its digest finds damage, not forgery.
#[derive(Debug)]
pub struct Told {
    /// Version of the records' format.
    pub schema: u32,
    /// Whose backup it is.
    pub store_id: StoreId,
    /// The generation it holds.
    pub generation: u64,
    /// When it was made: Unix seconds.
    pub made: i64,
    /// Number of records.
    pub records: usize,
    /// Keys, the deleted ones too, in order of name and then of their making.
    pub keys: Vec<ToldKey>,
    /// Versions of all keys.
    pub versions: usize,
    /// The master keys that open it: one, or two while a rotation is pending; none if that cannot be told.
    pub opened_by: Vec<Fingerprint>,
    /// Since when the first of them is in use: Unix seconds; 0 if that cannot be told.
    pub since: i64,
    /// The rotation of the master key that was under way.
    pub rotation: Option<Rotation>,
    /// Legacy keys that it keeps.
    pub legacy: Vec<Fingerprint>,
    /// Records that are not what their names say, each with what is wrong.
    pub problems: Vec<(String, String)>,
    /// Whether one of these is of a newer servos-keyd.
    pub is_newer: bool,
}

/// A key that a backup tells of.
#[derive(Debug)]
pub struct ToldKey {
    /// Its id.
    pub id: KeyId,
    /// Its name; of a deleted key, the name it had.
    pub name: KeyName,
    /// Whether its name was taken away.
    pub is_deleted: bool,
    /// When it was made: Unix seconds.
    pub created: i64,
    /// The number of the primary version; 0 before the first.
    pub primary: u32,
    /// Its versions by number.
    pub versions: BTreeMap<u32, ToldVersion>,
}

/// A version that a backup tells of.
#[derive(Debug)]
pub struct ToldVersion {
    /// Its id, as it stands in ciphertexts.
    pub id: VersionId,
    /// Whether it opens what it sealed; those of a deleted key do not.
    pub is_enabled: bool,
    /// When it was made: Unix seconds.
    pub created: i64,
}

/// Reads what a backup says of itself, every record as hostile input.
#[must_use]
pub fn inspect(backup: &Backup) -> Told {
    let mut reader =
        Reader { keys: BTreeMap::new(), versions: 0, legacy: Vec::new(), problems: Vec::new(), is_newer: false };
    for (name, value) in &backup.records {
        reader.record(name, value);
    }
    let (opened_by, since, rotation) = reader.master(backup);
    reader.check_whole();
    let mut keys: Vec<ToldKey> = reader.keys.into_values().collect();
    keys.sort_by(|one, other| (&one.name, one.created, one.id).cmp(&(&other.name, other.created, other.id)));
    Told {
        schema: backup.schema,
        store_id: StoreId::from_bytes(backup.store_id),
        generation: backup.generation,
        made: i64::try_from(backup.unix_seconds).unwrap_or(i64::MAX),
        records: backup.records.len(),
        keys,
        versions: reader.versions,
        opened_by,
        since,
        rotation,
        legacy: reader.legacy,
        problems: reader.problems,
        is_newer: reader.is_newer,
    }
}

struct Reader {
    keys: BTreeMap<KeyId, ToldKey>,
    versions: usize,
    legacy: Vec<Fingerprint>,
    problems: Vec<(String, String)>,
    is_newer: bool,
}

impl Reader {
    fn problem(&mut self, name: &str, problem: impl Into<String>) {
        self.problems.push((name.to_owned(), problem.into()));
    }

    fn failure(&mut self, name: &str, failure: StartFailure) {
        self.is_newer |= matches!(failure, StartFailure::NewerSchema(_));
        self.problems.push((name.to_owned(), reason(failure)));
    }

    fn decoded<T: record::Record>(&mut self, name: &str, value: &[u8]) -> Option<T> {
        record::decode(name, value).map_err(|error| self.malformed(name, &error)).ok()
    }

    fn malformed(&mut self, name: &str, error: &RecordError) {
        self.is_newer |= matches!(error, RecordError::NewerSchema { .. });
        self.problem(name, error.to_string());
    }

    /// Keys come before their versions in the order of names.
    fn record(&mut self, name: &str, value: &[u8]) {
        match RecordName::parse(name) {
            Some(RecordName::Key(id)) => self.key(name, value, KeyId::from_bytes(id)),
            Some(RecordName::Version(id)) => self.version(name, value, VersionId::from_bytes(id)),
            Some(RecordName::Legacy(id)) => {
                if self.decoded::<record::Legacy>(name, value).is_some() {
                    self.legacy.push(Fingerprint::from_bytes(id));
                }
            }
            Some(RecordName::Meta) => drop(self.decoded::<record::Meta>(name, value)),
            Some(RecordName::Identity) => drop(self.decoded::<record::Identity>(name, value)),
            Some(RecordName::Request(_)) => drop(self.decoded::<record::Request>(name, value)),
            Some(RecordName::History(_)) => drop(self.decoded::<record::History>(name, value)),
            // These two are judged together.
            Some(RecordName::Master | RecordName::Canary | RecordName::Mac) => {}
            None => {
                self.is_newer = true;
                self.problem(name, "its name is not known to this program");
            }
        }
    }

    fn key(&mut self, name: &str, value: &[u8], id: KeyId) {
        let Some(key) = self.decoded::<record::Key>(name, value) else { return };
        let Ok(key_name) = KeyName::parse(&key.name) else {
            return self.problem(name, "it has no valid name");
        };
        let (is_deleted, created) = (key.deleted != 0, key.created);
        let versions = BTreeMap::new();
        self.keys.insert(id, ToldKey { id, name: key_name, is_deleted, created, primary: key.primary, versions });
    }

    fn version(&mut self, name: &str, value: &[u8], id: VersionId) {
        let Some(version) = self.decoded::<record::Version>(name, value) else { return };
        let Some(key) = KeyId::from_slice(&version.key_id).and_then(|id| self.keys.get_mut(&id)) else {
            return self.problem(name, "it belongs to no key");
        };
        let is_enabled = version.state == i32::from(record::VersionState::Enabled) && !key.is_deleted;
        let told = ToldVersion { id, is_enabled, created: version.created };
        if key.versions.insert(version.number, told).is_some() {
            return self.problem(name, "it has the number of another version");
        }
        self.versions += 1;
    }

    fn master(&mut self, backup: &Backup) -> (Vec<Fingerprint>, i64, Option<Rotation>) {
        for name in [record::MAC, record::META, record::IDENTITY] {
            if !backup.records.contains_key(name) {
                self.problem(name, "it is missing");
            }
        }
        let asked = [record::MASTER, record::CANARY];
        let records = backup.records.iter().filter(|(name, _)| asked.contains(&name.as_str()));
        let records = records.map(|(name, value)| (name.clone(), value.clone())).collect();
        let claimed = match claim::claim(&Snapshot { generation: backup.generation, records }) {
            Ok(claimed) => claimed,
            Err(failure) => {
                self.failure(record::MASTER, failure);
                return (Vec::new(), 0, None);
            }
        };
        if *claimed.store_id.as_bytes() != backup.store_id {
            self.problem(record::MASTER, "it is of another store than the backup's header");
        }
        let since = claimed.seals.first().map_or(0, |seal| seal.since);
        let rotation = claimed.rotation().unwrap_or_else(|failure| {
            self.failure(record::MASTER, failure);
            None
        });
        (claimed.owners, since, rotation)
    }

    fn check_whole(&mut self) {
        let is_there = |key: &ToldKey| key.primary == 0 || key.versions.contains_key(&key.primary);
        let broken: Vec<String> =
            self.keys.values().filter(|key| !key.is_deleted && !is_there(key)).map(|key| record::key(key.id)).collect();
        for name in broken {
            self.problem(&name, "its primary version is missing");
        }
    }
}

/// What came of trying a key on a backup.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    /// The key is one of those that the backup names.
    Opens {
        /// Versions that it opens.
        versions: usize,
        /// Records that do not open or do not fit, each with the reason; none if the whole backup is good.
        unopened: Vec<(String, String)>,
    },
    /// The backup says that it is under another key.
    Other {
        /// Whether it says that it keeps this key to open legacy values.
        held_as_legacy: bool,
    },
}

/// Opens the root, the MAC, the canary, the identity, every legacy key and every version of a backup with a master key.
///
/// # Errors
/// [`StartFailure`] for a backup that does not tell which key opens it: then nothing is said of the key.
pub fn prove(backup: Backup, master: MasterKey, memory: &LockedMemory) -> Result<Proof, StartFailure> {
    let header = backup.store_id;
    let snapshot = Snapshot { generation: backup.generation, records: backup.records };
    let claimed = claim::claim(&snapshot)?;
    let held_as_legacy = snapshot.records.contains_key(&record::legacy(master.fingerprint()));
    if !claimed.owners.contains(&master.fingerprint()) {
        return Ok(Proof::Other { held_as_legacy });
    }
    let mut unopened = Vec::new();
    if *claimed.store_id.as_bytes() != header {
        unopened.push((record::MASTER.to_owned(), stored::damaged("it is of another store than the backup's header")));
    }
    let versions = opened(snapshot, master, memory, &mut unopened);
    let unopened = unopened.into_iter().map(|(name, failure)| (name, reason(failure))).collect();
    Ok(Proof::Opens { versions, unopened })
}

/// How many versions open; without the root or the identity, none is tried.
fn opened(
    snapshot: Snapshot,
    master: MasterKey,
    memory: &LockedMemory,
    unopened: &mut Vec<(String, StartFailure)>,
) -> usize {
    let authentic = match load::open_root(snapshot, master, memory) {
        Ok((authentic, lost)) => {
            unopened.extend(lost.map(|failure| (record::MASTER.to_owned(), failure)));
            authentic
        }
        Err(failure) => {
            unopened.push((record::MASTER.to_owned(), failure));
            return 0;
        }
    };
    if !authentic.mac_fits() {
        unopened.push((record::MAC.to_owned(), stored::damaged("the records do not fit it")));
    }
    match load::open_records(authentic, memory, unopened) {
        Ok(loaded) => loaded.keyring.versions.len(),
        Err(failure) => {
            unopened.push((record::IDENTITY.to_owned(), failure));
            0
        }
    }
}

/// What is wrong, without what a start that met it would advise.
fn reason(failure: StartFailure) -> String {
    match failure {
        StartFailure::Damaged(detail) | StartFailure::NewerSchema(detail) => detail,
        failure => failure.to_string(),
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
