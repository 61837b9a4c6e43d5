//! SIGHUP: the configuration read again, and what of it a running daemon can put in force.
//!
//! Must never put half of a configuration in force that is not valid, nor end the daemon over one.
//! Called by `runtime` at each signal; `serve` says at the start what the file and the values are.

use crate::cli::failure::Failure;
use crate::config::settings::Config;
use crate::operations::upkeep::Upkeep;
use crate::operations::writer::Writer;
use crate::telemetry::{events, log};
use std::path::PathBuf;
use std::time::Duration;

/// The keys that take no restart, and `[other_uses]`.
const IN_FORCE_AT_ONCE: [&str; 5] =
    ["backup.interval", "backup.keep", "backup.keep_for", "drill.interval", "log.level"];

/// The configuration in force, and where it is read again.
pub struct Reload {
    /// The file; none for that of the default path, if it is there.
    file: Option<PathBuf>,
    in_force: Config,
    refused: Option<String>,
}

/// What a reload did.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    /// Keys whose new value is in force.
    now: Vec<String>,
    /// Keys whose new value a restart puts in force.
    after_restart: Vec<String>,
}

impl Reload {
    /// For a daemon that was started with this configuration.
    #[must_use]
    pub fn new(file: Option<PathBuf>, in_force: Config) -> Self {
        Self { file, in_force, refused: None }
    }

    /// Why the last reload changed nothing; none if it did what was asked.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Reads the configuration again; returns what the service manager is to show of it once, if that is anything.
    pub fn again(&mut self, writer: Option<&Writer>) -> Option<String> {
        match self.read(writer) {
            Ok(Changed { now, after_restart }) => {
                let (now, later) = (now.join(", "), after_restart.join(", "));
                tracing::info!(
                    event = events::CONFIG_RELOADED,
                    in_force = now,
                    after_restart = later,
                    "configuration read again"
                );
                self.refused = None;
                (!later.is_empty()).then(|| format!("changed in the configuration, in force after a restart: {later}"))
            }
            Err(failure) => {
                let problem = &failure.message;
                tracing::error!(
                    event = events::CONFIG_RELOAD_REFUSED,
                    "{problem}; the configuration before stays in force"
                );
                self.refused = Some(problem.clone());
                None
            }
        }
    }

    fn read(&mut self, writer: Option<&Writer>) -> Result<Changed, Failure> {
        let read = Config::load(self.file.as_deref())?;
        let changed = changed(&self.in_force, &read);
        let upkeep = upkeep(&read);
        if let Some(writer) = writer.filter(|_| upkeep != self::upkeep(&self.in_force)) {
            writer.submit(Box::new(move |ledger| ledger.put_in_force(upkeep)))?;
        }
        log::set_level(read.log.level.as_str());
        self.in_force.log.level = read.log.level;
        self.in_force.drill = read.drill;
        self.in_force.other_uses = read.other_uses;
        let dir = std::mem::take(&mut self.in_force.backup.dir);
        self.in_force.backup = crate::config::settings::Backup { dir, ..read.backup };
        Ok(changed)
    }
}

/// What the configuration asks of an operator's care.
#[must_use]
pub fn upkeep(config: &Config) -> Upkeep {
    Upkeep {
        backup_interval: seconds(config.backup.interval),
        keep: usize::try_from(config.backup.keep).unwrap_or(usize::MAX),
        keep_for: config.backup.keep_for.as_secs(),
        drill_interval: seconds(config.drill.interval),
        other_uses: config.other_uses.iter().map(|(name, kept)| (name.clone(), seconds(*kept))).collect(),
    }
}

fn seconds(interval: Duration) -> i64 {
    i64::try_from(interval.as_secs()).unwrap_or(i64::MAX)
}

/// The keys that differ.
fn changed(before: &Config, after: &Config) -> Changed {
    let (before_values, after_values) = (before.describe(), after.describe());
    let pairs = before_values.iter().zip(&after_values);
    let differing =
        pairs.filter(|(before, after)| before.value != after.value).map(|(before, _)| before.key.to_owned());
    let (mut now, after_restart): (Vec<_>, Vec<_>) =
        differing.partition(|key| IN_FORCE_AT_ONCE.contains(&key.as_str()));
    if before.other_uses != after.other_uses {
        now.push("other_uses".to_owned());
    }
    Changed { now, after_restart }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parsed(text: &str) -> Config {
        Config::parse(text.as_bytes(), Path::new("keyd.toml")).unwrap()
    }

    #[test]
    fn what_takes_a_restart_is_told_apart_from_what_is_in_force_at_once() {
        let before = parsed("");
        let after = parsed(
            "[log]\nlevel = \"debug\"\n[backup]\nkeep = 3\n[limits]\nstreams = 7\n[other_uses]\nrestic = \"10d\"\n",
        );
        let changed = changed(&before, &after);
        assert_eq!(changed.now, ["backup.keep", "log.level", "other_uses"]);
        assert_eq!(changed.after_restart, ["limits.streams"]);
        assert_eq!(super::changed(&after, &after), Changed { now: Vec::new(), after_restart: Vec::new() });
    }

    #[test]
    fn every_key_that_is_in_force_at_once_is_put_in_force_and_no_other_of_its_sections_is() {
        let before = parsed("");
        let mut moved = Vec::new();
        for (key, text) in [
            ("backup.dir", "[backup]\ndir = \"/elsewhere\"\n"),
            ("backup.interval", "[backup]\ninterval = \"7d\"\n"),
            ("backup.keep", "[backup]\nkeep = 7\n"),
            ("backup.keep_for", "[backup]\nkeep_for = \"7d\"\n"),
            ("drill.interval", "[drill]\ninterval = \"7d\"\n"),
            ("log.format", "[log]\nformat = \"json\"\n"),
            ("log.level", "[log]\nlevel = \"debug\"\n"),
        ] {
            let after = parsed(text);
            let told = changed(&before, &after);
            assert_eq!([told.now, told.after_restart].concat(), [key], "the text changes this key alone");
            if upkeep(&after) != upkeep(&before) || after.log.level != before.log.level {
                moved.push(key);
            }
        }
        assert_eq!(moved, IN_FORCE_AT_ONCE);
        let sections = ["backup.", "drill.", "log."]
            .map(|section| before.describe().iter().filter(|setting| setting.key.starts_with(section)).count());
        assert_eq!(sections, [4, 1, 2], "a key that is new in these sections belongs into this test");
    }

    #[test]
    fn a_file_that_is_not_valid_changes_nothing_and_what_waits_for_a_restart_is_said_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyd.toml");
        let mut reload = Reload::new(Some(file.clone()), parsed(""));
        std::fs::write(&file, "[backup]\nkeep = 0\n[drill]\ninterval = \"3d\"\n").unwrap();
        assert_eq!(reload.again(None), None);
        assert!(reload.refused().unwrap().contains("keep"), "{:?}", reload.refused());
        assert_eq!(reload.in_force, parsed(""));
        std::fs::write(&file, "[limits]\nstreams = 7\n[drill]\ninterval = \"3d\"\n").unwrap();
        for _ in 0..2 {
            assert!(reload.again(None).unwrap().ends_with(": limits.streams"));
            assert_eq!(reload.refused(), None);
            assert_eq!(reload.in_force, parsed("[drill]\ninterval = \"3d\"\n"));
        }
    }
}
