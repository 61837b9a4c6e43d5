//! Why a call gave no answer: one variant for each kind that an application must tell apart.
//!
//! Must never have a variant that reads as "there is no value", and never shows a secret.
//! Called by every typed call; an application matches on it.

use super::canary::CanaryReport;
use super::context::InvalidContext;
use super::key_name::InvalidKeyName;
use std::path::PathBuf;
use std::time::Duration;
use tonic::{Code, Status};

/// A source whose type is of no interest to the caller.
pub type BoxedSource = Box<dyn std::error::Error + Send + Sync>;

/// The daemon's text for a ciphertext that it does not open.
const REJECTED: &str = "ciphertext rejected";

/// Why a call gave no answer. None of these means that there is no value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ciphertext is damaged, or was sealed under another key or with another context than the call gives.
    #[error("ciphertext rejected: it is damaged, or was sealed under another key or with another context")]
    Rejected,
    /// The call cannot go with the state of the daemon or of the value: an unknown or disabled version, a legacy value
    /// where none is allowed, a daemon that only decrypts.
    #[error("{reason}")]
    Precondition {
        /// Which state, in the daemon's words.
        reason: String,
    },
    /// The daemon's policy, or the mode of its socket, does not allow this.
    #[error("{reason}")]
    NotPermitted {
        /// What is not permitted.
        reason: String,
        /// The socket, if it was the kernel that did not let this process open it; none if the daemon said no.
        closed_socket: Option<PathBuf>,
    },
    /// The daemon could not learn from the kernel who is calling.
    #[error("{reason}")]
    Unauthenticated {
        /// The daemon's words.
        reason: String,
    },
    /// No key has the name that the call gives.
    #[error("{reason}")]
    UnknownKey {
        /// Which name, in the daemon's words.
        reason: String,
    },
    /// The name is taken.
    #[error("{reason}")]
    AlreadyExists {
        /// Which name, in the daemon's words.
        reason: String,
    },
    /// The request is malformed, or a field is over its limit.
    #[error("{reason}")]
    Invalid {
        /// Which field and which limit.
        reason: String,
    },
    /// A request or an answer is over the transport's limit of 4 MiB.
    #[error("over the limit of a message: {reason}")]
    TooLarge {
        /// What is too large.
        reason: String,
    },
    /// The text is not standard base64 with padding.
    #[error("not standard base64")]
    NotBase64,
    /// The store changed under the call, again and again.
    #[error("{reason}")]
    Conflict {
        /// The daemon's words.
        reason: String,
    },
    /// Too many calls or connections.
    #[error("{reason}")]
    Busy {
        /// What there is too much of.
        reason: String,
    },
    /// The daemon runs, but cannot use its store or the disk under it now.
    #[error("{reason}")]
    StoreUnavailable {
        /// The daemon's words.
        reason: String,
    },
    /// The store is damaged.
    #[error("{reason}")]
    DataLoss {
        /// What is damaged.
        reason: String,
    },
    /// No daemon answers on the socket.
    #[error("no daemon answers on {}", socket.display())]
    Unavailable {
        /// The socket that was tried.
        socket: PathBuf,
        /// What connecting or talking to it met.
        #[source]
        source: BoxedSource,
    },
    /// The deadline of the call passed.
    #[error("no answer within {deadline:?}")]
    DeadlineExceeded {
        /// The deadline of the whole call, retries included.
        deadline: Duration,
    },
    /// The canary does not say that this keyring is the one that made it.
    #[error("the canary does not open: {}", .0.result)]
    Canary(Box<CanaryReport>),
    /// An export of the keyring ended early, or is older than what it must open.
    #[error("the export of the keyring is incomplete: {reason}")]
    IncompleteExport {
        /// What is missing.
        reason: String,
    },
    /// A backup ended early.
    #[error("the backup is incomplete: {reason}")]
    IncompleteBackup {
        /// What is missing.
        reason: String,
    },
    /// The application could not store what it was given to keep.
    #[error("the keyring could not be kept beside the value")]
    NotKept(#[source] BoxedSource),
    /// The daemon does not serve this call on this socket.
    #[error("not served on {}", socket.display())]
    NotServed {
        /// The socket that was asked.
        socket: PathBuf,
    },
    /// A bug in the daemon; its log says more.
    #[error("a fault in the daemon: {reason}")]
    Bug {
        /// Holds an id that stands in the daemon's log.
        reason: String,
    },
    /// An answer that the contract does not know.
    #[error("unexpected answer ({code:?}): {reason}")]
    Unexpected {
        /// Its gRPC code.
        code: Code,
        /// What it says.
        reason: String,
    },
}

