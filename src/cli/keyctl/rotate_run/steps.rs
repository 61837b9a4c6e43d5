//! The steps of `rotate run`, each of which can be done again: what was done already is seen, and left.
//!
//! Must never take a file for what it should be without looking into it.
//! Called by `rotate_run`, in order.

use super::daemon::{Stage, restart_with, sources, stage};
use super::found::is_elsewhere;
use super::keys::{keep_old_key, make_key, new_key, seal_old_text};
use super::place::{Change, Put};
use super::run::Run;
use super::step::Step;
use super::tidying;
use super::waiting::Waiting;
use super::ways::Ways;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::rotate_wait;
use crate::client::rotation::BeginRotation;
use crate::config::key_source_error::shell_quoted;
use crate::proto::v1::{GetStatusResponse, KeySource, RotateResponse};
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

/// The sources that do not yield the new key.
async fn lagging(run: &Run<'_>, status: &GetStatusResponse) -> Result<Vec<KeySource>, Failure> {
    let new = run.new_key()?;
    let mut sources = sources(run, status, &new).await?;
    sources.retain(|source| source.fingerprint != new);
    Ok(sources)
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
