//! The way back of `rotate run`: the old key in its place, the rotation aborted, and what was made on the way taken away.
//!
//! Must never go back where the new key alone opens the store, nor remove a key that something may be sealed under.
//! Called by `rotate_run`.

use super::daemon::{Stage, restart_with, sources, stage};
use super::found::is_elsewhere;
use super::place::{Change, Place, Put};
use super::run::Run;
use super::step::Step;
use super::tidying::{clear_successors, is_ours};
use super::waiting::Waiting;
use super::ways::Ways;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::{durable_file, rotate_wait};
use crate::client::rotation::AbortRotation;
use crate::store::durable::beside;
use crate::store::fault;
use std::fs;
use std::path::{Path, PathBuf};

/// Goes back. Can be repeated wherever it was cut off.
pub(super) async fn undo(run: &mut Run<'_>) -> Result<(), Failure> {
    // Once a key is named, somebody else may have begun with it.
    let may_have_begun = run.journal.new.is_some();
    if may_have_begun {
        let status = run.status().await.map_err(|failure| match failure.exit {
            exit::NO_DAEMON => failure.with_hint(start_first(run)),
            _ => failure,
        })?;
        if matches!(stage(run, &status)?, Stage::New | Stage::Finishing) {
            return Err(too_late(run));
        }
    }
    run.journal.turn_back()?;
    fault::point("run-turned-back");
    put_back(run).await?;
    fault::point("run-put-back");
    if may_have_begun {
        abort(run).await?;
    }
    fault::point("run-aborted");
    take_away(run)
}

/// The new key alone opens the store: from here the run goes on, though it was on its way back.
fn too_late(run: &mut Run<'_>) -> Failure {
    if let Err(failure) = run.journal.turn_forward() {
        return failure;
    }
    run.ways.set(Ways::OnlyOn);
    let new = run.journal.new.clone().unwrap_or_default();
    let text = format!("the new key {new} alone opens the store by now, and nothing takes that back");
    Failure::say(exit::DATA, text).with_hint("to have another key, rotate again afterwards")
}

/// A daemon starts with either key, unless the rotation was aborted by somebody else, or the store is of before.
fn start_first(run: &Run<'_>) -> String {
    let mut hint = "start the daemon first: with either key it serves".to_owned();
    let kept = run.places.first().map(|first| first.kept(&run.journal.intent.old));
    if let (Some(first), Some(kept)) = (run.places.first(), kept.filter(|kept| kept.symlink_metadata().is_ok())) {
        let (new, file) = (run.journal.new.as_deref().unwrap_or_default(), first.file.display());
        hint.push_str(&format!(
            "; if it does not start, because {new} does not open the store, put the key from {} back into {file}",
            kept.display()
        ));
    }
    hint
}

/// The old key back where the new one was put.
async fn put_back(run: &mut Run<'_>) -> Result<(), Failure> {
    let (Some(first), Some(new)) = (run.places.first(), run.journal.new.clone()) else { return Ok(()) };
    let (old, next) = (run.journal.intent.old.clone(), run.journal.intent.next.clone());
    let kept = first.kept(&old);
    let holds_new = |place: &Place| place.held(&run.memory).is_ok_and(|held| held.fingerprint() == new);
    if run.journal.step < Step::Replace && run.places.iter().any(holds_new) {
        // Somebody else put it there: what was sealed under it meanwhile must go on opening.
        run.journal.enter(Step::Replace)?;
    }
    let change = Change { away: &new, wanted: &old, from: &kept, beside: &[&next, &kept] };
    for at in 0..run.places.len() {
        let mut waiting = Waiting::new();
        while let Some(place) = run.places.get(at) {
            let what = match place.held(&run.memory) {
                Ok(held) if held.fingerprint() == new && kept.symlink_metadata().is_err() => {
                    format!("Put the old key {old} back into {}: this run does not have it", place.file.display())
                }
                _ => match place.put(&change, &run.memory)? {
                    Put::Done => break,
                    Put::NotFromHere(why) => {
                        format!("{why}. Put the key from {} there, in the place of {new}", kept.display())
                    }
                },
            };
            waiting.for_person(run, &what).await?;
        }
    }
    Ok(())
}

/// Aborts, once no source yields the new key.
async fn abort(run: &mut Run<'_>) -> Result<(), Failure> {
    let (old, new) = (run.journal.intent.old.clone(), run.new_key()?);
    let (mut waiting, mut is_restarted) = (Waiting::new(), false);
    loop {
        let status = run.status().await?;
        match stage(run, &status)? {
            Stage::Old => return Ok(()),
            Stage::Aborting => break,
            Stage::New | Stage::Finishing => return Err(too_late(run)),
            Stage::Pending => {}
        }
        let mut ahead = sources(run, &status, &new).await?;
        ahead.retain(|source| source.fingerprint == new);
        if ahead.is_empty() {
            run.say("Aborting ...");
            let request = AbortRotation { new_key_fingerprint: &new, new_data_keys: false, dry_run: false };
            run.admin.abort_rotation(&request).await?;
            break;
        }
        let elsewhere = ahead.iter().any(|source| is_elsewhere(source, &run.journal.intent.files));
        match run.restart_command() {
            Some(command) if !is_restarted && !elsewhere => {
                is_restarted = true;
                restart_with(run, &command, Some(&status)).await?;
            }
            _ => {
                let names: Vec<&str> = ahead.iter().map(|source| source.name.as_str()).collect();
                let names = names.join(", ");
                let what = format!(
                    "put the old key {old} back where {names} comes from, and restart the daemon if it must be"
                );
                waiting.for_person(run, &what).await?;
            }
        }
    }
    rotate_wait::wait(run.console, &run.admin, &new, &old).await
}

/// What was made on the way. The new key stays, under another name, where anything could have been sealed under it.
fn take_away(run: &mut Run<'_>) -> Result<(), Failure> {
    let (next, old) = (run.journal.intent.next.clone(), run.journal.intent.old.clone());
    clear_successors(&run.journal.intent.files)?;
    if is_ours(run) {
        match &run.journal.new {
            Some(new) if run.journal.step >= Step::Replace => {
                let aborted = aborted(&next, new);
                let renamed = fs::rename(&next, &aborted).and_then(|()| durable_file::settle(&aborted));
                renamed.map_err(|error| Failure::writing(&aborted, &error))?;
            }
            _ => remove(&next)?,
        }
    }
    fault::point("run-new-key-away");
    let Some(first) = run.places.first().filter(|_| run.journal.step >= Step::KeepOldKey) else { return Ok(()) };
    // The files hold it, each as one of its own: that was looked at when it was put back.
    let kept = first.kept(&old);
    let holds_old = |file: &Path| first.held_in(file, &run.memory).is_ok_and(|held| held.fingerprint() == old);
    if kept.symlink_metadata().is_ok()
        && holds_old(&kept)
        && holds_old(&first.file)
        && first.one_with(&[&kept]).is_none()
    {
        remove(&kept)?;
    }
    Ok(())
}

/// Where a new key is kept that came to nothing.
pub(super) fn aborted(next: &Path, new: &str) -> PathBuf {
    beside(next, &format!(".aborted-{new}"))
}

fn remove(file: &Path) -> Result<(), Failure> {
    durable_file::remove(file).map_err(|error| Failure::writing(file, &error))
}
