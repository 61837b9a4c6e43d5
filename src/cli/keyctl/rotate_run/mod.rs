//! `servos-keyctl rotate run`: a whole rotation of the master key, which can be cut off at any point and goes on, or back.
//!
//! Must never do a step before the journal has it on the disk, nor leave the daemon without a key that opens its store.
//! Called by `rotate`.

mod ending;
mod journal;
mod place;
mod plan;
pub(super) mod program;
mod step;
mod steps;
mod tidying;
mod undo;
pub(in crate::cli) mod unit;
mod waiting;

use super::console::Console;
use super::rotate_key_file::KeyPlace;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::config::key_source_error::shell_quoted;
use crate::custody::keys::MasterKey;
use crate::proto::v1::GetStatusResponse;
use crate::store::fault;
use crate::sys::locked::LockedMemory;
use clap::Args;
use journal::Journal;
use place::Place;
use plan::Plan;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;
use step::Step;
use steps::Stage;

/// The daemon's unit, where no other is named.
pub(in crate::cli) const UNIT: &str = "servos-keyd.service";

/// Begin writes a backup, and a disk may be slow.
const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Args)]
pub(super) struct RunArguments {
    /// A file that holds the key in use: a key file, an env file, or the one that LoadCredential= or a compose file names;
    /// may be given more than once. Else the one that the daemon opens, or that its unit names. The new key is made beside
    /// the first, in FILE.next
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,

    /// The file of --key-file is a credential that systemd-creds encrypted under this name, as in
    /// LoadCredentialEncrypted=NAME:FILE
    #[arg(long, value_name = "NAME", requires = "key_file")]
    encrypted_credential: Option<String>,

    /// Change no file: make the new key in this file, say where it must be put, and wait until it is there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "encrypted_credential"])]
    by_hand: Option<PathBuf>,

    /// The command that restarts the daemon, for a shell, where it must be restarted to see the new key; else its unit is
    /// restarted if systemd runs it
    #[arg(long, value_name = "COMMAND")]
    restart: Option<String>,

    /// The daemon's unit
    #[arg(long, value_name = "UNIT", default_value = UNIT)]
    unit: String,

    /// How long to wait for what you are told to do
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    wait: Duration,

    /// Give the data keys no new versions at the end. Someone with the old key and a copy of the store then goes on opening
    /// what they seal
    #[arg(long)]
    keep_data_keys: bool,

    /// Every component has its values from the daemon, and reads the key in the env file no more
    #[arg(long)]
    components_migrated: bool,

    /// Go on with a run that was interrupted
    #[arg(long, conflicts_with_all = ["undo", "dry_run"])]
    resume: bool,

    /// Go back from a run that was interrupted, to the old key
    #[arg(long, conflicts_with = "dry_run")]
    undo: bool,

    /// Check everything and say what would be done; change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration::parse(text).map_err(|fault| fault.to_string())
}

/// A run that is under way.
struct Run<'r> {
    console: &'r mut Console,
    admin: AdminClient,
    client: Client,
    arguments: &'r RunArguments,
    memory: LockedMemory,
    places: Vec<Place>,
    journal: Journal,
    /// What came of the steps that were done here.
    done: Done,
    /// Where it can go if it fails.
    ways: Cell<Ways>,
    /// The socket that was named on the command line.
    socket: Option<PathBuf>,
}

/// Where a run can go that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    /// On, or back; or further back, once it is on its way there.
    Both,
    /// On: the new key alone opens the store.
    OnlyOn,
    /// Back: the rotation was aborted, and what was made on the way is left.
    OnlyBack,
    /// It is about keys that are not in use any more.
    Neither,
}

/// What the report tells of the steps.
#[derive(Default)]
struct Done {
    backup: String,
    old_key_backups: Vec<String>,
    other_uses: Vec<String>,
    /// Where the old key's text still stands: file and line.
    left_on: Vec<(PathBuf, usize)>,
    /// What is in the place of the new key's file, and was not made there.
    stays: Option<String>,
}

