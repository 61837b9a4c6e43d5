//! Creation: the first store of an installation, made on purpose and all at once.
//!
//! Must never make anything where a store, a mark or a backup tells that there was one.
//! Called by `cli` for `init`, `[store] create = true` and `--dev`, with the directory locked.

use super::batch_digests::apply;
use super::key_records::{self, Maker};
use super::keyring::DataKey;
use super::ledger::Places;
use super::refusal::Refusal;
use super::start_failure::StartFailure;
use super::{backup, install};
use crate::auth::key_name::KeyName;
use crate::custody::digests::Digests;
use crate::custody::id::StoreId;
use crate::custody::keys::{IdentityKey, LockedMemory, MasterKey, RootKey};
use crate::custody::random::Random;
use crate::custody::{record_seal, snapshot};
use crate::store::mark::{Mark, MarkError, State};
use crate::store::port::{Batch, Snapshot};
use crate::store::record;
use crate::store::{backup_file, backup_newer, backup_prune, durable};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The keys that exist from the start.
pub const FIRST_KEYS: [&str; 8] = [
    "default",
    "ssh-keys",
    "env-vars",
    "git-tokens",
    "db-passwords",
    "registry-passwords",
    "storage-secrets",
    "backups",
];

/// The generation that a store begins at.
const FIRST_GENERATION: u64 = 1;

/// What a creation is made with.
pub struct Creation<'c> {
    /// Where the files go.
    pub places: &'c Places,
    /// The operator's key.
    pub master: &'c MasterKey,
    /// Whether components hold the key too.
    pub shared: bool,
    /// Keeps the key as a legacy key as well.
    pub adopt_legacy: bool,
    /// The memory keys live in.
    pub memory: &'c LockedMemory,
    /// Where new keys come from.
    pub random: &'c Random,
    /// When: Unix seconds.
    pub now: i64,
}

/// What lies in the place of a store that is to be made.
pub enum Vacancy {
    /// Nothing.
    Empty,
    /// What a creation left that broke off before there was a store: the mark that announces it.
    Interrupted(Mark),
}

/// Looks whether a store may be made.
///
/// # Errors
/// [`StartFailure::Exists`] for a store, [`StartFailure::StoreLost`] for a mark or backup of one.
pub fn vacancy(places: &Places) -> Result<Vacancy, StartFailure> {
    if places.store.symlink_metadata().is_ok() {
        return Err(StartFailure::Exists { path: places.store.clone() });
    }
    let mark = match crate::store::mark::read(&places.mark) {
        // It says nothing, but that there was a store.
        Err(MarkError::Damaged { .. }) => return Err(lost(places, None)?),
        mark => mark?,
    };
    let announced = match &mark {
        None => None,
        // Only a creation announces this generation: a restore that broke off is begun again by `restore`.
        Some(Mark { now: None, to_come: Some(state) }) if state.generation == FIRST_GENERATION => Some(*state),
        Some(mark) => return Err(lost(places, Some(mark))?),
    };
    let ours = announced.map(|state| own_backup(places, &state));
    if backup_file::list(&places.backups)?.iter().any(|path| Some(path) != ours.as_ref()) {
        return Err(lost(places, mark.as_ref())?);
    }
    Ok(mark.map_or(Vacancy::Empty, Vacancy::Interrupted))
}

/// Everything that tells of the store at once, so that none of it is met only after the other was moved away.
fn lost(places: &Places, mark: Option<&Mark>) -> Result<StartFailure, StartFailure> {
    let mut witnesses = Vec::new();
    if places.mark.symlink_metadata().is_ok() {
        witnesses.push(places.mark.clone());
    }
    let backups = backup_file::list(&places.backups)?;
    if !backups.is_empty() {
        witnesses.push(places.backups.clone());
    }
    let state = mark.and_then(|mark| mark.now.or(mark.to_come));
    let newest = match state {
        Some(state) => backup_newer::newest_first(&places.backups, &state.store_id)?.into_iter().next(),
        None => backups.into_iter().next_back(),
    };
    Ok(StartFailure::StoreLost { store: places.store.clone(), witnesses, newest })
}

/// The backup that a creation writes before its store is in place.
fn own_backup(places: &Places, state: &State) -> PathBuf {
    let empty = Snapshot { generation: state.generation, records: BTreeMap::new() };
    places.backups.join(backup_file::Backup::of(state.store_id, 0, empty).file_name())
}

