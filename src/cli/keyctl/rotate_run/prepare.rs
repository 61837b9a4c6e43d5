//! What must be so before the first step of `rotate run`; then it is planned.
//!
//! Must never change anything; what is not as expected is refused here.
//! Called by `rotate_run`.

use super::arguments::RunArguments;
use super::found::Found;
use super::journal::Intent;
use super::place::{self, Place};
use super::plan::Plan;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::keyctl::rotate_key_file::text_of;
use crate::cli::keyctl::{durable_file, rotate_begin};
use crate::cli::unit;
use crate::client::key_admin::AdminClient;
use crate::client::rotation::BeginRotation;
use crate::config::key_source_error::shell_quoted;
use crate::proto::v1::{GetStatusResponse, KeySource, RotateResponse};
use crate::sys::locked::LockedMemory;
use std::path::{Path, PathBuf};

/// Sees that everything is as it must be, and what is to be done.
///
/// # Errors
/// 65 if the files do not hold the key in use or a rotation is under way, 73 if something lies where the new key is to be
/// made, and what the daemon refuses.
pub(super) async fn plan(
    arguments: &RunArguments,
    admin: &AdminClient,
    status: &GetStatusResponse,
    found: &Found,
    memory: &LockedMemory,
) -> Result<Plan, Failure> {
    if let Some(rotation) = &status.rotation {
        return Err(rotate_begin::busy(rotation));
    }
    let master = status.master_key.clone().unwrap_or_default();
    let old = master.fingerprint.as_str();
    let variables = check_in_use(&found.places, old, memory)?;
    check_one_text(&found.places, memory)?;
    check_free(&found.next, arguments)?;
    if let Some(first) = found.places.first() {
        check_kept(first, old, memory)?;
    }
    let answer = ask(admin, arguments, memory).await?;
    let intent = Intent {
        begun: key::now(),
        old: old.to_owned(),
        store_id: status.store.as_ref().map(|store| store.store_id.clone()).unwrap_or_default(),
        files: found.places.iter().map(|place| place.file.clone()).collect(),
        credential: found.places.first().and_then(|place| place.credential.clone()),
        next: found.next.clone(),
        restart: restart_of(arguments, &answer.sources, memory),
        keep_data_keys: arguments.keep_data_keys,
        seal_old_text: master.shared && !found.places.is_empty(),
    };
    Ok(Plan::of(intent, found, &variables, answer, master.shared))
}

/// All files hold the key in use; those that are env files, each with the variable of the key.
fn check_in_use(places: &[Place], old: &str, memory: &LockedMemory) -> Result<Vec<(PathBuf, &'static str)>, Failure> {
    let mut variables = Vec::new();
    for place in places {
        let held = place.held(memory)?;
        if held.fingerprint() != old {
            let (file, held) = (place.file.display(), held.fingerprint());
            let text = format!("{file} holds the key {held}, and the daemon uses {old}");
            return Err(Failure::say(exit::DATA, text).with_hint(
                "name the file that the key in use comes from with --key-file FILE; `servos-keyctl check-key --key-file \
                 FILE` tells which key a file holds",
            ));
        }
        variables.extend(held.variable.map(|variable| (place.file.clone(), variable)));
    }
    Ok(variables)
}

/// Asks the daemon what it would do.
async fn ask(admin: &AdminClient, arguments: &RunArguments, memory: &LockedMemory) -> Result<RotateResponse, Failure> {
    // The daemon judges everything but the key itself, which is made only once this is agreed to.
    let unused = place::generate(memory)?;
    let text = text_of(&unused, false, memory)?;
    Ok(admin
        .rotate(&BeginRotation {
            new_key_fingerprint: &unused.fingerprint().to_string(),
            new_key: Some(text.expose_bytes()),
            keep_data_keys: arguments.keep_data_keys,
            dry_run: true,
        })
        .await?)
}

/// One text is kept, sealed and put back: another one, in which the same key stands too, would be lost.
fn check_one_text(places: &[Place], memory: &LockedMemory) -> Result<(), Failure> {
    let Some(first) = places.first() else { return Ok(()) };
    let text = first.held(memory)?.text;
    for place in places {
        if !place.holds_only(text.expose_bytes(), memory)? {
            let file = place.file.display();
            let text = format!(
                "the key stands in {file} in another text than in {}, and only one is kept",
                first.file.display()
            );
            return Err(Failure::say(exit::DATA, text).with_hint(
                "write it the same way everywhere first (hex or base64, small or capital letters); keep the other text where \
                 anything has it as its password",
            ));
        }
    }
    Ok(())
}

fn check_free(next: &Path, arguments: &RunArguments) -> Result<(), Failure> {
    if next.symlink_metadata().is_err() {
        return Ok(());
    }
    let (shown, quoted) = (next.display(), shell_quoted(next));
    let hint = match arguments.by_hand {
        Some(_) => "name a file that does not exist yet".to_owned(),
        None => format!(
            "if it holds a key that is to be used, `servos-keyctl rotate begin` begins with it; else move it away: \
             `mv {quoted} {quoted}.unused`"
        ),
    };
    Err(Failure::say(exit::CANNOT_CREATE, format!("{shown}, where the new key is to be made, exists already"))
        .with_hint(hint))
}

fn check_kept(place: &Place, old: &str, memory: &LockedMemory) -> Result<(), Failure> {
    let kept = place.kept(old);
    if kept.symlink_metadata().is_err() || place.held_in(&kept, memory).is_ok_and(|held| held.fingerprint() == old) {
        return Ok(());
    }
    let text = format!("{}, where the old key is to be kept, exists already and does not hold it", kept.display());
    Err(Failure::say(exit::CANNOT_CREATE, text).with_hint(durable_file::how_to_move_away(&kept)))
}

/// How the daemon comes to read sources that it cannot read anew by itself.
fn restart_of(arguments: &RunArguments, sources: &[KeySource], memory: &LockedMemory) -> Option<String> {
    let is_needed = sources.iter().any(|source| source.needs_restart);
    let of_unit = || unit::is_active(&arguments.unit, memory).then(|| unit::restart_command(&arguments.unit));
    if is_needed { arguments.restart.clone().or_else(of_unit) } else { None }
}
