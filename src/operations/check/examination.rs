//! One snapshot, of the store or of a backup, gone through record by record: every seal opened and dropped again.
//!
//! Must never keep a secret longer than its record takes, nor stop at the first that does not open.
//! Called by `offline` in one go, and by `online` in steps.

use super::super::keyring::DataKey;
use super::super::load::{self, Rooted, canary_opens};
use super::super::load_record::{Opener, Roots, SealedVersion, key, missing, number_taken, orphan};
use super::super::salvage::reason;
use super::super::start_failure::StartFailure;
use super::super::stored::{self, decode, required};
use super::super::version::VersionState;
use super::finding::{Check, Severity};
use crate::custody::digests::Digests;
use crate::custody::id::{Fingerprint, KeyId, RootId, StoreId, VersionId};
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::custody::snapshot;
use crate::store::mark::State;
use crate::store::port::Snapshot;
use crate::store::record::{self, RecordName};
use std::collections::{BTreeMap, BTreeSet, btree_map};

/// Something in a snapshot that is not as it must be.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) check: Check,
    pub(super) severity: Severity,
    pub(super) text: String,
}

impl Flaw {
    fn of(check: Check, failure: StartFailure) -> Self {
        let severity = match failure {
            StartFailure::NewerSchema(_) => Severity::Newer,
            _ => Severity::Fault,
        };
        Self { check, severity, text: reason(failure) }
    }
}

/// What is left of an examination when it is over.
pub(super) struct Examined {
    pub(super) flaws: Vec<Flaw>,
    pub(super) generation: u64,
    /// The generation at which a version or seal last changed.
    pub(super) keyring: u64,
    pub(super) records: usize,
    pub(super) seals: usize,
    pub(super) keys: usize,
    pub(super) legacy_keys: BTreeSet<Fingerprint>,
    pub(super) versions: BTreeSet<VersionId>,
    /// The versions that may have sealed something: not those of deleted keys, nor one that waits for its backup.
    pub(super) in_use: Vec<VersionId>,
    /// A rotation of the master key is under way.
    pub(super) is_rotating: bool,
}

/// An examination under way.
pub(super) struct Examination {
    rooted: Rooted,
    generation: u64,
    keyring: u64,
    mac: Vec<u8>,
    left: btree_map::IntoIter<String, Vec<u8>>,
    records: usize,
    digests: Digests,
    seals: usize,
    legacy_keys: BTreeSet<Fingerprint>,
    keys: BTreeMap<KeyId, DataKey>,
    numbers: BTreeSet<(KeyId, u32)>,
    versions: BTreeSet<VersionId>,
    in_use: Vec<VersionId>,
    flaws: Vec<Flaw>,
}

impl Examination {
    /// Opens the root and what stands alone.
    ///
    /// # Errors
    /// [`StartFailure::WrongKey`], [`StartFailure::NewerSchema`]; [`StartFailure::Damaged`] if nothing can be opened.
    pub(super) fn begin(snapshot: Snapshot, master: &MasterKey, memory: &LockedMemory) -> Result<Self, StartFailure> {
        let mut rooted = load::roots(&snapshot, master, memory)?;
        let mut flaws: Vec<Flaw> = rooted.lost.take().map(|lost| Flaw::of(Check::Root, lost)).into_iter().collect();
        match required::<record::Canary>(&snapshot, record::CANARY) {
            Ok(canary) if canary_opens(&canary, master, &rooted.store_id) => (),
            Ok(_) => flaws.push(Flaw::of(Check::Canary, stored::damaged("the canary does not open"))),
            Err(failure) => flaws.push(Flaw::of(Check::Canary, failure)),
        }
        let opened = required(&snapshot, record::IDENTITY)
            .and_then(|identity| opener(&rooted, memory).identity(&identity).map(drop));
        flaws.extend(opened.err().map(|failure| Flaw::of(Check::Identity, failure)));
        let meta = required::<record::Meta>(&snapshot, record::META);
        let keyring = meta.as_ref().map_or(0, |meta| meta.keyring);
        flaws.extend(meta.err().map(|failure| Flaw::of(Check::Records, failure)));
        Ok(Self {
            generation: snapshot.generation,
            keyring,
            mac: snapshot.records.get(record::MAC).cloned().unwrap_or_default(),
            records: snapshot.records.len(),
            left: snapshot.records.into_iter(),
            // Those of root, canary and identity, and of the previous root, where there is one.
            seals: 3 + usize::from(!rooted.sealed.previous_root.is_empty()),
            rooted,
            digests: Digests::default(),
            legacy_keys: BTreeSet::new(),
            keys: BTreeMap::new(),
            numbers: BTreeSet::new(),
            versions: BTreeSet::new(),
            in_use: Vec::new(),
            flaws,
        })
    }

