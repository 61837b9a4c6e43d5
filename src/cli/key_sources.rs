//! The master key's sources as a rotation asks for them: read anew each time, whatever the start read.
//!
//! Must never keep a key between two questions, nor put a byte of one into what it says.
//! Made by `serve`, and asked on the writer's thread.

use crate::cli::key;
use crate::config::key_source::Sources;
use crate::config::key_source_error::KeySourceError;
use crate::operations::engine::Sandbox;
use crate::operations::rotation::key_sources::{HeldKey, KeySources, SourceUnreadable};
use crate::sys::locked::LockedMemory;
use crate::telemetry::chain::chain;
use std::error::Error;
use std::ffi::OsString;
use std::sync::Arc;

/// The sources that the process was given.
pub struct GivenSources {
    sources: Arc<Sources>,
    /// A directory that is new to the process stays closed to it.
    closes_new_directories: bool,
    memory: LockedMemory,
    restart: &'static str,
}

impl GivenSources {
    /// Reads nothing yet but who started the process.
    #[must_use]
    pub fn new(sources: Arc<Sources>, memory: LockedMemory) -> Self {
        Self { sources, closes_new_directories: false, memory, restart: own_restart_command() }
    }

    /// The same within a sandbox, which may close new directories.
    #[must_use]
    pub fn within(self, sandbox: &Sandbox) -> Self {
        Self { closes_new_directories: sandbox.closes_new_directories(), ..self }
    }

    fn unreadable(&self, error: KeySourceError) -> SourceUnreadable {
        let is_denied = matches!(error, KeySourceError::Denied { .. } | KeySourceError::NextDenied { .. });
        let SourceUnreadable(said) = unreadable(error);
        SourceUnreadable(match is_denied && self.closes_new_directories {
            true => format!(
                "{said}. If its directory was made, mounted or linked to after the daemon's start: {}",
                self.restart
            ),
            false => said,
        })
    }
}

impl KeySources for GivenSources {
    fn read(&self) -> Result<Vec<HeldKey>, SourceUnreadable> {
        let found = self.sources.read(&self.memory).map_err(|error| self.unreadable(error))?;
        key::held(&found, &self.memory).map_err(unreadable)
    }

    fn read_next(&self) -> Result<Option<HeldKey>, SourceUnreadable> {
        let found = self.sources.read_next(&self.memory).map_err(|error| self.unreadable(error))?;
        let mut held = key::held(&found, &self.memory).map_err(unreadable)?.into_iter();
        let Some(first) = held.next() else { return Ok(None) };
        match held.find(|held| !held.key.same_as(&first.key)) {
            None => Ok(Some(first)),
            Some(other) => Err(SourceUnreadable(format!(
                "two files hold different new master keys: {} has {}, {} has {}. Remove the wrong one",
                first.source,
                first.key.fingerprint(),
                other.source,
                other.key.fingerprint()
            ))),
        }
    }

    fn settle(&self) -> Result<(), SourceUnreadable> {
        self.sources.settle().map_err(unreadable)
    }

    fn next_file(&self) -> Option<String> {
        self.sources.next_file().map(|path| path.display().to_string())
    }

    fn restart_command(&self) -> String {
        self.restart.to_owned()
    }
}

fn unreadable(error: impl Error) -> SourceUnreadable {
    SourceUnreadable(chain(&error))
}

/// How this process is restarted.
#[must_use]
pub fn own_restart_command() -> &'static str {
    restart_command(|variable| std::env::var_os(variable), std::process::id())
}

/// How the daemon is restarted, by what systemd leaves in the environment of what it starts.
fn restart_command(variable: impl Fn(&str) -> Option<OsString>, own_pid: u32) -> &'static str {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    // Every shell of a session that systemd started has this one too; newer versions tell which process it is for.
    let of_another =
        variable("SYSTEMD_EXEC_PID").is_some_and(|pid| pid.to_str().and_then(|pid| pid.parse().ok()) != Some(own_pid));
    let is_unit = ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"].into_iter().any(is_set);
    if is_unit || (is_set("INVOCATION_ID") && !of_another) {
        "systemctl restart servos-keyd"
    } else {
        "restart servos-keyd"
    }
}

#[cfg(test)]
#[path = "key_sources_tests.rs"]
mod tests;
