//! `servos-keyctl rotate run`: a whole rotation of the master key, which can be cut off at any point and goes on, or back.
//!
//! Must never do a step before the journal has it on the disk, nor leave the daemon without a key that opens its store.
//! Called by `rotate`.
//!
//! Its files, from below; each names only what stands before it:
//!
//! 1. `step`: the steps' names.
//! 2. `credential`, then `journal`, `place`: what is on the disk.
//! 3. `arguments`, then `ways`, `found`, `plan`, `prepare`: what was asked for, and what will be done to which files.
//! 4. `run`: the run itself, which each of the following is given.
//! 5. `waiting`, `keys`, then `daemon` and `tidying`: what a step needs.
//! 6. `steps`, `undo`, then `ending`: the way on, the way back, and what is told at the end of either.

mod arguments;
mod credential;
mod daemon;
mod ending;
mod found;
mod journal;
mod keys;
mod place;
mod plan;
mod prepare;
mod run;
mod step;
mod steps;
mod tidying;
mod undo;
mod waiting;
mod ways;

pub(super) use arguments::RunArguments;

use super::console::Console;
use super::rotate_key_file::KeyPlace;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::unit::{self, UNIT};
use crate::config::key_source_error::shell_quoted;
use crate::custody::keys::MasterKey;
use crate::proto::v1::GetStatusResponse;
use crate::store::fault;
use crate::sys::locked::LockedMemory;
use daemon::Stage;
use journal::Journal;
use place::Place;
use plan::Plan;
use run::{Done, Run};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;
use step::Step;
use ways::{Ways, interrupted, with_ways_on};

/// Begin writes a backup, and a disk may be slow.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs, resumes or undoes a rotation.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &RunArguments,
) -> Result<(), Failure> {
    let memory = key::memory()?;
    let admin = socket.admin_within(DEADLINE);
    let status = admin.status().await;
    let found = found::find(arguments, status.as_ref().ok(), &memory);
    let (status, found) = match (status, found) {
        // Without a daemon it is no wonder that nothing is told.
        (Err(error), Err(_)) => return Err(error.into()),
        (status, found) => (status, found?),
    };
    let path = journal::beside(&found.main);
    let journal = Journal::load(&path)?;
    let is_again = arguments.resume || arguments.undo;
    let journal = match journal {
        Some(journal) if is_again => journal,
        Some(journal) => return Err(interrupted(&journal, arguments, socket.argument())),
        None if is_again => return Err(nothing_interrupted(&path)),
        None => {
            let status = status?;
            let plan = prepare::plan(arguments, &admin, &status, &found, &memory).await?;
            if arguments.dry_run {
                return console
                    .result(&plan.value(), &format!("dry run     nothing was changed or made\n{}", plan.text()));
            }
            agree(console, arguments, &plan)?;
            Journal::create(&path, plan.intent)?
        }
    };
    let credential = journal.intent.credential.clone();
    let place = |file: &PathBuf| Place { file: file.clone(), credential: credential.clone() };
    let places = journal.intent.files.iter().map(place).collect();
    let client = socket.operator();
    let (done, ways, socket) = (Done::default(), Cell::new(Ways::Both), socket.argument().cloned());
    let run = Run { console, admin, client, arguments, memory, places, journal, done, ways, socket };
    run.bring_to_an_end().await
}

/// Asks whether to do it, and whether components are ready for it.
fn agree(console: &mut Console, arguments: &RunArguments, plan: &Plan) -> Result<(), Failure> {
    let must_be_migrated = plan.is_env_file && !arguments.components_migrated;
    if must_be_migrated && (arguments.yes || !console.input_is_terminal) {
        let file = plan.intent.files.first().map(|file| file.display().to_string()).unwrap_or_default();
        let text =
            format!("components that are not yet on the daemon read the key in {file}, and would lose their values");
        return Err(Failure::say(exit::USAGE, text).with_hint(
            "add --components-migrated once every component has its values from the daemon (docs/operations.md, \"On a \
             ServOS that exists\")",
        ));
    }
    console.check_confirmable(arguments.yes)?;
    console.confirm(plan.text().trim_end(), "yes", arguments.yes)?;
    if must_be_migrated {
        console.confirm(
            "Components that still read this env file themselves, instead of asking the daemon, do not open their values \
             with the new key. Is every component on the daemon?",
            "migrated",
            false,
        )?;
    }
    Ok(())
}

