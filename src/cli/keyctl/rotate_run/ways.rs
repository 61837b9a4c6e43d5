//! Where a run goes that was cut off: on, back, or anew, and the command for each.
//!
//! Must never name a way that is closed, nor leave out of a command what the run needs to find its files and its daemon.
//! Called by `rotate_run` and its parts.

use super::arguments::RunArguments;
use super::journal::{Intent, Journal};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::key_source_error::shell_quoted;
use std::path::{Path, PathBuf};

/// Where a run can go that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ways {
    /// On, or back; or further back, once it is on its way there.
    Both,
    /// On: the new key alone opens the store.
    OnlyOn,
    /// Back: the rotation was aborted, and what was made on the way is left.
    OnlyBack,
    /// It is about keys that are not in use any more.
    Neither,
}

/// What was said on the command line, and must be said again.
#[derive(Clone, Copy)]
pub(super) struct Again<'a> {
    pub(super) arguments: &'a RunArguments,
    pub(super) socket: Option<&'a PathBuf>,
}

/// The command that goes on with a journal: what names its file, its daemon and what it waits for.
pub(super) fn again(journal: &Journal, Again { arguments, socket }: Again<'_>, how: &str) -> String {
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
pub(super) fn anew(journal: &Journal) -> String {
    let Intent { files, credential, restart, next, .. } = &journal.intent;
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

/// A failure, with the ways on.
pub(super) fn with_ways_on(failure: Failure, journal: &Journal, said: Again<'_>, ways: Ways) -> Failure {
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

/// What is said of a run that was interrupted, where another is begun.
pub(super) fn interrupted(journal: &Journal, arguments: &RunArguments, socket: Option<&PathBuf>) -> Failure {
    let text = format!(
        "a rotation from {} was interrupted at the step {}{}",
        journal.intent.old,
        journal.step.name(),
        if journal.undoing { ", on the way back" } else { "" }
    );
    with_ways_on(Failure::say(exit::TRY_AGAIN, text), journal, Again { arguments, socket }, Ways::Both)
}
