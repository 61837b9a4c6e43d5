//! Exit codes, cause by cause: the one table, shown by `--help` and in the README, and held by a test.
//!
//! Must never give one code to causes that an operator mends differently in a script.
//! Called by every command of both binaries, and by `failure`.

use crate::client::error::Error as ClientError;
use crate::config::error::ConfigError;
use crate::config::key_source_error::{FaultClass, KeySourceError};
use crate::custody::keys::KeyError;
use crate::operations::refusal::{Refusal, StoreTrouble};
use crate::operations::start_failure::StartFailure;
use crate::store::backup_file::BackupError;
use crate::store::mark::MarkError;
use crate::store::port::StoreError;
use crate::sys::sockets::bound::BindError;

/// An exit code of sysexits(3), with what it means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The code.
    pub code: u8,
    /// What it means.
    pub meaning: &'static str,
}

macro_rules! exits {
    ($($(#[$doc:meta])* $name:ident = $code:literal: $meaning:literal;)*) => {
        $($(#[$doc])* pub const $name: Exit = Exit { code: $code, meaning: $meaning };)*

        /// Every exit code but success.
        pub const ALL: &[Exit] = &[$($name),*];
    };
}

/// The table, as `--help` ends with it.
#[must_use]
pub fn help() -> String {
    let rows = ALL.iter().map(|exit| format!("\n  {:2}  {}", exit.code, exit.meaning));
    format!("Exit codes:\n   0  done{}", rows.collect::<String>())
}

exits! {
    /// EX_… none: a question was answered.
    NO = 1: "checked, and the answer is no";
    /// EX_USAGE
    USAGE = 64: "wrong arguments";
    /// EX_DATAERR
    DATA = 65: "the data was rejected";
    /// EX_NOINPUT
    MISSING = 66: "no store, no key, or no such file or key name";
    /// EX_UNAVAILABLE
    NO_DAEMON = 69: "no daemon answers";
    /// EX_SOFTWARE
    BUG = 70: "a bug";
    /// EX_OSERR
    NO_PROTECTION = 71: "the kernel refuses a protection that the configuration requires";
    /// EX_CANTCREAT
    CANNOT_CREATE = 73: "something is there that is not overwritten, or nothing can be made there";
    /// EX_IOERR
    DAMAGED = 74: "input or output failed, or the store is damaged, foreign or refused by its mark";
    /// EX_TEMPFAIL
    TRY_AGAIN = 75: "another daemon has the store or the socket, this one is busy, or it gets no thread: try again later";
    /// EX_NOPERM
    NOT_PERMITTED = 77: "not permitted; a key file's mode or owner too";
    /// EX_CONFIG
    CONFIG = 78: "wrong configuration, malformed or wrong master key, or a store of a newer servos-keyd";
}

/// The code of a failed start, creation, restore or acceptance.
#[must_use]
pub fn of_start(failure: &StartFailure) -> Exit {
    match failure {
        StartFailure::NoStore { .. }
        | StartFailure::StoreLost { .. }
        | StartFailure::StoreElsewhere { .. }
        | StartFailure::CreationInterrupted { .. } => MISSING,
        StartFailure::Exists { .. } | StartFailure::OtherStore { .. } => CANNOT_CREATE,
        StartFailure::WrongKey { .. }
        | StartFailure::SourcesDisagree { .. }
        | StartFailure::MalformedKey { .. }
        | StartFailure::NewerSchema(_) => CONFIG,
        StartFailure::LegacyRowRefused { .. }
        | StartFailure::LegacyRowNotBase64 { .. }
        | StartFailure::LegacyRowsDiffer { .. }
        | StartFailure::OtherGeneration { .. }
        | StartFailure::Older { .. }
        | StartFailure::CanaryRefused { .. } => DATA,
        StartFailure::InBackup { kind, .. } => of_start(kind),
        StartFailure::UnusableFile(error) => of_store(error),
        StartFailure::Damaged(_)
        | StartFailure::Unsalvageable { .. }
        | StartFailure::MarkMissing { .. }
        | StartFailure::MarkUnusable { .. }
        | StartFailure::MarkRefuses { .. } => DAMAGED,
        StartFailure::Store(error) => of_store(error),
        StartFailure::Mark(error) => of_mark(error),
        StartFailure::Backup(error) => of_backup(error),
        StartFailure::Refused(refusal) => of_refusal(refusal),
    }
}

/// The code of a store that cannot be used.
#[must_use]
pub fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Missing { .. } => MISSING,
        StoreError::AlreadyExists { .. } => CANNOT_CREATE,
        StoreError::InUse { .. } | StoreError::Conflict { .. } => TRY_AGAIN,
        StoreError::NotPermitted { .. } => NOT_PERMITTED,
        StoreError::NewerFormat { .. } => CONFIG,
        StoreError::BatchTooLarge | StoreError::GenerationNotRising { .. } => BUG,
        StoreError::Empty { .. }
        | StoreError::Foreign { .. }
        | StoreError::Damaged { .. }
        | StoreError::Full { .. }
        | StoreError::Unavailable { .. } => DAMAGED,
    }
}

/// The code of a mark that cannot be used.
fn of_mark(error: &MarkError) -> Exit {
    match error {
        MarkError::Damaged { .. } => DAMAGED,
        MarkError::File(error) => of_store(error),
    }
}

/// The code of a backup that cannot be used.
fn of_backup(error: &BackupError) -> Exit {
    match error {
        BackupError::Foreign | BackupError::Damaged { .. } => DAMAGED,
        BackupError::NewerSchema { .. } => CONFIG,
        BackupError::TooLarge => BUG,
        BackupError::Differs { .. } => CANNOT_CREATE,
        BackupError::File(error) => of_store(error),
    }
}

/// The code of a file that was asked about, where one that is no good backup is the answer.
#[must_use]
pub fn of_inspected(error: &BackupError) -> Exit {
    match error {
        BackupError::Foreign | BackupError::Damaged { .. } => DATA,
        error => of_backup(error),
    }
}

fn of_refusal(refusal: &Refusal) -> Exit {
    match refusal.trouble() {
        StoreTrouble::Damaged => DAMAGED,
        StoreTrouble::Conflict => TRY_AGAIN,
        StoreTrouble::Full | StoreTrouble::Unavailable => DAMAGED,
    }
}

/// The code of a key that is no key, or cannot be made or held.
#[must_use]
pub fn of_key(error: &KeyError) -> Exit {
    match error {
        KeyError::Malformed(_) | KeyError::Memory(_) => CONFIG,
        KeyError::Random(_) => DAMAGED,
        KeyError::NoRoom { .. } => BUG,
    }
}

/// The code of a key source that cannot be read.
#[must_use]
pub fn of_key_source(error: &KeySourceError) -> Exit {
    if matches!(error, KeySourceError::Memory { .. }) {
        // The limit on locked memory is a setting, wherever it is met.
        return CONFIG;
    }
    match error.class() {
        FaultClass::NotFound => MISSING,
        FaultClass::NotPermitted => NOT_PERMITTED,
        FaultClass::Malformed => CONFIG,
        FaultClass::Unavailable => DAMAGED,
    }
}

/// The code of a configuration that is not valid.
#[must_use]
pub fn of_config(_: &ConfigError) -> Exit {
    CONFIG
}

/// The code of a socket that cannot be bound.
#[must_use]
pub fn of_bind(error: &BindError) -> Exit {
    match error {
        BindError::AlreadyServed { .. } => TRY_AGAIN,
        BindError::PathNotSafe { .. } | BindError::NotOurs { .. } => NOT_PERMITTED,
        BindError::Occupied { .. } | BindError::ModeNotKept { .. } => CANNOT_CREATE,
        BindError::PathTooLong { .. } => CONFIG,
        BindError::Refused { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => NOT_PERMITTED,
        BindError::Refused { .. } => CANNOT_CREATE,
    }
}

/// The code of a question that the daemon did not answer.
#[must_use]
pub fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Canary(_) => NO,
        ClientError::Rejected | ClientError::Precondition { .. } | ClientError::Invalid { .. } => DATA,
        ClientError::TooLarge { .. } | ClientError::NotBase64 => DATA,
        ClientError::UnknownKey { .. } => MISSING,
        ClientError::Unavailable { .. } | ClientError::NotServed { .. } => NO_DAEMON,
        ClientError::Bug { .. } | ClientError::Unexpected { .. } => BUG,
        ClientError::AlreadyExists { .. } => CANNOT_CREATE,
        ClientError::DataLoss { .. } | ClientError::IncompleteExport { .. } => DAMAGED,
        ClientError::IncompleteBackup { .. } | ClientError::NotKept(_) => DAMAGED,
        ClientError::Conflict { .. } | ClientError::Busy { .. } | ClientError::StoreUnavailable { .. } => TRY_AGAIN,
        ClientError::DeadlineExceeded { .. } => TRY_AGAIN,
        ClientError::NotPermitted { .. } | ClientError::Unauthenticated { .. } => NOT_PERMITTED,
    }
}

#[cfg(test)]
#[path = "exit_tests.rs"]
mod tests;
