//! What can still be read of a redb file whose integrity nobody checked: around each fault, from many places.
//!
//! Must never be believed, nor go on for ever where damage leads in a circle.
//! Called by the redb adapter alone, over a copy in memory.

use super::port::{Snapshot, StoreError};
use super::redb_file::{GENERATION, RECORDS, current, fault, guarded};
use redb::{Database, ReadableDatabase as _};
use std::path::Path;

/// Records that are there once.
const SINGLE: [&str; 5] = ["canary", "identity", "mac", "master", "meta"];

/// What the names of records that are there many times begin with; an id in hex follows.
const MANY: [&str; 4] = ["key/", "legacy/", "request/", "version/"];

/// Every record that can be had, into `found`: what is there when redb gives up, or panics, was read before. Each place
/// that reading begins at is a way of its own down the tree, so that a fault hides little but its own page.
///
/// # Errors
/// The first fault, if there was one.
pub(super) fn salvage(database: &Database, path: &Path, found: &mut Snapshot) -> Result<(), StoreError> {
    let mut answer = guarded(path, || upwards(database, path, "", found));
    if answer.is_err() {
        for start in starts() {
            let _ = guarded(path, || upwards(database, path, &start, found));
        }
        let _ = guarded(path, || downwards(database, path, found));
    }
    let generation = guarded(path, || {
        let transaction = database.begin_read().map_err(|e| fault(path, e))?;
        current(&transaction.open_table(GENERATION).map_err(|e| fault(path, e))?, path)
    });
    match generation {
        Ok(generation) => found.generation = generation,
        Err(error) => answer = answer.and(Err(error)),
    }
    answer
}

fn starts() -> impl Iterator<Item = String> {
    let many = MANY.into_iter().flat_map(|prefix| (0..=u8::MAX).map(move |byte| format!("{prefix}{byte:02x}")));
    SINGLE.into_iter().chain(["history/"]).map(str::to_owned).chain(many)
}

/// From `start` on, up to a fault, or to what was read before. Names that do not rise are a circle.
fn upwards(database: &Database, path: &Path, start: &str, found: &mut Snapshot) -> Result<(), StoreError> {
    let transaction = database.begin_read().map_err(|e| fault(path, e))?;
    let records = transaction.open_table(RECORDS).map_err(|e| fault(path, e))?;
    let mut last = None;
    for entry in records.range(start..).map_err(|e| fault(path, e))? {
        let (name, value) = entry.map_err(|e| fault(path, e))?;
        let name = name.value().to_owned();
        if last.is_some_and(|last| name <= last) {
            return Err(super::redb_file::damaged(path, "its records are not in order"));
        }
        if found.records.contains_key(&name) {
            break;
        }
        found.records.insert(name.clone(), value.value().to_vec());
        last = Some(name);
    }
    Ok(())
}

fn downwards(database: &Database, path: &Path, found: &mut Snapshot) -> Result<(), StoreError> {
    let transaction = database.begin_read().map_err(|e| fault(path, e))?;
    let records = transaction.open_table(RECORDS).map_err(|e| fault(path, e))?;
    for entry in records.range::<&str>(..).map_err(|e| fault(path, e))?.rev() {
        let (name, value) = entry.map_err(|e| fault(path, e))?;
        if found.records.contains_key(name.value()) {
            break;
        }
        found.records.insert(name.value().to_owned(), value.value().to_vec());
    }
    Ok(())
}
