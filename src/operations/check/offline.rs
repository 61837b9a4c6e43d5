//! The whole check at once, of a store that nobody serves: what `servos-keyd fsck` tells.
//!
//! Must never write a byte.
//! Called by `cli`, with the directory locked beside other readers.

use super::super::ledger::Places;
use super::super::salvage::reason;
use super::super::start_failure::StartFailure;
use super::super::{count, rfc3339};
use super::examination::{Examination, Examined, Flaw};
use super::finding::{Check, Report, Severity};
use super::{backups, marked};
use crate::custody::id::{Fingerprint, StoreId};
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::durable::beside;
use crate::store::port::{Snapshot, StoreError};
use crate::store::{leftovers, mark};
use crate::telemetry::chain::chain;
use crate::telemetry::shell::shell_quoted;
use std::path::{Path, PathBuf};

/// What mends backups: nothing that is done by hand is safer.
const NEW_BACKUP: &str = "start the daemon: its self-check writes a new one";

/// Told how far it is: what is gone through, how much of it is done, and how much there is.
pub type Told<'t> = dyn FnMut(&str, usize, usize) + 't;

/// A check of everything.
pub struct Inspection<'s> {
    /// Where everything lies.
    pub places: &'s Places,
    /// The key that the daemon would have.
    pub master: &'s MasterKey,
    /// Where secrets are opened.
    pub memory: &'s LockedMemory,
    /// Who is told how far it is.
    pub told: &'s mut Told<'s>,
}

/// What is known of the store when the backups' turn comes.
struct Known {
    store_id: StoreId,
    examined: Examined,
}

