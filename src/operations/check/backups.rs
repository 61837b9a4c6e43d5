//! The backups as a check sees them: which is the newest, whether it is whole, and has every version and legacy key.
//!
//! Must never change or remove a backup, nor take a name for what is in the file.
//! Called by `offline` and `online`.

use super::super::start_failure::StartFailure;
use super::examination::{Examination, Examined};
use crate::custody::id::{Fingerprint, StoreId, VersionId};
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::backup_file::{self, BackupError};
use crate::store::backup_newer;
use crate::store::port::{Snapshot, StoreError};
use crate::telemetry::chain::chain;
use std::path::{Path, PathBuf};

/// Most things that are named where there may be very many.
const NAMED: usize = 3;

/// A backup whose digest fits and whose root opens.
pub(super) struct Opening {
    pub(super) examination: Examination,
    /// When it was made: Unix seconds.
    pub(super) made: i64,
}

/// The backups whose names say that they are of this store, the newest first; of every store without one.
pub(super) fn newest_first(directory: &Path, store_id: Option<&StoreId>) -> Result<Vec<PathBuf>, StoreError> {
    match store_id {
        Some(id) => backup_newer::newest_first(directory, id.as_bytes()),
        None => backup_file::list(directory).map(|found| found.into_iter().rev().collect()),
    }
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Reads a backup and opens its root. What is wrong with it, otherwise, to follow on its path.
pub(super) fn open(
    path: &Path,
    store_id: Option<&StoreId>,
    master: &MasterKey,
    memory: &LockedMemory,
) -> Result<Opening, String> {
    let backup = backup_file::read(path).map_err(|error| unread(&error))?;
    let made = i64::try_from(backup.unix_seconds).unwrap_or(i64::MAX);
    if backup.file_name() != name_of(path) {
        let generation = backup.generation;
        return Err(format!("is not what its name says: it holds generation {generation} of another name"));
    }
    let header = backup.store_id;
    let snapshot = Snapshot { generation: backup.generation, records: backup.records };
    let examination = Examination::begin(snapshot, master, memory).map_err(|failure| match failure {
        StartFailure::WrongKey { expected, given, .. } => {
            format!("opens with master key {expected}, not with {given}")
        }
        StartFailure::Damaged(detail) => format!("is damaged: {detail}"),
        other => format!("cannot be judged: {}", chain(&other)),
    })?;
    let inside = examination.store_id();
    if *inside.as_bytes() != header || store_id.is_some_and(|id| *id != inside) {
        return Err("is damaged: its records are another store's".to_owned());
    }
    Ok(Opening { examination, made })
}

fn unread(error: &BackupError) -> String {
    match error {
        BackupError::Damaged { detail } => format!("is damaged: {detail}"),
        BackupError::Foreign => "is not a backup of servos-keyd".to_owned(),
        BackupError::NewerSchema { .. } => "was written by a newer servos-keyd".to_owned(),
        other => format!("cannot be read: {}", chain(other)),
    }
}

/// What is wrong with the file alone: its format and its digest.
pub(super) fn digest_only(path: &Path) -> Result<(), String> {
    backup_file::read(path).map(drop).map_err(|error| unread(&error))
}

/// What is wrong with a backup that was gone through.
pub(super) fn judge(examined: &Examined) -> Result<(), String> {
    match examined.flaws.first() {
        None => Ok(()),
        Some(first) => {
            let others = examined.flaws.len() - 1;
            let more = if others == 0 { String::new() } else { format!(", and {others} more") };
            Err(format!("is damaged: {}{more}", first.text))
        }
    }
}

/// The versions that may have sealed something, and the legacy keys, that this backup does not hold.
pub(super) fn uncovered(in_use: &[VersionId], legacy: &[Fingerprint], backup: &Examined) -> Option<String> {
    let lost = in_use.iter().filter(|id| !backup.versions.contains(id)).map(ToString::to_string).collect();
    let lost_legacy = legacy.iter().filter(|key| !backup.legacy_keys.contains(key)).map(ToString::to_string).collect();
    lost_of("version", lost).or_else(|| lost_of("legacy key", lost_legacy))
}

fn lost_of(word: &str, mut lost: Vec<String>) -> Option<String> {
    let count = lost.len();
    lost.truncate(NAMED);
    match count {
        0 => None,
        1 => Some(format!("{word} {} is in no backup", lost.concat())),
        count if count > NAMED => Some(format!("{count} {word}s are in no backup: {}, ...", lost.join(", "))),
        count => Some(format!("{count} {word}s are in no backup: {}", lost.join(", "))),
    }
}
