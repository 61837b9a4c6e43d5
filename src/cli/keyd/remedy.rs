//! The commands that messages name, as they must be typed for this very installation.
//!
//! Must never name a command that would look at another store than the one that failed.
//! Called by `run` with the text of a failure, and by what prints the next step.

use super::ConfigArguments;
use crate::cli::service;
use crate::config::key_source::FILE_VARIABLES;
use crate::config::key_source_error::shell_quoted;
use crate::config::settings::Config;
use std::path::{Path, PathBuf};

/// The commands on a store, as messages begin them.
const COMMANDS: [&str; 4] = ["`servos-keyd serve", "`servos-keyd init", "`servos-keyd restore", "`servos-keyd accept"];

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

/// A message whose commands can be pasted as they stand.
pub(super) fn complete(message: &str, config: &ConfigArguments) -> String {
    with_key(&with_config(message, config.config.as_deref()), config)
}

/// A message whose commands have the key that the daemon has, where a shell that takes them would have none.
fn with_key(message: &str, config: &ConfigArguments) -> String {
    let is_configured = || config.load().is_ok_and(|config| config.master_key.file.is_some());
    let own = || service::key_file(Path::new("/")).filter(|_| config.config.is_none() && !is_configured());
    match named_key_file().map(|(_, file)| file).or_else(own) {
        Some(file) => with_key_file(message, &file),
        None => message.to_owned(),
    }
}

fn with_key_file(message: &str, file: &Path) -> String {
    let mut message = message.to_owned();
    for command in COMMANDS {
        let bare = command.trim_start_matches('`');
        // A key that was there before servos-keyd has sealed values.
        let adopts = bare.ends_with(" init") && file == Path::new(service::ENV_FILE);
        let with_key = service::with_key_file(file, bare);
        message = message.replace(command, &format!("`{with_key}{}", if adopts { " --adopt-legacy" } else { "" }));
    }
    message
}

/// The key file that the environment names, with its variable.
fn named_key_file() -> Option<(&'static str, PathBuf)> {
    let variable = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    FILE_VARIABLES.iter().find_map(|name| Some((*name, variable(name)?)))
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
    let named = named_key_file();
    let file = named.as_ref().map(|(_, path)| path.as_path());
    if let Some(command) =
        file.filter(|_| config_file.is_none() && service::unit_is_installed(Path::new("/"))).and_then(start_unit)
    {
        return command;
    }
    with_source(config_file, config.master_key.file.is_some(), named, source)
}

/// The same by the unit of the package, for the files that it and its drop-in name.
fn start_unit(key_file: &Path) -> Option<String> {
    match key_file.to_str()? {
        service::ENV_FILE => Some("systemctl enable --now servos-keyd".to_owned()),
        service::KEY_FILE => Some(format!("{} && systemctl enable --now servos-keyd", service::KEY_FILE_DROP_IN)),
        _ => None,
    }
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
    fn every_command_of_a_message_has_the_key_in_front_that_a_shell_has_not() {
        assert_eq!(
            with_key_file("run `servos-keyd restore --config /c FILE`, or `servos-keyd serve`", Path::new("/k")),
            "run `SERVOS_MASTER_KEY_FILE=/k servos-keyd restore --config /c FILE`, or `SERVOS_MASTER_KEY_FILE=/k \
             servos-keyd serve`"
        );
        assert_eq!(
            with_key_file("`servos-keyd init`", Path::new(service::ENV_FILE)),
            "`SERVOS_MASTER_KEY_FILE=/etc/servos/servos.env servos-keyd init --adopt-legacy`"
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
    fn the_unit_is_started_with_the_key_files_that_it_or_its_drop_in_names() {
        let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd/");
        for (file, says, unit) in [
            ("/etc/servos/servos.env", "systemctl enable", "servos-keyd.service"),
            ("/etc/servos/master.key", "drop-ins/key-file.conf", "drop-ins/key-file.conf"),
        ] {
            assert!(start_unit(Path::new(file)).unwrap().contains(says));
            let text = std::fs::read_to_string(format!("{packaging}{unit}")).unwrap();
            let loaded =
                text.lines().filter(|line| line.starts_with("LoadCredential=") && line.ends_with(&format!(":{file}")));
            assert_eq!(loaded.count(), 1, "{unit}");
        }
        assert_eq!(start_unit(Path::new("/mnt/master.key")), None);
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
