//! The sockets' files: their directory, their modes, their group.
//!
//! Must never connect to one: whether anybody answers is told elsewhere.
//! Called by `doctor`.

use super::case::Case;
use super::finding::{self, Report};
use crate::cli::keyctl::config_check::group_fault;
use crate::config::key_source_error::shell_quoted;
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
        file(path, audience, report);
    }
    if let Some(name) = &config.socket.group {
        match (case.machine.group)(name) {
            Ok(Some(found)) => group(&config.socket.path, name, found.gid, report),
            Ok(None) => {
                let text = group_fault("socket.group", name)
                    .unwrap_or_else(|| format!("socket.group: there is no group {name}"));
                report.problem(finding::GROUP_MISSING, text, format!("groupadd --system {name}"));
            }
            Err(reason) => report.not_made(format!("whether there is a group {name}: {reason}")),
        }
    }
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
        Err(error @ BindError::PathNotSafe { .. }) => {
            let text = error.to_string();
            let mend = text
                .split_once("; run: ")
                .map_or_else(|| format!("ls -ld {}", shell_quoted(directory)), |(_, mend)| mend.to_owned());
            report.problem(finding::SOCKET_DIRECTORY, text, mend);
        }
        Err(error) => {
            let text = crate::telemetry::chain::chain(&error);
            report.problem(finding::SOCKET_DIRECTORY, text, format!("ls -ld {}", shell_quoted(directory)));
        }
    }
}

fn file(path: &Path, audience: Audience, report: &mut Report) {
    let Ok(found) = path.symlink_metadata() else { return };
    let (mode, quoted) = (found.mode() & 0o7777, shell_quoted(path));
    if !found.file_type().is_socket() {
        let text = format!("{} is not a socket, and no daemon replaces it.", path.display());
        return report.problem(
            finding::SOCKET_MODE,
            text,
            format!("mv {quoted} {quoted}.aside && systemctl restart servos-keyd"),
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

fn group(socket: &Path, name: &str, gid: u32, report: &mut Report) {
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
        report.problem(finding::SOCKET_DIRECTORY, text, format!("chgrp {name} {quoted} && chmod 750 {quoted}"));
    }
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
