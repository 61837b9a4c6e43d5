//! The keys of a run in its files: the new one is made and read, the old one is kept and its text sealed.
//!
//! Must never take a file for what it should be without looking into it.
//! Called by the steps and by what is taken away at the end.

use super::place;
use super::run::Run;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::keyctl::durable_file::{self, Replace};
use crate::cli::keyctl::old_text;
use crate::cli::keyctl::rotate_key_file::{FoundKey, agreed, line_of, text_of};
use crate::store::fault;
use std::path::Path;

/// A new key, in its file, and named in the journal.
pub(super) fn make_key(run: &mut Run<'_>) -> Result<(), Failure> {
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
        None => agreed(key::read_given(next, false, &run.memory)?, &run.memory)?,
    };
    match &run.journal.new {
        Some(new) if *new != found.fingerprint() => {
            let text = format!("{} holds the key {}, and {new} was made there", next.display(), found.fingerprint());
            Err(Failure::say(exit::DATA, text))
        }
        _ => Ok(found),
    }
}

/// The old key's text, sealed for what else has it as a password.
pub(super) async fn seal_old_text(run: &mut Run<'_>) -> Result<(), Failure> {
    let Some(first) = run.places.first().filter(|_| run.journal.intent.seal_old_text) else { return Ok(()) };
    let held = first.held(&run.memory)?;
    let old = run.journal.intent.old.clone();
    check_is(&held, &old, &first.file)?;
    let file = first.file.clone();
    old_text::seal(&run.client, &file, &old, held.text.expose_bytes()).await?;
    run.say("Sealed the old key's text, for what else has it as a password.");
    Ok(())
}

/// Refuses a key that is not the expected one.
pub(super) fn check_is(held: &FoundKey, expected: &str, file: &Path) -> Result<(), Failure> {
    if held.fingerprint() == expected {
        return Ok(());
    }
    let text = format!("{} holds the key {}, not {expected}", file.display(), held.fingerprint());
    Err(Failure::say(exit::DATA, text))
}

/// The old key, in a file of its own.
pub(super) fn keep_old_key(run: &mut Run<'_>) -> Result<(), Failure> {
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
