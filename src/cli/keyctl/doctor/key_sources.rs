//! The places that hold a master key: whether each can be read, holds a key, and holds the same one as the others.
//!
//! Must never print or keep a key: each is compared, and named by its fingerprint.
//! Called by `doctor`.

use super::case::{Case, Configured, Daemon};
use super::finding::{self, Report, Severity};
use super::key_mend::{self, EXPOSED_BITS};
use super::key_places::{self, Place, is_hidden, is_started_here};
use crate::cli::exit;
use crate::cli::keyctl::rotate_run;
use crate::cli::service;
use crate::config::key_source::{FILE_VARIABLES, KeySource, Sources, Trust, Warning};
use crate::config::key_source_error::{FaultClass, KeySourceError, chown, chown_name, shell_quoted, user_name};
use crate::custody::keys::{KeyError, MasterKey};
use crate::operations::key_choice;
use crate::operations::rotation::key_sources::{HeldKey, Renewal};
use crate::sys::locked::LockedMemory;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A key that was read.
struct Held {
    source: String,
    path: Option<PathBuf>,
    counts: bool,
    key: MasterKey,
}

/// Reads every place, and compares.
pub(super) fn check(case: &Case, report: &mut Report) {
    if let Some(fault) = &case.given.fault {
        report.problem(finding::KEY_MALFORMED, fault.clone(), "unset SERVOS_MASTER_KEY_FILE ACT_MASTER_KEY_FILE");
    }
    if let Ok(unit) = &case.unit {
        for setting in &unit.holds_key {
            report.problem(
                finding::KEY_IN_UNIT,
                format!("The daemon's unit holds the master key itself, in {setting}."),
                "grep -rlE '(SERVOS|ACT)_MASTER_KEY=|SetCredential=(servos|act)_master_key:' \
                 /etc/systemd/system/servos-keyd.service* # names the file: put the key out of it into one of mode 0600, \
                 name that with LoadCredential=servos_master_key:FILE, systemctl daemon-reload && systemctl restart servos-keyd, \
                 and then: servos-keyctl rotate run",
            );
        }
    }
    if !matches!(case.configured, Configured::By(_)) && case.key_file().is_none() {
        report.not_made(format!("which key file the daemon reads: {}", case.unconfigured()));
    }
    key_places::unseen(case).into_iter().for_each(|unseen| report.not_made(unseen));
    let memory = match &case.memory {
        Ok(memory) => memory,
        Err(reason) => return report.not_made(format!("what the key's sources hold: {reason}")),
    };
    let mut held = Vec::new();
    let places = key_places::places(case);
    for place in &places {
        read(case, place, memory, &mut held, report);
    }
    from_unit(case, memory, &mut held, report);
    from_environment(case, memory, &mut held, report);
    let is_known = !is_hidden(case) && matches!(case.configured, Configured::By(_));
    // What is wrong with any of them is told already.
    let of_unit = case.unit.as_ref().is_ok_and(|unit| !unit.credentials.is_empty() || !unit.holds_key.is_empty());
    let has_source = of_unit
        || held.iter().any(|held| held.counts)
        || places.iter().any(|place| place.counts && !place.may_hold_none);
    if is_known && !has_source && !matches!(case.daemon, Daemon::Answered(_)) {
        let text = KeySourceError::NoSource.to_string();
        report.problem(finding::KEY_MISSING, text, no_source_mend(case));
    }
    compare(case, held, report);
}

/// Where no source is known: the key is where the service would have it, or on paper.
fn no_source_mend(case: &Case) -> String {
    match service::key_file(&case.machine.at("/")).filter(|_| case.is_service) {
        Some(file) => service::with_key_file(&file, "servos-keyd serve"),
        None => {
            "servos-keyctl recover --typed --out FILE # or bring back the file from where a copy is kept".to_owned()
        }
    }
}

