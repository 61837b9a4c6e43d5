//! The sockets' files: their directory, their modes, their group.
//!
//! Must never connect to one: whether anybody answers is told elsewhere.
//! Called by `doctor`.

use super::case::Case;
use super::command;
use super::daemon;
use super::finding::{self, Report};
use crate::cli::service;
use crate::config::key_source_error::shell_quoted;
use crate::config::obstacle::is_home;
use crate::config::settings::Config;
use crate::store::durable::directory_of;
use crate::sys::sockets::bound::{BindError, judge_directory};
use nix::unistd::Uid;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// Whom a socket is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Components,
    Operators,
}

/// Looks at each socket that the configuration names, else at the one that was asked.
pub(super) fn check(case: &Case, report: &mut Report) {
    let Some(config) = case.config() else {
        directory(case, &case.socket, report);
        return report.not_made(format!("modes and group of the sockets: {}", case.unconfigured()));
    };
    let mut sockets = vec![(config.socket.path.as_path(), Audience::Components)];
    sockets.extend(config.socket.admin_path.as_deref().map(|path| (path, Audience::Operators)));
    let mut seen = Vec::new();
    for (path, audience) in sockets {
        if !seen.contains(&directory_of(path)) {
            seen.push(directory_of(path));
            directory(case, path, report);
        }
        file(case, path, audience, report);
    }
    if let Some((name, is_of_unit)) = case.socket_group() {
        match (case.machine.group)(name) {
            Ok(Some(found)) => group(case, &config.socket.path, (name, found.gid), report),
            Ok(None) => missing_group(case, name, is_of_unit, report),
            Err(reason) => report.not_made(format!("whether there is a group {name}: {reason}")),
        }
        overruled(case, name, is_of_unit, report);
    }
}

fn missing_group(case: &Case, name: &str, is_of_unit: bool, report: &mut Report) {
    let setting = if is_of_unit { "SocketGroup= of servos-keyd.socket" } else { "socket.group" };
    let usual = Config::default().socket.group.unwrap_or_default();
    let is_slip = !is_of_unit && *name != usual && (case.machine.group)(&usual).is_ok_and(|found| found.is_some());
    let mend = match is_slip {
        true => command::edit(case, "socket", "group", &format!("\"{usual}\"")),
        false => format!("groupadd --system {name}"),
    };
    let text = format!("{setting}: there is no group {name}: other users could not connect.");
    report.problem(finding::GROUP_MISSING, text, mend);
}

/// Where systemd makes the socket, the configuration's group is for nothing, and is told if it says another.
fn overruled(case: &Case, in_force: &str, is_of_unit: bool, report: &mut Report) {
    let configured = case.config().and_then(|config| config.socket.group.as_deref());
    let Some(other) = configured.filter(|other| is_of_unit && *other != in_force) else { return };
    let is_there = !matches!((case.machine.group)(other), Ok(None));
    let text = format!(
        "socket.group of {} names {other}{}; systemd makes the socket, with the group {in_force} (SocketGroup= of \
         servos-keyd.socket), and that one is in force: socket.group counts only for a socket that the daemon makes itself.",
        case.config_file.display(),
        if is_there { "" } else { ", a group that is not there" }
    );
    let mend = command::edit(case, "socket", "group", &format!("\"{in_force}\""));
    report.advice(finding::CONFIGURATION, text, mend);
}

fn directory(case: &Case, socket: &Path, report: &mut Report) {
    let directory = directory_of(socket);
    // One that is missing is made by the start, with the right mode.
    if !directory.exists() {
        return;
    }
    let own = case.daemon_ids().map_or(case.machine.euid, |(uid, _)| uid);
    match judge_directory(directory, Uid::from_raw(own)) {
        Ok(()) => {}
        Err(error) => {
            let text = crate::telemetry::chain::chain(&error);
            let mend = match error {
                BindError::PathNotSafe { remedy, .. } => remedy,
                _ => format!("ls -ld {}", shell_quoted(directory)),
            };
            report.problem(finding::SOCKET_DIRECTORY, text, mend);
        }
    }
}

fn file(case: &Case, path: &Path, audience: Audience, report: &mut Report) {
    let Ok(found) = path.symlink_metadata() else {
        let is_told = report.found.iter().any(|found| found.kind.id == finding::SOCKET_GONE.id);
        if case.status().is_some() && !is_told && matches!(path.try_exists(), Ok(false)) {
            let text = format!(
                "The daemon answers, and there is no socket {}: nobody can connect to it there.",
                path.display()
            );
            report.problem(finding::SOCKET_GONE, text, daemon::socket_anew(case));
        }
        return;
    };
    let (mode, quoted) = (found.mode() & 0o7777, shell_quoted(path));
    if !found.file_type().is_socket() {
        let text = format!("{} is not a socket, and no daemon replaces it.", path.display());
        let start = match &case.unit {
            Ok(_) => format!("systemctl restart {} servos-keyd", service::SOCKETS),
            Err(_) => command::keyd(case, "serve", ""),
        };
        return report.problem(
            finding::SOCKET_MODE,
            text,
            format!("mv --backup=numbered {quoted} {quoted}.aside && {start}"),
        );
    }
    // Source: unix(7). To connect takes the right to write.
    let (wanted, fault) = match audience {
        Audience::Operators if mode & 0o022 != 0 => ("600", "others than its owner can connect for administration"),
        Audience::Components if mode & 0o002 != 0 => ("660", "everyone can connect"),
        Audience::Components if mode & 0o020 == 0 => ("660", "its group cannot connect"),
        _ => return,
    };
    let text = format!(
        "The socket {} has mode {mode:04o}: {fault}. If systemd makes it, SocketMode=0{wanted} in its unit.",
        path.display()
    );
    report.problem(finding::SOCKET_MODE, text, format!("chmod {wanted} {quoted}"));
}

fn group(case: &Case, socket: &Path, (name, gid): (&str, u32), report: &mut Report) {
    let directory = directory_of(socket);
    if let Ok(found) = socket.symlink_metadata()
        && found.gid() != gid
        && found.mode() & 0o002 == 0
    {
        let text = format!("The socket {} is not of the group {name}, but of group {}.", socket.display(), found.gid());
        report.problem(finding::SOCKET_MODE, text, format!("chgrp {name} {}", shell_quoted(socket)));
    }
    let Ok(found) = directory.metadata() else { return };
    let through = if found.gid() == gid { 0o010 } else { 0o001 };
    if found.mode() & through == 0 {
        let quoted = shell_quoted(directory);
        let text = format!(
            "The group {name} cannot go through {}, where the socket lies (mode {:04o}, group {}).",
            directory.display(),
            found.mode() & 0o7777,
            found.gid()
        );
        let mend = match is_home(directory, found.uid()) {
            // A user's own directory is not opened to a group: the socket moves out of it.
            true => {
                let usual = Config::default().socket.path;
                command::edit(case, "socket", "path", &format!("\"{}\"", usual.display()))
            }
            false => format!("chgrp {name} {quoted} && chmod 750 {quoted}"),
        };
        report.problem(finding::SOCKET_DIRECTORY, text, mend);
    }
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
