//! One self-check from its begin to its end: what it found, what it mended, and what follows from it.
//!
//! Must never remove a backup, nor write one of a store that was found damaged.
//! Called by `online`.

use super::super::ledger::{Ledger, Places};
use super::super::start_failure::StartFailure;
use super::super::{backup, mark_check};
use super::finding::{Check, Finding, Severity};
use super::state::{Outcome, SelfCheckState};
use crate::custody::id::{Fingerprint, VersionId};
use crate::custody::keys::RootKey;
use crate::store::backup_file::{self, BackupError};
use crate::store::durable::directory_of;
use crate::store::mark;
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use crate::telemetry::shell::shell_quoted;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Most findings of one self-check that are told: a damaged store may have one for each record.
const TOLD: usize = 20;

/// What one self-check has come to so far.
pub(super) struct Round {
    begun: Instant,
    generation: u64,
    pub(super) seals: usize,
    findings: Vec<Finding>,
    mended: Vec<String>,
}

impl Round {
    pub(super) fn begin(generation: u64) -> Self {
        Self { begun: Instant::now(), generation, seals: 0, findings: Vec::new(), mended: Vec::new() }
    }

    /// The store is damaged.
    pub(super) fn fault(&mut self, check: Check, text: impl Into<String>) {
        self.findings.push(Finding { check, severity: Severity::Fault, text: text.into(), remedy: String::new() });
    }

    /// Something else is wrong.
    pub(super) fn warn(&mut self, check: Check, text: impl Into<String>, remedy: impl Into<String>) {
        let (text, remedy) = (text.into(), remedy.into());
        self.findings.push(Finding { check, severity: Severity::Warning, text, remedy });
    }

    /// The store could not be read: no damage, but where the check before found some, that stands.
    pub(super) fn unread(&mut self, ledger: &Ledger, why: &str) {
        if ledger.damage_found {
            self.fault(Check::File, format!("the check before found damage, and now it could not be read: {why}"));
        } else {
            let remedy = "see to the disk and to what is at this path";
            self.warn(Check::File, format!("the store could not be read: {why}"), remedy);
        }
    }

    /// Damage stops changes from where it is found on: the rest of the check takes its time, and may be given up.
    pub(super) fn stop_changes(&self, ledger: &mut Ledger) {
        if self.is_damaged() {
            ledger.damage_found = true;
            ledger.engine.health.change(|health| health.damage_found = true);
        }
    }

    fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Fault)
    }

    /// Holds the mark to the last commit, which nobody knows better than this process; writes it anew where it differs.
    pub(super) fn check_mark(&mut self, ledger: &mut Ledger) {
        if self.is_damaged() || (!ledger.marked && ledger.previous.is_some()) {
            // A mark that is deferred through a part of a rotation is behind on purpose.
            return;
        }
        let (path, state) = (ledger.places.mark.clone(), ledger.state());
        let previous = ledger.previous.as_ref().map(RootKey::id);
        let problem = match mark::read(&path) {
            Err(error) => Some(chain(&error)),
            Ok(None) => Some(format!("the mark {} is missing", path.display())),
            Ok(Some(mark)) => match mark_check::check(&path, Some(&mark), &state, previous) {
                Err(failure) => Some(format!("the mark {} does not fit: {}", path.display(), misfit(&failure))),
                Ok(generation) if generation < state.generation => {
                    Some(format!("the mark {} is behind, at generation {generation}", path.display()))
                }
                Ok(_) => None,
            },
        };
        let Some(problem) = problem else { return };
        ledger.write_mark();
        if ledger.marked {
            self.mended.push(format!("{problem}; it was written anew"));
        } else {
            self.warn(Check::Mark, problem, "mend its directory; the next change writes it again");
        }
    }

    /// Ends the check with what is wrong with the newest backup, or nothing; mends that with a new one.
    pub(super) fn end_with(mut self, ledger: &mut Ledger, newest: Option<&Path>, problem: Option<String>) {
        let mut good = newest.filter(|_| problem.is_none()).map(Path::to_owned);
        if let Some(problem) = problem {
            if self.is_damaged() {
                self.warn(Check::NewestBackup, problem, "look for another backup, elsewhere too");
            } else {
                match anew(ledger, newest) {
                    Ok(path) => {
                        self.mended.push(format!("{problem}; a new backup was written: {}", path.display()));
                        good = Some(path);
                    }
                    Err(_) if matches!(ledger.places.backups.try_exists(), Ok(false)) => {
                        self.warn(Check::NewestBackup, problem, directory_anew(&ledger.places));
                    }
                    Err(why) => {
                        let remedy = format!("a new backup could not be written: {why}. Mend that directory");
                        self.warn(Check::NewestBackup, problem, remedy);
                    }
                }
            }
        }
        let is_damaged = self.is_damaged();
        self.advise(&ledger.places.store, good.as_deref());
        self.log(good.as_deref());
        ledger.damage_found = is_damaged;
        ledger.engine.health.change(|health| health.damage_found = is_damaged);
        let state = self.state((ledger.engine.clock)(), good);
        ledger.engine.progress.self_checked(state);
    }

    /// What mends a damaged store, once it is known which backup is good.
    fn advise(&mut self, store: &Path, good: Option<&Path>) {
        let backup = good.map_or_else(|| "FILE".to_owned(), shell_quoted);
        let remedy = format!(
            "changes are refused, sealing and opening go on from memory. See to the disk, stop the daemon, move {} away, \
             and run `servos-keyd restore {backup}`",
            store.display()
        );
        for finding in &mut self.findings {
            if finding.severity == Severity::Fault {
                finding.remedy.clone_from(&remedy);
            }
        }
    }

    fn log(&self, good: Option<&Path>) {
        for mended in &self.mended {
            tracing::warn!(event = events::SELF_CHECK_MENDED, "{mended}");
        }
        for Finding { check, text, remedy, .. } in self.findings.iter().take(TOLD) {
            tracing::error!(event = events::SELF_CHECK_FAILED, check = check.name(), remedy, "{text}");
        }
        if let Some(more) = self.findings.len().checked_sub(TOLD).filter(|more| *more > 0) {
            tracing::error!(event = events::SELF_CHECK_FAILED, "... and {more} more: `servos-keyd fsck` tells all");
        }
        if self.findings.is_empty() {
            tracing::info!(
                event = events::SELF_CHECK_PASSED,
                generation = self.generation,
                seals = self.seals,
                milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                backup = good.map(|path| path.display().to_string()).unwrap_or_default(),
                "the store on the disk and its newest backup are good"
            );
        }
    }

    fn state(self, now: i64, good: Option<PathBuf>) -> SelfCheckState {
        let outcome = match self.findings.iter().map(|finding| finding.severity).max() {
            None => Outcome::Sound,
            Some(Severity::Fault) => Outcome::Damaged,
            Some(_) => Outcome::Problems,
        };
        let said =
            |finding: &Finding| format!("{}: {}. To mend: {}", finding.check.name(), finding.text, finding.remedy);
        let mut problems: Vec<String> = self.findings.iter().take(TOLD).map(said).collect();
        if self.findings.len() > TOLD {
            problems.push(format!("... and {} more", self.findings.len() - TOLD));
        }
        SelfCheckState {
            outcome,
            at: now,
            generation: self.generation,
            seals: u32::try_from(self.seals).unwrap_or(u32::MAX),
            problems,
            mended: self.mended,
            next: 0,
            backup: good.map(|path| path.display().to_string()).unwrap_or_default(),
        }
    }
}

fn misfit(failure: &StartFailure) -> String {
    match failure {
        StartFailure::MarkRefuses { problem, .. } => problem.clone(),
        other => other.to_string(),
    }
}

/// Writes a new backup. A damaged one that has its very name is put aside: whatever is in it is the operator's.
/// What brings back a directory that is gone. A sandbox is closed to one that is made behind its back.
fn directory_anew(places: &Places) -> String {
    let (backups, store) = (shell_quoted(&places.backups), shell_quoted(directory_of(&places.store)));
    format!(
        "the directory of the backups is gone. Run: mkdir -p -m 700 {backups} && chown -h --reference={store} {backups}, restart \
         the daemon, and run: servos-keyctl backup"
    )
}

fn anew(ledger: &mut Ledger, newest: Option<&Path>) -> Result<PathBuf, String> {
    let in_the_way = backup_file::path_of(&ledger.places.backups, ledger.store_id.as_bytes(), ledger.generation);
    if newest == Some(in_the_way.as_path())
        && matches!(backup_file::read(&in_the_way), Err(BackupError::Damaged { .. } | BackupError::Foreign))
    {
        backup_file::set_aside(&in_the_way).map_err(|error| chain(&error))?;
    }
    backup::write(ledger).map_err(|refusal| chain(&refusal))
}

impl Ledger {
    /// The versions that may have sealed something: those that opened keys seal or open with, but for one that still waits
    /// for its backup.
    pub(super) fn versions_in_use(&self) -> Vec<VersionId> {
        let keyring = self.engine.keyring();
        let live = keyring.keys.values().filter(|key| !key.is_deleted());
        live.flat_map(|key| key.versions.iter().filter(|version| version.number != key.promoting))
            .map(|version| version.id)
            .collect()
    }

    /// The legacy keys that a backup must hold. Those that a rotation of the master key adds are in the one at its end.
    pub(super) fn legacy_in_use(&self) -> Vec<Fingerprint> {
        let keyring = self.engine.keyring();
        let settled = keyring.legacy.iter().filter(|_| keyring.rotation.is_none());
        settled.map(|legacy| legacy.fingerprint).collect()
    }
}