/// For a file that is gone: it is brought back, unless the same key lies where an installation that began with one has it,
/// and the unit was not told. Where the daemon's memory may hold the last copy, nothing here ends the daemon.
fn missing_mend(case: &Case, place: &Place, daemon_uid: u32) -> String {
    let [env, key] = [service::ENV_FILE, service::KEY_FILE].map(|file| case.machine.at(file));
    if place.by_systemd && place.path == env && key.exists() && (case.holds_key_in_use(&key) || case.is_new()) {
        // One that serves needs no restart to mend its next start.
        return match case.status() {
            Some(_) => service::KEY_FILE_DROP_IN.to_owned(),
            None => format!("{} && systemctl restart servos-keyd", service::KEY_FILE_DROP_IN),
        };
    }
    if place.by_systemd && place.path == env && case.is_new() {
        return format!(
            "servos-keyctl generate-key {} # on a new installation; where ServOS has sealed values before, bring back its {}",
            service::KEY_FILE,
            service::ENV_FILE
        );
    }
    let path = shell_quoted(&place.path);
    let given = match (daemon_uid, place.by_systemd) {
        (0, _) | (_, true) => String::new(),
        (daemon, false) => format!(" && {}", chown(&chown_name(daemon), &place.path)),
    };
    format!("servos-keyctl recover --typed --out {path}{given} # or bring back the file from where a copy is kept")
}

fn read(case: &Case, place: &Place, memory: &LockedMemory, held: &mut Vec<Held>, report: &mut Report) {
    let own = || (case.machine.euid, nix::unistd::getegid().as_raw());
    let (daemon_uid, daemon_gid) = case.daemon_ids().unwrap_or_else(own);
    let allow_readable = case.config().is_some_and(|config| config.master_key.allow_readable);
    // What systemd reads it reads as root; that the daemon's own user has it is no matter.
    let is_daemons = || place.path.metadata().is_ok_and(|found| found.uid() == daemon_uid);
    let trusted = if place.by_systemd && !is_daemons() { (0, 0) } else { (daemon_uid, daemon_gid) };
    let trust = Trust { credentials_directory: None, allow_readable, daemon_uid: trusted.0, daemon_gid: trusted.1 };
    let read_as = |trust: Trust| {
        let sources = Sources { key_files: Vec::new(), environment_key: Vec::new(), trust };
        sources.read_file(&place.path, memory)
    };
    match read_as(trust.clone()) {
        Ok(found) => {
            for source in found {
                hold(source, place, memory, held, report);
            }
        }
        Err(KeySourceError::Missing { .. }) if place.may_be_missing => {}
        Err(KeySourceError::NoKeyInside { .. }) if place.may_hold_none => {}
        // Others may read what holds no key.
        Err(KeySourceError::Exposed { .. })
            if place.may_hold_none
                && matches!(
                    read_as(Trust { allow_readable: true, ..trust }),
                    Err(KeySourceError::NoKeyInside { .. })
                ) => {}
        Err(error) => refused(case, place, daemon_uid, (&error, memory), report),
    }
}

/// What a start would say of a place that it cannot take.
fn refused(
    case: &Case,
    place: &Place,
    daemon_uid: u32,
    (error, memory): (&KeySourceError, &LockedMemory),
    report: &mut Report,
) {
    let text = crate::telemetry::chain::chain(error);
    let path = shell_quoted(&place.path);
    match error {
        KeySourceError::Missing { .. } => {
            // The daemon may see other files than the tool does.
            let is_seen = case.status().is_none() || place.path.parent().is_some_and(Path::is_dir);
            if !is_seen {
                return report
                    .not_made(format!("{}: this process does not see the daemon's files", place.path.display()));
            }
            let text = match case.status() {
                Some(_) if place.counts => format!(
                    "The key file {} is gone: the daemon serves from memory, and would not start again. Bring it back \
                     from where a copy is kept before anything restarts the daemon, and try it: servos-keyctl check-key \
                     --key-file {path}",
                    place.path.display()
                ),
                _ => text,
            };
            report.problem(finding::KEY_MISSING, text, missing_mend(case, place, daemon_uid));
        }
        KeySourceError::Denied { mend, .. } => match case.machine.euid == daemon_uid {
            true => report.problem(finding::KEY_UNREADABLE, text, mend.clone()),
            false => {
                exposed(&place.path, report);
                report.not_made(format!("what {path} holds: only root and the daemon's own user can read it"));
            }
        },
        KeySourceError::Exposed { .. } => {
            report.problem(
                finding::KEY_EXPOSED,
                text,
                key_mend::owner_and_mode(&place.path, daemon_uid, place.by_systemd),
            );
        }
        error if error.class() == FaultClass::Malformed => {
            let severity = if place.counts { Severity::Problem } else { Severity::Advice };
            let mend = key_mend::of_file(error, &place.path, memory);
            report.add(finding::KEY_MALFORMED, severity, text, Some(mend));
        }
        _ => report.problem(finding::KEY_UNREADABLE, text, format!("ls -l {path}; dmesg | tail")),
    }
}