/// Makes a store with its mark and its first backup.
///
/// # Errors
/// What [`vacancy`] refuses; [`StartFailure::Store`], [`StartFailure::Backup`], [`StartFailure::Mark`]: an interrupted
/// creation is begun again by the next.
pub fn create(creation: &Creation<'_>) -> Result<StoreId, StartFailure> {
    let places = creation.places;
    if let Vacancy::Interrupted(Mark { to_come: Some(state), .. }) = vacancy(places)? {
        backup_prune::discard_unfinished(&places.backups, &state.store_id)?;
        // The backup of a store that was never in place opens nothing that anyone sealed. Were it there again after a power
        // cut, beside a mark that announces the next store, it would pass for that of a store that was lost.
        durable::remove_durably(&own_backup(places, &state))?;
    }
    let (store_id, root, snapshot) = first_snapshot(creation)?;
    let state = State { store_id: *store_id.as_bytes(), generation: FIRST_GENERATION, root_id: *root.id().as_bytes() };
    let backup = backup::of_snapshot(store_id, snapshot.clone(), creation.now);
    install::install(places, &snapshot, Mark { now: None, to_come: Some(state) }, Some(&backup))?;
    Ok(store_id)
}

pub(super) fn first_snapshot(creation: &Creation<'_>) -> Result<(StoreId, RootKey, Snapshot), StartFailure> {
    let random = creation.random;
    let store_id = StoreId::generate(random).map_err(Refusal::from)?;
    let root = RootKey::generate(creation.memory, random).map_err(Refusal::from)?;
    let identity = IdentityKey::generate(creation.memory, random).map_err(Refusal::from)?;
    let mut records = BTreeMap::new();
    records.extend(trust_records(creation, &store_id, &root)?);
    let seal = record_seal::seal_identity(&root, &identity, &store_id, random).map_err(Refusal::from)?;
    records.insert(record::IDENTITY.to_owned(), record::encode(&record::Identity { schema: record::SCHEMA, seal }));
    let maker = Maker { store_id: &store_id, root: &root, memory: creation.memory, random, now: creation.now };
    for name in FIRST_KEYS {
        records.extend(first_key(&maker, name)?);
    }
    if creation.adopt_legacy {
        let legacy = creation.master.as_legacy(creation.memory).map_err(Refusal::from)?;
        records.extend([maker.legacy_record(&legacy)?]);
    }
    let batch = Batch { puts: records.clone(), ..Batch::default() };
    let mut digests = Digests::default();
    apply(&mut digests, &batch);
    let mac = snapshot::mac(&root, &store_id, FIRST_GENERATION, &digests);
    records.insert(record::MAC.to_owned(), mac.to_vec());
    Ok((store_id, root, Snapshot { generation: FIRST_GENERATION, records }))
}

type Records = Vec<(String, Vec<u8>)>;

fn trust_records(creation: &Creation<'_>, store_id: &StoreId, root: &RootKey) -> Result<Records, Refusal> {
    let master = record::Master {
        schema: record::SCHEMA,
        store_id: store_id.as_bytes().to_vec(),
        current: Some(record::MasterSeal {
            root: record_seal::seal_root(creation.master, root, store_id, creation.random)?,
            since: creation.now,
            shared: creation.shared,
        }),
        pending: None,
        previous_root: Vec::new(),
        rotation: None,
    };
    let canary = record::Canary {
        schema: record::SCHEMA,
        seals: vec![record_seal::seal_canary(creation.master, store_id, creation.random)?],
    };
    let meta = record::Meta {
        schema: record::SCHEMA,
        created: creation.now,
        keyring: FIRST_GENERATION,
        ..record::Meta::default()
    };
    let history = record::History {
        schema: record::SCHEMA,
        entries: vec![record::HistoryEntry {
            fingerprint: creation.master.fingerprint().as_bytes().to_vec(),
            at: creation.now,
            kind: record::HistoryKind::First.into(),
        }],
    };
    Ok(vec![
        (record::MASTER.to_owned(), record::encode(&master)),
        (record::CANARY.to_owned(), record::encode(&canary)),
        (record::META.to_owned(), record::encode(&meta)),
        (record::history(0), record::encode(&history)),
    ])
}

/// A key with version 1, primary from the start: the backup is durable before the store is in place.
fn first_key(maker: &Maker<'_>, name: &str) -> Result<Records, StartFailure> {
    let name = KeyName::parse(name).map_err(|error| Refusal::invalid("name", error.to_string()))?;
    let mut key: DataKey = maker.key(name)?;
    let new = maker.version(&key)?;
    key.primary = new.version.number;
    key.versions.insert(Arc::clone(&new.version));
    Ok(vec![key_records::key_record(&key), key_records::new_version_record(&new)])
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
