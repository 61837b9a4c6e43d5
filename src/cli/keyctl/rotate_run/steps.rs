//! The steps of `rotate run`, each of which can be done again: what was done already is seen, and left.
//!
//! Must never take a file for what it should be without looking into it.
//! Called by `rotate_run`, in order.

use super::place::{self, Change, Put};
use super::plan::is_elsewhere;
use super::step::Step;
use super::waiting::{self, Waiting};
use super::{Run, Ways, program, tidying};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::durable_file::{self, Replace};
use crate::cli::keyctl::rotate_key_file::{FoundKey, agreed, line_of, text_of};
use crate::cli::keyctl::{key_input, old_text, rotate_wait};
use crate::client::rotation::BeginRotation;
use crate::config::key_source_error::shell_quoted;
use crate::proto::v1::{GetStatusResponse, KeySource, RotateResponse, RotationState};
use crate::store::fault;
use crate::sys::locked::LockedBuffer;

/// Does a step.
pub(super) async fn perform(run: &mut Run<'_>, step: Step) -> Result<(), Failure> {
    match step {
        Step::MakeKey => make_key(run),
        Step::SealOldText => seal_old_text(run).await,
        Step::KeepOldKey => keep_old_key(run),
        Step::Backup => back_up(run).await,
        Step::Begin => begin(run).await,
        Step::Replace => replace(run).await,
        Step::Restart => restart(run).await,
        Step::Finish => finish(run).await,
        Step::Check => check(run).await,
        Step::TidyUp => tidying::tidy_up(run),
    }
}

/// How far the daemon is, as seen from the rotation that this run is about.
pub(super) enum Stage {
    /// Not begun, or aborted: the old key alone opens the store.
    Old,
    /// Both keys open the store.
    Pending,
    /// The new key alone opens the store, and something is left to be done.
    Finishing,
    /// Aborting.
    Aborting,
    /// The new key alone opens the store.
    New,
}

/// Where the daemon stands.
///
/// # Errors
/// 65 if it is about another rotation, or uses a third key.
pub(super) fn stage(run: &Run<'_>, status: &GetStatusResponse) -> Result<Stage, Failure> {
    let (old, new) = (run.journal.intent.old.as_str(), run.journal.new.as_deref().unwrap_or_default());
    if let Some(rotation) = &status.rotation {
        if (rotation.old_fingerprint.as_str(), rotation.new_fingerprint.as_str()) != (old, new) {
            let (from, to) = (&rotation.old_fingerprint, &rotation.new_fingerprint);
            let text = format!("another rotation is under way, from {from} to {to}");
            return Err(Failure::say(exit::DATA, text).with_hint("`servos-keyctl rotate status` shows how to end it"));
        }
        return Ok(match rotation.state() {
            RotationState::Pending => Stage::Pending,
            RotationState::Aborting | RotationState::Aborted => Stage::Aborting,
            _ => Stage::Finishing,
        });
    }
    let in_use = status.master_key.as_ref().map(|master| master.fingerprint.as_str()).unwrap_or_default();
    match in_use {
        key if key == new => Ok(Stage::New),
        key if key == old => Ok(Stage::Old),
        third => {
            run.ways.set(Ways::Neither);
            let (text, journal) =
                (format!("the daemon uses the key {third}, neither {old} nor {new}"), run.journal.path());
            let quoted = shell_quoted(journal);
            Err(Failure::say(exit::DATA, text).with_hint(format!(
                "another rotation has overtaken this one: `mv {quoted} {quoted}.unknown` gives it up, and leaves every key \
                 where it is"
            )))
        }
    }
}

