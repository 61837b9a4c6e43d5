//! Loading: from a snapshot's bytes to a keyring, in the order of trust.
//!
//! Must never believe a record before the root is open and the snapshot's MAC is right, and writes nothing.
//! Called by `cli` at a start, and by `restore`, `accept` and `salvage`.

use super::claim::{Claimed, claim, claim_of_master, owner, unopened_root, wrong_key};
use super::drill;
use super::keyring::{DataKey, Gap, Keyring, MasterKeyFacts};
use super::ledger::Secrets;
use super::load_record::{Opener, Roots, key, missing, number_taken};
use super::rotation::Rotation;
use super::start_failure::StartFailure;
use super::stored::{damaged, decode, required};
use super::version::Version;
use super::versions::Versions;
use crate::auth::key_name::KeyName;
use crate::custody::digests::Digests;
use crate::custody::id::{Fingerprint, KeyId, RootId, StoreId, VersionId};
use crate::custody::keys::{IdentityKey, LockedMemory, MasterKey, RootKey};
use crate::custody::{record_seal, snapshot};
use crate::store::mark::State;
use crate::store::port::Snapshot;
use crate::store::record::{self, Record, RecordName};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// A snapshot whose root is open and whose MAC is right.
pub struct Authentic {
    pub(super) snapshot: Snapshot,
    pub(super) master: MasterKey,
    pub(super) root: RootKey,
    pub(super) store_id: StoreId,
    pub(super) digests: Digests,
    pub(super) sealed: record::Master,
    /// Since when the given key opens the store: Unix seconds.
    pub(super) since: i64,
    pub(super) previous: Option<RootKey>,
}

/// A store that was read whole.
pub struct Loaded {
    /// What calls see.
    pub keyring: Keyring,
    /// What the writer needs beside it.
    pub secrets: Secrets,
}

impl Authentic {
    /// The store's state as a mark names it, and the id of the previous root, if one is kept.
    #[must_use]
    pub fn state(&self) -> (State, Option<RootId>) {
        let state = State {
            store_id: *self.store_id.as_bytes(),
            generation: self.snapshot.generation,
            root_id: *self.root.id().as_bytes(),
        };
        (state, self.previous.as_ref().map(RootKey::id))
    }

    pub(super) fn mac_fits(&self) -> bool {
        let mac = self.mac().map_or(&[][..], Vec::as_slice);
        snapshot::verify(&self.root, &self.store_id, self.snapshot.generation, &self.digests, mac)
    }

    /// The MAC of the snapshot: what a second look at the same store must find again.
    #[must_use]
    pub fn mac(&self) -> Option<&Vec<u8>> {
        self.snapshot.records.get(record::MAC)
    }
}

/// Opens the root with the master key, and checks the MAC.
///
/// # Errors
/// [`StartFailure::WrongKey`], [`StartFailure::Damaged`], [`StartFailure::NewerSchema`].
pub fn authenticate(snapshot: Snapshot, master: MasterKey, memory: &LockedMemory) -> Result<Authentic, StartFailure> {
    claim(&snapshot)?;
    let (authentic, lost) = open_root(snapshot, master, memory)?;
    if let Some(failure) = lost {
        return Err(failure);
    }
    if authentic.mac_fits() { Ok(authentic) } else { Err(damaged("its records do not fit its MAC")) }
}

pub(super) fn digests(snapshot: &Snapshot) -> Digests {
    let records = snapshot.records.iter().filter(|(name, _)| *name != record::MAC);
    records.map(|(name, value)| (name.clone(), snapshot::digest(value))).collect()
}

/// Whether these records, which come in order of name, are those of the digests and no other.
pub(super) fn is_of<'r>(records: impl Iterator<Item = (&'r [u8], &'r [u8])>, digests: &Digests) -> bool {
    let covered = records.filter(|(name, _)| *name != record::MAC.as_bytes());
    covered.map(|(name, value)| (name, snapshot::digest(value))).eq(digests.iter())
}

/// The first step of trust: the root that only the right key opens. The MAC is not checked. Beside it, why the previous
/// root does not open, if one is kept and does not.
pub(super) fn open_root(
    snapshot: Snapshot,
    master: MasterKey,
    memory: &LockedMemory,
) -> Result<(Authentic, Option<StartFailure>), StartFailure> {
    let Rooted { store_id, sealed, since, root, previous, lost } = roots(&snapshot, &master, memory)?;
    let digests = digests(&snapshot);
    Ok((Authentic { snapshot, master, root, store_id, digests, sealed, since, previous }, lost))
}

