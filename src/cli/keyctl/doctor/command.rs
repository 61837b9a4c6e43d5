//! Commands as they are to be pasted here: with the key, the configuration and the line of this very installation.
//!
//! Must never name a command that would look at another store, or for a key in a shell that has none.
//! Called by the families of checks whose mends need more than a fixed text.

use super::case::Case;
use crate::cli::service;
use crate::config::file::line_of;
use crate::config::key_source_error::shell_quoted;
use std::path::PathBuf;

/// A command of `servos-keyd` that needs the master key; `rest` is what follows its name.
pub(super) fn keyd(case: &Case, command: &str, rest: &str) -> String {
    let config = match case.config() {
        Some(_) if !case.is_service => format!(" --config {}", shell_quoted(&case.config_file)),
        _ => String::new(),
    };
    let rest = if rest.is_empty() { String::new() } else { format!(" {rest}") };
    let command = format!("servos-keyd {command}{config}{rest}");
    key_file(case).map_or_else(|| command.clone(), |file| service::with_key_file(&file, &command))
}

/// The same while nothing has the store: the service is stopped for it, and started after it, whatever came of it.
pub(super) fn keyd_alone(case: &Case, command: &str, rest: &str) -> String {
    let command = keyd(case, command, rest);
    match &case.unit {
        Ok(_) => {
            let metrics = "/etc/systemd/system/sockets.target.wants/servos-keyd-metrics.socket";
            let metrics = if case.machine.has(metrics) { " servos-keyd-metrics.socket" } else { "" };
            let units = format!("{}{metrics} servos-keyd", service::SOCKETS);
            format!("systemctl stop {units} && {command}; systemctl start {units}")
        }
        Err(_) if case.status().is_some() => format!("{command} # once the daemon is stopped; then start it again"),
        Err(_) => command,
    }
}

/// The file that has to be named to a command, where neither the configuration nor this shell does it.
pub(super) fn key_file(case: &Case) -> Option<PathBuf> {
    let is_known = case.config().is_some_and(|config| config.master_key.file.is_some());
    if is_known || !case.given.files.is_empty() || !case.given.environment_key.is_empty() {
        return None;
    }
    let of_unit = || case.unit.as_ref().ok()?.plain_files().find(|file| file.exists()).map(ToOwned::to_owned);
    of_unit().or_else(|| service::key_file(&case.machine.at("/")).filter(|_| case.is_service))
}

/// The configuration's file in an editor, at the line of a key, with what is to stand there.
pub(super) fn edit(case: &Case, section: &str, key: &str, wanted: &str) -> String {
    let line = line_of(&case.config_file, section, key);
    service::edit(&case.config_file, line, &format!("[{section}]: {key}"), wanted)
}