fn make_key(run: &mut Run<'_>) -> Result<(), Failure> {
    let next = run.journal.intent.next.clone();
    if next.symlink_metadata().is_err() {
        run.say(&format!("Making a new key in {} ...", next.display()));
        let key = place::generate(&run.memory)?;
        // Named before it is made: what lies there and is not named was made by somebody else.
        run.journal.name_new(&key.fingerprint().to_string())?;
        fault::point("run-key-named");
        match run.places.first() {
            Some(first) => {
                let held = first.held(&run.memory)?;
                let text = text_of(&key, held.is_base64(), &run.memory)?;
                first.write_beside(&next, text.expose_bytes(), held.variable, &run.memory)?;
            }
            None => {
                let text = text_of(&key, false, &run.memory)?;
                let line = line_of(text.expose_bytes(), None, &run.memory)?;
                durable_file::write(&next, line.expose_bytes(), Replace::Never)?;
            }
        }
    }
    if run.journal.new.is_none() {
        let text = format!("somebody else made {}, where the new key is to be made", next.display());
        return Err(Failure::say(exit::CANNOT_CREATE, text).with_hint(durable_file::how_to_move_away(&next)));
    }
    durable_file::settle(&next).map_err(|error| Failure::writing(&next, &error))?;
    // What is begun with is what is in the file.
    new_key(run).map(drop)
}

/// The new key, from its file.
///
/// # Errors
/// What is not there, or is not the one that was made there.
pub(super) fn new_key(run: &Run<'_>) -> Result<FoundKey, Failure> {
    let next = &run.journal.intent.next;
    let found = match run.places.first() {
        Some(first) => first.held_in(next, &run.memory)?,
        None => agreed(key_input::read(next, false, &run.memory)?, &run.memory)?,
    };
    match &run.journal.new {
        Some(new) if *new != found.fingerprint() => {
            let text = format!("{} holds the key {}, and {new} was made there", next.display(), found.fingerprint());
            Err(Failure::say(exit::DATA, text))
        }
        _ => Ok(found),
    }
}

async fn seal_old_text(run: &mut Run<'_>) -> Result<(), Failure> {
    let Some(first) = run.places.first().filter(|_| run.journal.intent.seal_old_text) else { return Ok(()) };
    let held = first.held(&run.memory)?;
    let old = run.journal.intent.old.clone();
    check_is(&held, &old, &first.file)?;
    let file = first.file.clone();
    old_text::seal(&run.client, &file, &old, held.text.expose_bytes()).await?;
    run.say("Sealed the old key's text, for what else has it as a password.");
    Ok(())
}

pub(super) fn check_is(held: &FoundKey, expected: &str, file: &std::path::Path) -> Result<(), Failure> {
    if held.fingerprint() == expected {
        return Ok(());
    }
    let text = format!("{} holds the key {}, not {expected}", file.display(), held.fingerprint());
    Err(Failure::say(exit::DATA, text))
}

fn keep_old_key(run: &mut Run<'_>) -> Result<(), Failure> {
    let Some(first) = run.places.first() else { return Ok(()) };
    let old = &run.journal.intent.old;
    let kept = first.kept(old);
    if kept.symlink_metadata().is_err() {
        let held = first.held(&run.memory)?;
        check_is(&held, old, &first.file)?;
        first.write_beside(&kept, held.text.expose_bytes(), held.variable, &run.memory)?;
    }
    check_is(&first.held_in(&kept, &run.memory)?, old, &kept)?;
    durable_file::settle(&kept).map_err(|error| Failure::writing(&kept, &error))
}

async fn back_up(run: &mut Run<'_>) -> Result<(), Failure> {
    run.status().await?;
    run.say("Writing a backup ...");
    run.done.backup = run.admin.back_up().await?.path;
    Ok(())
}

async fn begin(run: &mut Run<'_>) -> Result<(), Failure> {
    let status = run.status().await?;
    if !matches!(stage(run, &status)?, Stage::Old | Stage::Pending) {
        return Ok(());
    }
    let answer = ask(run, &status).await?;
    run.say("Both keys open the store from now on.");
    run.done.backup = answer.backup;
    run.done.old_key_backups = answer.old_key_backups;
    run.done.other_uses = answer.other_uses;
    Ok(())
}