/// The mode of a file that this user cannot read is to be seen all the same.
pub(super) fn exposed(path: &Path, report: &mut Report) {
    let Ok(found) = path.metadata() else { return };
    let mode = found.mode() & 0o7777;
    let fault = match mode & EXPOSED_BITS {
        bits if bits & 0o022 != 0 => "others can change",
        bits if bits & 0o004 != 0 => "everyone can read",
        _ => return,
    };
    let text =
        format!("{fault} {} (mode {mode:04o}, of {}), which holds a key.", path.display(), user_name(found.uid()));
    report.problem(finding::KEY_EXPOSED, text, format!("chmod 600 {}", shell_quoted(path)));
}

fn hold(source: KeySource, place: &Place, memory: &LockedMemory, held: &mut Vec<Held>, report: &mut Report) {
    let path = source.path.clone();
    let file = path.as_deref().map(shell_quoted);
    for warning in &source.warnings {
        let file = file.clone().unwrap_or_default();
        let (kind, severity, mend) = match warning {
            Warning::InEnvironment(_) => {
                let mend = format!("unset {}", source.variable.unwrap_or("SERVOS_MASTER_KEY"));
                (finding::KEY_IN_ENVIRONMENT, Severity::Advice, mend)
            }
            Warning::DefinedTwice(_) => {
                let mend = format!(
                    "grep -n -o '[A-Z]*_MASTER_KEY=' {file} # shows the lines; then take the wrong one out: \
                     \"${{EDITOR:-vi}}\" {file}"
                );
                (finding::KEY_DEFINED_TWICE, Severity::Problem, mend)
            }
            Warning::Exposed(_) => (finding::KEY_EXPOSED, Severity::Advice, format!("chmod 600 {file}")),
        };
        report.add(kind, severity, warning.to_string(), Some(mend));
    }
    match MasterKey::parse(source.text.expose_bytes(), memory) {
        Ok(key) => held.push(Held { source: source.name, path, counts: place.counts, key }),
        Err(KeyError::Malformed(problem)) => {
            let severity = if place.counts { Severity::Problem } else { Severity::Advice };
            let mend = key_mend::of_text(problem, source.variable, path.as_deref());
            report.add(finding::KEY_MALFORMED, severity, format!("{}: {problem}", source.name), Some(mend));
        }
        Err(error) => report.not_made(format!("what {} holds: {error}", source.name)),
    }
}

/// Credentials that systemd-creds encrypted.
fn from_unit(case: &Case, memory: &LockedMemory, held: &mut Vec<Held>, report: &mut Report) {
    let Ok(unit) = &case.unit else { return };
    for (file, name) in &unit.credentials {
        let Some(name) = name else { continue };
        match rotate_run::key_in_credential(name, file, memory) {
            Ok(key) => held.push(Held {
                source: format!("credential {name} ({})", file.display()),
                path: Some(file.clone()),
                counts: true,
                key,
            }),
            Err(failure) if failure.exit == exit::MISSING || !file.exists() => {
                let text = format!("{}: there is no such file, and the unit takes the key from it", file.display());
                let mend = format!(
                    "servos-keyctl recover --typed --out FILE; systemd-creds encrypt --name={name} FILE {}",
                    shell_quoted(file)
                );
                report.problem(finding::KEY_MISSING, text, mend);
            }
            Err(failure) => report.not_made(format!("what {} holds: {}", file.display(), failure.message)),
        }
    }
}

