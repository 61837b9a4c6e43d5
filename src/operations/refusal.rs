//! Why a call was not done: one variant for each cause that a caller or an operator must tell apart.
//!
//! Must never hold a byte of a plaintext, a key or a context; says nothing of gRPC.
//! Called by every operation; `rpc::status` alone turns it into an answer.

use super::rotation::refusal::RotationRefusal;
use crate::auth::policy::Denied;
use crate::custody::committing::SealError;
use crate::custody::id::VersionId;
use crate::custody::keys::KeyError;
use crate::custody::random::RandomUnavailable;
// Parts of a refusal: whoever takes one apart need not name the store for it.
pub use crate::store::backup_file::BackupError;
pub use crate::store::port::StoreError;

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Policy says no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A field is malformed or over its limit.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field of the request.
        field: &'static str,
        /// What is wrong with it, with the limit; none of its content.
        problem: String,
    },
    /// The plaintext to seal is itself a message of this store.
    #[error("plaintext: already sealed; set allow_nested to seal it again")]
    AlreadySealed,
    /// The value is nothing that this daemon, or one before it, made.
    #[error("not a message of servos-keyd")]
    NotAMessage,
    /// The value is the base64 text of a message.
    #[error("this is base64 text: decode it first")]
    Base64Text,
    /// The value is a stream, and the call opens single messages.
    #[error("this is a stream (SKS1), not a single message")]
    Stream,
    /// The value did not open. The cause is for the log: the caller learns that it was rejected.
    #[error("ciphertext rejected: {0}")]
    Rejected(Rejection),
    /// The value has the mark of a format yet to come.
    #[error("made by a newer servos-keyd")]
    NewerFormat,
    /// The value names a version that this store never had.
    #[error("ciphertext names a version unknown to this store: {0}")]
    VersionUnknown(VersionId),
    /// The value names a version that does not open any more.
    #[error("ciphertext names a disabled version: {0}")]
    VersionDisabled(VersionId),
    /// The value may be a legacy one, and the request does not allow that.
    #[error("legacy not allowed: set allow_legacy to open values sealed before servos-keyd")]
    LegacyNotAllowed,
    /// No key has this name.
    #[error("no key of this name; CreateKey makes one")]
    NoSuchKey,
    /// The name is taken.
    #[error("a key of this name exists")]
    KeyExists,
    /// The key's first version waits for its backup.
    #[error("the key has no primary version yet; CreateKey with the same name goes on")]
    NoPrimary,
    /// No legacy key with this fingerprint is held.
    #[error("no legacy key of this fingerprint is held")]
    NoSuchLegacyKey,
    /// A drill of a key that opens nothing here.
    #[error("this key does not open the store: a drill of it proves nothing")]
    DrillOfOtherKey,
    /// The request id was used for something else.
    #[error("request_id: was used with other contents; take a new UUID")]
    RequestIdReused,
    /// The daemon is decrypt-only.
    #[error("the daemon runs with --salvage: it opens, and changes nothing")]
    Salvage,
    /// The store could not be used; nothing was changed.
    #[error("store")]
    Store(#[source] StoreError),
    /// The backup could not be written. Where it had to come first, what the call made so far is kept for its repetition.
    #[error("backup")]
    Backup(#[source] BackupError),
    /// The store's content is not what this daemon wrote.
    #[error("store damaged: {0}")]
    Damaged(String),
    /// Changes wait in line already; try again later.
    #[error("too many changes are waiting")]
    Busy,
    /// The store is not as the daemon left it, in a way that only a restart can judge.
    #[error("the store is not as the daemon left it: restart the daemon")]
    Suspended,
    /// Whether the change before was written is not known yet. The daemon finds out by itself.
    #[error("whether the last change was written is not known yet: {reason}")]
    Unsettled {
        /// What keeps it from being found out.
        reason: String,
        /// What that means for the caller.
        trouble: StoreTrouble,
    },
    /// The rotation of the master key stands against it, or is not what the call takes it for.
    #[error(transparent)]
    Rotation(#[from] RotationRefusal),
    /// The high-water mark does not name the last commit, and cannot be written.
    #[error("the high-water mark cannot be written")]
    MarkBehind,
    /// The kernel gave no randomness.
    #[error("no randomness")]
    Random,
    /// The locked memory is used up.
    #[error("no locked memory: {0}")]
    Memory(String),
}

/// Why a value did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Damaged, or sealed with another context.
    #[error("commitment or tag do not fit")]
    DoesNotOpen,
    /// It is under another key than the caller expects.
    #[error("under another key than expected")]
    OtherKey,
    /// No legacy key opens it.
    #[error("no legacy key opens it")]
    Legacy,
}

impl Refusal {
    /// A field that is malformed or over its limit.
    #[must_use]
    pub fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { field, problem: problem.into() }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Random(_) => Self::Random,
            KeyError::Malformed(malformed) => Self::invalid("key", malformed.to_string()),
            KeyError::Memory(_) | KeyError::NoRoom { .. } => Self::Memory(error.to_string()),
        }
    }
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Random(_) => Self::Random,
            SealError::TooLong => Self::invalid("plaintext", error.to_string()),
        }
    }
}

impl From<RandomUnavailable> for Refusal {
    fn from(_: RandomUnavailable) -> Self {
        Self::Random
    }
}

/// What a failure of the store means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreTrouble {
    /// The generation was not the expected one.
    Conflict,
    /// The content is not what was written.
    Damaged,
    /// No space is left.
    Full,
    /// The store cannot be used now.
    Unavailable,
}

impl StoreTrouble {
    /// What an error of the store means for the caller.
    #[must_use]
    pub fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Conflict,
            StoreError::Damaged { .. }
            | StoreError::Empty { .. }
            | StoreError::Foreign { .. }
            | StoreError::NewerFormat { .. } => Self::Damaged,
            StoreError::Full { .. } => Self::Full,
            _ => Self::Unavailable,
        }
    }
}

impl Refusal {
    /// What a refusal that comes from the store means for the caller.
    #[must_use]
    pub fn trouble(&self) -> StoreTrouble {
        match self {
            Self::Store(error) => StoreTrouble::of(error),
            Self::Unsettled { trouble, .. } => *trouble,
            Self::Damaged(_) => StoreTrouble::Damaged,
            _ => StoreTrouble::Unavailable,
        }
    }

    /// Whether the fault is the daemon's or its machine's, and not the caller's.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Store(_)
                | Self::Backup(_)
                | Self::Damaged(_)
                | Self::Suspended
                | Self::Unsettled { .. }
                | Self::MarkBehind
                | Self::Random
                | Self::Memory(_)
        )
    }
}
