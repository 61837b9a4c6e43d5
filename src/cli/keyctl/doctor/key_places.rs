//! The files that may hold a master key: those that the daemon's next start reads, and copies that it does not.
//!
//! Must never open one, nor take a file for one of the daemon's that only this shell names.
//! Called by `key_sources` and `daemon`.

use super::case::Case;
use crate::cli::unit::is_plain;
use std::path::PathBuf;

/// The env files that ServOS has, and had when it was called ACT.
const ENV_FILES: [&str; 2] = ["/etc/servos/servos.env", "/etc/act/act.env"];

/// A file to look into.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Whether the daemon's next start reads it; else it is a copy.
    pub(super) counts: bool,
    /// Whether systemd reads it, as root, and hands on what is in it; the daemon needs no right to it.
    pub(super) by_systemd: bool,
    pub(super) may_be_missing: bool,
    /// Whether it is good without a key.
    pub(super) may_hold_none: bool,
}

/// Every one that is known, each once, by whatever name.
pub(super) fn places(case: &Case) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut add = |place: Place| {
        let path = &place.path;
        let is_it = |other: &Place| other.path == *path || other.path.canonicalize().ok() == path.canonicalize().ok();
        // What is missing has no other name.
        if !places.iter().any(|other| other.path == *path || (path.exists() && is_it(other))) {
            places.push(place);
        }
    };
    let key_file = |path: PathBuf, counts: bool| Place {
        path,
        counts,
        by_systemd: false,
        may_be_missing: false,
        may_hold_none: false,
    };
    case.key_file().into_iter().for_each(|file| add(key_file(file, true)));
    if let Ok(unit) = &case.unit {
        for file in unit.plain_files() {
            let by_systemd = unit.credentials.iter().any(|(credential, _)| credential == file);
            add(Place { by_systemd, ..key_file(file.to_owned(), true) });
        }
        for (path, may_be_missing) in unit.environment_files.iter().filter(|(path, _)| is_plain(path)).cloned() {
            add(Place { path, counts: true, by_systemd: true, may_be_missing, may_hold_none: true });
        }
    }
    let is_started_here = is_started_here(case);
    case.given.files.iter().for_each(|file| add(key_file(file.clone(), is_started_here)));
    if case.is_service {
        let known = ENV_FILES.map(|file| case.machine.at(file)).into_iter().filter(|file| file.exists());
        known.for_each(|path| {
            add(Place { path, counts: false, by_systemd: true, may_be_missing: true, may_hold_none: true })
        });
    }
    places
}

/// What could not be looked for.
pub(super) fn unseen(case: &Case) -> Vec<String> {
    match &case.unit {
        Err(reason) if is_hidden(case) => vec![format!("the files that the daemon's unit names: {reason}")],
        Err(_) => Vec::new(),
        Ok(unit) => {
            let named = unit.credentials.iter().map(|(file, _)| file).chain(&unit.key_files);
            let named = named.chain(unit.environment_files.iter().map(|(file, _)| file));
            let odd = named.filter(|file| !is_plain(file));
            odd.map(|file| format!("{}: where systemd looks for this is not known here", file.display())).collect()
        }
    }
}

/// Whether a service manager starts the daemon, and does not tell with what.
pub(super) fn is_hidden(case: &Case) -> bool {
    case.is_service && case.unit.is_err() && case.machine.has("/run/systemd/system")
}

/// Whether the next daemon is one that is started from this shell, and reads what it names; a service manager's does not.
pub(super) fn is_started_here(case: &Case) -> bool {
    case.unit.is_err() && !is_hidden(case) && case.status().is_none()
}
