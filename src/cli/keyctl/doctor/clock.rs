//! The clock, against what must have been before now.
//!
//! Must never need another clock: the release, the store and its backups tell of theirs.
//! Called by `doctor`.

use super::case::Case;
use super::finding::{self, Report};
use crate::cli::keyctl::output::time;
use crate::store::{backup_file, backup_peek};
use std::os::unix::fs::MetadataExt as _;

/// 2026-11-01: before this release, so no clock that is right shows it. Raised with releases.
const RELEASED: i64 = 1_793_491_200;
/// Nobody runs a release for longer: 20 years.
const LIFETIME_SECONDS: i64 = 20 * 365 * 24 * 60 * 60;
/// What clocks of a machine and its file server differ by.
const TOLERANCE_SECONDS: i64 = 5 * 60;

const MEND: &str = "timedatectl set-ntp true # without it: date -s 'YYYY-MM-DD HH:MM:SS' && hwclock --systohc";

/// Compares.
pub(super) fn check(case: &Case, report: &mut Report) {
    let now = case.machine.now;
    if now < RELEASED {
        let text = format!("The clock shows {}, which is before this release was made.", time(now));
        report.problem(finding::CLOCK_BEHIND, text, MEND);
    }
    if now > RELEASED.saturating_add(LIFETIME_SECONDS) {
        let text = format!("The clock shows {}, 20 years after this release was made.", time(now));
        report.problem(finding::CLOCK_AHEAD, text, MEND);
    }
    let latest = known_times(case).into_iter().max_by_key(|(at, _)| *at);
    if let Some((at, what)) = latest.filter(|(at, _)| *at > now.saturating_add(TOLERANCE_SECONDS)) {
        let text =
            format!("The clock shows {}, and {what} is of {}: it is behind, or was ahead then.", time(now), time(at));
        report.problem(finding::CLOCK_BEHIND, text, MEND);
    }
}

/// Times that are over, each with what was then.
fn known_times(case: &Case) -> Vec<(i64, String)> {
    let mut known = Vec::new();
    if let Some(status) = case.status() {
        known.extend(status.store.iter().map(|store| (store.created, "the making of the store".to_owned())));
        known.extend(status.master_key.iter().map(|master| (master.since, "the master key in use".to_owned())));
        known.push((status.started, "the start of the daemon".to_owned()));
    }
    let Some(places) = case.places() else { return known };
    if let Ok(found) = places.store.metadata() {
        known.push((found.mtime(), format!("the last change of {}", places.store.display())));
    }
    // By name they are in the order of their generations: the last ones are the newest.
    for backup in backup_file::list(&places.backups).unwrap_or_default().iter().rev().take(3) {
        if let Some(made) = backup_peek::made(backup).ok().and_then(|made| i64::try_from(made).ok()) {
            known.push((made, format!("the backup {}", backup.display())));
        }
    }
    known
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
