//! Where `check-key` looks: for the key in its sources, for what opens the store with the daemon, else in its file.
//!
//! Must never take one store's daemon for that of another, nor open a store's file but to look at it.
//! Called by `check_key`, and by the commands of recovery kits.

use super::console::Console;
use super::runtime;
use super::socket::{SOCKET_VARIABLE, SocketArguments};
use crate::cli::drill::is_same_file;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key::{self, ChosenKey};
use crate::cli::misplaced;
use crate::cli::offered_key::Offered;
use crate::client::error::Error;
use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::config::key_source::{KeySource, Sources, Trust};
use crate::config::key_source_error::KeySourceError;
use crate::config::settings::Config;
use crate::custody::id::Fingerprint;
use crate::operations::check_key::{Verdict, check_key, claim};
use crate::operations::start_failure::StartFailure;
use crate::store::directory_lock::DirectoryLock;
use crate::store::durable::directory_of;
use crate::store::port::StoreError;
use crate::store::redb_adapter;
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

/// What opens the store, or a backup.
pub(super) struct Opener {
    /// "store" or "backup".
    pub(super) what: &'static str,
    /// Whether the key that was given does; none if none was given.
    pub(super) opens: Option<bool>,
    /// The fingerprints of the keys that do: one, or two while a rotation is pending.
    pub(super) fingerprints: Vec<String>,
    /// Since when the first is in use: Unix seconds.
    pub(super) since: i64,
    /// Whether a key has proved it; else it is the store's own word.
    pub(super) is_verified: bool,
    /// Whether the store keeps the key that was given to open legacy values.
    pub(super) held_as_legacy: bool,
    /// Path of the store, if it was told.
    pub(super) store: Option<String>,
    /// 32 hex digits.
    pub(super) store_id: String,
    /// Who told this.
    pub(super) asked: String,
    /// The socket of the daemon that did, if one did.
    pub(super) socket: Option<PathBuf>,
}

/// The key that was given, as far as it may be shown; of two of a pending rotation, the first source's.
pub(super) struct Given {
    pub(super) fingerprint: String,
    pub(super) source: String,
    /// What should be mended about its source.
    pub(super) warnings: Vec<String>,
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
        let variable = SocketArguments::of_variable();
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

impl Given {
    pub(super) fn of(chosen: &ChosenKey) -> Self {
        Self {
            fingerprint: chosen.key.fingerprint().to_string(),
            source: chosen.source.clone(),
            warnings: chosen.warnings.iter().chain(&chosen.pending).cloned().collect(),
        }
    }
}

/// The first that answers, with what it tells; and what is to be said where none does.
fn first_answer<'s>(sockets: &[&'s PathBuf], store: Option<&Path>) -> (Option<(&'s PathBuf, Told)>, Option<Failure>) {
    let mut unanswered = None;
    for path in sockets {
        match ask(path, store) {
            Ok(Some(told)) => return (Some((*path, told)), unanswered),
            Ok(None) => {}
            Err(failure) if failure.exit == exit::NO_DAEMON && unanswered.is_some() => {}
            Err(failure) => unanswered = Some(failure),
        }
    }
    (None, unanswered)
}

/// What the daemon on a socket tells; none if it serves another store than the one that was named, or may do so.
fn ask(socket: &Path, store: Option<&Path>) -> Result<Option<Told>, Failure> {
    let runtime = runtime::of_this_thread()?;
    let client = SocketArguments::client_of(socket);
    let told = match runtime.block_on(AdminClient::new(&client).status()) {
        Ok(status) => {
            let (master, kept) = (status.master_key.unwrap_or_default(), status.store.unwrap_or_default());
            let legacy = status.legacy_keys.into_iter().map(|key| key.fingerprint).collect();
            // Two of them while a rotation is pending.
            let opens = status.rotation.map(|rotation| rotation.opens).filter(|opens| !opens.is_empty());
            Told {
                opens: opens.unwrap_or_else(|| vec![master.fingerprint]),
                since: master.since,
                store: Some(kept.path),
                id: kept.store_id,
                legacy,
            }
        }
        Err(Error::NotServed { .. } | Error::NotPermitted { .. }) => ask_as_component(&runtime, &client)?,
        Err(error) => return Err(error.into()),
    };
    let is_other =
        store.is_some_and(|named| !told.store.as_ref().is_some_and(|its| is_same_file(named, Path::new(its))));
    Ok((!is_other).then_some(told))
}

/// Components learn the fingerprint with the canary; not where the store is.
fn ask_as_component(runtime: &tokio::runtime::Runtime, client: &Client) -> Result<Told, Failure> {
    let report = runtime.block_on(client.verify_own_canary()).map_err(|error| match error {
        Error::Canary(_) => Failure::say(exit::DAMAGED, "the daemon's own canary does not open: its store is damaged"),
        error => error.into(),
    })?;
    let since = report.since_unix_seconds;
    Ok(Told { opens: vec![report.fingerprint], since, store: None, id: report.store_id, legacy: Vec::new() })
}

/// What a daemon told, whose key has opened its store.
struct Told {
    opens: Vec<String>,
    since: i64,
    store: Option<String>,
    id: String,
    legacy: Vec<String>,
}

impl Told {
    fn opener(self, socket: &Path, given: Option<&Given>) -> Opener {
        Opener {
            what: "store",
            opens: given.map(|given| self.opens.contains(&given.fingerprint)),
            is_verified: true,
            held_as_legacy: given.is_some_and(|given| self.legacy.contains(&given.fingerprint)),
            fingerprints: self.opens,
            since: self.since,
            store: self.store,
            store_id: self.id,
            asked: format!("the daemon on {}", socket.display()),
            socket: Some(socket.to_owned()),
        }
    }
}

/// What the file says, and the key proves.
fn read_store(
    store: &Path,
    offered: Option<&Offered>,
    memory: &LockedMemory,
    unanswered: Option<Failure>,
) -> Result<(Option<Given>, Opener), Failure> {
    let _lock = DirectoryLock::shared(directory_of(store)).map_err(|error| match (error, unanswered) {
        (StoreError::Missing { .. }, _) => StartFailure::NoStore { store: store.to_owned() }.into(),
        // A daemon has the store, and would not say.
        (StoreError::InUse { .. }, Some(failure)) if failure.exit != exit::NO_DAEMON => failure,
        (error @ StoreError::InUse { .. }, _) => {
            Failure::from(error).with_hint("a daemon has this store: ask it on its own socket, with --socket PATH")
        }
        (error, _) => error.into(),
    })?;
    let snapshot = redb_adapter::view(store).map_err(StartFailure::from)?;
    let claim = claim(&snapshot)?;
    let chosen = offered.map(|offered| offered.chosen(Ok(claim.fingerprints.clone()), memory)).transpose()?;
    let given = chosen.as_ref().map(Given::of);
    let verdict = chosen.map(|chosen| check_key(snapshot, chosen.key, memory)).transpose()?;
    let (opens, since, held_as_legacy) = match verdict {
        None => (None, claim.since, false),
        Some(Verdict::Opens { since }) => (Some(true), since, false),
        Some(Verdict::Other { held_as_legacy }) => (Some(false), claim.since, held_as_legacy),
    };
    let opener = Opener {
        what: "store",
        opens,
        fingerprints: claim.fingerprints.iter().map(ToString::to_string).collect(),
        since,
        is_verified: opens == Some(true),
        held_as_legacy,
        store: Some(store.display().to_string()),
        store_id: claim.store_id.to_string(),
        asked: "the store's file, which was not changed".to_owned(),
        socket: None,
    };
    Ok((given, opener))
}
