//! What `rotate run` tells at its end, whichever end that is; then the journal is taken away.
//!
//! Must never take the journal away before everything is told that must be kept.
//! Called by `rotate_run`.

use super::run::Run;
use super::undo;
use super::ways::anew;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::old_text::SealedText;
use crate::cli::keyctl::output::{fields, push_list};
use crate::config::key_source_error::shell_quoted;
use serde_json::json;
use std::path::Path;

/// Tells how it ended.
pub(super) fn tell(run: Run<'_>) -> Result<(), Failure> {
    if run.journal.undoing { undone(run) } else { rotated(run) }
}

fn rotated(run: Run<'_>) -> Result<(), Failure> {
    let (old, new) = (run.journal.intent.old.clone(), run.new_key()?);
    let files: Vec<String> = run.journal.intent.files.iter().map(|file| file.display().to_string()).collect();
    // Where somebody else finished the rotation, it may never have been made.
    let kept = run.places.first().map(|first| first.kept(&old)).filter(|kept| kept.symlink_metadata().is_ok());
    let sealed = run.journal.intent.files.first().filter(|_| run.journal.intent.seal_old_text);
    let sealed = sealed.and_then(|file| SealedText::find(file, &old));
    let next = next_of_rotated(&run, &new, kept.as_deref(), sealed.as_ref());
    let value = json!({
        "result": "rotated",
        "old_fingerprint": old,
        "new_fingerprint": new,
        "files": files,
        "old_key_file": kept.as_ref().map(|kept| kept.display().to_string()),
        "old_text": sealed.as_ref().map(SealedText::value),
        "backup": run.done.backup,
        "old_key_backups": run.done.old_key_backups,
        "other_uses": run.done.other_uses,
        "next": next,
    });
    let mut rows = vec![("rotated", format!("from {old} to {new}")), ("canary", format!("opens under {new}"))];
    rows.extend(files.iter().map(|file| ("new key in", file.clone())));
    rows.extend(kept.iter().map(|kept| ("old key in", kept.display().to_string())));
    if !run.done.backup.is_empty() {
        rows.push(("backup", run.done.backup.clone()));
    }
    let mut text = fields(&rows);
    push_list(&mut text, "Backups that the old key still opens:", &run.done.old_key_backups);
    push_list(&mut text, "What else the old key may be used for:", &run.done.other_uses);
    push_list(&mut text, "Next:", &next);
    close(run, &value, &text)
}

/// What is left to whoever rotated.
fn next_of_rotated(run: &Run<'_>, new: &str, kept: Option<&Path>, sealed: Option<&SealedText>) -> Vec<String> {
    let mut next =
        vec![format!("Keep a copy of {new} on paper and on another machine, apart from the store and its backups.")];
    if let Some(kept) = kept {
        let quoted = shell_quoted(kept);
        next.push(format!(
            "The old key is kept in {}: backups from before open with it alone. Once none of them is wanted any more: \
             `shred -u {quoted}`",
            kept.display()
        ));
    }
    next.extend(sealed.map(SealedText::told));
    next.extend(run.done.left_on.iter().map(|(file, line)| {
        format!("The old key's text still stands in {}, line {line}: see what it is for.", file.display())
    }));
    next.extend(run.done.stays.clone());
    if run.journal.intent.files.is_empty() {
        next.push(format!("Remove {} once the new key is kept elsewhere.", run.journal.intent.next.display()));
    }
    next
}

fn undone(run: Run<'_>) -> Result<(), Failure> {
    let old = run.journal.intent.old.clone();
    let aborted = run.journal.new.as_ref().map(|new| undo::aborted(&run.journal.intent.next, new));
    let aborted = aborted.filter(|file| file.symlink_metadata().is_ok());
    let sealed = run.journal.intent.files.first().and_then(|file| SealedText::find(file, &old));
    let mut next = Vec::new();
    if let Some(file) = &aborted {
        next.push(format!(
            "The new key that came to nothing is kept in {}: a component may have sealed something under it. If there is \
             nothing: `shred -u {}`",
            file.display(),
            shell_quoted(file)
        ));
    }
    next.extend(sealed.iter().map(|sealed| {
        format!("The old key's text stays sealed in {}: the next rotation takes it as it is.", sealed.file.display())
    }));
    next.extend(run.done.stays.clone());
    next.push(format!("To rotate after all: `{}`", anew(&run.journal)));
    let value = json!({
        "result": "undone",
        "fingerprint": old,
        "aborted_key_file": aborted.as_ref().map(|file| file.display().to_string()),
        "old_text": sealed.as_ref().map(SealedText::value),
        "next": next,
    });
    let mut text = fields(&[("undone", format!("{old} alone opens the store, as before"))]);
    push_list(&mut text, "Next:", &next);
    close(run, &value, &text)
}

/// Tells, and takes the journal away: where telling fails, the same command tells again.
fn close(run: Run<'_>, value: &serde_json::Value, text: &str) -> Result<(), Failure> {
    let Run { console, journal, .. } = run;
    console.result(value, text)?;
    let path = journal.path().display().to_string();
    journal.close().map_err(|failure| Failure {
        exit: exit::DAMAGED,
        message: format!("all is done, but {path} stays: {}", failure.message),
        ..failure
    })
}
