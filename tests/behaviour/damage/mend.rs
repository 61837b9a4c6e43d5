//! What mends a fault: the very commands that a refusal names, run as they stand there.
//!
//! Must never mend by what the message does not say.
//! Called by the tables of faults.

use super::Scene;
use crate::harness::{Invocation, KEYD, Outcome};
use std::path::Path;

/// How a fault is mended.
pub enum Mend {
    /// The file is moved away, and the restore that the message names is run with the newest backup.
    Restore,
    /// The acceptance that the message names.
    Accept,
    /// What stands behind the last colon of the message, up to the end of the command: it begins so.
    Shell(&'static str),
    /// The right file is put back, or the newer program installed, as the message says.
    PutBack,
    /// It is no harm.
    Nothing,
}

/// The commands between backticks that begin so.
fn quoted<'o>(outcome: &'o Outcome, begins: &'o str) -> impl Iterator<Item = &'o str> {
    outcome.stderr.split('`').filter(move |piece| piece.starts_with(begins) && !piece.contains('\n'))
}

/// Runs a command as an operator types it.
#[track_caller]
fn type_in(command: &str, case: &str) {
    let command = command.replacen("servos-keyd ", &format!("'{KEYD}' "), 1);
    let outcome = Invocation::new(["-c", &format!("PATH=/usr/bin:/bin:/usr/sbin; {command}")]).run("/bin/sh");
    assert_eq!(outcome.code, Some(0), "{case}: {command}: {outcome:#?}");
}

#[track_caller]
pub fn mend(mend: &Mend, scene: &Scene, whole: &Scene, outcome: &Outcome, case: &str) {
    let installation = &scene.installation;
    match mend {
        Mend::Nothing => {}
        Mend::PutBack => put_back(scene, whole),
        Mend::Restore => {
            let command = quoted(outcome, "servos-keyd restore ").next();
            let command = command.unwrap_or_else(|| panic!("{case}: no restore in {outcome:#?}"));
            remove(&installation.path("away"));
            if installation.store().symlink_metadata().is_ok() {
                std::fs::rename(installation.store(), installation.path("away")).unwrap();
            }
            type_in(&command.replace("FILE", scene.newest_backup().to_str().unwrap()), case);
        }
        Mend::Accept => {
            let command = quoted(outcome, "servos-keyd accept ").next();
            let command = command.unwrap_or_else(|| panic!("{case}: no acceptance in {outcome:#?}"));
            type_in(&format!("{command} --yes"), case);
        }
        Mend::Shell(begin) => {
            let told = outcome.stderr.rsplit(": ").find(|piece| piece.starts_with(begin));
            let told = told.unwrap_or_else(|| panic!("{case}: no {begin} in {outcome:#?}"));
            // The log puts its fields behind the message.
            type_in(told.lines().next().unwrap().split(" event=").next().unwrap(), case);
        }
    }
}

fn put_back(scene: &Scene, whole: &Scene) {
    for (to, from) in [
        (scene.installation.store(), whole.installation.store()),
        (scene.installation.mark(), whole.installation.mark()),
    ] {
        remove(&to);
        std::fs::copy(from, to).unwrap();
    }
}

/// Removes what is there, of whatever kind.
pub fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}
