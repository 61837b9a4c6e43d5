//! The one writer's state: the store with the keys that seal its records, and the commit that keeps both true.
//!
//! Must never acknowledge what is not durable, nor let memory and disk tell different stories.
//! Called by the operations that change something, on the writer's thread alone.

use super::engine::Engine;
use super::key_records::Maker;
use super::keyring::Keyring;
use super::refusal::Refusal;
use super::rotation::Rotation;
use super::rotation::key_sources::KeySources;
use super::rotation::refusal::RotationRefusal;
use super::rotation::reseal::Resealed;
use super::{fault, load};
use crate::custody::digests::Digests;
use crate::custody::id::StoreId;
use crate::custody::keys::{LockedMemory, MasterKey, RootKey};
use crate::custody::snapshot;
use crate::store::port::{Batch, Snapshot, Store, StoreError};
use crate::store::record;
use crate::telemetry::chain::chain;
use crate::telemetry::events;
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
    /// Whether the file holds seals that were dropped, from this change on.
    pub(super) rewrite_due: Option<bool>,
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
    /// A panic broke off a change: memory may not be what the disk is.
    pub(super) suspended: bool,
    /// The last self-check found the store damaged: nothing is written on top of that, nor copied from it.
    pub(super) damage_found: bool,
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
        engine.progress.committed(loaded.digests.len() + 1);
        Ok(Self {
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
            suspended: false,
            damage_found: false,
        })
    }

    /// The engine that this ledger publishes to.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Every record as the store has it now.
    ///
    /// # Errors
    /// [`Refusal::Store`], also if the store is not at the generation that was last committed; [`Refusal::Damaged`].
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, Refusal> {
        self.refuse_damage()?;
        let snapshot = self.store.load()?;
        if snapshot.generation != self.generation {
            let found = snapshot.generation;
            return Err(StoreError::Conflict { expected: self.generation, found }.into());
        }
        Ok(snapshot)
    }

    /// Commits a change, durably, and then publishes what it means for calls.
    ///
    /// # Errors
    /// [`Refusal::Store`], [`Refusal::Damaged`]: nothing was changed, on disk or in memory.
    pub(super) fn commit(&mut self, mut change: Change, publish: impl FnOnce(&mut Keyring)) -> Result<(), Refusal> {
        if self.suspended {
            return Err(Refusal::Suspended);
        }
        self.refuse_damage()?;
        let next = self.generation.saturating_add(1);
        let meta = self.meta_after(&change, next);
        if meta != self.meta {
            change.put((record::META.to_owned(), record::encode(&meta)));
        }
        if let Some(sealed) = &change.sealed {
            let sealed = record::encode(sealed);
            change.put((record::MASTER.to_owned(), sealed));
        }
        if let Some((id, request)) = &change.request {
            let remembered = (record::request(id), record::encode(request));
            change.put(remembered);
        }
        let forgotten = self.forget_old_requests(&mut change);
        let undo = apply(&mut self.digests, &change.batch);
        let root = change.root.as_ref().map_or(&self.root, |(root, _)| root);
        let mac = snapshot::mac(root, &self.store_id, next, &self.digests);
        change.put((record::MAC.to_owned(), mac.to_vec()));

        let done = if change.rewrites {
            self.store.commit_rewriting(self.generation, next, &change.batch)
        } else {
            self.store.commit(self.generation, next, &change.batch)
        };
        let settled = match done {
            Ok(()) => Ok(next),
            Err(error) => self.settle(next, &mac, &change).ok_or(error),
        };
        fault::point("commit");
        match settled {
            Ok(reached) => self.generation = reached,
            Err(error) => {
                revert(&mut self.digests, undo);
                return Err(self.not_committed(error));
            }
        }
        self.meta = meta;
        self.sealed = change.sealed.unwrap_or_else(|| std::mem::take(&mut self.sealed));
        if let Some((root, master)) = change.root {
            self.previous = Some(std::mem::replace(&mut self.root, root));
            self.master = master;
        }
        for id in forgotten {
            self.requests.remove(&id);
        }
        self.requests.extend(change.request);
        self.engine.progress.committed(self.digests.len() + 1);
        self.publish(publish);
        if change.defers_mark {
            self.marked = false;
        } else {
            self.write_mark();
        }
        fault::point("mark");
        Ok(())
    }

    fn refuse_damage(&self) -> Result<(), Refusal> {
        match self.damage_found {
            true => Err(Refusal::Damaged("the self-check found it damaged; see status".to_owned())),
            false => Ok(()),
        }
    }

    /// What is true of the whole store after a change.
    fn meta_after(&self, change: &Change, next: u64) -> record::Meta {
        let mut meta = self.meta.clone();
        if change.touches_keyring {
            meta.keyring = next;
        }
        if change.finishes_rotation {
            meta.rotations = meta.rotations.saturating_add(1);
        }
        meta.rewrite_due = change.rewrite_due.unwrap_or(meta.rewrite_due);
        meta
    }

    fn not_committed(&mut self, error: StoreError) -> Refusal {
        self.engine.progress.failed();
        if matches!(error, StoreError::Conflict { .. }) {
            // Only this thread commits, so the store has a commit that this ledger does not know.
            self.suspend();
            tracing::error!(
                event = events::STORE_SUSPENDED,
                error = %chain(&error),
                "the store is not at the generation that was last committed: no further change until a restart"
            );
        } else {
            tracing::error!(event = events::STORE_COMMIT_FAILED, error = %chain(&error), "a change was not written");
        }
        error.into()
    }

    /// Refuses every further change: what memory and store hold may differ.
    pub(super) fn suspend(&mut self) {
        self.suspended = true;
        self.engine.progress.suspended();
    }

    /// Settles a commit that reported a failure, where the store shows it all the same. Being shown is not being kept:
    /// after a failed sync the kernel shows what the disk may never get. So everything is written anew, into a new file,
    /// and that is what counts. Answers the generation that is then durable.
    fn settle(&mut self, next: u64, mac: &[u8; 32], change: &Change) -> Option<u64> {
        let found = self.store.load().ok()?;
        if found.generation != next || found.records.get(record::MAC).is_none_or(|shown| shown != mac) {
            return None;
        }
        let after = next.saturating_add(1);
        let root = change.root.as_ref().map_or(&self.root, |(root, _)| root);
        let mac = snapshot::mac(root, &self.store_id, after, &self.digests);
        let mut batch = Batch::default();
        batch.puts.insert(record::MAC.to_owned(), mac.to_vec());
        match self.store.commit_rewriting(next, after, &batch) {
            Ok(()) => Some(after),
            Err(error) => {
                // The store shows a commit that may not last: only a start can tell which it is.
                self.suspend();
                tracing::error!(
                    event = events::STORE_SUSPENDED,
                    error = %chain(&error),
                    "no further change until a restart"
                );
                None
            }
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

    /// Lets calls see the commit.
    fn publish(&self, change: impl FnOnce(&mut Keyring)) {
        let mut keyring = Keyring::clone(&self.engine.keyring());
        keyring.generation = self.generation;
        keyring.keyring = self.meta.keyring;
        keyring.rotations = self.meta.rotations;
        // What cannot be read of a record that this ledger made itself stays as it was.
        keyring.master = load::facts(&self.sealed).unwrap_or(keyring.master);
        keyring.rotation = Rotation::of(&self.sealed).unwrap_or(keyring.rotation);
        change(&mut keyring);
        self.engine.publish(keyring);
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

/// Brings digests up to a batch; returns what they were, for [`revert`].
pub(super) fn apply(digests: &mut Digests, batch: &Batch) -> Vec<(String, Option<[u8; 32]>)> {
    let mut undo = Vec::with_capacity(batch.puts.len() + batch.deletes.len());
    for (name, value) in &batch.puts {
        undo.push((name.clone(), digests.insert(name, snapshot::digest(value))));
    }
    for name in &batch.deletes {
        undo.push((name.clone(), digests.remove(name)));
    }
    undo
}

fn revert(digests: &mut Digests, undo: Vec<(String, Option<[u8; 32]>)>) {
    for (name, before) in undo.into_iter().rev() {
        match before {
            Some(digest) => digests.insert(&name, digest),
            None => digests.remove(&name),
        };
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