/// What a master key opens of a snapshot, before anything else of it is believed.
pub(super) struct Rooted {
    pub(super) store_id: StoreId,
    pub(super) sealed: record::Master,
    pub(super) since: i64,
    pub(super) root: RootKey,
    pub(super) previous: Option<RootKey>,
    /// Why the previous root does not open, if one is kept and does not.
    pub(super) lost: Option<StartFailure>,
}

/// Opens the roots of a snapshot, and leaves it and the key to the caller.
pub(super) fn roots(snapshot: &Snapshot, master: &MasterKey, memory: &LockedMemory) -> Result<Rooted, StartFailure> {
    let Claimed { store_id, seals, owners, sealed } = claim_of_master(snapshot)?;
    let given = master.fingerprint();
    let Some(seal) = seals.iter().zip(&owners).find(|(_, owner)| **owner == given).map(|(seal, _)| seal) else {
        return Err(wrong_key(&seals, &owners, given, snapshot));
    };
    let root = record_seal::open_root(master, &seal.root, &store_id, memory)
        .map_err(|_| damaged(unopened_root(&owners, given)))?;
    let (previous, lost) = match sealed.previous_root.as_slice() {
        [] => (None, None),
        bytes => match record_seal::open_previous_root(&root, bytes, &store_id, memory) {
            Ok(previous) => (Some(previous), None),
            Err(_) => (None, Some(damaged("the previous root does not open"))),
        },
    };
    Ok(Rooted { store_id, sealed, since: seal.since, root, previous, lost })
}

/// What may be told of the master key in use.
pub(super) fn facts(sealed: &record::Master) -> Result<MasterKeyFacts, StartFailure> {
    let current = sealed.current.as_ref().ok_or_else(|| damaged("it holds no root"))?;
    Ok(MasterKeyFacts { fingerprint: owner(&current.root)?, since: current.since, shared: current.shared })
}

/// Reads everything else: canary first, then identity, legacy keys, keys and versions.
///
/// # Errors
/// [`StartFailure::Damaged`], [`StartFailure::NewerSchema`].
pub fn open(authentic: Authentic, memory: &LockedMemory) -> Result<Loaded, StartFailure> {
    let mut unopened = Vec::new();
    let loaded = open_records(authentic, memory, &mut unopened)?;
    match unopened.into_iter().next() {
        Some(failure) => Err(failure.1),
        None => Ok(loaded),
    }
}

/// Like [`open`], but what does not open is listed, and the rest goes on.
///
/// # Errors
/// Nothing that concerns one record: only what `master` says must hold together.
pub(super) fn open_records(
    authentic: Authentic,
    memory: &LockedMemory,
    unopened: &mut Vec<(String, StartFailure)>,
) -> Result<Loaded, StartFailure> {
    let Authentic { snapshot, master, root, store_id, digests, sealed, previous, .. } = authentic;
    let (facts, rotation) = (facts(&sealed)?, Rotation::of(&sealed)?);
    let opener = Opener { roots: Roots { current: &root, previous: previous.as_ref() }, store_id, memory };
    let mut reader = Reader { snapshot: &snapshot, opener, unopened };
    reader.check_canary(&master);
    let meta: record::Meta = reader.one(record::META).unwrap_or_default();
    let identity = reader.identity();
    let mut keyring = Keyring {
        store_id,
        generation: snapshot.generation,
        keyring: meta.keyring,
        rotations: meta.rotations,
        created: meta.created,
        gaps: meta.gaps.iter().map(|gap| Gap { from: gap.from, to: gap.to }).collect(),
        master: facts,
        keys: Arc::default(),
        names: Arc::default(),
        versions: Arc::default(),
        legacy: Vec::new(),
        pending_legacy: None,
        rotation,
        drills: drill::of_records(&meta.drills),
        identity: identity.map(Arc::new),
    };
    let requests = reader.records(&mut keyring);
    let mac = snapshot.records.get(record::MAC).cloned().unwrap_or_default();
    Ok(Loaded { keyring, secrets: Secrets { master, root, previous, sealed, meta, requests, digests, mac } })
}

/// Whether a canary has a seal of this master key, and it opens.
pub(super) fn canary_opens(canary: &record::Canary, master: &MasterKey, store_id: &StoreId) -> bool {
    let ours = *master.fingerprint().as_bytes();
    let mut seals = canary.seals.iter().filter(|seal| record_seal::header_owner(seal) == Some(ours));
    seals.any(|seal| record_seal::open_canary(master, seal, store_id).is_ok())
}

