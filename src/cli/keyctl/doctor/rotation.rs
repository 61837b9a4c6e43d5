//! What a rotation left lying: a run that was cut off, a new key that nobody needs, a rotation that waits for its end.
//!
//! Must never have the new key of a run that goes on removed by hand.
//! Called by `doctor`.

use super::case::{Case, Claimed};
use super::finding::{self, Report};
use super::key_sources::exposed;
use crate::cli::key;
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
            "{} holds a key, and no rotation is under way. If servos-keyctl check-key --key-file {quoted} says that it is \
             the one in use, or it is not wanted, remove it: rm {quoted}; else servos-keyctl rotate begin goes on with it, \
             to take the place of the one in {}.",
            next.display(),
            file.display()
        );
        report.problem(finding::NEXT_KEY_LEFT, text, next_mend(case, &file, &next));
    }
}

/// The new key goes, unless it is the one in use and the key file does not hold it: then it may be the only one.
fn next_mend(case: &Case, file: &Path, next: &Path) -> String {
    let (opens, quoted) = (case.opens(), shell_quoted(next));
    let is_in_use = |path: &Path| fingerprints(case, path).iter().any(|held| opens.contains(held));
    if is_in_use(next) && !is_in_use(file) {
        let file = shell_quoted(file);
        return format!(
            "cp -p {quoted} {quoted}.kept # it holds the key in use, and {file} does not: put it there first"
        );
    }
    format!("rm {quoted}")
}

/// Of the keys that a file holds; none where it cannot be read, or holds none.
fn fingerprints(case: &Case, path: &Path) -> Vec<String> {
    let Ok(memory) = &case.memory else { return Vec::new() };
    let found = key::read_given(path, true, memory).unwrap_or_default();
    let held = key::held(&found, memory).unwrap_or_default();
    held.iter().map(|held| held.key.fingerprint().to_string()).collect()
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
