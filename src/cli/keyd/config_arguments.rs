//! The option of every command of `servos-keyd` that names its configuration.
//!
//! Must never read another file than the one that was named.
//! Read by the commands of `keyd`.

use crate::cli::failure::Failure;
use crate::config::settings::Config;
use std::path::PathBuf;

/// Where the configuration is read.
#[derive(clap::Args)]
pub(super) struct ConfigArguments {
    /// Configuration file [default: /etc/servos/keyd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigArguments {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(self.config.as_deref())?)
    }
}
