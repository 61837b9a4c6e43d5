//! `servos-keyctl config check`: what the daemon would read in its configuration, and what it would trip over.
//!
//! Must never read a key, or make or change what a path names.
//! Called by `keyctl::execute`, and by `doctor` for what both look at.

use super::console::Console;
use super::output::table;
use crate::cli::failure::Failure;
use crate::cli::misplaced;
use crate::cli::places::Fault;
use crate::cli::service::USER as SERVICE_USER;
use crate::config::file::DEFAULT_PATH;
use crate::config::obstacle::{Obstacle, Reader};
use crate::config::settings::{Config, Setting};
use clap::{Args, Subcommand};
use nix::unistd::User;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration file, and show every value with where it comes from
    Check(CheckArguments),
}

#[derive(Args)]
pub(super) struct CheckArguments {
    /// The file [default: /etc/servos/keyd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs a subcommand of `config`.
pub(super) fn run(console: &mut Console, command: &ConfigCommand) -> Result<(), Failure> {
    let ConfigCommand::Check(arguments) = command;
    let config = Config::load(arguments.config.as_deref())?;
    let default = Path::new(DEFAULT_PATH);
    let file = arguments.config.as_deref().or_else(|| default.exists().then_some(default));
    let warnings = warnings(&config, file.unwrap_or(default));
    let (settings, uses) = (config.describe(), config.describe_other_uses());
    let value = json!({
        "file": file.map(|file| file.display().to_string()),
        "settings": settings.iter().map(setting_value).collect::<Vec<_>>(),
        "other_uses": uses.iter().cloned().collect::<BTreeMap<_, _>>(),
        "warnings": warnings,
    });
    console.result(&value, &text(file, &settings, &uses, &warnings))
}

fn setting_value(setting: &Setting) -> Value {
    json!({"key": setting.key, "value": setting.value, "default": setting.is_default})
}

fn text(file: Option<&Path>, settings: &[Setting], uses: &[(String, String)], warnings: &[String]) -> String {
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["KEY", "VALUE", "FROM"])];
    for setting in settings {
        let value = if setting.value.is_empty() { "-" } else { &setting.value };
        rows.push(row([setting.key, value, if setting.is_default { "default" } else { "file" }]));
    }
    rows.extend(uses.iter().map(|(name, kept)| row([&format!("other_uses.{name}"), kept, "file"])));
    let mut text = match file {
        Some(file) => format!("{} is valid.\n\n", file.display()),
        None => format!("There is no {DEFAULT_PATH}: every value is the default.\n\n"),
    };
    text.push_str(&table(&rows));
    match warnings {
        [] => text.push_str("\nNothing to mend.\n"),
        warnings => {
            text.push_str("\nTo mend before a start:\n");
            warnings.iter().for_each(|warning| text.push_str(&format!("  - {warning}\n")));
        }
    }
    text
}

/// What a start would refuse or complain of, as far as names and modes tell it.
fn warnings(config: &Config, file: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (key, socket) in [
        ("socket.path", Some(&config.socket.path)),
        ("socket.admin_path", config.socket.admin_path.as_ref()),
        ("metrics.socket", config.metrics.socket.as_ref()),
    ] {
        found.extend(socket.and_then(|path| parent_fault(key, path)));
    }
    found.extend(config.socket.group.as_deref().and_then(|group| group_fault("socket.group", group)));
    found.extend(config.metrics.group.as_deref().and_then(|group| group_fault("metrics.group", group)));
    found.extend(closed_to_the_service(file).map(|fault| fault.to_string()));
    found.extend(store_faults(config, file));
    if let Look::Absent = look(&config.backup.dir) {
        found.extend(parent_fault("backup.dir", &config.backup.dir));
    }
    found.extend(
        config.master_key.file.as_deref().and_then(|path| key_file_fault(path, config.master_key.allow_readable)),
    );
    found
}

