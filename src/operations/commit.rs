//! The commit: everything that a change means is made ready first, then the store is changed, then memory.
//!
//! Must never acknowledge what is not durable, nor let memory and disk tell different stories.
//! Called by the operations that change something, on the writer's thread alone.

use super::batch_digests::{apply, undo};
use super::keyring::Keyring;
use super::ledger::{Change, Ledger};
use super::phase::{Phase, Unsettled};
use super::refusal::Refusal;
use super::rotation::Rotation;
use super::unsettled::Settled;
use super::{drill, fault, load};
use crate::custody::snapshot;
use crate::store::port::{Batch, Snapshot, StoreError};
use crate::store::record;
use crate::telemetry::chain::chain;
use crate::telemetry::events;

/// Why a change is not acknowledged.
pub(super) struct NotDone {
    /// What the commit met.
    pub(super) error: StoreError,
    /// What became of the change.
    pub(super) settled: Settled,
}

impl Ledger {
    /// Commits a change, durably, and then publishes what it means for calls. `publish` is called before anything is sent
    /// to the store, and what it makes is seen only when the change is kept.
    ///
    /// # Errors
    /// [`Refusal::Suspended`], [`Refusal::Unsettled`]; [`Refusal::Store`]: nothing was changed in memory, nor in the store,
    /// unless that cannot be told: then it is found out, and either dropped or published, before the next change.
    pub(super) fn commit(&mut self, change: Change, publish: impl FnOnce(&mut Keyring)) -> Result<(), Refusal> {
        self.changes_possible()?;
        let rewrites = change.rewrites;
        let Err(NotDone { error, settled }) = self.send(change, publish) else { return Ok(()) };
        match settled {
            Settled::Conflict(found) => return Err(found.into()),
            Settled::Unknown(cause) => {
                self.store_failed(&cause, rewrites);
                tracing::error!(
                    event = events::STORE_UNSETTLED,
                    error = %chain(&error),
                    cause = %chain(&cause),
                    "whether a change was written is not known yet: no further one until it is; the daemon finds out by itself"
                );
            }
            Settled::Dropped | Settled::Kept => {
                self.store_failed(&error, rewrites);
                tracing::error!(event = events::STORE_COMMIT_FAILED, error = %chain(&error), "a change was not written");
            }
        }
        Err(error.into())
    }

    /// The same without a word about a failure.
    pub(super) fn send(&mut self, change: Change, publish: impl FnOnce(&mut Keyring)) -> Result<(), NotDone> {
        let rewritten = if change.rewrites { Some(self.judged()?) } else { None };
        let (next, batch) = self.prepare(change, publish);
        let done = match rewritten {
            Some(now) => self.store.commit_rewriting(now, next, &batch),
            None => self.store.commit(self.generation, next, &batch),
        };
        fault::point("commit");
        match done {
            Ok(()) => {
                self.keep(next);
                Ok(())
            }
            Err(error) => match self.settle() {
                Settled::Kept => Ok(()),
                settled => Err(NotDone { error, settled }),
            },
        }
    }

    /// What a rewrite puts in the store's place: nothing else than what was committed, or the one file that could still be
    /// mended is gone.
    fn judged(&mut self) -> Result<Snapshot, NotDone> {
        let found = match self.store.load() {
            Ok(found) => found,
            Err(error) => return Err(NotDone { error, settled: Settled::Dropped }),
        };
        match self.contradiction(&found) {
            None => Ok(found),
            // A generation of somebody else's does not come and go, as what a disk reads may.
            Some(error @ StoreError::Conflict { expected, found }) => {
                let settled = self.conflict(StoreError::Conflict { expected, found });
                Err(NotDone { error, settled })
            }
            Some(error) => {
                self.in_doubt = true;
                Err(NotDone { error, settled: Settled::Dropped })
            }
        }
    }

    /// Makes ready all that the change means, so that nothing can fail any more between the commit and its publication.
    fn prepare(&mut self, mut change: Change, publish: impl FnOnce(&mut Keyring)) -> (u64, Batch) {
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
        let mut keyring = self.keyring_after(&meta, change.sealed.as_ref().unwrap_or(&self.sealed));
        publish(&mut keyring);
        let Change { mut batch, sealed, root, request, defers_mark, once_kept, proves, .. } = change;
        let undo = undo(&self.digests, &batch);
        self.phase = Phase::Sent(Box::new(Unsettled {
            next,
            highest: next,
            undo,
            meta,
            sealed,
            root,
            forgotten,
            request,
            keyring,
            defers_mark,
            once_kept,
            proves,
        }));
        apply(&mut self.digests, &batch);
        let mac = self.mac_after(next);
        batch.puts.insert(record::MAC.to_owned(), mac.to_vec());
        (next, batch)
    }

    /// The MAC of what the store holds when the change is in it.
    pub(super) fn mac_after(&self, generation: u64) -> [u8; 32] {
        snapshot::mac(self.phase.root().unwrap_or(&self.root), &self.store_id, generation, &self.digests)
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
        if let Some(drills) = &change.drills {
            meta.drills.clone_from(drills);
        }
        meta.rewrite_due = change.rewrite_due.unwrap_or(meta.rewrite_due);
        meta
    }

    /// What calls see after a change, but for what it does to keys.
    fn keyring_after(&self, meta: &record::Meta, sealed: &record::Master) -> Keyring {
        let mut keyring = Keyring::clone(&self.engine.keyring());
        keyring.keyring = meta.keyring;
        keyring.rotations = meta.rotations;
        keyring.drills = drill::of_records(&meta.drills);
        // What cannot be read of a record that this ledger made itself stays as it was.
        keyring.master = load::facts(sealed).unwrap_or(keyring.master);
        keyring.rotation = Rotation::of(sealed).unwrap_or(keyring.rotation);
        keyring
    }

    /// The change is in the store, at this generation: memory follows, and calls see it.
    pub(super) fn keep(&mut self, reached: u64) {
        let Some(kept) = self.phase.begin_to_keep() else { return };
        let Unsettled { meta, sealed, root, forgotten, request, mut keyring, defers_mark, once_kept, .. } = kept;
        self.generation = reached;
        self.meta = meta;
        if let Some(sealed) = sealed {
            self.sealed = sealed;
        }
        if let Some((root, master)) = root {
            self.previous = Some(std::mem::replace(&mut self.root, root));
            self.master = master;
        }
        if self.sealed.previous_root.is_empty() {
            self.previous = None;
        }
        for id in forgotten {
            self.requests.remove(&id);
        }
        self.requests.extend(request);
        self.marked = false;
        keyring.generation = reached;
        self.engine.publish(keyring);
        self.phase = Phase::Rest;
        self.tell_size();
        if let Some(once_kept) = once_kept {
            once_kept();
        }
        // Both before anybody is told: a mark that fails behind a store that works again is no recovery.
        if defers_mark {
            self.store_works(None);
        } else {
            let problem = self.try_mark();
            self.store_works(Some(problem));
        }
        fault::point("mark");
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