fn from_environment(case: &Case, memory: &LockedMemory, held: &mut Vec<Held>, report: &mut Report) {
    let counts = is_started_here(case);
    for (variable, value) in &case.given.environment_key {
        let place =
            Place { path: PathBuf::new(), counts, by_systemd: false, may_be_missing: false, may_hold_none: false };
        let Ok(mut copy) = memory.buffer(value.len()) else { continue };
        copy.append(value.expose_bytes());
        let trust = Trust { credentials_directory: None, allow_readable: false, daemon_uid: 0, daemon_gid: 0 };
        let sources = Sources { key_files: Vec::new(), environment_key: vec![(variable, copy)], trust };
        match sources.read(memory) {
            Ok(found) => found.into_iter().for_each(|source| hold(source, &place, memory, held, report)),
            Err(error) => {
                report.problem(finding::KEY_MALFORMED, error.to_string(), format!("unset {variable}"));
            }
        }
    }
}

/// For a source that holds another key than the store's: what this shell gives is taken back, a file holds the right one
/// again.
fn of_wrong(case: &Case, source: &str, path: Option<&Path>) -> String {
    match path {
        Some(path) if case.given.files.iter().any(|given| given == path) => {
            format!("unset {}", FILE_VARIABLES.join(" "))
        }
        Some(path) => key_mend::of_wrong(path),
        None => {
            let variable = case.given.environment_key.iter().find(|(variable, _)| source.ends_with(variable));
            format!("unset {}", variable.map_or("SERVOS_MASTER_KEY", |(variable, _)| *variable))
        }
    }
}

fn compare(case: &Case, held: Vec<Held>, report: &mut Report) {
    let opens = case.opens();
    let claimed = opens.iter().filter_map(|text| text.parse().ok()).collect();
    let (counting, copies): (Vec<Held>, Vec<Held>) = held.into_iter().partition(|held| held.counts);
    let known: Vec<(String, Option<PathBuf>, String)> = counting
        .iter()
        .map(|held| (held.source.clone(), held.path.clone(), held.key.fingerprint().to_string()))
        .collect();
    let try_it = |path: &Option<PathBuf>| {
        let file = path.as_deref().map_or_else(|| "FILE".to_owned(), shell_quoted);
        format!("servos-keyctl check-key --key-file {file}")
    };
    let is_wrong = |fingerprint: &String| !opens.is_empty() && !opens.contains(fingerprint);
    let chosen = match counting.is_empty() {
        true => Ok(()),
        false => {
            let held = |held: Held| HeldKey { source: held.source, renewal: Renewal::Restart, key: held.key };
            key_choice::choose(counting.into_iter().map(held).collect(), Ok(claimed)).map(|_| ())
        }
    };
    match chosen {
        Err(disagreement) => {
            let mut mends: Vec<String> = known
                .iter()
                .filter(|(_, _, its)| is_wrong(its))
                .map(|(source, path, _)| of_wrong(case, source, path.as_deref()))
                .collect();
            if mends.is_empty() {
                mends = known.iter().map(|(_, path, _)| try_it(path)).collect();
            }
            mends.dedup();
            report.problem(finding::KEYS_DISAGREE, disagreement.to_string(), mends.join("; "));
        }
        Ok(()) => {
            for (source, path, fingerprint) in known.iter().filter(|(_, _, fingerprint)| is_wrong(fingerprint)) {
                let text =
                    format!("{source} holds the key {fingerprint}, and the store is under {}.", opens.join(" or "));
                report.problem(finding::KEY_NOT_IN_USE, text, of_wrong(case, source, path.as_deref()));
            }
        }
    }
    let expected = if opens.is_empty() { known.into_iter().map(|(_, _, its)| its).take(1).collect() } else { opens };
    for copy in copies {
        let fingerprint = copy.key.fingerprint().to_string();
        if !expected.is_empty() && !expected.contains(&fingerprint) {
            let (source, expected) = (copy.source, expected.join(" or "));
            let text = format!(
                "{source} holds the key {fingerprint}, and the one in use is {expected}: the daemon does not read it there."
            );
            report.advice(finding::KEY_COPY_DIFFERS, text, try_it(&copy.path));
        }
    }
}

#[cfg(test)]
#[path = "key_sources_tests.rs"]
mod tests;
