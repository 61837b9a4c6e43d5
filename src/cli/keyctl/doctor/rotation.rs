//! What a rotation left lying: a run that was cut off, a new key that nobody needs, a rotation that waits for its end.
//!
//! Must never have the new key of a run that goes on removed by hand.
//! Called by `doctor`.

use super::case::{Case, Claimed};
use super::finding::{self, Report};
use super::key_sources::exposed;
use crate::cli::keyctl::rotate_run;
use crate::config::key_source_error::shell_quoted;
use crate::store::durable::beside;
use std::path::Path;

/// Looks beside the key file, and at what the store says of its keys.
pub(super) fn check(case: &Case, report: &mut Report) {
    if let Claimed::Keys { fingerprints, .. } = &case.claimed
        && let [old, new] = fingerprints.as_slice()
    {
        let text = format!(
            "A rotation of the master key is pending: {old} and {new} both open the store, by its own word. Once the daemon \
             runs, servos-keyctl rotate status tells what comes next."
        );
        report.problem(finding::ROTATION_PENDING, text, "servos-keyctl rotate status");
    }
    let of_unit = || case.unit.as_ref().ok()?.plain_files().next().map(ToOwned::to_owned);
    let opened = case.key_file();
    let Some(file) = opened.clone().or_else(of_unit) else {
        let why = match case.config() {
            Some(_) => "none is known that the daemon opens".to_owned(),
            None => case.unconfigured(),
        };
        return report.not_made(format!("what lies beside the key file: {why}"));
    };
    let interrupted = rotate_run::interrupted_at(&file);
    let is_interrupted = interrupted.is_some();
    if let Some(text) = interrupted {
        let resume = format!("servos-keyctl rotate run --resume --key-file {}", shell_quoted(&file));
        report.problem(finding::ROTATION_INTERRUPTED, text, resume);
    }
    let next = beside(&file, ".next");
    if next.symlink_metadata().is_err() {
        return;
    }
    exposed(&next, report);
    let is_pending = match case.status() {
        Some(status) => status.rotation.is_some(),
        None => case.opens().len() != 1,
    };
    if !is_pending && !is_interrupted && opened.is_some() {
        let quoted = shell_quoted(&next);
        let text = format!(
            "{} is for a new key, and no rotation is under way. If servos-keyctl check-key --key-file {quoted} says that it is \
             the one in use, or it is not wanted, set it aside: {}; else servos-keyctl rotate begin goes on with it, to take \
             the place of the one in {}.",
            next.display(),
            set_aside(&next),
            file.display()
        );
        report.problem(finding::NEXT_KEY_LEFT, text, next_mend(case, &file, &next));
    }
}

/// The new key is set aside, unless it is the one in use and the key file does not hold it. What cannot be read as a key may
/// still be the only copy of one: nothing here removes it.
fn next_mend(case: &Case, file: &Path, next: &Path) -> String {
    let quoted = shell_quoted(next);
    if case.holds_key_in_use(next) && !case.holds_key_in_use(file) {
        let file = shell_quoted(file);
        return format!(
            "cp -p --backup=numbered {quoted} {quoted}.kept # it holds the key in use, and {file} does not: put it there first"
        );
    }
    set_aside(next)
}

fn set_aside(next: &Path) -> String {
    let quoted = shell_quoted(next);
    format!("mv --backup=numbered {quoted} {quoted}.unused")
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
