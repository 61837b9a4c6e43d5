//! The commands that messages name, as they must be typed for this very installation.
//!
//! Must never name a command that would look at another store than the one that failed.
//! Called by `run` with the text of a failure, and by what prints the next step.

use crate::config::key_source_error::shell_quoted;
use crate::config::settings::Config;
use std::path::{Path, PathBuf};

/// The commands on a store, as messages begin them.
const COMMANDS: [&str; 4] = ["`servos-keyd serve", "`servos-keyd init", "`servos-keyd restore", "`servos-keyd accept"];

/// The variables whose file the daemon needs too.
const KEY_FILES: [&str; 2] = ["SERVOS_MASTER_KEY_FILE", "ACT_MASTER_KEY_FILE"];

/// A message whose commands take the configuration that this one took.
pub fn with_config(message: &str, config: Option<&Path>) -> String {
    let Some(config) = config else { return message.to_owned() };
    let config = shell_quoted(config);
    let mut message = message.to_owned();
    for command in COMMANDS {
        message = message.replace(command, &format!("{command} --config {config}"));
    }
    message
}

/// A message under `--dev`, which only `serve` knows.
pub fn under_dev(message: &str, directory: Option<&Path>) -> String {
    let dev = directory.map_or_else(|| "--dev".to_owned(), |directory| format!("--dev {}", shell_quoted(directory)));
    let serve = format!("`servos-keyd serve {dev}");
    let needs_paths = COMMANDS.iter().skip(2).any(|command| message.contains(command));
    let message = message.replace("`servos-keyd serve", &serve).replace("`servos-keyd init", &serve);
    if !needs_paths {
        return message;
    }
    format!(
        "{message}. Under --dev, begin anew by moving the mark and the backup directory away; restore and accept take a \
         --config FILE whose keyd.toml names these paths"
    )
}

/// The command that starts the daemon with the key that this command had, from `source`.
pub fn start_command(config_file: Option<&Path>, config: &Config, source: &str) -> String {
    let variable = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = KEY_FILES.iter().find_map(|name| Some((*name, variable(name)?)));
    with_source(config_file, config.master_key.file.is_some(), named, source)
}

fn with_source(config: Option<&Path>, is_configured: bool, named: Option<(&str, PathBuf)>, source: &str) -> String {
    let config = config.map(|config| format!(" --config {}", shell_quoted(config))).unwrap_or_default();
    match named {
        Some((variable, path)) => format!("{variable}={} servos-keyd serve{config}", shell_quoted(&path)),
        None if is_configured => format!("servos-keyd serve{config}"),
        None => format!("servos-keyd serve{config} (it needs the same source of the key: {source})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_a_message_names_the_configuration_that_was_given() {
        let message = "run `servos-keyd restore FILE`, or `servos-keyd serve --salvage`";
        assert_eq!(with_config(message, None), message);
        assert_eq!(
            with_config(message, Some(Path::new("/a b.toml"))),
            "run `servos-keyd restore --config '/a b.toml' FILE`, or `servos-keyd serve --config '/a b.toml' --salvage`"
        );
    }

    #[test]
    fn under_dev_the_daemon_is_started_there_and_a_restore_is_told_its_paths() {
        let salvage = under_dev("x `servos-keyd serve --salvage`", Some(Path::new("/d")));
        assert_eq!(salvage, "x `servos-keyd serve --dev /d --salvage`");
        let restore = under_dev("x `servos-keyd restore FILE`", None);
        assert!(restore.contains("keyd.toml names these paths"), "{restore}");
    }

    #[test]
    fn the_next_start_has_the_source_of_the_key_that_this_one_had() {
        let named = Some(("SERVOS_MASTER_KEY_FILE", PathBuf::from("/k")));
        assert_eq!(with_source(None, true, named, "/k"), "SERVOS_MASTER_KEY_FILE=/k servos-keyd serve");
        assert_eq!(with_source(Some(Path::new("/c")), true, None, "/k"), "servos-keyd serve --config /c");
        let elsewhere = with_source(None, false, None, "credential servos.env");
        assert_eq!(elsewhere, "servos-keyd serve (it needs the same source of the key: credential servos.env)");
    }
}