    pub(super) fn store_id(&self) -> StoreId {
        self.rooted.store_id
    }

    pub(super) fn root_id(&self) -> RootId {
        self.rooted.root.id()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The state as a mark names it, and the root before.
    pub(super) fn state(&self) -> (State, Option<RootId>) {
        let state = State {
            store_id: *self.rooted.store_id.as_bytes(),
            generation: self.generation,
            root_id: *self.root_id().as_bytes(),
        };
        (state, self.rooted.previous.as_ref().map(|root| root.id()))
    }

    /// Records that were looked at, and in all.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.records.saturating_sub(self.left.len()), self.records)
    }

    /// Looks at the next record; answers whether there was one.
    pub(super) fn step(&mut self, memory: &LockedMemory) -> bool {
        let Some((name, value)) = self.left.next() else { return false };
        if name != record::MAC {
            self.digests.insert(&name, snapshot::digest(&value));
        }
        let opener = opener(&self.rooted, memory);
        let (check, done) = match RecordName::parse(&name) {
            Some(RecordName::Key(id)) => {
                let read = key(&name, &value, KeyId::from_bytes(id));
                (Check::Keys, read.map(|key| drop(self.keys.insert(key.id, key))))
            }
            Some(RecordName::Version(id)) => {
                self.seals += 1;
                let id = VersionId::from_bytes(id);
                let opened = opener.version(&name, &value, id);
                (Check::Versions, opened.and_then(|sealed| self.version(&name, sealed)))
            }
            Some(RecordName::Legacy(id)) => {
                self.seals += 1;
                self.legacy_keys.insert(Fingerprint::from_bytes(id));
                let opened = opener.legacy(&name, &value, Fingerprint::from_bytes(id));
                (Check::LegacyKeys, opened.map(drop))
            }
            Some(RecordName::Request(_)) => (Check::Records, decode::<record::Request>(&name, &value).map(drop)),
            Some(RecordName::History(_)) => (Check::Records, decode::<record::History>(&name, &value).map(drop)),
            Some(_) => (Check::Records, Ok(())),
            None => (Check::Records, Err(StartFailure::NewerSchema(format!("record {name} is unknown")))),
        };
        self.flaws.extend(done.err().map(|failure| Flaw::of(check, failure)));
        true
    }

    fn version(&mut self, name: &str, sealed: SealedVersion) -> Result<(), StartFailure> {
        let key = self.keys.get(&sealed.key_id).ok_or_else(|| orphan(name))?;
        let version = sealed.of(key);
        self.versions.insert(version.id);
        let waits = key.is_promoting() && key.promoting == version.number;
        if version.state == VersionState::Enabled && !waits {
            self.in_use.push(version.id);
        }
        if self.numbers.insert((version.key_id, version.number)) { Ok(()) } else { Err(number_taken(name)) }
    }

    /// What is true of all records together, once none is left.
    pub(super) fn end(mut self) -> Examined {
        for key in self.keys.values() {
            let lost = missing(key, |number| self.numbers.contains(&(key.id, number)));
            self.flaws.extend(lost.map(|failure| Flaw::of(Check::Keys, failure)));
        }
        let Rooted { root, store_id, .. } = &self.rooted;
        if !snapshot::verify(root, store_id, self.generation, &self.digests, &self.mac) {
            let failure = stored::damaged("the records do not fit the snapshot's MAC");
            self.flaws.push(Flaw::of(Check::Mac, failure));
        }
        Examined {
            flaws: self.flaws,
            generation: self.generation,
            keyring: self.keyring,
            records: self.records,
            seals: self.seals,
            keys: self.keys.values().filter(|key| !key.is_deleted()).count(),
            legacy_keys: self.legacy_keys,
            versions: self.versions,
            in_use: self.in_use,
            is_rotating: self.rooted.sealed.rotation.is_some(),
        }
    }
}

fn opener<'r>(rooted: &'r Rooted, memory: &'r LockedMemory) -> Opener<'r> {
    let roots = Roots { current: &rooted.root, previous: rooted.previous.as_ref() };
    Opener { roots, store_id: rooted.store_id, memory }
}
