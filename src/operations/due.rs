//! Whether drills and backups are due: when a copy of the master key was last tried, and how old the newest backup is.
//!
//! Must never count a drill of another key than the one in use: a new key's copies were never tried.
//! Called by `status`.

use super::drill::{Drill, DrillKind};
use super::engine::Engine;
use super::keyring::Keyring;
use time::Duration;

/// The drills as status tells them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrillState {
    /// The last key drill: of the key in use, or else of any.
    pub key: Option<Drill>,
    /// The last restore drill, likewise.
    pub restore: Option<Drill>,
    /// How long one counts, in seconds.
    pub interval: i64,
    /// When the next one is due: Unix seconds.
    pub due: i64,
    /// It is due.
    pub overdue: bool,
}

/// The newest backup as status tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupAge {
    /// When it was made: Unix seconds; 0 if none is known.
    pub newest: i64,
    /// How old it may become, in seconds.
    pub interval: i64,
    /// It is older, and the store has changed since.
    pub overdue: bool,
}

/// How far ahead of the clock a time may be, in seconds. Beyond it, it was taken from a clock that was wrong: counted,
/// it would keep a warning back until that day comes.
const MOST_AHEAD: i64 = 86_400;

fn is_credible(at: i64, now: i64) -> bool {
    at <= now.saturating_add(MOST_AHEAD)
}

impl Engine {
    /// The drills, judged by the clock of now.
    pub(super) fn drills(&self, keyring: &Keyring) -> DrillState {
        let master = keyring.master;
        let last = |kind: DrillKind| {
            let of_kind = keyring.drills.iter().filter(|drill| drill.kind == kind);
            of_kind.max_by_key(|drill| (drill.fingerprint == master.fingerprint, drill.at)).copied()
        };
        let now = (self.clock)();
        let counts = |drill: &&Drill| drill.fingerprint == master.fingerprint && is_credible(drill.at, now);
        let counting = keyring.drills.iter().filter(counts);
        let from = counting.map(|drill| drill.at).fold(master.since, i64::max);
        let interval = self.upkeep().drill_interval;
        let due = from.saturating_add(interval);
        let overdue = self.is_judged(interval) && now >= due;
        DrillState { key: last(DrillKind::Key), restore: last(DrillKind::Restore), interval, due, overdue }
    }

    /// The age of the newest backup that is known, judged by the clock of now. One that holds the store as it stands is
    /// not too old: another could not be newer.
    pub(super) fn backup_age(&self, keyring: &Keyring) -> BackupAge {
        let (generation, newest) = self.progress.newest_backup();
        let interval = self.upkeep().backup_interval;
        let now = (self.clock)();
        let from = if is_credible(newest, now) { newest.max(keyring.created) } else { keyring.created };
        let is_old = now >= from.saturating_add(interval);
        let overdue = self.is_judged(interval) && is_old && generation < keyring.generation;
        BackupAge { newest, interval, overdue }
    }

    /// Whether there is an interval to hold anything to, and something that can be done about it.
    fn is_judged(&self, interval: i64) -> bool {
        interval > 0 && !self.facts.salvage
    }
}

/// What there is to mend about drills and backups, each a sentence with the command.
pub(super) fn warnings(keyring: &Keyring, engine: &Engine) -> Vec<String> {
    let mut warnings = Vec::new();
    let backup = engine.backup_age(keyring);
    if backup.overdue {
        let directory = &engine.facts.backup_directory;
        let found = match backup.newest {
            0 => format!("No backup of the store is known in {directory}"),
            newest if !is_credible(newest, (engine.clock)()) => format!(
                "The newest backup in {directory} is of {}, a day that is yet to come, and the store has changed since",
                super::rfc3339(newest)
            ),
            newest => format!(
                "The newest backup in {directory} is of {}, older than {}, and the store has changed since",
                super::rfc3339(newest),
                days(backup.interval)
            ),
        };
        warnings.push(format!("{found}: servos-keyctl backup makes one; copy it to another machine."));
    }
    let drills = engine.drills(keyring);
    if drills.overdue {
        let fingerprint = keyring.master.fingerprint;
        let since = super::rfc3339(drills.due.saturating_sub(drills.interval));
        warnings.push(format!(
            "No copy of the master key {fingerprint} was tried since {since}, and one that nobody tries may be none. \
             Try the one that is kept elsewhere: servos-keyctl check-key --key-file FILE; or together with the newest \
             backup: servos-keyd restore --drill --key-file FILE"
        ));
    }
    warnings
}

/// An interval as people say it.
fn days(seconds: i64) -> String {
    let interval = Duration::seconds(seconds);
    match interval.whole_days() {
        0 => format!("{seconds} seconds"),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
