//! The one writer's state: the store with the keys that seal its records, and what a change of it is made of.
//!
//! Must never hand out what the store shows while the outcome of a change is not known.
//! Called by the operations that change something, on the writer's thread alone.

use super::engine::Engine;
use super::files_watch::Seen;
use super::key_records::Maker;
use super::phase::Phase;
use super::refusal::Refusal;
use super::rotation::key_sources::KeySources;
use super::rotation::refusal::RotationRefusal;
use super::rotation::{Resealed, Rotation};
use super::trouble::Trouble;
use super::upkeep::Upkeep;
use crate::custody::digests::Digests;
use crate::custody::id::StoreId;
use crate::custody::keys::{LockedMemory, MasterKey, RootKey};
use crate::custody::snapshot;
use crate::store::durable;
use crate::store::packed::Packed;
use crate::store::port::{Batch, Store, StoreError};
use crate::store::record;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the daemon's files lie, and how many backups it keeps.
#[derive(Debug, Clone)]
pub struct Places {
    /// The store.
    pub store: PathBuf,
    /// Its high-water mark.
    pub mark: PathBuf,
    /// The directory of backups.
    pub backups: PathBuf,
    /// Backups kept whatever their age.
    pub keep: usize,
    /// The age in seconds under which a backup is kept whatever their number.
    pub keep_for: u64,
}

/// A set of puts and deletes that is committed as one.
#[derive(Default)]
pub struct Change {
    pub(super) batch: Batch,
    /// A version or a seal changes: exports that components keep are too old from here on.
    pub(super) touches_keyring: bool,
    /// Dropped values must not stay in the file.
    pub(super) rewrites: bool,
    /// The request that the change answers, remembered in the same commit.
    pub(super) request: Option<(String, record::Request)>,
    /// The new record of the roots.
    pub(super) sealed: Option<record::Master>,
    /// The root that takes the place of the one before, which is kept, with the master key that it is under.
    pub(super) root: Option<(RootKey, MasterKey)>,
    /// A master rotation is finished with this change.
    pub(super) finishes_rotation: bool,
    /// The mark waits for a later change: this one tells nothing that a file from before it would not.
    pub(super) defers_mark: bool,
    /// The drills that are known from this change on.
    pub(super) drills: Option<Vec<record::Drill>>,
    /// Whether the file holds seals that were dropped, from this change on.
    pub(super) rewrite_due: Option<bool>,
    /// What is said once the change is kept, however long it takes to find out that it is.
    pub(super) once_kept: Option<Box<dyn FnOnce() + Send>>,
    /// It changes nothing but the MAC: it proves that the store can be written.
    pub(super) proves: bool,
}

impl Change {
    /// Puts a record, by its name.
    pub(super) fn put(&mut self, (name, value): (String, Vec<u8>)) {
        self.batch.puts.insert(name, value);
    }

    /// Drops the record of a name.
    pub(super) fn delete(&mut self, name: String) {
        self.batch.deletes.insert(name);
    }
}

/// What the ledger takes from a store that was loaded: all that the keyring does not hold.
pub struct Secrets {
    pub(super) master: MasterKey,
    pub(super) root: RootKey,
    pub(super) previous: Option<RootKey>,
    pub(super) sealed: record::Master,
    pub(super) meta: record::Meta,
    pub(super) requests: BTreeMap<String, record::Request>,
    pub(super) digests: Digests,
    pub(super) mac: Vec<u8>,
}

/// What the writer holds.
pub struct Ledger {
    pub(super) store: Box<dyn Store>,
    pub(super) places: Places,
    pub(super) memory: LockedMemory,
    pub(super) master: MasterKey,
    pub(super) root: RootKey,
    /// The root before, until every seal is made anew and the mark names the one in use.
    pub(super) previous: Option<RootKey>,
    pub(super) sealed: record::Master,
    pub(super) sources: Box<dyn KeySources>,
    pub(super) store_id: StoreId,
    pub(super) generation: u64,
    pub(super) digests: Digests,
    pub(super) meta: record::Meta,
    pub(super) requests: BTreeMap<String, record::Request>,
    pub(super) engine: Arc<Engine>,
    /// The mark names the state of the last commit.
    pub(super) marked: bool,
    /// How far the making anew of seals is.
    pub(super) resealed: Option<Resealed>,
    /// Somebody asked for a rotation that waits to go on.
    pub(super) go_on_asked: bool,
    /// Whether the outcome of a change is still to be found out.
    pub(super) phase: Phase,
    /// What the store or its mark refused last.
    pub(super) trouble: Trouble,
    /// The store shows what this ledger never wrote, or memory is half way through a change: only a start can judge it.
    pub(super) suspended: bool,
    /// The last self-check found the store damaged: nothing is written on top of that, nor copied from it.
    pub(super) damage_found: bool,
    /// Something else was read than what was committed: a self-check is to tell whether it is there to stay.
    pub(super) in_doubt: bool,
    /// What was beside the store when that was last looked at.
    pub(super) seen: Seen,
}

