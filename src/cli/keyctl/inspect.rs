//! `servos-keyctl inspect FILE`: what a backup holds, which key opens it, and whether a key opens all of it.
//!
//! Must never need a daemon, believe a backup, or end with 0 for one that is not good.
//! Called by `keyctl::execute`.

use super::console::Console;
use super::inspect_show::{self as show, Report};
use crate::cli::exit::{self, Exit};
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::operations::inspect::{Proof, inspect, prove};
use crate::operations::start_failure::StartFailure;
use crate::store::backup_file::{self, Backup};
use crate::sys::locked::LockedMemory;
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct InspectArguments {
    /// The backup, or a directory of backups (*.skb1), which are listed, the newest last
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Proves the backup with this key, too: a key file, or an env file with SERVOS_MASTER_KEY= or ACT_MASTER_KEY= in it
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Tells what a backup, or each of a directory, holds; ends with 65 for one that is not good, and with 1 for one that the
/// key does not open.
pub(super) fn run(console: &mut Console, arguments: &InspectArguments) -> Result<(), Failure> {
    let key_file = arguments.key_file.as_deref();
    let prover = Prover { key_file, memory: key::memory()? };
    // A key that is none is said before anything of a backup, however many there are.
    let warnings = prover.warnings()?;
    warnings.iter().for_each(|warning| console.hint(&format!("warning: {warning}")));
    if arguments.file.is_dir() {
        return directory(console, &arguments.file, &prover);
    }
    let report = prover.report(&arguments.file)?;
    console.result(&report.value(), &report.text())?;
    report.verdict()
}

/// Looks at backups, with a key if there is one.
struct Prover<'p> {
    key_file: Option<&'p Path>,
    memory: LockedMemory,
}

impl Prover<'_> {
    fn warnings(&self) -> Result<Vec<String>, Failure> {
        let Some(file) = self.key_file else { return Ok(Vec::new()) };
        let found = key::read_given(file, false, &self.memory)?;
        key::held(&found, &self.memory)?;
        Ok(found.into_iter().flat_map(|source| source.warnings).map(|warning| warning.to_string()).collect())
    }

    /// # Errors
    /// 65 for a file that is no good backup, 66, 74 and 77 for one that cannot be read, 78 for one of a newer servos-keyd.
    fn report(&self, file: &Path) -> Result<Report, Failure> {
        let backup = read(file)?;
        let told = inspect(&backup);
        let (mut given, mut proof) = (None, None);
        if let Some(key_file) = self.key_file {
            let found = key::read_given(key_file, false, &self.memory)?;
            // The key is used up by the proof, and read anew for each backup.
            let chosen = key::choose_among(&found, Ok(told.opened_by.clone()), &self.memory)?;
            given = Some((chosen.key.fingerprint(), chosen.source));
            proof = match prove(backup, chosen.key, &self.memory) {
                Ok(proof) => Some(proof),
                // Told among the problems already.
                Err(StartFailure::Damaged(_) | StartFailure::NewerSchema(_)) => None,
                Err(failure) => return Err(failure.into()),
            };
        }
        Ok(Report { file: file.display().to_string(), told, given, proof })
    }
}

fn read(file: &Path) -> Result<Backup, Failure> {
    // A link is as good as what it leads to: nothing is written.
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    backup_file::read(&real).map_err(|error| {
        let exit = exit::of_inspected(&error);
        Failure { exit, ..Failure::from(StartFailure::from(error).in_backup(file)) }
    })
}

/// One line for each backup.
fn directory(console: &mut Console, directory: &Path, prover: &Prover<'_>) -> Result<(), Failure> {
    let files = backups_in(directory)?;
    if files.is_empty() {
        return Err(Failure::say(exit::MISSING, format!("no backup (*.skb1) lies in {}", directory.display())));
    }
    let mut rows: Vec<(String, Result<Report, Failure>)> = Vec::new();
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        rows.push((name, prover.report(&file)));
    }
    // What cannot be read has no place in the order of time, and must not hide the newest.
    rows.sort_by_key(|(name, report)| (report.as_ref().ok().map(Report::order), name.clone()));
    let (value, text) = show::table_of(&rows, prover.key_file.is_some());
    console.result(&value, &text)?;
    worst(directory, &rows)
}

fn backups_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| Failure::reading(directory, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "skb1") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Damage counts before a key that opens other backups only.
fn worst(directory: &Path, rows: &[(String, Result<Report, Failure>)]) -> Result<(), Failure> {
    let exits: Vec<Exit> = rows
        .iter()
        .filter_map(|(_, report)| match report {
            Ok(report) => report.verdict().err().map(|failure| failure.exit),
            Err(failure) => Some(failure.exit),
        })
        .collect();
    let Some(worst) = exits.iter().find(|exit| **exit != exit::NO).or(exits.first()) else { return Ok(()) };
    let directory = directory.display();
    let say = if *worst == exit::NO {
        format!("{} of {} backups in {directory} are under another key", exits.len(), rows.len())
    } else {
        let bad = exits.iter().filter(|exit| **exit != exit::NO).count();
        format!("{bad} of {} backups in {directory} are not good", rows.len())
    };
    Err(Failure::say(*worst, say).with_hint("name one of them alone to see why"))
}

impl Report {
    /// Whether the backup is good, and the key opens it.
    ///
    /// # Errors
    /// 1 for another key, 65 if something in it is not good or does not open, 78 if it is of a newer servos-keyd.
    fn verdict(&self) -> Result<(), Failure> {
        let (file, problems) = (&self.file, self.told.problems.len());
        if self.told.is_newer {
            return Err(Failure::say(exit::CONFIG, format!("{file} was written by a newer servos-keyd"))
                .with_hint("install that version"));
        }
        if problems > 0 {
            let failure = Failure::say(exit::DATA, format!("{file} is damaged, though its digest fits"));
            return Err(failure.with_hint("take another backup; `servos-keyd restore` would refuse this one"));
        }
        match (&self.proof, &self.given) {
            (Some(Proof::Opens { unopened, .. }), _) if !unopened.is_empty() => {
                let failure = Failure::say(
                    exit::DATA,
                    format!("{file} does not open whole: {} not", show::records(unopened.len())),
                );
                Err(failure.with_hint("take another backup; `servos-keyd restore` would refuse this one"))
            }
            (Some(Proof::Other { .. }), Some((given, _))) => {
                let expected = show::joined(&self.told.opened_by);
                let failure = format!("key {given} does not open this backup, key {expected} does");
                Err(Failure::say(exit::NO, failure).with_hint("bring the key of its time"))
            }
            _ => Ok(()),
        }
    }
}
