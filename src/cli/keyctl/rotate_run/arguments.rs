//! What can be said on the command line of `rotate run`.
//!
//! Must never take a key: only the names of the files that hold one.
//! Read by `rotate_run` and its parts.

use crate::cli::unit::UNIT;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
pub(in crate::cli::keyctl) struct RunArguments {
    /// A file that holds the key in use: a key file, an env file, or the one that LoadCredential= or a compose file names;
    /// may be given more than once. Else the one that the daemon opens, or that its unit names. The new key is made beside
    /// the first, in FILE.next
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Vec<PathBuf>,

    /// The file of --key-file is a credential that systemd-creds encrypted under this name, as in
    /// LoadCredentialEncrypted=NAME:FILE
    #[arg(long, value_name = "NAME", requires = "key_file")]
    pub(super) encrypted_credential: Option<String>,

    /// Change no file: make the new key in this file, say where it must be put, and wait until it is there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "encrypted_credential"])]
    pub(super) by_hand: Option<PathBuf>,

    /// The command that restarts the daemon, for a shell, where it must be restarted to see the new key; else its unit is
    /// restarted if systemd runs it
    #[arg(long, value_name = "COMMAND")]
    pub(super) restart: Option<String>,

    /// The daemon's unit
    #[arg(long, value_name = "UNIT", default_value = UNIT)]
    pub(super) unit: String,

    /// How long to wait for what you are told to do
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(super) wait: Duration,

    /// Give the data keys no new versions at the end. Someone with the old key and a copy of the store then goes on opening
    /// what they seal
    #[arg(long)]
    pub(super) keep_data_keys: bool,

    /// Every component has its values from the daemon, and reads the key in the env file no more
    #[arg(long)]
    pub(super) components_migrated: bool,

    /// Go on with a run that was interrupted
    #[arg(long, conflicts_with_all = ["undo", "dry_run"])]
    pub(super) resume: bool,

    /// Go back from a run that was interrupted, to the old key
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) undo: bool,

    /// Check everything and say what would be done; change nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration::parse(text).map_err(|fault| fault.to_string())
}