impl Ledger {
    /// The writer's state for a store that was loaded; `engine` is made on its keyring.
    ///
    /// # Errors
    /// [`Refusal::Damaged`] if the store does not hold what was loaded from it.
    pub fn new(
        mut store: Box<dyn Store>,
        places: Places,
        loaded: Secrets,
        engine: Arc<Engine>,
        memory: LockedMemory,
        sources: Box<dyn KeySources>,
    ) -> Result<Self, Refusal> {
        let keyring = engine.keyring();
        let found = store.read(record::MAC)?;
        if found != Some(loaded.mac) {
            return Err(Refusal::Damaged("it changed while it was opened".to_owned()));
        }
        let ledger = Self {
            store,
            places,
            memory,
            master: loaded.master,
            root: loaded.root,
            previous: loaded.previous,
            sealed: loaded.sealed,
            sources,
            store_id: keyring.store_id,
            generation: keyring.generation,
            digests: loaded.digests,
            meta: loaded.meta,
            requests: loaded.requests,
            engine,
            marked: false,
            resealed: None,
            go_on_asked: false,
            phase: Phase::Rest,
            trouble: Trouble::default(),
            suspended: false,
            damage_found: false,
            in_doubt: false,
            seen: Seen::default(),
        };
        ledger.tell_size();
        Ok(ledger)
    }

    /// For status: how large the store is.
    pub(super) fn tell_size(&self) {
        let progress = &self.engine.progress;
        progress.counted(self.digests.len() + 1);
        progress.measured(durable::length_bytes(&self.places.store).unwrap_or(0));
    }

    /// What the configuration asks for is in force from now on; a job of the writer's, so that no backup is half judged by it.
    pub fn put_in_force(&mut self, upkeep: Upkeep) {
        self.places.keep = upkeep.keep;
        self.places.keep_for = upkeep.keep_for;
        self.engine.keep_up(upkeep);
    }

    /// The engine that this ledger publishes to.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Every record as the store has it now.
    ///
    /// # Errors
    /// [`Refusal::Store`], also if the store is not at the generation that was last committed; [`Refusal::Unsettled`];
    /// [`Refusal::Damaged`].
    pub(super) fn packed(&mut self) -> Result<Packed, Refusal> {
        self.settled()?;
        self.refuse_damage()?;
        let loaded = self.store.load_packed();
        let packed = self.read_or_failing(loaded)?;
        if packed.generation != self.generation {
            let found = packed.generation;
            return Err(StoreError::Conflict { expected: self.generation, found }.into());
        }
        Ok(packed)
    }

    /// One record as the store has it now.
    ///
    /// # Errors
    /// [`Refusal::Store`], [`Refusal::Unsettled`].
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.settled()?;
        let read = self.store.read(name);
        self.read_or_failing(read)
    }

    /// The same of what a change is then built on: damage that came into it would be under a MAC that fits.
    ///
    /// # Errors
    /// Those of [`Ledger::read`]; [`Refusal::Damaged`] if it is not what was committed.
    pub(super) fn read_committed(&mut self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let found = self.read(name)?;
        if found.as_deref().map(snapshot::digest) != self.digests.get(name) {
            self.in_doubt = true;
            return Err(Refusal::Damaged(format!("record {name} is not what was committed")));
        }
        Ok(found)
    }

    /// Refuses what would build on damage, or copy from it.
    ///
    /// # Errors
    /// [`Refusal::Damaged`].
    pub(super) fn refuse_damage(&self) -> Result<(), Refusal> {
        match self.damage_found {
            true => Err(Refusal::Damaged("the self-check found it damaged; see status".to_owned())),
            false => Ok(()),
        }
    }

    /// What new keys and versions are made with.
    pub(super) fn maker<'m>(&'m self, engine: &'m Engine) -> Maker<'m> {
        Maker {
            store_id: &self.store_id,
            root: &self.root,
            memory: &self.memory,
            random: &*engine.random,
            now: (engine.clock)(),
        }
    }

    /// Refuses what waits for the end of a rotation of the master key.
    ///
    /// # Errors
    /// [`RotationRefusal::UnderWay`].
    pub(super) fn no_rotation(&self) -> Result<(), RotationRefusal> {
        match &self.engine.keyring().rotation {
            Some(Rotation { old, new, .. }) => Err(RotationRefusal::UnderWay { old: *old, new: *new }),
            None => Ok(()),
        }
    }

    /// Whether somebody asked, since this was last asked, for a rotation that waits to go on.
    pub(super) fn rotation_asked(&mut self) -> bool {
        std::mem::take(&mut self.go_on_asked)
    }
}
