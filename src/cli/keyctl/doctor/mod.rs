//! `servos-keyctl doctor`: everything that is to be mended, with the command that mends it, whether a daemon answers or not.
//!
//! Must never mend anything itself, nor end with 0 while something is to be mended, nor pass over a check in silence.
//! Called by `keyctl::execute`.

mod arguments;
mod case;
mod clock;
mod command;
mod container;
mod daemon;
mod finding;
mod key_mend;
mod key_places;
mod key_sources;
mod machine;
mod memory;
mod peers;
mod rotation;
mod sockets;
mod store;
mod swap;
mod unit;

#[cfg(test)]
mod document_test;
#[cfg(test)]
mod planted;

pub(super) use arguments::DoctorArguments;

use super::config_check::closed_to;
use super::console::Console;
use super::output::count;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::service::USER;
use case::{Case, Configured};
use finding::{Finding, Report, Severity};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A family of checks.
type Check = fn(&Case, &mut Report);

/// Every family by its name, the most urgent first.
const CHECKS: &[(&str, Check)] = &[
    ("daemon", daemon::answer),
    ("configuration", configuration),
    ("store", store::check),
    ("key-sources", key_sources::check),
    ("rotation", rotation::check),
    ("warnings", daemon::warnings),
    ("sockets", sockets::check),
    ("peers", peers::check),
    ("memory", memory::check),
    ("swap", swap::check),
    ("container", container::check),
    ("clock", clock::check),
];

/// Makes every check that can be made here; ends with 1 if something is to be mended.
pub(super) fn run(console: &mut Console, socket: &SocketArguments, arguments: &DoctorArguments) -> Result<(), Failure> {
    let report = examine(&Case::gather(socket, arguments)?);
    console.result(&value(&report), &text(&report))?;
    match u64::try_from(report.of(Severity::Problem).count()).unwrap_or(u64::MAX) {
        0 => Ok(()),
        number => {
            let failure = format!("{} to be mended", count(number, "thing"));
            Err(Failure::say(exit::NO, failure).with_hint("each names what mends it"))
        }
    }
}

fn examine(case: &Case) -> Report {
    let mut report = Report::default();
    for (name, check) in CHECKS {
        report.check = name;
        check(case, &mut report);
    }
    held_back(case, &mut report);
    report
}

/// Where the next start would not have its key, or its store, a daemon may hold the last copy, also one that does not answer: what
/// ends it is shown, and does nothing when it is pasted.
fn held_back(case: &Case, report: &mut Report) {
    if case.status().is_none() && !case.state.as_ref().is_some_and(|state| state.is_running) {
        return;
    }
    let of_key = [
        finding::KEY_MISSING,
        finding::KEY_MALFORMED,
        finding::KEY_UNREADABLE,
        finding::KEYS_DISAGREE,
        finding::KEY_NOT_IN_USE,
    ];
    let is_of_key = |found: &Finding| of_key.iter().any(|kind| kind.id == found.kind.id);
    let first = match report.of(Severity::Problem).any(is_of_key) {
        _ if daemon::holds_a_lost_store(case) => "what the daemon holds is saved",
        true => "the next start has its key",
        false => return,
    };
    let ends_daemon = |mend: &String| {
        let command = mend.split(" # ").next().unwrap_or_default();
        ["systemctl restart", "systemctl try-restart", "systemctl stop", "kill -TERM"]
            .iter()
            .any(|word| command.contains(word))
    };
    for mend in report.found.iter_mut().filter_map(|found| found.mend.as_mut()).filter(|mend| ends_daemon(mend)) {
        *mend = format!("# once {first}, not before: {mend}");
    }
}

/// What is wrong with the configuration as a whole.
fn configuration(case: &Case, report: &mut Report) {
    closed(case, report);
    match &case.configured {
        Configured::Invalid { text, mend } => report.problem(finding::CONFIGURATION, text.clone(), mend.clone()),
        Configured::Unknown(reason) => report.not_made(reason.clone()),
        Configured::By(config) => {
            let told = case.status().and_then(|status| status.store.as_ref()).map(|store| PathBuf::from(&store.path));
            if let Some(serves) = told.filter(|serves| *serves != config.store.path) {
                let text = format!(
                    "The daemon serves the store {}, and the configuration names {}: it was changed since the daemon's start, \
                     or is another daemon's.",
                    serves.display(),
                    config.store.path.display()
                );
                let wanted =
                    format!("\"{}\" # or, if it is right as it is: systemctl restart servos-keyd", serves.display());
                report.advice(finding::CONFIGURATION, text, command::edit(case, "store", "path", &wanted));
            }
        }
    }
}

/// Root reads everything; the daemon is another user.
fn closed(case: &Case, report: &mut Report) {
    if !case.is_service || case.machine.euid != 0 {
        return;
    }
    if let Ok(Some(user)) = (case.machine.user)(USER)
        && let Some(fault) = closed_to(USER, user.uid, &user.gids, &case.config_file)
    {
        report.add(finding::CONFIGURATION, Severity::Problem, fault.what, fault.mend);
    }
}

fn value(report: &Report) -> Value {
    let shown = |finding: &Finding| {
        json!({
            "check": finding.check,
            "id": finding.kind.id,
            "severity": match finding.severity { Severity::Problem => "problem", Severity::Advice => "advice" },
            "text": finding.text,
            "why": finding.kind.why,
            "mend": finding.mend,
        })
    };
    let of = |severity| report.of(severity).map(shown).collect::<Vec<_>>();
    json!({
        "well": report.of(Severity::Problem).next().is_none(),
        "to_mend": of(Severity::Problem),
        "advice": of(Severity::Advice),
        "checks": CHECKS.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "not_made": report.not_made.iter().map(|one| json!({"check": one.check, "reason": one.reason})).collect::<Vec<_>>(),
    })
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut list = |title: &str, severity| {
        let mut found = report.of(severity).peekable();
        if found.peek().is_some() {
            text.push_str(&format!("{title}\n"));
        }
        for Finding { kind, text: what, mend, .. } in found {
            text.push_str(&format!("  - {what} [{}]\n      {}\n", kind.id, kind.why));
            text.extend(mend.iter().map(|mend| format!("      mend: {mend}\n")));
        }
    };
    list("To mend:", Severity::Problem);
    list("To know:", Severity::Advice);
    if report.of(Severity::Problem).next().is_none() {
        text.insert_str(0, "Nothing to mend.\n");
    }
    if !report.not_made.is_empty() {
        text.push_str("Not checked:\n");
        report.not_made.iter().for_each(|one| text.push_str(&format!("  - {}: {}\n", one.check, one.reason)));
    }
    text
}
