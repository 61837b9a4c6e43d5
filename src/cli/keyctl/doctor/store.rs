//! The store's place: there, whole, of whom it must be, on a disk that keeps it, with room for the next change.
//!
//! Must never write there, nor call a place good that could not be looked at.
//! Called by `doctor`.

use super::case::{Case, Claimed};
use super::finding::{self, Report, Severity};
use crate::cli::keyctl::config_check::store_faults;
use crate::cli::keyctl::output::time;
use crate::cli::keyd::place::{Fault, directory_fault};
use crate::cli::keyd::place_check::{Use, judge_files, refuse_network};
use crate::config::key_source_error::shell_quoted;
use crate::config::settings::Config;
use crate::operations::ledger::Places;
use crate::operations::start_failure::StartFailure;
use crate::store::durable::directory_of;
use crate::store::{backup_file, backup_peek};
use std::os::unix::fs::MetadataExt as _;

/// Below this the next changes, or the log, soon find none.
const LEAST_FREE_BYTES: u64 = 16 << 20;
/// A rewrite makes the store anew beside the old one, and a backup holds it once more.
const COPIES: u64 = 3;

/// What a start advises.
const COMMANDS: [&str; 4] = ["chmod ", "chown ", "install ", "find "];

/// Looks at the place.
pub(super) fn check(case: &Case, report: &mut Report) {
    let Some(places) = case.places() else {
        return report.not_made(format!("the store's place: {}", case.unconfigured()));
    };
    let directory = directory_of(&places.store);
    disk(case, &places, report);
    if let Err(reason) = case.sees_as_daemon() {
        return report.not_made(format!("what lies in {}: {reason}", directory.display()));
    }
    match directory_fault(directory) {
        Some(Fault::Refused(text)) => modes(Severity::Problem, text, report),
        Some(Fault::Warned(text)) => modes(Severity::Advice, text, report),
        None => {}
    }
    // That nothing can be written there is told already.
    let is_read_only = (case.machine.mount)(directory).is_some_and(|mount| mount.is_read_only);
    let is_salvage = case.status().is_some_and(|status| status.salvage);
    let purpose = if is_salvage || is_read_only { Use::Look } else { Use::Change };
    let judged = judge_files(&places, purpose);
    judged.refused.into_iter().for_each(|text| modes(Severity::Problem, text, report));
    judged.warnings.into_iter().for_each(|text| modes(Severity::Advice, text, report));
    if case.status().is_some() {
        return;
    }
    missing(case, &places, report);
    match &case.claimed {
        Claimed::Damaged(text) => {
            report.problem(finding::STORE_DAMAGED, text.clone(), "servos-keyd restore FILE");
        }
        Claimed::Unread(reason) => report.not_made(format!("what the store says of its keys: {reason}")),
        Claimed::Keys { .. } | Claimed::Nothing => {}
    }
    backup_age(case, &places, report);
}

/// The texts of a start end with the command that mends, where there is one.
fn modes(severity: Severity, text: String, report: &mut Report) {
    let tail = text.rsplit_once("): ").or_else(|| text.rsplit_once(": ")).map(|(_, tail)| tail);
    let mend = tail.filter(|tail| COMMANDS.iter().any(|command| tail.starts_with(command))).map(str::to_owned);
    report.add(finding::STORE_MODES, severity, text, mend);
}

fn disk(case: &Case, places: &Places, report: &mut Report) {
    let directory = directory_of(&places.store);
    let Some(mount) = (case.machine.mount)(directory) else {
        return report.not_made(format!("what {} lies on: the system does not tell", directory.display()));
    };
    let quoted = shell_quoted(directory);
    if let Err(failure) = refuse_network(directory, mount.network.as_deref()) {
        let mend = format!(
            "systemctl stop 'servos-keyd*' && install -d -m 700 -o servos-keyd /var/lib/servos-keyd && cp -a {quoted}/. \
             /var/lib/servos-keyd/ # then path and mark under [store] of keyd.toml, and systemctl start servos-keyd"
        );
        report.problem(finding::STORE_NETWORK, failure.message, mend);
    }
    if mount.is_read_only {
        let text = format!("The file system that {} lies on is mounted read-only.", directory.display());
        let mend = format!("dmesg | tail; mount -o remount,rw \"$(findmnt -n -o TARGET --target {quoted})\"");
        return report.problem(finding::STORE_READ_ONLY, text, mend);
    }
    let size = places.store.metadata().map_or(0, |store| store.size());
    let needed = size.saturating_mul(COPIES).max(LEAST_FREE_BYTES);
    if mount.free_bytes < needed {
        let (free, needed) = (mount.free_bytes >> 10, needed >> 10);
        let text =
            format!("{} has {free} KiB of room left, and {needed} KiB are needed to be at ease.", directory.display());
        report.problem(finding::STORE_FULL, text, format!("df -h {quoted}; df -i {quoted}"));
    }
}

fn missing(case: &Case, places: &Places, report: &mut Report) {
    let mut config = case.config().cloned().unwrap_or_else(Config::default);
    (config.store.path, config.store.mark) = (places.store.clone(), places.mark.clone());
    if case.config().is_none() {
        return;
    }
    let backups = backup_file::list(&places.backups).unwrap_or_default();
    let is_there = places.store.symlink_metadata().is_ok();
    if let (false, false, Some(newest)) = (is_there, config.store.create, backups.last()) {
        let mut witnesses = vec![places.backups.clone()];
        witnesses.extend(places.mark.exists().then(|| places.mark.clone()));
        let lost = StartFailure::StoreLost { store: places.store.clone(), witnesses, newest: Some(newest.clone()) };
        let mend = format!("servos-keyd restore {}", shell_quoted(newest));
        return report.problem(finding::STORE_MISSING, lost.to_string(), mend);
    }
    for text in store_faults(&config) {
        let mend = if is_there { "servos-keyd accept" } else { "servos-keyd init" };
        report.problem(finding::STORE_MISSING, text, mend);
    }
}

/// Of a daemon that answers, its own word counts, which knows whether the store has changed.
fn backup_age(case: &Case, places: &Places, report: &mut Report) {
    let Some(config) = case.config() else { return };
    let interval = i64::try_from(config.backup.interval.as_secs()).unwrap_or(i64::MAX);
    let backups = match backup_file::list(&places.backups) {
        Ok(backups) => backups,
        Err(error) => return report.not_made(format!("how old the newest backup is: {error}")),
    };
    let headers = backups.iter().filter_map(|backup| backup_peek::header(backup).ok());
    let (generation, made) = headers.max().unwrap_or((0, 0));
    let made = i64::try_from(made).unwrap_or(i64::MAX);
    let Claimed::Keys { generation: now_at, .. } = &case.claimed else { return };
    if case.machine.now.saturating_sub(made) > interval && generation < *now_at {
        let directory = places.backups.display();
        let text = match made {
            0 => format!("No backup of the store is known in {directory}."),
            made => format!("The newest backup in {directory} is of {}, and the store has changed since.", time(made)),
        };
        // A drill changes the store too, and is nothing that a restore would lose: the daemon can tell them apart.
        report.advice(finding::BACKUP_OVERDUE, text, "servos-keyctl backup # once the daemon runs");
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