/// Runs, resumes or undoes a rotation.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &RunArguments,
) -> Result<(), Failure> {
    let memory = key::memory()?;
    let admin = socket.admin_within(DEADLINE);
    let status = admin.status().await;
    let found = plan::find(arguments, status.as_ref().ok(), &memory);
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
            let plan = plan::make(arguments, &admin, &status, &found, &memory).await?;
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
            let is_finished = matches!(steps::stage(self, &status)?, Stage::New | Stage::Finishing);
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

    /// Tells a person what is being done.
    fn say(&mut self, text: &str) {
        self.console.hint(text);
    }

    /// The new key's fingerprint.
    fn new_key(&self) -> Result<String, Failure> {
        let missing = || Failure::say(exit::DATA, format!("{} names no new key", self.journal.path().display()));
        self.journal.new.clone().ok_or_else(missing)
    }

    /// How the daemon is restarted: as it was said now, or at the beginning; none: by hand.
    fn restart_command(&self) -> Option<String> {
        self.arguments.restart.clone().or_else(|| self.journal.intent.restart.clone())
    }

    fn said(&self) -> Again<'_> {
        Again { arguments: self.arguments, socket: self.socket.as_ref() }
    }

    async fn status(&self) -> Result<GetStatusResponse, Failure> {
        let status = self.admin.status().await?;
        let (intent, store) = (&self.journal.intent, status.store.clone().unwrap_or_default());
        if store.store_id != intent.store_id {
            let text =
                format!("the daemon serves the store {}, and the rotation is of {}", store.store_id, intent.store_id);
            return Err(Failure::say(exit::DATA, text).with_hint("name the right daemon with --socket PATH"));
        }
        Ok(status)
    }
}

/// What was said on the command line, and must be said again.
#[derive(Clone, Copy)]
struct Again<'a> {
    arguments: &'a RunArguments,
    socket: Option<&'a PathBuf>,
}

/// The command that goes on with a journal: what names its file, its daemon and what it waits for.
fn again(journal: &Journal, Again { arguments, socket }: Again<'_>, how: &str) -> String {
    let mut command = format!("servos-keyctl rotate run {how}");
    if let Some(socket) = socket {
        command.push_str(&format!(" --socket {}", shell_quoted(socket)));
    }
    match journal.intent.files.as_slice() {
        [] => command.push_str(&format!(" --by-hand {}", shell_quoted(&journal.intent.next))),
        [first, ..] => command.push_str(&format!(" --key-file {}", shell_quoted(first))),
    }
    if let Some(restart) = arguments.restart.as_ref().filter(|restart| journal.intent.restart.as_ref() != Some(restart))
    {
        command.push_str(&format!(" --restart {}", shell_quoted(Path::new(restart))));
    }
    if arguments.yes {
        command.push_str(" --yes");
    }
    command
}

/// The command that begins another rotation of the same files, with the options that this one was given.
fn anew(journal: &Journal) -> String {
    let journal::Intent { files, credential, restart, next, .. } = &journal.intent;
    let mut command = "servos-keyctl rotate run".to_owned();
    if files.is_empty() {
        command.push_str(&format!(" --by-hand {}", shell_quoted(next)));
    }
    files.iter().for_each(|file| command.push_str(&format!(" --key-file {}", shell_quoted(file))));
    if let Some(name) = credential {
        command.push_str(&format!(" --encrypted-credential {}", shell_quoted(Path::new(name))));
    }
    if let Some(restart) = restart {
        command.push_str(&format!(" --restart {}", shell_quoted(Path::new(restart))));
    }
    command
}

fn with_ways_on(failure: Failure, journal: &Journal, said: Again<'_>, ways: Ways) -> Failure {
    let (resume, undo) = (again(journal, said, "--resume"), again(journal, said, "--undo"));
    let old = &journal.intent.old;
    let ways = match (ways, journal.undoing) {
        (Ways::Neither, _) => return failure,
        (Ways::OnlyOn, _) => format!("`{resume}` brings this one to its end"),
        (Ways::OnlyBack, _) => format!("`{undo}` takes away what is left of it"),
        (Ways::Both, true) => format!("`{undo}` goes on going back to {old}"),
        (Ways::Both, false) => format!("`{resume}` goes on; `{undo}` goes back to {old}"),
    };
    let hint = failure.hint.clone().map_or(ways.clone(), |hint| format!("{hint}; {ways}"));
    failure.with_hint(hint)
}

fn interrupted(journal: &Journal, arguments: &RunArguments, socket: Option<&PathBuf>) -> Failure {
    let text = format!(
        "a rotation from {} was interrupted at the step {}{}",
        journal.intent.old,
        journal.step.name(),
        if journal.undoing { ", on the way back" } else { "" }
    );
    with_ways_on(Failure::say(exit::TRY_AGAIN, text), journal, Again { arguments, socket }, Ways::Both)
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
