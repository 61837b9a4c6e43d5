//! `servos-keyd fsck`: everything that a start, a restore and a stranger's hand could have left wrong, told at once.
//!
//! Must never change a byte, nor run beside a daemon that does.
//! Called by `run`.

use super::{ConfigArguments, harden, key, output, place, remedy};
use crate::cli::exit::{self, Exit};
use crate::cli::failure::Failure;
use crate::operations::check::finding::{Check, Finding, Report, Severity};
use crate::operations::check::offline::Inspection;
use crate::operations::create::{Vacancy, vacancy};
use crate::operations::key_choice;
use crate::operations::ledger::Places;
use crate::operations::start_failure::StartFailure;
use crate::store::port::{Snapshot, StoreError};
use crate::store::redb_adapter::view;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    harden()?;
    let config = arguments.config.load()?;
    let memory = key::memory_as(config.memory)?;
    let sources = key::sources_of_daemon(&config.master_key, &config.store.path, &memory)?;
    let places = place::settled(&config, arguments.config.config.as_deref())?;
    let _lock = place::lock_beside_readers(&places)?;
    let store = look(&places)?;
    let claimed = match &store {
        Ok(snapshot) => key_choice::claimed(snapshot),
        // Which of two keys is right, such a store cannot tell.
        Err(error) => Err(StartFailure::Damaged(error.to_string())),
    };
    let chosen = key::choose(&sources, claimed, &memory)?;
    chosen.warnings.iter().chain(&chosen.pending).for_each(|warning| output::remark(&format!("warning: {warning}")));
    let mut progress = Progress::begin();
    let mut told = |what: &str, done: usize, total: usize| progress.show(what, done, total);
    let inspection = Inspection { places: &places, master: &chosen.key, memory: &memory, told: &mut told };
    let report = inspection.run(store);
    progress.end();
    let report = report?;
    let with_config = |text: &str| remedy::complete(text, &arguments.config);
    if arguments.json {
        output::value(&value(&report, with_config));
    } else {
        text(&report, with_config).iter().for_each(|line| output::line(line));
    }
    let (exit, verdict) = verdict(&report);
    match exit {
        Some(exit) => Err(Failure::say(exit, verdict)),
        None => Ok(()),
    }
}

/// What the store's file holds, or how it is damaged.
fn look(places: &Places) -> Result<Result<Snapshot, StoreError>, Failure> {
    match vacancy(places) {
        Err(StartFailure::Exists { .. }) => (),
        Err(failure) => return Err(failure.into()),
        Ok(Vacancy::Empty) => return Err(StartFailure::NoStore { store: places.store.clone() }.into()),
        Ok(Vacancy::Interrupted(_)) => {
            return Err(StartFailure::CreationInterrupted { store: places.store.clone() }.into());
        }
    }
    match view(&places.store) {
        Err(error @ (StoreError::Empty { .. } | StoreError::Foreign { .. } | StoreError::Damaged { .. })) => {
            Ok(Err(error))
        }
        Err(error) => Err(error.into()),
        Ok(snapshot) => Ok(Ok(snapshot)),
    }
}

/// The exit code, where it is not success, and what was found in one sentence.
fn verdict(report: &Report) -> (Option<Exit>, String) {
    let problems = report.problems().count();
    let counted = if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") };
    match report.verdict() {
        Severity::Note => (None, "everything is good".to_owned()),
        Severity::Warning => (Some(exit::NO), format!("the store is good; beside it: {counted}, named above")),
        Severity::Newer => {
            (Some(exit::CONFIG), "the store was written by a newer servos-keyd: install that version".to_owned())
        }
        Severity::Fault => (
            Some(exit::DAMAGED),
            format!("a start would refuse this store: {counted}, named above with what mends them"),
        ),
    }
}

fn findings_of(report: &Report, check: Check) -> impl Iterator<Item = &Finding> {
    report.findings.iter().filter(move |finding| finding.check == check)
}