impl Run<'_> {
    async fn bring_to_an_end(mut self) -> Result<(), Failure> {
        let ended = if self.arguments.undo { undo::undo(&mut self).await } else { self.forwards().await };
        match ended {
            Ok(()) => ending::tell(self),
            Err(failure) => {
                let (again, ways) = (self.said(), self.ways.get());
                Err(with_ways_on(failure, &self.journal, again, ways))
            }
        }
    }

    async fn forwards(&mut self) -> Result<(), Failure> {
        if self.arguments.resume {
            self.look_whether_it_was_finished().await?;
        }
        loop {
            let step = self.journal.step;
            fault::point(&format!("run-entered-{}", step.name()));
            steps::perform(self, step).await?;
            fault::point(&format!("run-done-{}", step.name()));
            let Some(next) = step.next() else { return Ok(()) };
            self.journal.enter(next)?;
        }
    }

    /// What somebody else finished, by hand or by a start, is only brought to its end: from where the files are looked at.
    async fn look_whether_it_was_finished(&mut self) -> Result<(), Failure> {
        if self.journal.undoing || (self.journal.new.is_some() && self.journal.step < Step::Replace) {
            let status = self.status().await?;
            let is_finished = matches!(daemon::stage(self, &status)?, Stage::New | Stage::Finishing);
            match (is_finished, self.journal.undoing) {
                (true, true) => self.journal.turn_forward()?,
                (true, false) => self.journal.enter(Step::Replace)?,
                (false, true) => {
                    return Err(Failure::say(exit::DATA, "this rotation is being undone, and cannot go on"));
                }
                (false, false) => {}
            }
        }
        Ok(())
    }
}

/// What is to be said of a run that was interrupted, if its journal lies beside the file that the daemon opens.
pub(super) fn interrupted_beside(status: &GetStatusResponse) -> Option<String> {
    let opened = KeyPlace::find(status, None).ok()?.map(|place| place.file);
    let file = opened.or_else(|| Some(unit::source(UNIT, &key::memory().ok()?)?.file))?;
    interrupted_at(&file)
}

/// The same of a run that was to replace the key in this file.
pub(super) fn interrupted_at(file: &Path) -> Option<String> {
    let (journal, file) = (journal::beside(file), shell_quoted(file));
    journal.symlink_metadata().is_ok().then(|| {
        format!(
            "{} is there: a `servos-keyctl rotate run` is under way, or was interrupted. `servos-keyctl rotate run --resume \
             --key-file {file}` goes on with it, `servos-keyctl rotate run --undo --key-file {file}` goes back.",
            journal.display()
        )
    })
}

/// The key in a credential that systemd-creds encrypted under this name.
///
/// # Errors
/// What kept it from being decrypted.
pub(super) fn key_in_credential(name: &str, file: &Path, memory: &LockedMemory) -> Result<MasterKey, Failure> {
    Ok(Place { file: file.to_owned(), credential: Some(name.to_owned()) }.held(memory)?.key)
}

/// The file that the daemon's unit takes the key from, with the key that it holds, where both can be told.
pub(super) fn file_of_unit(memory: &LockedMemory) -> Option<(PathBuf, String)> {
    let source = unit::source(UNIT, memory)?;
    let place = Place { file: source.file, credential: source.encrypted };
    let held = place.held(memory).ok()?.fingerprint();
    Some((place.file, held))
}

fn nothing_interrupted(path: &Path) -> Failure {
    Failure::say(exit::MISSING, format!("no interrupted rotation is known: there is no {}", path.display())).with_hint(
        "name its file as it was named then, with --key-file FILE or --by-hand FILE; `servos-keyctl rotate status` tells \
         whether a rotation is under way",
    )
}
