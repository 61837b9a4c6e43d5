//! Why the daemon does not start, or a store is not made: each cause with what mends it.
//!
//! Must never hold key bytes, nor claim more of an unverified store than that it says so itself.
//! Called by `load`, `create`, `restore` and `accept`; `cli` turns it into an exit code.

use super::refusal::Refusal;
use super::restore::newer::Newer;
use crate::custody::id::Fingerprint;
use crate::store::backup_file::BackupError;
use crate::store::mark::MarkError;
use crate::store::port::StoreError;
use crate::telemetry::chain::chain;
use crate::telemetry::shell::shell_quoted;
use std::path::{Path, PathBuf};

/// What helps where a store is there and not good.
const REMEDY: &str = "Restore a backup with `servos-keyd restore FILE`, which keeps the file, or open what still opens with \
                      `servos-keyd serve --salvage`";

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
    #[error("the store {store} is gone, but {witnesses} {verb} there: if this is its \
             right place, bring it back with `servos-keyd restore {newest}`; to \
             begin anew, which makes everything sealed so far unreadable, first move {witnesses} away",
            store = store.display(), witnesses = together(witnesses),
            verb = if witnesses.len() == 1 { "is" } else { "are" }, newest = or_file(newest.as_deref()))]
    StoreLost {
        /// Where it should be.
        store: PathBuf,
        /// The mark and the directory of backups, as far as they tell of it.
        witnesses: Vec<PathBuf>,
        /// The newest of the backups, by its name.
        newest: Option<PathBuf>,
    },
    /// A store lies where a slip in the configuration would have missed it.
    #[error("no store at {store}, but one stands at {found}. {ways}", store = store.display(), found = found.display())]
    StoreElsewhere {
        /// Where it should be.
        store: PathBuf,
        /// What lies elsewhere.
        found: PathBuf,
        /// What that may mean, and what is to be done for each: the setting that is wrong, and where it stands.
        ways: String,
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
    /// A store or mark in a place where a backup of another store is to be restored.
    #[error("{path} is another installation's, of store {found}, and the backup is of store {wanted}: it is left alone. Look \
             whether this is the right backup and the right place; if so, move it away", path = path.display())]
    OtherStore {
        /// The store or mark.
        path: PathBuf,
        /// The store it is of, in its own word: 32 hex digits.
        found: String,
        /// The backup's store.
        wanted: String,
    },
    /// Something newer than the backup is known.
    #[error("{file} is a backup of generation {generation}, and {newer}. Nothing was changed. {instead}to go back on purpose, \
             run `servos-keyd restore --older {argument}`", file = file.display(), instead = newer.instead())]
    Older {
        /// The backup.
        file: PathBuf,
        /// What follows `servos-keyd restore` in a command that names it.
        argument: String,
        /// Its generation.
        generation: u64,
        /// What is newer.
        newer: Box<Newer>,
    },
    /// A client's canary does not fit the backup.
    #[error("the canary in {file} {problem}. Nothing was changed: look whether this is the right backup", file = file.display())]
    CanaryRefused {
        /// The canary's file.
        file: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The key is not the one that the store was sealed with. The store's own word is marked as such.
    #[error(
        "MASTER KEY INTEGRITY CHECK FAILED: the store says it was sealed under master key {expected} (in use since \
             {since}){pending}, the key given is {given}{past}. Nothing was written. Bring back {which}, or find which key a \
             file holds with `servos-keyctl check-key`{then}",
        pending = pending(*to_come), past = past_of(*past), which = which(*to_come), then = then(expected, *to_come)
    )]
    WrongKey {
        /// The fingerprint of the key in use, as the store says.
        expected: String,
        /// The key that a pending rotation leads to, as the store says.
        to_come: Option<Fingerprint>,
        /// Since when, in the store's word: RFC 3339.
        since: String,
        /// The key that was given.
        given: Fingerprint,
        /// What the store says that the key given was here.
        past: Option<KeyPast>,
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
    /// A line that was to prove the key holds no value.
    #[error("{file}:{line} is not a base64 value. Nothing was made", file = file.display())]
    LegacyRowNotBase64 {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Some of the legacy rows open, so the key is right for those.
    #[error("{file}: the master key {given} opens {opened} of {count}; {lines} were sealed under another key or are \
             damaged. Nothing was made", file = file.display())]
    LegacyRowsDiffer {
        /// The file with the rows.
        file: PathBuf,
        /// The key that was given.
        given: Fingerprint,
        /// How many open.
        opened: usize,
        /// Of how many.
        count: usize,
        /// The lines that do not, as people read them.
        lines: String,
    },
    /// No legacy row that was to prove the key opens.
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
    #[error("the store is damaged: {0}. {REMEDY}")]
    Damaged(String),
    /// What lies in the store's place cannot be read as one.
    #[error("{0}. {REMEDY}")]
    UnusableFile(StoreError),
    /// Not even salvage finds anything to open.
    #[error("nothing in {store} opens, not even for salvage: {problem}. Only a backup helps: run `servos-keyd restore FILE`, \
             which keeps the file", store = store.display())]
    Unsalvageable {
        /// The store.
        store: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A backup that was to be restored is not good.
    #[error("{file}: {problem}", file = file.display())]
    InBackup {
        /// The backup.
        file: PathBuf,
        /// What is wrong, in words for a backup.
        problem: String,
        /// The same, as it would be said of a store.
        kind: Box<StartFailure>,
    },
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

impl StartFailure {
    /// What a store's file that could not be looked at means: damage has its remedy, whoever finds it.
    #[must_use]
    pub fn of_file(error: StoreError) -> Self {
        match error {
            StoreError::Empty { .. } | StoreError::Foreign { .. } | StoreError::Damaged { .. } => {
                Self::UnusableFile(error)
            }
            error => Self::Store(error),
        }
    }

    /// The same failure where what was read is a backup.
    #[must_use]
    pub fn in_backup(self, file: &Path) -> Self {
        let problem = match &self {
            Self::Damaged(detail) => {
                format!("the backup is damaged: {detail}. Nothing was written; take another backup")
            }
            Self::NewerSchema(what) => {
                format!("the backup was written by a newer servos-keyd ({what}): install that version")
            }
            Self::WrongKey { expected, to_come, since, given, past } => format!(
                "MASTER KEY INTEGRITY CHECK FAILED: the backup says it was sealed under master key {expected} (in use \
                 since {since}){}, the key given is {given}{}. Nothing was written. Bring back {} of its time",
                pending(*to_come),
                past_of(*past),
                if to_come.is_some() { "either key" } else { "the key" },
            ),
            Self::Backup(BackupError::File(StoreError::Missing { .. })) => "no such file".to_owned(),
            Self::Backup(_) if file.is_dir() => "is a directory, not a backup".to_owned(),
            Self::Backup(BackupError::File(StoreError::Foreign { .. })) => "is not a file".to_owned(),
            other => chain(other),
        };
        Self::InBackup { file: file.to_owned(), problem, kind: Box::new(self) }
    }
}

/// What a store says that a key which does not open it was here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPast {
    /// A rotation ended its use.
    Replaced,
    /// The rotation that it was to come with was aborted.
    Aborted,
    /// It was adopted to open legacy values.
    Legacy,
}

fn pending(to_come: Option<Fingerprint>) -> String {
    to_come.map(|to_come| format!(" and that a rotation to master key {to_come} is pending")).unwrap_or_default()
}

const fn past_of(past: Option<KeyPast>) -> &'static str {
    match past {
        None => "",
        Some(KeyPast::Replaced) => ", of which it says that a rotation replaced it",
        Some(KeyPast::Aborted) => ", of which it says that its rotation was aborted",
        Some(KeyPast::Legacy) => ", of which it says that it was only adopted for legacy values",
    }
}

const fn which(to_come: Option<Fingerprint>) -> &'static str {
    if to_come.is_some() { "either of the two" } else { "the right key" }
}

fn then(in_use: &str, to_come: Option<Fingerprint>) -> String {
    let Some(to_come) = to_come else { return String::new() };
    format!(
        "; once the daemon runs, end the rotation: with {to_come} by `servos-keyctl rotate finish`, with {in_use} by \
         `servos-keyctl rotate abort`"
    )
}

/// Paths as a sentence names them.
fn together(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}

/// The file, as a shell takes it, where one is known, and the word for it where none is.
fn or_file(path: Option<&Path>) -> String {
    path.map_or_else(|| "FILE".to_owned(), shell_quoted)
}
