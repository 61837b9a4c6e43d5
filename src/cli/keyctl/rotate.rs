//! `servos-keyctl rotate run|begin|finish|abort|status`: the master key's rotation, whole or step by step.
//!
//! Must never end a rotation but with the key it was begun with, as the daemon tells it.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::output::{fields, push_list, time, time_value};
use super::rotate_end::{EndArguments, push_end_commands};
use super::rotate_key_file::KeyPlace;
use super::socket::SocketArguments;
use super::{rotate_abort, rotate_begin, rotate_finish, rotate_run, rotate_show};
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::client::key_admin::AdminClient;
use crate::proto::v1::{GetStatusResponse, RotationState};
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(super) enum RotateCommand {
    /// Do all of it: a new key, a backup, begin, the key file changed, finish
    ///
    /// Makes the new key beside the file that holds the old one, puts it into that file (only the key changes), restarts the
    /// daemon where it must, and ends with the new key alone. Each step stands in a journal before it is done: cut off at any
    /// point, --resume goes on and --undo goes back; meanwhile the daemon can be started at any time.
    Run(rotate_run::RunArguments),
    /// Begin: from now on the key in use and a new one both open the store
    ///
    /// The new key lies beside the key file, under its name with .next behind it: /etc/servos/master.key.next. The daemon
    /// reads it there; --generate makes it first. A daemon that opens no key file, but is given the key by systemd or in
    /// its environment, is sent the new key: name the file that it comes from with --key-file.
    ///
    /// Begin loses nothing: both keys open the store, and components go on, until `rotate finish` or `rotate abort`.
    Begin(rotate_begin::BeginArguments),
    /// Finish: from now on the new key alone opens the store
    ///
    /// The daemon reads its key sources again, and refuses as long as one of them does not hold the new key: put it there
    /// first. What is left after that goes on by itself, and is waited for. The .next file is removed once the key file
    /// holds the same key.
    Finish(EndArguments),
    /// Abort: from now on the old key alone opens the store
    ///
    /// The daemon refuses as long as one of its key sources holds the new key. The .next file stays.
    Abort(rotate_abort::AbortArguments),
    /// Show how far a rotation is, which key opens the store, and what to do next
    Status,
}

/// Runs a subcommand of `rotate`.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    command: &RotateCommand,
) -> Result<(), Failure> {
    let admin = socket.admin();
    match command {
        RotateCommand::Run(arguments) => rotate_run::run(console, socket, arguments).await,
        RotateCommand::Begin(arguments) => rotate_begin::run(console, socket, arguments).await,
        RotateCommand::Finish(arguments) => rotate_finish::run(console, &admin, arguments).await,
        RotateCommand::Abort(arguments) => rotate_abort::run(console, &admin, arguments).await,
        RotateCommand::Status => status(console, &admin).await,
    }
}

async fn status(console: &mut Console, admin: &AdminClient) -> Result<(), Failure> {
    let status = admin.status().await?;
    let master = status.master_key.clone().unwrap_or_default();
    let next_file = Some(master.next_file.as_str()).filter(|next| !next.is_empty());
    let held = held_in_file(&status);
    let mut next = next_steps(&status, held.as_ref());
    if let Some(interrupted) = rotate_run::interrupted_beside(&status) {
        // What a run has under way is not begun again, and its new key is not removed.
        next.retain(|step| !step.begins);
        next.insert(0, Step::to(interrupted));
    }
    let next: Vec<String> = next.into_iter().map(|step| step.text).collect();
    let value = json!({
        "rotation": status.rotation.as_ref().map(rotate_show::value),
        "fingerprint": master.fingerprint,
        "since": time_value(master.since),
        "source": master.source,
        "next_file": next_file,
        "next": next,
    });
    let mut rows = match &status.rotation {
        Some(rotation) => rotate_show::rows(rotation),
        None => vec![
            ("rotation", "none".to_owned()),
            ("master key", format!("{}, in use since {}", master.fingerprint, time(master.since))),
        ],
    };
    rows.push(("read from", master.source.clone()));
    if let Some(Held { file, fingerprint, .. }) = held.as_ref().filter(|held| held.opens_nothing) {
        let file = file.display();
        rows.push(("WARNING", format!("{file} holds {fingerprint}, which does not open the store: no restart now")));
    }
    let new_key = next_file.map(|next| match Path::new(next).symlink_metadata() {
        Ok(_) => next.to_owned(),
        Err(_) => format!("{next}, which is not there yet"),
    });
    let sent = "the file beside the one that --key-file names: the daemon opens no key file";
    rows.push(("new key in", new_key.unwrap_or_else(|| sent.to_owned())));
    let mut text = fields(&rows);
    push_list(&mut text, "Next:", &next);
    console.result(&value, &text)
}

