//! The store's place: there, whole, of whom it must be, on a disk that keeps it, with room for the next change.
//!
//! Must never write there, nor call a place good that could not be looked at.
//! Called by `doctor`.

use super::case::{Case, Claimed};
use super::command;
use super::finding::{self, Report, Severity};
use crate::cli::keyctl::config_check::store_faults;
use crate::cli::keyctl::output::time;
use crate::cli::misplaced;
use crate::cli::places::{DirectoryFault, Fault, Use, directory_fault, hand_over, judge_files, refuse_network};
use crate::cli::service;
use crate::config::key_source_error::{shell_quoted, user_name};
use crate::config::obstacle::Reader;
use crate::config::settings::Config;
use crate::operations::create::{Vacancy, vacancy};
use crate::operations::ledger::Places;
use crate::operations::start_failure::StartFailure;
use crate::store::durable::directory_of;
use crate::store::{backup_file, backup_peek};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Below this the next changes, or the log, soon find none.
const LEAST_FREE_BYTES: u64 = 16 << 20;
/// A rewrite makes the store anew beside the old one, and a backup holds it once more.
const COPIES: u64 = 3;

/// Looks at the place.
pub(super) fn check(case: &Case, report: &mut Report) {
    let Some(places) = case.places() else {
        return report.not_made(format!("the store's place: {}", case.unconfigured()));
    };
    let directory = directory_of(&places.store);
    disk(case, &places, report);
    // Before all else: what is made, brought back or handed over at the wrong place is a second store's.
    if let Some(misplaced) = case.config().and_then(|config| misplaced::find(config, Some(&case.config_file)))
        && case.status().is_none()
    {
        return report.problem(finding::STORE_MISSING, misplaced.failure().to_string(), misplaced.mend());
    }
    if let Err(reason) = case.sees_as_daemon() {
        return report.not_made(format!("what lies in {}: {reason}", directory.display()));
    }
    match directory_fault(directory) {
        Some(DirectoryFault::Refused(fault)) => modes(Severity::Problem, fault, report),
        Some(DirectoryFault::Warned(fault)) => modes(Severity::Advice, fault, report),
        None => {}
    }
    // That nothing can be written there is told already.
    let is_read_only = (case.machine.mount)(directory).is_some_and(|mount| mount.is_read_only);
    let is_salvage = case.status().is_some_and(|status| status.salvage);
    let purpose = if is_salvage || is_read_only { Use::Look } else { Use::Change };
    let judged = judge_files(&places, purpose);
    judged.refused.into_iter().for_each(|fault| modes(Severity::Problem, fault, report));
    judged.warnings.into_iter().for_each(|fault| modes(Severity::Advice, fault, report));
    closed_to_daemon(case, &places, report);
    if case.status().is_some() {
        return;
    }
    missing(case, &places, report);
    match &case.claimed {
        Claimed::Damaged(text) => {
            let newest = backup_file::list(&places.backups).unwrap_or_default().pop();
            let newest = newest.as_deref().map_or_else(|| "FILE".to_owned(), shell_quoted);
            report.problem(finding::STORE_DAMAGED, text.clone(), command::keyd_alone(case, "restore", &newest));
        }
        Claimed::Unread(reason) => report.not_made(format!("what the store says of its keys: {reason}")),
        Claimed::Keys { .. } | Claimed::Nothing => {}
    }
    backup_age(case, &places, report);
}

/// Root opens everything; what it copied back by hand may be closed to the daemon's user, whose the directory is.
fn closed_to_daemon(case: &Case, places: &Places, report: &mut Report) {
    let Some((uid, gid)) = case.daemon_ids().filter(|(uid, _)| case.machine.euid == 0 && *uid != 0) else { return };
    let daemon = Reader { uid, gids: &[gid] };
    let (file, directory) = ((0o6, "600"), (0o7, "700"));
    for (path, what, (bits, mode)) in [
        (&places.store, "the store", file),
        (&places.mark, "the mark", file),
        (&places.backups, "the backup directory", directory),
    ] {
        // What others have put there is told already.
        let found = path.symlink_metadata().ok().filter(|found| !found.is_symlink() && [0, uid].contains(&found.uid()));
        if found.is_some_and(|found| !daemon.may(&found, bits)) {
            let (quoted, user) = (shell_quoted(path), user_name(uid));
            let text = format!("{what} {quoted} is closed to the daemon's user, {user}.");
            report.problem(finding::STORE_MODES, text, hand_over(uid, Some(gid), path, mode));
        }
    }
}

