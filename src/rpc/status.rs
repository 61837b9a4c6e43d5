//! The one place where a refusal becomes a gRPC status: the table in proto/servos/keyd/v1/key_service.proto.
//!
//! Must never put a cause into the text for the caller that the table does not give: causes go to the log.
//! Called by `answer`, and by what refuses a call before it has a handler, or in its place.

use crate::operations::refusal::{Refusal, StoreTrouble};
use tonic::{Code, Status};

/// The text for every value that did not open, whatever the cause.
pub const REJECTED: &str = "ciphertext rejected";

/// The text for a peer that the kernel did not name.
pub const UNAUTHENTICATED: &str = "the kernel did not tell who is calling";

/// The status of every call to a daemon that did not start.
#[must_use]
pub fn did_not_start() -> Status {
    Status::unavailable("servos-keyd did not start: its operator finds the cause in its log; try again later")
}

/// The same for the operator.
#[must_use]
pub fn did_not_start_because(cause: &str) -> Status {
    Status::unavailable(format!("servos-keyd did not start: {cause}"))
}

/// When a client may try again what was too much. Source: gRPC's A6, "Pushback", which clients that repeat calls follow.
const PUSHBACK: (&str, &str) = ("grpc-retry-pushback-ms", "200");

/// The status of a call for which there is no memory now.
#[must_use]
pub fn too_much() -> Status {
    let mut status = Status::resource_exhausted("too many or too large calls at once: try again");
    status.metadata_mut().insert(PUSHBACK.0, tonic::metadata::MetadataValue::from_static(PUSHBACK.1));
    status
}

/// The status of a call that a panic ended, with the id that joins it to the log.
#[must_use]
pub fn broken() -> (String, Status) {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let status = Status::internal(format!("internal error {id}: see the daemon's log"));
    (id, status)
}

/// The code and text that a caller gets.
#[must_use]
pub fn of(refusal: &Refusal) -> (Code, String) {
    match refusal {
        Refusal::Denied(_) => (Code::PermissionDenied, "not permitted".to_owned()),
        Refusal::Invalid { .. }
        | Refusal::AlreadySealed
        | Refusal::NotAMessage
        | Refusal::Base64Text
        | Refusal::Stream
        | Refusal::RequestIdReused => (Code::InvalidArgument, refusal.to_string()),
        Refusal::Rejected(_) => (Code::InvalidArgument, REJECTED.to_owned()),
        Refusal::NewerFormat
        | Refusal::VersionUnknown(_)
        | Refusal::VersionDisabled(_)
        | Refusal::LegacyNotAllowed
        | Refusal::NoPrimary
        | Refusal::DrillOfOtherKey
        | Refusal::Salvage => (Code::FailedPrecondition, refusal.to_string()),
        Refusal::NoSuchKey | Refusal::NoSuchLegacyKey => (Code::NotFound, refusal.to_string()),
        Refusal::KeyExists => (Code::AlreadyExists, refusal.to_string()),
        Refusal::Busy => (Code::ResourceExhausted, "too many changes are waiting: try again".to_owned()),
        Refusal::Store(_) => store(refusal.trouble()),
        Refusal::Backup(_) => {
            (Code::Unavailable, "the backup could not be written: mend its directory and repeat the call".to_owned())
        }
        Refusal::Damaged(_) => (Code::DataLoss, "the store is damaged: see the daemon's log".to_owned()),
        Refusal::Rotation(why) => {
            let code = if why.is_about_the_request() { Code::InvalidArgument } else { Code::FailedPrecondition };
            (code, why.to_string())
        }
        Refusal::MarkBehind => (
            Code::Unavailable,
            "the high-water mark cannot be written: mend its directory, see the daemon's log, and repeat the call"
                .to_owned(),
        ),
        Refusal::Unsettled { trouble: StoreTrouble::Damaged, .. } => store(StoreTrouble::Damaged),
        Refusal::Unsettled { .. } => (
            Code::Unavailable,
            "whether the last change was written is not known yet: mend the disk, then repeat the call; the daemon goes on \
             by itself"
                .to_owned(),
        ),
        Refusal::Suspended => {
            (Code::Unavailable, "no change is possible until the daemon is restarted: see its log".to_owned())
        }
        Refusal::Random | Refusal::Memory(_) => {
            (Code::Unavailable, "the system gives no memory or randomness: try again".to_owned())
        }
    }
}

fn store(trouble: StoreTrouble) -> (Code, String) {
    match trouble {
        StoreTrouble::Conflict => (Code::Aborted, "the store changed under the call: try again".to_owned()),
        StoreTrouble::Damaged => (Code::DataLoss, "the store is damaged: see the daemon's log".to_owned()),
        StoreTrouble::Full => {
            (Code::Unavailable, "no space is left for the store: make room, then repeat the call".to_owned())
        }
        StoreTrouble::Unavailable => {
            (Code::Unavailable, "the store cannot be used now: see the daemon's log, then repeat the call".to_owned())
        }
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
