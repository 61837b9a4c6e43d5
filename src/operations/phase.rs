//! How far the change is that the ledger is at, and what of it memory has not taken over yet.
//!
//! Must never drop a change that may be in the store: all that it would mean is kept with it.
//! Held by `ledger`; led on by `commit` and `unsettled`.

use super::batch_digests::Undo;
use super::keyring::Keyring;
use crate::custody::keys::{MasterKey, RootKey};
use crate::store::record;

/// A change that was sent to the store, and all that memory takes over when it is kept.
pub(super) struct Unsettled {
    /// The generation that it was sent as.
    pub(super) next: u64,
    /// The highest that it was ever sent as: it may be there as any from `next` on.
    pub(super) highest: u64,
    /// The digests of the records that it changes, as they were. The ledger's are those after it.
    pub(super) undo: Undo,
    pub(super) meta: record::Meta,
    pub(super) sealed: Option<record::Master>,
    pub(super) root: Option<(RootKey, MasterKey)>,
    /// Ids of requests that it forgets.
    pub(super) forgotten: Vec<String>,
    pub(super) request: Option<(String, record::Request)>,
    /// What calls see then.
    pub(super) keyring: Keyring,
    pub(super) defers_mark: bool,
    pub(super) once_kept: Option<Box<dyn FnOnce() + Send>>,
    pub(super) proves: bool,
}

/// How far the change is that the ledger is at. A panic leaves it where it was.
pub(super) enum Phase {
    /// There is none: memory is what the store is.
    Rest,
    /// It may be in the store, and is not in memory.
    Sent(Box<Unsettled>),
    /// It is in the store, and memory is taking it over.
    Keeping,
}

impl Phase {
    /// The root that the store's MAC is made with if the change is there and brings one.
    pub(super) fn root(&self) -> Option<&RootKey> {
        match self {
            Self::Sent(unsettled) => unsettled.root.as_ref().map(|(root, _)| root),
            Self::Rest | Self::Keeping => None,
        }
    }

    /// Takes the change out, to be taken over.
    pub(super) fn begin_to_keep(&mut self) -> Option<Unsettled> {
        match std::mem::replace(self, Self::Keeping) {
            Self::Sent(unsettled) => Some(*unsettled),
            other => {
                *self = other;
                None
            }
        }
    }
}
