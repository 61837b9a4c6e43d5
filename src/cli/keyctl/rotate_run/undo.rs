//! The way back of `rotate run`: the old key in its place, the rotation aborted, and what was made on the way taken away.
//!
//! Must never go back where the new key alone opens the store, nor remove a key that something may be sealed under.
//! Called by `rotate_run`.

use super::Run;
use super::place::Put;
use super::plan::is_elsewhere;
use super::step::Step;
use super::steps::{Stage, clear_successors, restart_with, stage};
use super::waiting::Waiting;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::{durable_file, rotate_wait};
use crate::client::rotation::{AbortRotation, BeginRotation};
use crate::proto::v1::{GetStatusResponse, KeySource};
use crate::store::fault;
use std::fs;
use std::path::{Path, PathBuf};

/// Goes back. Can be repeated wherever it was cut off.
pub(super) async fn undo(run: &mut Run<'_>) -> Result<(), Failure> {
    // A step that was only entered may have begun.
    let may_have_begun = run.journal.step >= Step::Begin && run.journal.new.is_some();
    if may_have_begun {
        let status = run.status().await.map_err(|failure| match failure.exit {
            exit::NO_DAEMON => failure.with_hint("start the daemon first: with either key it serves"),
            _ => failure,
        })?;
        if matches!(stage(run, &status)?, Stage::New | Stage::Finishing) {
            let new = run.new_key()?;
            let text = format!("the new key {new} alone opens the store by now, and nothing takes that back");
            return Err(Failure::say(exit::DATA, text).with_hint("to have another key, rotate again afterwards"));
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

/// The old key back where the new one was put.
async fn put_back(run: &mut Run<'_>) -> Result<(), Failure> {
    let (Some(first), Some(new)) = (run.places.first(), run.journal.new.clone()) else { return Ok(()) };
    if run.journal.step < Step::Replace {
        return Ok(());
    }
    let kept = first.kept(&run.journal.intent.old);
    let next = run.journal.intent.next.clone();
    for at in 0..run.places.len() {
        let mut waiting = Waiting::new();
        while let Some(place) = run.places.get(at) {
            if place.held(&run.memory)?.fingerprint() == run.journal.intent.old {
                durable_file::settle(&place.file).map_err(|error| Failure::writing(&place.file, &error))?;
                break;
            }
            let new_key = place.held_in(&next, &run.memory)?;
            if let Put::NotFromHere(why) = place.put(&new_key.key, &kept, &run.memory)? {
                let what = format!("{why}. Put the key from {} there, in the place of {new}", kept.display());
                waiting.for_person(run, &what).await?;
            }
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
            Stage::New | Stage::Finishing => {
                let text = format!("the new key {new} alone opens the store by now: a start finished the rotation");
                return Err(Failure::say(exit::DATA, text).with_hint("to have another key, rotate again afterwards"));
            }
            Stage::Pending => {}
        }
        let ahead = ahead(run, &status, &new).await?;
        if ahead.is_empty() {
            run.say("Aborting ...");
            let request = AbortRotation { new_key_fingerprint: &new, new_data_keys: false, dry_run: false };
            run.admin.abort_rotation(&request).await?;
            break;
        }
        let command = run.arguments.restart.clone().or_else(|| run.journal.intent.restart.clone());
        let elsewhere =
            ahead.iter().any(|source| run.places.is_empty() || is_elsewhere(source, &run.journal.intent.files));
        match command {
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

/// The sources that yield the new key.
async fn ahead(run: &Run<'_>, status: &GetStatusResponse, new: &str) -> Result<Vec<KeySource>, Failure> {
    // A rotation that is pending already needs no key to be asked about.
    let keep_data_keys = status.rotation.as_ref().is_some_and(|rotation| !rotation.new_data_keys);
    let request = BeginRotation { new_key_fingerprint: new, new_key: None, keep_data_keys, dry_run: true };
    let mut sources = run.admin.rotate(&request).await?.sources;
    sources.retain(|source| source.fingerprint == new);
    Ok(sources)
}

/// What was made on the way. The new key stays, under another name, where anything could have been sealed under it.
fn take_away(run: &mut Run<'_>) -> Result<(), Failure> {
    let next = run.journal.intent.next.clone();
    clear_successors(&run.journal.intent.files)?;
    if run.journal.step >= Step::Replace {
        if let (Some(new), true) = (&run.journal.new, next.symlink_metadata().is_ok()) {
            let aborted = aborted(&run.journal.intent.next, new);
            let renamed = fs::rename(&next, &aborted).and_then(|()| durable_file::settle(&aborted));
            renamed.map_err(|error| Failure::writing(&aborted, &error))?;
        }
    } else {
        remove(&next)?;
    }
    fault::point("run-new-key-away");
    if let Some(first) = run.places.first() {
        let held = first.held(&run.memory)?.fingerprint();
        if held == run.journal.intent.old {
            remove(&first.kept(&run.journal.intent.old))?;
        }
    }
    Ok(())
}

/// Where a new key is kept that came to nothing.
pub(super) fn aborted(next: &Path, new: &str) -> PathBuf {
    let mut name = next.as_os_str().to_owned();
    name.push(format!(".aborted-{new}"));
    name.into()
}

fn remove(file: &Path) -> Result<(), Failure> {
    match file.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        _ => durable_file::remove(file).map_err(|error| Failure::writing(file, &error)),
    }
}