impl Error {
    /// The gRPC code that the daemon answered with, or that stands for what happened here.
    pub fn code(&self) -> Code {
        match self {
            Self::Rejected | Self::Invalid { .. } | Self::NotBase64 => Code::InvalidArgument,
            Self::Precondition { .. } | Self::Canary(_) => Code::FailedPrecondition,
            Self::NotPermitted { .. } => Code::PermissionDenied,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::UnknownKey { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::TooLarge { .. } => Code::OutOfRange,
            Self::Conflict { .. } => Code::Aborted,
            Self::Busy { .. } => Code::ResourceExhausted,
            Self::StoreUnavailable { .. } | Self::Unavailable { .. } => Code::Unavailable,
            Self::DataLoss { .. } | Self::IncompleteExport { .. } | Self::IncompleteBackup { .. } => Code::DataLoss,
            Self::DeadlineExceeded { .. } => Code::DeadlineExceeded,
            Self::NotKept(_) => Code::Aborted,
            Self::NotServed { .. } => Code::Unimplemented,
            Self::Bug { .. } => Code::Internal,
            Self::Unexpected { code, .. } => *code,
        }
    }

    /// Whether the same call may succeed later without anyone changing it.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::Busy { .. }
                | Self::StoreUnavailable { .. }
                | Self::Unavailable { .. }
                | Self::DeadlineExceeded { .. }
        )
    }

    /// Wraps an application's own failure to store what belongs to a value.
    pub fn not_kept(source: impl Into<BoxedSource>) -> Self {
        Self::NotKept(source.into())
    }

    /// An answer of the daemon that is against the contract.
    pub(super) fn against_contract(reason: &str) -> Self {
        Self::Unexpected { code: Code::Unknown, reason: reason.to_owned() }
    }

    /// Maps a status that came from the daemon; `deadline` is that of the whole call.
    pub(super) fn from_answer(status: &Status, socket: &std::path::Path, deadline: Duration) -> Self {
        let reason = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument if reason.starts_with(REJECTED) => Self::Rejected,
            Code::InvalidArgument => Self::Invalid { reason },
            Code::FailedPrecondition => Self::Precondition { reason },
            Code::PermissionDenied => Self::NotPermitted { reason, closed_socket: None },
            Code::Unauthenticated => Self::Unauthenticated { reason },
            Code::NotFound => Self::UnknownKey { reason },
            Code::AlreadyExists => Self::AlreadyExists { reason },
            Code::OutOfRange => Self::TooLarge { reason },
            Code::Aborted => Self::Conflict { reason },
            Code::ResourceExhausted => Self::Busy { reason },
            Code::Unavailable => Self::StoreUnavailable { reason },
            Code::DataLoss => Self::DataLoss { reason },
            Code::DeadlineExceeded => Self::DeadlineExceeded { deadline },
            Code::Unimplemented => Self::NotServed { socket: socket.to_owned() },
            Code::Internal => Self::Bug { reason },
            code => Self::Unexpected { code, reason },
        }
    }
}

impl From<InvalidContext> for Error {
    fn from(fault: InvalidContext) -> Self {
        Self::Invalid { reason: fault.to_string() }
    }
}

impl From<InvalidKeyName> for Error {
    fn from(fault: InvalidKeyName) -> Self {
        Self::Invalid { reason: fault.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const CODES: [Code; 15] = [
        Code::InvalidArgument,
        Code::FailedPrecondition,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::NotFound,
        Code::AlreadyExists,
        Code::OutOfRange,
        Code::Aborted,
        Code::ResourceExhausted,
        Code::Unavailable,
        Code::DataLoss,
        Code::DeadlineExceeded,
        Code::Unimplemented,
        Code::Internal,
        Code::Cancelled,
    ];

    #[test]
    fn every_code_of_the_table_has_a_variant_that_gives_it_back() {
        for code in CODES {
            let error = Error::from_answer(&Status::new(code, "text"), Path::new("s"), Duration::from_secs(1));
            assert_eq!(error.code(), code, "{error:?}");
        }
    }

    #[test]
    fn a_rejected_ciphertext_is_told_from_a_malformed_request() {
        let map = |text: &str| Error::from_answer(&Status::invalid_argument(text), Path::new("s"), Duration::ZERO);
        assert!(matches!(map("ciphertext rejected"), Error::Rejected));
        assert!(matches!(map("plaintext: at most 1 MiB"), Error::Invalid { .. }));
    }

    #[test]
    fn an_error_does_not_repeat_its_source() {
        let source = std::io::Error::other("inner text");
        let error = Error::Unavailable { socket: "/run/x.sock".into(), source: source.into() };
        assert_eq!(error.to_string(), "no daemon answers on /run/x.sock");
    }
}