/// Begins, or does the same again.
async fn ask(run: &Run<'_>, status: &GetStatusResponse) -> Result<RotateResponse, Failure> {
    let new = new_key(run)?;
    let next_file = status.master_key.as_ref().map(|master| master.next_file.as_str()).unwrap_or_default();
    // The daemon reads the one beside its own file; any other is sent.
    let is_read_by_daemon = run.journal.intent.next.to_str() == Some(next_file);
    let request = BeginRotation {
        new_key_fingerprint: &new.fingerprint(),
        new_key: (!is_read_by_daemon).then(|| LockedBuffer::expose_bytes(&new.text)),
        keep_data_keys: run.journal.intent.keep_data_keys,
        dry_run: false,
    };
    Ok(run.admin.rotate(&request).await?)
}

async fn replace(run: &mut Run<'_>) -> Result<(), Failure> {
    // A key that opens nothing must not come into the file that the next start reads.
    let status = run.status().await?;
    if matches!(stage(run, &status)?, Stage::Old | Stage::Aborting) {
        return Err(aborted(run));
    }
    let (old, new) = (run.journal.intent.old.clone(), run.new_key()?);
    let Some(kept) = run.places.first().map(|first| first.kept(&old)) else { return agree_to_replace(run, &new) };
    let is_done = run.places.iter().all(|place| place.held(&run.memory).is_ok_and(|held| held.fingerprint() == new));
    if !is_done {
        keep_old_key(run)?;
        agree_to_replace(run, &new)?;
    }
    let next = run.journal.intent.next.clone();
    let change = Change { away: &old, wanted: &new, from: &next, beside: &[&next, &kept] };
    for at in 0..run.places.len() {
        let mut waiting = Waiting::new();
        while let Some(place) = run.places.get(at) {
            let file = place.file.clone();
            match place.put(&change, &run.memory)? {
                Put::Done => {
                    run.say(&format!("{} holds the new key now.", file.display()));
                    break;
                }
                Put::NotFromHere(why) => {
                    let what = format!(
                        "{why}. Put the key from {} there, in the place of {old}; nothing else in it changes",
                        next.display()
                    );
                    waiting.for_person(run, &what).await?;
                }
            }
        }
    }
    Ok(())
}

/// The last moment at which nothing outside of the daemon has changed.
fn agree_to_replace(run: &mut Run<'_>, new: &str) -> Result<(), Failure> {
    let next = &run.journal.intent.next;
    let paper = match run.journal.intent.credential {
        // What is encrypted for this machine opens on no other.
        Some(_) => String::new(),
        None => format!(" (`servos-keyctl recovery-kit --key-file {}`)", shell_quoted(next)),
    };
    let question = format!(
        "Now the new key takes the old one's place, and after that nothing but {new} opens the store. It is in {}: a copy of \
         it must be on paper{paper}, or on another machine, before you go on.",
        next.display()
    );
    let agreed = run.console.confirm(&question, "yes", run.arguments.yes);
    agreed.map_err(|failure| match failure.exit {
        exit::NO => {
            Failure { message: "not confirmed; both keys open the store until you go on or back".to_owned(), ..failure }
        }
        _ => failure,
    })
}

async fn restart(run: &mut Run<'_>) -> Result<(), Failure> {
    let Some(command) = run.restart_command() else { return Ok(()) };
    let status = match run.status().await {
        Ok(status) => Some(status),
        // It may have been stopped in the middle of its restart.
        Err(failure) if failure.exit == exit::NO_DAEMON => None,
        Err(failure) => return Err(failure),
    };
    if let Some(status) = &status {
        if !matches!(stage(run, status)?, Stage::Pending) {
            return Ok(());
        }
        if !lagging(run, status).await?.iter().any(|source| source.needs_restart) {
            return Ok(());
        }
    }
    restart_with(run, &command, status.as_ref()).await
}