/// What the key file holds by now.
struct Held {
    file: PathBuf,
    fingerprint: String,
    opens_nothing: bool,
}

/// What is in the key file that the daemon opens, where this tool may read it: a start would find that.
fn held_in_file(status: &GetStatusResponse) -> Option<Held> {
    let place = KeyPlace::find(status, None).ok()??;
    let memory = key::memory().ok()?;
    let fingerprint = place.read_file(&memory).ok()?.fingerprint();
    let opens = match (&status.rotation, &status.master_key) {
        (Some(rotation), _) => rotation.opens.contains(&fingerprint),
        (None, Some(master)) => master.fingerprint == fingerprint,
        (None, None) => return None,
    };
    Some(Held { file: place.file, fingerprint, opens_nothing: !opens })
}

/// One thing to do next.
struct Step {
    text: String,
    /// Whether it begins a rotation.
    begins: bool,
}

impl Step {
    fn to(text: String) -> Self {
        Self { text, begins: false }
    }
}

fn next_steps(status: &GetStatusResponse, held: Option<&Held>) -> Vec<Step> {
    let mut next = Vec::new();
    let master = status.master_key.clone().unwrap_or_default();
    if let Some(Held { file, fingerprint, .. }) = held.filter(|held| held.opens_nothing) {
        let (file, in_use) = (file.display(), &master.fingerprint);
        next.push(Step::to(format!(
            "Put the key in use, {in_use}, back into {file} before anything else: a start would end with 78. If that key is \
             lost and {fingerprint} is to be the new one: leave the daemon running, put {fingerprint} into {file}.next, and \
             run `servos-keyctl rotate begin`, then `servos-keyctl rotate finish`."
        )));
    }
    let Some(rotation) = &status.rotation else {
        let text = match master.next_file.as_str() {
            "" => format!(
                "To begin a rotation: `servos-keyctl rotate begin --generate --key-file FILE`, where FILE is what {} comes from.",
                master.source
            ),
            path if Path::new(path).symlink_metadata().is_ok() => format!(
                "{path} is there: `servos-keyctl rotate begin` begins a rotation to the key in it. If that may have leaked, or \
                 is left over: `rm {path}` once it is needed for nothing, then `servos-keyctl rotate begin --generate`."
            ),
            _ => "To begin a rotation: `servos-keyctl rotate begin --generate`.".to_owned(),
        };
        next.push(Step { text, begins: true });
        return next;
    };
    // The daemon tells what its sources held when it started.
    let is_done = |line: &str| {
        held.is_some_and(|held| {
            held.fingerprint == rotation.new_fingerprint
                && line.starts_with("Put the new key")
                && line.contains(&format!("into {},", held.file.display()))
        })
    };
    let mut told: Vec<String> = rotation.next.iter().filter(|line| !is_done(line)).cloned().collect();
    if rotation.state() == RotationState::Pending {
        push_end_commands(&mut told, rotation);
    }
    next.extend(told.into_iter().map(Step::to));
    next
}