/// That the service's user cannot read the machine's own configuration, and the command after which it can. Only for root,
/// who reads everything: others see it by themselves.
fn closed_to_the_service(file: &Path) -> Option<Fault> {
    if file != Path::new(DEFAULT_PATH) || !nix::unistd::geteuid().is_root() || !file.exists() {
        return None;
    }
    let user = User::from_name(SERVICE_USER).ok().flatten()?;
    closed_to(SERVICE_USER, user.uid.as_raw(), &[user.gid.as_raw()], file)
}

/// That a user cannot read the file, and the command after which it can, unless what closes it stays closed.
pub(super) fn closed_to(name: &str, uid: u32, gids: &[u32], file: &Path) -> Option<Fault> {
    let what = format!("the daemon's user, {name}, cannot read {}", file.display());
    Some(match (Reader { uid, gids }).obstacle(file)? {
        Obstacle::Modes(mend) => Fault { what, mend: Some(mend) },
        Obstacle::Private(place) => Fault {
            what: format!(
                "{what}, and {} is not to be opened to others: put the configuration where it can",
                place.display()
            ),
            mend: None,
        },
    })
}

enum Look {
    There(Metadata),
    Absent,
    Unknown(std::io::Error),
}

fn look(path: &Path) -> Look {
    match path.metadata() {
        Ok(metadata) => Look::There(metadata),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Look::Absent,
        Err(error) => Look::Unknown(error),
    }
}

fn unknown(key: &str, path: &Path, error: &std::io::Error) -> String {
    format!("{key}: {} cannot be looked at as this user: {error}", path.display())
}

/// A file that a start makes needs its directory.
fn parent_fault(key: &str, path: &Path) -> Option<String> {
    let parent = path.parent()?;
    match look(parent) {
        Look::There(metadata) if metadata.is_dir() => None,
        Look::There(_) => Some(format!("{key}: {} is not a directory", parent.display())),
        Look::Absent => Some(format!("{key}: the directory {} does not exist", parent.display())),
        Look::Unknown(error) => Some(unknown(key, parent, &error)),
    }
}

/// A group that is not there.
fn group_fault(key: &str, group: &str) -> Option<String> {
    match nix::unistd::Group::from_name(group) {
        Ok(None) => Some(format!("{key}: there is no group {group}: other users could not connect (groupadd {group})")),
        _ => None,
    }
}

/// What is missing in the places of store and mark.
pub(super) fn store_faults(config: &Config, file: &Path) -> Vec<String> {
    let (store, mark) = (&config.store.path, &config.store.mark);
    // What is made or brought back at the wrong place is a second store.
    if let Some(misplaced) = misplaced::find(config, Some(file)) {
        return vec![format!("store.path: {}: {}", misplaced.failure(), misplaced.mend())];
    }
    match look(store) {
        Look::There(metadata) if !metadata.is_file() => vec![format!("store.path: {} is not a file", store.display())],
        Look::There(_) => match look(mark) {
            Look::Absent => vec![format!(
                "store.mark: {} is missing beside a store: a start refuses it until `servos-keyd accept`",
                mark.display()
            )],
            _ => Vec::new(),
        },
        Look::Absent if config.store.create => Vec::new(),
        Look::Absent => vec![format!(
            "store.path: there is no store at {}: `servos-keyd restore FILE` brings one back, `servos-keyd init` makes the \
             first",
            store.display()
        )],
        Look::Unknown(error) => vec![unknown("store.path", store, &error)],
    }
}

fn key_file_fault(path: &Path, allow_readable: bool) -> Option<String> {
    let key = "master_key.file";
    match look(path) {
        Look::There(metadata) if !metadata.is_file() => Some(format!("{key}: {} is not a file", path.display())),
        Look::There(metadata) if metadata.permissions().mode() & 0o022 != 0 => {
            Some(format!("{key}: others can change {} (chmod 600)", path.display()))
        }
        Look::There(metadata) if metadata.permissions().mode() & 0o044 != 0 && !allow_readable => {
            Some(format!("{key}: others can read {} (chmod 600)", path.display()))
        }
        Look::There(_) => None,
        Look::Absent => Some(format!("{key}: {} does not exist", path.display())),
        Look::Unknown(error) => Some(unknown(key, path, &error)),
    }
}