pub(super) async fn restart_with(
    run: &mut Run<'_>,
    command: &str,
    before: Option<&GetStatusResponse>,
) -> Result<(), Failure> {
    run.say(&format!("Restarting the daemon: {command}"));
    program::shell(command)?;
    waiting::for_start(run, before).await
}

/// The sources that do not yield the new key.
async fn lagging(run: &Run<'_>, status: &GetStatusResponse) -> Result<Vec<KeySource>, Failure> {
    let new = run.new_key()?;
    let mut sources = sources(run, status, &new).await?;
    sources.retain(|source| source.fingerprint != new);
    Ok(sources)
}

/// What the daemon's sources yield while the rotation is pending.
pub(super) async fn sources(run: &Run<'_>, status: &GetStatusResponse, new: &str) -> Result<Vec<KeySource>, Failure> {
    // A rotation that is pending already needs no key to be asked about.
    let keep_data_keys = status.rotation.as_ref().is_some_and(|rotation| !rotation.new_data_keys);
    let request = BeginRotation { new_key_fingerprint: new, new_key: None, keep_data_keys, dry_run: true };
    Ok(run.admin.rotate(&request).await?.sources)
}

async fn finish(run: &mut Run<'_>) -> Result<(), Failure> {
    let new = run.new_key()?;
    let mut waiting = Waiting::new();
    loop {
        let status = run.status().await?;
        match stage(run, &status)? {
            Stage::New => return Ok(()),
            Stage::Finishing => {
                rotate_wait::wait(run.console, &run.admin, &new, &new).await?;
                return Ok(());
            }
            Stage::Old | Stage::Aborting => return Err(aborted(run)),
            Stage::Pending => {}
        }
        let lagging = lagging(run, &status).await?;
        if lagging.is_empty() {
            run.say("Finishing ...");
            let answer = run.admin.finish_rotation(&new, false).await?;
            run.done.old_key_backups = answer.old_key_backups;
            run.done.other_uses = answer.other_uses;
            rotate_wait::wait(run.console, &run.admin, &new, &new).await?;
            return Ok(());
        }
        let what = by_hand(run, &lagging);
        waiting.for_person(run, &what).await?;
    }
}

fn aborted(run: &Run<'_>) -> Failure {
    run.ways.set(Ways::OnlyBack);
    let old = &run.journal.intent.old;
    Failure::say(exit::DATA, format!("the rotation was aborted by somebody else: {old} alone opens the store"))
}

/// What a person must do so that these sources yield the new key.
fn by_hand(run: &Run<'_>, lagging: &[KeySource]) -> String {
    let (intent, next) = (&run.journal.intent, run.journal.intent.next.display());
    let names = |of: &dyn Fn(&KeySource) -> bool| {
        lagging.iter().filter(|source| of(source)).map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    // What needs a restart was put where it comes from, if a file was changed at all.
    let to_put = names(&|source| is_elsewhere(source, &intent.files));
    let mut what = Vec::new();
    if !to_put.is_empty() {
        what.push(format!("put the key from {next} where {to_put} comes from, in the place of {}", intent.old));
    }
    if lagging.iter().any(|source| source.needs_restart) {
        let names = names(&|source| source.needs_restart);
        let old = &intent.old;
        what.push(format!(
            "restart the daemon, for {names} gave it {old} at its start, and see that the new key is what it is given"
        ));
    }
    if what.is_empty() {
        what.push(format!("see that {} holds the key from {next}", names(&|_| true)));
    }
    what.join("; then ")
}

async fn check(run: &mut Run<'_>) -> Result<(), Failure> {
    let new = run.new_key()?;
    run.status().await?;
    let report = run.client.verify_own_canary().await?;
    if report.fingerprint != new {
        let text = format!("the canary opens under {}, not under {new}", report.fingerprint);
        return Err(Failure::say(exit::DATA, text));
    }
    run.say("The canary opens under the new key.");
    Ok(())
}