fn modes(severity: Severity, fault: Fault, report: &mut Report) {
    report.add(finding::STORE_MODES, severity, fault.to_string(), fault.mend);
}

fn disk(case: &Case, places: &Places, report: &mut Report) {
    let directory = directory_of(&places.store);
    let Some(mount) = (case.machine.mount)(directory) else {
        return report.not_made(format!("what {} lies on: the system does not tell", directory.display()));
    };
    let quoted = shell_quoted(directory);
    if let Err(failure) = refuse_network(directory, mount.network.as_deref()) {
        let mend = moved(directory, places, Path::new("/var/lib/servos-keyd"));
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

/// A store that is at the new place already is another one: nothing is put over it.
fn moved(directory: &Path, places: &Places, to: &Path) -> String {
    let names = [&places.store, &places.mark].map(|file| file.file_name().map(|name| shell_quoted(&to.join(name))));
    let free: Vec<String> = names.into_iter().flatten().map(|file| format!("test ! -e {file} && ")).collect();
    let (from, to) = (shell_quoted(directory), shell_quoted(to));
    format!(
        "{}systemctl stop 'servos-keyd*' && install -d -m 700 -o servos-keyd {to} && cp -a --backup=numbered {from}/. {to}/ \
         # does nothing where a store is there already; then path and mark under [store] of keyd.toml, and systemctl start \
         servos-keyd",
        free.concat()
    )
}

fn missing(case: &Case, places: &Places, report: &mut Report) {
    let mut config = case.config().cloned().unwrap_or_else(Config::default);
    (config.store.path, config.store.mark) = (places.store.clone(), places.mark.clone());
    if case.config().is_none() {
        return;
    }
    match vacancy(places) {
        Err(lost @ StartFailure::StoreLost { .. }) => {
            let StartFailure::StoreLost { newest, .. } = &lost else { return };
            let newest = newest.as_deref().map_or_else(|| "FILE".to_owned(), shell_quoted);
            report.problem(finding::STORE_MISSING, lost.to_string(), command::keyd_alone(case, "restore", &newest));
        }
        Ok(Vacancy::Interrupted(_)) => {
            let failure = StartFailure::CreationInterrupted { store: places.store.clone() };
            report.problem(finding::STORE_MISSING, failure.to_string(), first(case));
        }
        _ => {
            let is_there = places.store.symlink_metadata().is_ok();
            for text in store_faults(&config, &case.config_file) {
                report.problem(finding::STORE_MISSING, text, if is_there { accepted(case) } else { first(case) });
            }
        }
    }
}

/// The command that comes next where nothing was ever made; `packaging/next-command` says the same.
fn first(case: &Case) -> String {
    let Some(file) = command::key_file(case) else {
        let has_key = !case.is_service || case.config().is_some_and(|config| config.master_key.file.is_some());
        return match has_key {
            true => command::keyd(case, "init", ""),
            false => format!("servos-keyctl generate-key {} # and then servos-keyd init with it", service::KEY_FILE),
        };
    };
    // A key that was there before servos-keyd has sealed values.
    let adopts = case.is_service && file == case.machine.at(service::ENV_FILE);
    command::keyd(case, "init", if adopts { "--adopt-legacy" } else { "" })
}

/// The store is taken as it is, if it is the newest: its own word tells its generation.
fn accepted(case: &Case) -> String {
    let generation = match &case.claimed {
        Claimed::Keys { generation, .. } => generation.to_string(),
        _ => "N".to_owned(),
    };
    command::keyd_alone(case, "accept", &format!("--generation {generation}"))
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
