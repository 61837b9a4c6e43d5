//! Why a call cannot go with the rotation that there is, or with the key that it was given.
//!
//! Must never hold a byte of a key: fingerprints and names of sources alone.
//! Called by the operations of a rotation and by those that wait for its end.

use super::key_sources::SourceUnreadable;
use crate::custody::id::Fingerprint;

/// Why a call cannot go with the rotation that there is. Its text is for the administrator who asked.
#[derive(Debug, thiserror::Error)]
pub enum RotationRefusal {
    /// Changes wait until a rotation is over.
    #[error(
        "a rotation of the master key from {old} to {new} is under way, and this call waits for its end: servos-keyctl \
         rotate status tells what it waits for"
    )]
    UnderWay {
        /// The key it began with.
        old: Fingerprint,
        /// The key to come.
        new: Fingerprint,
    },
    /// The rotation is past the point at which it could be turned.
    #[error("the rotation to {new} is already being {done}; when that is done, a new rotation can be begun")]
    Decided {
        /// Its new key.
        new: Fingerprint,
        /// `finished` or `aborted`.
        done: &'static str,
    },
    /// The pending rotation was begun otherwise.
    #[error("the rotation to {new} was begun with another keep_data_keys: abort it, or finish it as it was begun")]
    BegunOtherwise {
        /// Its new key.
        new: Fingerprint,
    },
    /// There is no rotation.
    #[error("no rotation to {0} is pending: servos-keyctl rotate status tells which is, if any")]
    NotPending(Fingerprint),
    /// Another rotation is pending.
    #[error(
        "the rotation that is pending is one to {pending}, not to {asked}: servos-keyctl rotate status tells of it"
    )]
    Other {
        /// The new key of the pending one.
        pending: Fingerprint,
        /// The new key that was named.
        asked: Fingerprint,
    },
    /// The new key is the one in use.
    #[error(
        "{0} is the master key in use: a rotation needs a new one, which servos-keyctl rotate begin --generate makes"
    )]
    KeyInUse(Fingerprint),
    /// The new key was used here before.
    #[error(
        "{0} was a master key of this installation before, and is not used again: a rotation needs a new one, which \
         servos-keyctl rotate begin --generate makes"
    )]
    KeyUsedBefore(Fingerprint),
    /// No new key was given or found.
    #[error("no new key: {0}")]
    NoNewKey(String),
    /// The key that was found is another than the one that was named.
    #[error("new_key_fingerprint: {source_name} holds {found}, not {asked}")]
    OtherNewKey {
        /// Where it was found.
        source_name: String,
        /// What it is.
        found: Fingerprint,
        /// What was named.
        asked: Fingerprint,
    },
    /// A source holds a key that the store does not know.
    #[error(
        "{source_name} holds {found}, which does not open the store: no rotation goes on before it holds the right key"
    )]
    ForeignKey {
        /// The source.
        source_name: String,
        /// What it holds.
        found: Fingerprint,
    },
    /// Sources do not hold what the end of a rotation needs.
    #[error("{0}")]
    SourcesLag(String),
    /// A source cannot be read.
    #[error("a key source cannot be read: {0}")]
    Source(#[from] SourceUnreadable),
}

impl RotationRefusal {
    /// Whether it is the request that contradicts itself, whatever the state of the store.
    #[must_use]
    pub fn is_about_the_request(&self) -> bool {
        matches!(self, Self::OtherNewKey { .. })
    }
}