struct Reader<'r> {
    snapshot: &'r Snapshot,
    opener: Opener<'r>,
    unopened: &'r mut Vec<(String, StartFailure)>,
}

impl Reader<'_> {
    fn fault(&mut self, name: &str, failure: StartFailure) {
        self.unopened.push((name.to_owned(), failure));
    }

    fn one<T: Record>(&mut self, name: &str) -> Option<T> {
        required(self.snapshot, name).map_err(|failure| self.fault(name, failure)).ok()
    }

    fn check_canary(&mut self, master: &MasterKey) {
        let Some(canary) = self.one::<record::Canary>(record::CANARY) else { return };
        if !canary_opens(&canary, master, &self.opener.store_id) {
            self.fault(record::CANARY, damaged("the canary does not open"));
        }
    }

    fn identity(&mut self) -> Option<IdentityKey> {
        let identity: record::Identity = self.one(record::IDENTITY)?;
        self.opener.identity(&identity).map_err(|failure| self.fault(record::IDENTITY, failure)).ok()
    }

    /// Everything that is there more than once. Keys come before their versions in the order of names.
    fn records(&mut self, keyring: &mut Keyring) -> BTreeMap<String, record::Request> {
        let mut keys = BTreeMap::new();
        let mut requests = BTreeMap::new();
        let snapshot = self.snapshot;
        for (name, value) in &snapshot.records {
            let done = match RecordName::parse(name) {
                Some(RecordName::Key(id)) => key(name, value, KeyId::from_bytes(id)).map(|key| {
                    keys.insert(key.id, (key, Vec::new()));
                }),
                Some(RecordName::Version(id)) => self.version(name, value, VersionId::from_bytes(id), &mut keys),
                Some(RecordName::Legacy(id)) => {
                    let opened = self.opener.legacy(name, value, Fingerprint::from_bytes(id));
                    opened.map(|legacy| keyring.legacy.push(legacy))
                }
                Some(RecordName::Request(_)) => decode(name, value).map(|request| {
                    requests.insert(name.trim_start_matches("request/").to_owned(), request);
                }),
                Some(RecordName::History(_)) => decode::<record::History>(name, value).map(drop),
                Some(_) => Ok(()),
                None => Err(StartFailure::NewerSchema(format!("record {name} is unknown"))),
            };
            if let Err(failure) = done {
                self.fault(name, failure);
            }
        }
        for (mut key, versions) in keys.into_values() {
            for double in key.versions.extend(versions) {
                let name = record::version(double.id);
                self.fault(&name, number_taken(&name));
            }
            self.check_whole(&key);
            keyring.replace_key(key);
        }
        keyring.legacy.sort_by_key(|legacy| std::cmp::Reverse((legacy.adopted, legacy.fingerprint)));
        requests
    }

    /// Opens a version and lays it by its key's. Its own seal names the key, so it opens what it sealed whatever became of
    /// the key's record.
    fn version(
        &mut self,
        name: &str,
        value: &[u8],
        id: VersionId,
        keys: &mut BTreeMap<KeyId, (DataKey, Vec<Arc<Version>>)>,
    ) -> Result<(), StartFailure> {
        let sealed = self.opener.version(name, value, id)?;
        let (key, versions) = match keys.entry(sealed.key_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(lost) => lost.insert((self.lost_key(sealed.key_id)?, Vec::new())),
        };
        versions.push(Arc::new(sealed.of(key)));
        Ok(())
    }

    /// The key of a version whose record is gone or says nothing. No daemon gave it its name.
    fn lost_key(&mut self, id: KeyId) -> Result<DataKey, StartFailure> {
        let record = record::key(id);
        let name = format!("lost-{id}");
        self.fault(&record, damaged(format!("record {record} is lost: its versions go under the name {name}")));
        let name = KeyName::parse(&name).map_err(|_| damaged(format!("record {record} is lost")))?;
        Ok(DataKey { id, name, created: 0, primary: 0, promoting: 0, deleted: 0, versions: Versions::default() })
    }

    /// A key in use has the versions that it names.
    fn check_whole(&mut self, key: &DataKey) {
        for failure in missing(key, |number| key.versions.get(number).is_some()) {
            self.fault(&record::key(key.id), failure);
        }
    }
}