/// A line for each thing that is good, and for each that is not; what mends it stands below, once.
fn text(report: &Report, with_config: impl Fn(&str) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    let mut remedies: Vec<&str> = Vec::new();
    for check in Check::ALL {
        let begun = lines.len();
        let mut push = |word: &str, text: &str| {
            let name = if lines.len() == begun { check.name() } else { "" };
            lines.push(format!("{name:<15}{word:<9}{text}"));
        };
        for finding in findings_of(report, check).filter(|finding| finding.severity > Severity::Note) {
            push("PROBLEM", &with_config(&finding.text));
            if !remedies.contains(&finding.remedy.as_str()) {
                push("to mend", &with_config(&finding.remedy));
                remedies.push(&finding.remedy);
            }
        }
        if let Some(passed) = report.passed.iter().find(|passed| passed.check == check) {
            push("ok", &passed.detail);
        }
        for note in findings_of(report, check).filter(|finding| finding.severity == Severity::Note) {
            push("note", &note.text);
        }
        if lines.len() == begun {
            lines.push(format!("{:<15}{:<9}not looked at", check.name(), "-"));
        }
    }
    let word = if report.verdict() == Severity::Note { "ok" } else { "PROBLEM" };
    lines.push(format!("{:<15}{word:<9}{}", "verdict", verdict(report).1));
    lines
}

fn value(report: &Report, with_config: impl Fn(&str) -> String) -> Value {
    let finding = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Newer => "newer",
            Severity::Fault => "fault",
        };
        json!({"severity": severity, "text": with_config(&finding.text), "remedy": with_config(&finding.remedy)})
    };
    let checks: Vec<Value> = Check::ALL
        .into_iter()
        .map(|check| {
            let passed = report.passed.iter().find(|passed| passed.check == check);
            let found: Vec<Value> = findings_of(report, check).map(&finding).collect();
            let is_problem = findings_of(report, check).any(|finding| finding.severity > Severity::Note);
            let result = if is_problem { "problem" } else if passed.is_some() || !found.is_empty() { "ok" } else { "not looked at" };
            json!({"check": check.name(), "result": result, "detail": passed.map(|passed| &passed.detail), "findings": found})
        })
        .collect();
    let (exit, verdict) = verdict(report);
    json!({"exit": exit.map_or(0, |exit| exit.code), "verdict": verdict, "seals": report.seals, "checks": checks})
}

/// How far it is, for a person who waits.
struct Progress {
    begun: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Before this has passed, nothing is shown.
    const SILENCE: Duration = Duration::from_secs(1);
    const EVERY: Duration = Duration::from_millis(100);

    fn begin() -> Self {
        Self { begun: Instant::now(), shown: None, is_terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, what: &str, done: usize, total: usize) {
        let is_due = self.shown.is_none_or(|shown| shown.elapsed() >= Self::EVERY);
        if self.is_terminal && is_due && self.begun.elapsed() >= Self::SILENCE {
            output::draw(&format!("{what}: {done} of {total}"));
            self.shown = Some(Instant::now());
        }
    }

    fn end(&mut self) {
        if self.shown.take().is_some() {
            output::draw("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::check::finding::Passed;

    fn report(severity: Severity) -> Report {
        let finding = Finding {
            check: Check::Mark,
            severity,
            text: "the mark is odd".to_owned(),
            remedy: "run `servos-keyd accept --generation 7`".to_owned(),
        };
        let passed = Passed { check: Check::File, detail: "1 byte".to_owned() };
        Report { passed: vec![passed], findings: vec![finding], seals: 3 }
    }

    #[test]
    fn every_check_has_a_line_and_what_mends_it_stands_below_with_its_configuration() {
        let lines = text(&report(Severity::Fault), |text| text.replace("accept", "accept --config /c"));
        assert!(lines.len() > Check::ALL.len());
        let at = lines.iter().position(|line| line == "mark           PROBLEM  the mark is odd").unwrap();
        assert_eq!(lines[at + 1].trim_start(), "to mend  run `servos-keyd accept --config /c --generation 7`");
        assert!(lines.iter().any(|line| line == "root           -        not looked at"), "{lines:#?}");
        assert!(lines.iter().any(|line| line == "file           ok       1 byte"), "{lines:#?}");
    }

    #[test]
    fn the_worst_finding_decides_the_code() {
        let code = |severity| verdict(&report(severity)).0.map(|exit| exit.code);
        assert_eq!(
            [Severity::Note, Severity::Warning, Severity::Newer, Severity::Fault].map(code),
            [None, Some(1), Some(78), Some(74)]
        );
        let value = value(&report(Severity::Warning), str::to_owned);
        assert_eq!((value["exit"].as_u64(), value["seals"].as_u64()), (Some(1), Some(3)));
        let mark = value["checks"].as_array().unwrap().iter().find(|check| check["check"] == "mark").unwrap();
        assert_eq!(
            (mark["result"].as_str(), mark["findings"][0]["severity"].as_str()),
            (Some("problem"), Some("warning"))
        );
    }
}