impl Inspection<'_> {
    /// Checks everything, and finds everything that is wrong. `store` is what the file holds, or how it is damaged.
    ///
    /// # Errors
    /// [`StartFailure::WrongKey`], [`StartFailure::NewerSchema`]: then nothing can be judged.
    pub fn run(mut self, store: Result<Snapshot, StoreError>) -> Result<Report, StartFailure> {
        let mut report = Report::default();
        let known = match store {
            Ok(snapshot) => self.store(&mut report, snapshot)?,
            Err(error) => {
                report.add(Check::File, Severity::Fault, chain(&error), "");
                None
            }
        };
        self.leftovers(&mut report);
        let good = self.backups(&mut report, known.as_ref());
        advise(&mut report, &self.places.store, good.as_deref());
        report.findings.sort_by_key(|finding| finding.check);
        report.passed.sort_by_key(|passed| passed.check);
        Ok(report)
    }

    fn store(&mut self, report: &mut Report, snapshot: Snapshot) -> Result<Option<Known>, StartFailure> {
        let bytes = self.places.store.metadata().map_or(0, |file| file.len());
        let (records, generation) = (count(snapshot.records.len(), "record"), snapshot.generation);
        report.pass(Check::File, format!("{bytes} bytes, {records}, generation {generation}"));
        let mut examination = match Examination::begin(snapshot, self.master, self.memory) {
            Ok(examination) => examination,
            Err(failure @ StartFailure::Damaged(_)) => {
                report.add(Check::Root, Severity::Fault, reason(failure), "");
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let store_id = examination.store_id();
        let (state, previous) = examination.state();
        self.go_through(&mut examination, "store");
        let examined = examination.end();
        report.seals += examined.seals;
        tell(report, &examined, &format!("under master key {}", self.master.fingerprint()));
        marked::check(report, &self.places.mark, &state, previous);
        Ok(Some(Known { store_id, examined }))
    }

    fn go_through(&mut self, examination: &mut Examination, what: &str) {
        while examination.step(self.memory) {
            let (done, total) = examination.progress();
            (self.told)(what, done, total);
        }
    }

    fn leftovers(&self, report: &mut Report) {
        let places = self.places;
        let found = leftovers::list(&places.store, &places.mark, &places.backups);
        if found.is_empty() {
            report.pass(Check::Leftovers, "none");
        }
        for path in found {
            if path.is_dir() {
                let text = format!("{} is a directory where the daemon puts a file of its own", path.display());
                // What a rewrite of the store left is removed at every start.
                let severity = if path == beside(&places.store, ".new") { Severity::Fault } else { Severity::Warning };
                report.add(Check::Leftovers, severity, text, "move it away");
                continue;
            }
            let text = format!("{}: left by something that broke off, and harmless", path.display());
            report.note(Check::Leftovers, text);
        }
    }

    /// Answers the newest backup that is good.
    fn backups(&mut self, report: &mut Report, known: Option<&Known>) -> Option<PathBuf> {
        let store_id = known.map(|known| known.store_id).or_else(|| marked_store(&self.places.mark));
        let listed = backups::newest_first(&self.places.backups, store_id.as_ref());
        let all = backups::newest_first(&self.places.backups, None);
        let (own, all) = match (listed, all) {
            (Ok(own), Ok(all)) => (own, all),
            (Err(error), _) | (_, Err(error)) => {
                report.warn(Check::NewestBackup, chain(&error), "let the daemon's user read the directory");
                return None;
            }
        };
        if own.is_empty() {
            let directory = self.places.backups.display();
            report.warn(Check::NewestBackup, format!("there is none in {directory}"), NEW_BACKUP);
        }
        let mut looked_at = Vec::new();
        let mut good = None;
        for path in own {
            let found = self.backup(report, &path, known, looked_at.is_empty());
            looked_at.push(path.clone());
            if found {
                good = Some(path);
                break;
            }
        }
        self.other_backups(report, &all, &looked_at);
        good
    }

    /// Goes through one backup; answers whether it is good.
    fn backup(&mut self, report: &mut Report, path: &Path, known: Option<&Known>, is_newest: bool) -> bool {
        let store_id = known.map(|known| known.store_id);
        let shown = path.display();
        let opened = backups::open(path, store_id.as_ref(), self.master, self.memory);
        let judged = opened.and_then(|mut opening| {
            self.go_through(&mut opening.examination, "backup");
            let examined = opening.examination.end();
            report.seals += examined.seals;
            backups::judge(&examined).map(|()| (examined, opening.made))
        });
        let (examined, made) = match judged {
            Ok(good) => good,
            Err(problem) => {
                let check = if is_newest { Check::NewestBackup } else { Check::OtherBackups };
                let remedy = if is_newest { NEW_BACKUP } else { "move it away" };
                report.warn(check, format!("{shown} {problem}"), remedy);
                return false;
            }
        };
        let behind = match known.map(|known| known.examined.generation.saturating_sub(examined.generation)) {
            None | Some(0) => String::new(),
            Some(behind) => format!(", {} behind the store", count(behind, "generation")),
        };
        let generation = examined.generation;
        let detail = format!("{shown}: generation {generation} of {}{behind}", rfc3339(made));
        // The newest one, or the newest that is good: what a restore would take.
        report.pass(Check::NewestBackup, detail);
        if let Some(known) = known {
            coverage(report, known, &examined);
        }
        true
    }

    fn other_backups(&mut self, report: &mut Report, all: &[PathBuf], looked_at: &[PathBuf]) {
        let others: Vec<&PathBuf> = all.iter().filter(|path| !looked_at.contains(path)).collect();
        let mut damaged = 0;
        for (done, path) in others.iter().enumerate() {
            if let Err(problem) = backups::digest_only(path) {
                damaged += 1;
                report.warn(Check::OtherBackups, format!("{} {problem}", path.display()), "move it away");
            }
            (self.told)("other backups", done + 1, others.len());
        }
        let whole = others.len() - damaged;
        report.pass(Check::OtherBackups, format!("{}, whole by digest", count(whole, "file")));
    }
}

fn coverage(report: &mut Report, known: &Known, backup: &Examined) {
    let legacy = known.examined.legacy_keys.iter().filter(|_| !known.examined.is_rotating);
    let legacy: Vec<Fingerprint> = legacy.copied().collect();
    match backups::uncovered(&known.examined.in_use, &legacy, backup) {
        Some(lost) => report.warn(Check::Coverage, lost, NEW_BACKUP),
        None => report.pass(Check::Coverage, format!("every version of generation {}", known.examined.generation)),
    }
    if backup.generation < known.examined.keyring {
        let (newest, changed) = (backup.generation, known.examined.keyring);
        let text = format!("a key changed at generation {changed}, after the backup of generation {newest}");
        report.note(Check::Coverage, text);
    }
}

/// What is good of the records, and what is not.
fn tell(report: &mut Report, examined: &Examined, root: &str) {
    let versions = count(examined.versions.len(), "version");
    let good = [
        (Check::Root, root.to_owned()),
        (Check::Mac, "it fits every record".to_owned()),
        (Check::Canary, "it opens".to_owned()),
        (Check::Identity, "it opens".to_owned()),
        (Check::LegacyKeys, format!("{} open", examined.legacy_keys.len())),
        (Check::Keys, count(examined.keys, "key")),
        (Check::Versions, format!("{versions}, every seal opens")),
        (Check::Records, format!("{} read", count(examined.records, "record"))),
    ];
    for (check, detail) in good {
        if !examined.flaws.iter().any(|flaw| flaw.check == check) {
            report.pass(check, detail);
        }
    }
    for Flaw { check, severity, text } in &examined.flaws {
        report.add(*check, *severity, text.clone(), "");
    }
}

/// What mends a damaged store can be said only when it is known which backup is good.
fn advise(report: &mut Report, store: &Path, good: Option<&Path>) {
    let salvage = "open what still opens with `servos-keyd serve --salvage`";
    let remedy = match good {
        Some(backup) => {
            format!("run `servos-keyd restore {}`, which keeps {}; or {salvage}", shell_quoted(backup), store.display())
        }
        None => format!("no backup here is good: look for one elsewhere for `servos-keyd restore FILE`; or {salvage}"),
    };
    for finding in &mut report.findings {
        if finding.remedy.is_empty() {
            match finding.severity {
                Severity::Fault => finding.remedy.clone_from(&remedy),
                Severity::Newer => "install the servos-keyd that wrote it".clone_into(&mut finding.remedy),
                Severity::Warning | Severity::Note => (),
            }
        }
    }
}

/// The store that a mark names: whose backups to look at where the store itself cannot tell.
fn marked_store(path: &Path) -> Option<StoreId> {
    let mark = mark::read(path).ok()??;
    mark.now.or(mark.to_come).map(|state| StoreId::from_bytes(state.store_id))
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
