//! Where `check-key` looks: for the key in its sources, and for what opens the store with the daemon, else in its file.
//!
//! Must never take one store's daemon for that of another, nor open a store's file but to look at it.
//! Called by `check_key`, and by the commands of recovery kits.

use super::console::Console;
use super::opener::{Given, Opener, first_answer, read_store};
use super::socket::SocketArguments;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::misplaced;
use crate::cli::offered_key::Offered;
use crate::cli::socket_variable::{SOCKET_VARIABLE, socket_of_variable};
use crate::config::key_source::{KeySource, Sources, Trust};
use crate::config::key_source_error::KeySourceError;
use crate::config::settings::Config;
use crate::custody::id::Fingerprint;
use crate::sys::locked::LockedMemory;
use clap::Args;
use std::path::{Path, PathBuf};

/// Where a key is to be looked for that is not on paper.
#[derive(Args)]
pub(super) struct KeyFileArgument {
    /// The key: a key file, or an env file with SERVOS_MASTER_KEY= or ACT_MASTER_KEY= in it; else the sources that the
    /// daemon would read
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "typed"])]
    pub(super) key_file: Option<PathBuf>,
}

/// Which store is meant.
#[derive(Args)]
pub(super) struct PlaceArguments {
    /// The store's file, where it is not the configured one
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub(super) store: Option<PathBuf>,

    /// The configuration that names sockets, store and key [default: /etc/servos/keyd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Looks for a key and for what opens a store.
pub(super) struct Looker<'a> {
    place: &'a PlaceArguments,
    config: Config,
    pub(super) memory: LockedMemory,
}

impl<'a> Looker<'a> {
    /// A configuration of which nothing is needed is not read: it may be the broken part of this machine.
    pub(super) fn new(place: &'a PlaceArguments, needs_configuration: bool) -> Result<Self, Failure> {
        let config = if needs_configuration { Config::load(place.config.as_deref())? } else { Config::default() };
        Ok(Self { place, config, memory: key::memory()? })
    }

    /// The store's file, if it was named.
    pub(super) fn store_named(&self) -> Option<&Path> {
        self.place.store.as_deref()
    }

    fn store(&self) -> &Path {
        self.place.store.as_ref().unwrap_or(&self.config.store.path)
    }

    /// What the sources hold, each of which is a key; none without a source.
    pub(super) fn sources(&self, key_file: Option<&Path>) -> Result<Option<Offered>, Failure> {
        let found = found_keys(&self.config, self.store(), key_file, &self.memory)?;
        Ok(found.map(Offered::Sources))
    }

    /// Finds what opens the store, and whether the key that is offered does.
    ///
    /// # Errors
    /// 66 without a store, 69 if the socket that was named has no daemon, 74 for damage, 75 if a daemon that cannot be
    /// asked has the store, 77 and 78 for keys.
    pub(super) fn look(
        &self,
        console: &mut Console,
        socket: &SocketArguments,
        offered: Option<&Offered>,
    ) -> Result<(Option<Given>, Opener), Failure> {
        let (config, memory) = (&self.config, &self.memory);
        let PlaceArguments { store: named_store, config: named_config } = self.place;
        let configured: Vec<PathBuf> = config.socket.admin_path.iter().chain([&config.socket.path]).cloned().collect();
        let variable = socket_of_variable();
        let place = named_store.as_ref().or(named_config.as_ref());
        // Who names a store or a configuration means it, whatever the shell's environment was set to for other
        // commands.
        let named = socket.argument().cloned().or_else(|| variable.clone().filter(|_| place.is_none()));
        // The daemon in the variable may be that of the store that was named, and tells whether it is.
        let also = variable.iter().filter(|_| named_store.is_some() && socket.argument().is_none());
        let sockets: Vec<&PathBuf> = match &named {
            Some(named) => vec![named],
            None => also.chain(&configured).collect(),
        };
        let (answered, unanswered) = first_answer(&sockets, named_store.as_deref());
        let is_asked = |variable: &PathBuf| match &answered {
            Some((path, _)) => *path == variable,
            None => configured.contains(variable),
        };
        if let (Some(place), Some(variable), None) = (place, &variable, socket.argument())
            && !is_asked(variable)
        {
            let place = place.display();
            console.hint(&format!("{SOCKET_VARIABLE}={} is not used: {place} was named", variable.display()));
        }
        if let Some((path, told)) = answered {
            let claimed: Vec<Fingerprint> = told.opens.iter().filter_map(|text| text.parse().ok()).collect();
            let chosen = offered.map(|offered| offered.chosen(Ok(claimed), memory)).transpose()?;
            let given = chosen.as_ref().map(Given::of);
            let opener = told.opener(path, given.as_ref());
            return Ok((given, opener));
        }
        match unanswered {
            // Whoever names a socket and no store asks that daemon, not whatever lies at the default place.
            Some(failure) if named.is_some() && place.is_none() => {
                let also = "to look at a store's file without its daemon, name it with --store";
                Err(Failure {
                    hint: Some(failure.hint.map_or(also.to_owned(), |hint| format!("{hint}; {also}"))),
                    ..failure
                })
            }
            unanswered => {
                let file = self.place.config.as_deref();
                match misplaced::find(config, file).filter(|_| self.place.store.is_none()) {
                    Some(misplaced) => Err(misplaced.failure().into()),
                    None => read_store(self.store(), offered, memory, unanswered),
                }
            }
        }
    }
}

/// What the sources hold, each of which is a key; none without a source.
fn found_keys(
    config: &Config,
    store: &Path,
    key_file: Option<&Path>,
    memory: &LockedMemory,
) -> Result<Option<Vec<KeySource>>, Failure> {
    let (daemon_uid, daemon_gid) = key::daemon_of(store);
    let found = match key_file {
        Some(path) => {
            let allow_readable = config.master_key.allow_readable;
            let trust = Trust { credentials_directory: None, allow_readable, daemon_uid, daemon_gid };
            let sources = Sources { key_files: Vec::new(), environment_key: Vec::new(), trust };
            sources.read_file(path, memory)?
        }
        None => {
            let mut sources = key::sources(&config.master_key, memory)?;
            (sources.trust.daemon_uid, sources.trust.daemon_gid) = (daemon_uid, daemon_gid);
            match sources.read(memory) {
                Err(KeySourceError::NoSource) => return Ok(None),
                read => read?,
            }
        }
    };
    key::held(&found, memory)?;
    Ok(Some(found))
}
