//! What a run takes away at its end, on either way, and what it leaves because it is not its own.
//!
//! Must never take away a file that holds the only copy of a key, nor one that was not made by the run.
//! Called by `steps` and `undo`.

use super::keys::{check_is, new_key};
use super::run::Run;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::{durable_file, same_file};
use std::path::PathBuf;

/// What was needed only on the way.
pub(super) fn tidy_up(run: &mut Run<'_>) -> Result<(), Failure> {
    let new = run.new_key()?;
    let next = run.journal.intent.next.clone();
    for place in &run.places {
        let (file, from) = (place.file.display(), next.display());
        let hint =
            format!("put the key from {from} into {file}, as a file of its own, before the daemon is started again");
        if let Some(why) = place.one_with(&[&next]) {
            return Err(Failure::say(exit::DATA, why).with_hint(hint));
        }
        // A copy that is still only in memory must not become the only one.
        check_is(&place.held(&run.memory)?, &new, &place.file).map_err(|failure| failure.with_hint(hint))?;
        durable_file::settle(&place.file).map_err(|error| Failure::writing(&place.file, &error))?;
    }
    run.done.left_on = left_on(run)?;
    clear_successors(&run.places.iter().map(|place| place.file.clone()).collect::<Vec<_>>())?;
    if run.places.is_empty() || !is_ours(run) {
        return Ok(());
    }
    durable_file::remove(&next).map_err(|error| Failure::writing(&next, &error))
}

/// Where the old key's text still stands, though nobody reads it there as the key.
fn left_on(run: &Run<'_>) -> Result<Vec<(PathBuf, usize)>, Failure> {
    let Some(kept) = run.places.first().map(|first| first.kept(&run.journal.intent.old)) else { return Ok(Vec::new()) };
    let old = run.places.first().and_then(|first| first.held_in(&kept, &run.memory).ok());
    let Some(old) = old else { return Ok(Vec::new()) };
    let mut left = Vec::new();
    for place in &run.places {
        let lines = place.lines_with(old.text.expose_bytes(), &run.memory)?;
        left.extend(lines.into_iter().map(|line| (place.file.clone(), line)));
    }
    Ok(left)
}

/// Whether the new key is still where it was made; anything else there is not taken away, but told of.
pub(super) fn is_ours(run: &mut Run<'_>) -> bool {
    let next = &run.journal.intent.next;
    if next.symlink_metadata().is_err() {
        return false;
    }
    match new_key(run) {
        Ok(_) => true,
        Err(failure) => {
            run.done.stays =
                Some(format!("{} stays, for it is not what was made there: {}", next.display(), failure.message));
            false
        }
    }
}

/// Takes away what a change that was cut off left beside a file.
pub(super) fn clear_successors(files: &[PathBuf]) -> Result<(), Failure> {
    for file in files {
        let target = file.canonicalize().map_err(|error| Failure::reading(file, &error))?;
        same_file::clear_successor(&target).map_err(|error| Failure::writing(&target, &error))?;
    }
    Ok(())
}
