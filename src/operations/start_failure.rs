//! Why the daemon does not start, or a store is not made: each cause with what mends it.
//!
//! Must never hold key bytes, nor claim more of an unverified store than that it says so itself.
//! Called by `load`, `create`, `restore` and `accept`; `cli` turns it into an exit code.

use super::refusal::Refusal;
use crate::custody::id::Fingerprint;
use crate::store::backup_file::BackupError;
use crate::store::mark::MarkError;
use crate::store::port::StoreError;
use std::path::PathBuf;

/// Why there is no start.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// Nothing was ever made here.
    #[error("no store at {store}: restore a backup with `servos-keyd restore FILE`, or, on a new installation, make one \
             with `servos-keyd init`", store = store.display())]
    NoStore {
        /// Where it should be.
        store: PathBuf,
    },
    /// A store was here.
    #[error("the store {store} is gone, but {witness} is there: bring it back with `servos-keyd restore FILE`; to begin \
             anew, which makes everything sealed so far unreadable, first move {witness} away",
            store = store.display(), witness = witness.display())]
    StoreLost {
        /// Where it should be.
        store: PathBuf,
        /// The mark or backup that tells of it.
        witness: PathBuf,
    },
    /// A creation broke off before there was a store.
    #[error("the creation of {store} was interrupted: run `servos-keyd init` again", store = store.display())]
    CreationInterrupted {
        /// Where it should be.
        store: PathBuf,
    },
    /// Something is there that would be overwritten.
    #[error("{path} exists and is never overwritten: if it is not needed, move it away", path = path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The key is not the one that the store was sealed with. The store's own word is marked as such.
    #[error(
        "MASTER KEY INTEGRITY CHECK FAILED: the store says it was sealed under master key {expected} (in use since \
             {since}), the key given is {given}. Nothing was written. Bring back the right key, or find which key a file \
             holds with `servos-keyctl check-key`"
    )]
    WrongKey {
        /// What the store says, one or two fingerprints.
        expected: String,
        /// Since when, in the store's word: RFC 3339.
        since: String,
        /// The key that was given.
        given: Fingerprint,
    },
    /// Two sources hold different keys.
    #[error(
        "two sources hold different master keys: {first} has {first_fingerprint}, {second} has \
             {second_fingerprint}. Remove the wrong one"
    )]
    SourcesDisagree {
        /// The first source.
        first: String,
        /// Its key.
        first_fingerprint: Fingerprint,
        /// Another source.
        second: String,
        /// Its key.
        second_fingerprint: Fingerprint,
    },
    /// The text of a source is no key.
    #[error("{source_name}: {problem}")]
    MalformedKey {
        /// The source.
        source_name: String,
        /// What is wrong, without a byte of it.
        problem: String,
    },
    /// The legacy row that was to prove the key does not open.
    #[error(
        "the master key {given} does not open the value in {file}: it is not the key that sealed it. Nothing was made"
    )]
    LegacyRowRefused {
        /// The file with the row.
        file: PathBuf,
        /// The key that was given.
        given: Fingerprint,
    },
    /// The content is not what a daemon wrote.
    #[error(
        "the store is damaged: {0}. Restore a backup with `servos-keyd restore FILE`, or open what still opens with \
             `servos-keyd serve --salvage`"
    )]
    Damaged(String),
    /// Written by a newer daemon.
    #[error("the store was written by a newer servos-keyd ({0}): install that version")]
    NewerSchema(String),
    /// There is no mark.
    #[error("the high-water mark {mark} is missing, so an older store could pass for the newest. If the store is \
             complete at generation {generation}, take it with `servos-keyd accept --generation {generation}`",
            mark = mark.display())]
    MarkMissing {
        /// Where it should be.
        mark: PathBuf,
        /// The store's generation.
        generation: u64,
    },
    /// The mark is no mark.
    #[error(
        "the high-water mark cannot be used; if the store is complete at generation {generation}, take it with \
             `servos-keyd accept --generation {generation}`"
    )]
    MarkUnusable {
        /// The store's generation.
        generation: u64,
        /// What is wrong with the mark.
        #[source]
        source: MarkError,
    },
    /// The store is older than the mark, or not the one it speaks of.
    #[error("the high-water mark {mark} refuses the store: {problem}. Put the right file back, or restore a backup; to \
             go on with this one all the same, run `servos-keyd accept --generation {generation}`", mark = mark.display())]
    MarkRefuses {
        /// The mark.
        mark: PathBuf,
        /// What does not fit.
        problem: String,
        /// The store's generation.
        generation: u64,
    },
    /// `accept` was told another generation than the store has.
    #[error("the store is at generation {found}, not {told}: nothing was changed")]
    OtherGeneration {
        /// What the store has.
        found: u64,
        /// What was told.
        told: u64,
    },
    /// The store could not be read or made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mark could not be read or written.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The backup could not be read or written.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// An operation of the start was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
