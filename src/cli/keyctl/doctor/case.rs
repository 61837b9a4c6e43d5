//! What doctor looks at: the daemon's answer, its configuration, its unit, its store's own word, and the machine.
//!
//! Must never take one installation's configuration for that of another, nor change what it looks at.
//! Made by `doctor::run`; tests plant one.

use super::DoctorArguments;
use super::machine::Machine;
use super::unit::{self, ServiceState, Unit};
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::keyctl::rotate_key_file::KeyPlace;
use crate::cli::keyctl::socket::SocketArguments;
use crate::cli::places;
use crate::cli::runtime;
use crate::cli::service::USER as SERVICE_USER;
use crate::cli::socket_variable::socket_of_variable;
use crate::client::ADMIN_SOCKET;
use crate::client::error::Error;
use crate::config::error::ConfigError;
use crate::config::file::DEFAULT_PATH;
use crate::config::key_source_error::shell_quoted;
use crate::config::obstacle::Obstacle;
use crate::config::settings::{Config, MasterKey, mark_beside};
use crate::operations::check_key::claim;
use crate::operations::create::{Vacancy, vacancy};
use crate::operations::ledger::Places;
use crate::operations::start_failure::StartFailure;
use crate::proto::v1::GetStatusResponse;
use crate::store::directory_lock::DirectoryLock;
use crate::store::durable::directory_of;
use crate::store::port::StoreError;
use crate::store::redb_adapter;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use crate::telemetry::chain::chain;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Whether the daemon told its status.
pub(super) enum Daemon {
    Answered(Box<GetStatusResponse>),
    /// Nobody answers.
    Silent(Failure),
    /// It, or the kernel, does not let this user ask.
    Closed(Failure),
    /// It cannot tell who asks.
    Unmapped(Failure),
}

/// Which configuration is the daemon's.
pub(super) enum Configured {
    By(Box<Config>),
    /// It cannot be read: why, and the command that helps.
    Invalid {
        text: String,
        mend: String,
    },
    /// None that is known.
    Unknown(String),
}

/// What the store's file says of its keys, while no daemon tells.
pub(super) enum Claimed {
    /// The fingerprints of the keys that open it, and its generation.
    Keys { fingerprints: Vec<String>, generation: u64 },
    /// It is no good store.
    Damaged(String),
    /// It was not read, and why.
    Unread(String),
    /// There is none, or the daemon tells of it.
    Nothing,
}

/// What the process itself was given of keys, as the daemon would be that is started from the same shell.
#[derive(Default)]
pub(super) struct Given {
    pub(super) files: Vec<PathBuf>,
    pub(super) environment_key: Vec<(&'static str, LockedBuffer)>,
    /// What is wrong with it as a whole.
    pub(super) fault: Option<String>,
}

/// Everything that the checks look at.
pub(super) struct Case {
    pub(super) machine: Machine,
    /// For keys that are read.
    pub(super) memory: Result<LockedMemory, String>,
    pub(super) daemon: Daemon,
    pub(super) socket: PathBuf,
    pub(super) configured: Configured,
    /// The file that it stands in, whether or not it is there.
    pub(super) config_file: PathBuf,
    /// Whether it is the machine's own service, with the unit of that name.
    pub(super) is_service: bool,
    pub(super) unit: Result<Unit, String>,
    /// What systemd says of the service.
    pub(super) state: Option<ServiceState>,
    pub(super) claimed: Claimed,
    pub(super) given: Given,
    /// Users whose components are to reach the daemon.
    pub(super) users: Vec<String>,
}

impl Case {
    /// Looks for all of it. To be called while the process has one thread: a key is taken out of its environment.
    pub(super) fn gather(socket: &SocketArguments, arguments: &DoctorArguments) -> Result<Self, Failure> {
        let memory = LockedMemory::new().map_err(|error| chain(&error));
        let machine = Machine::here(&memory);
        let loaded = Config::load(arguments.config.as_deref());
        // Who names a configuration means it, whatever the shell's environment was set to for other commands.
        let variable = || socket_of_variable().filter(|_| arguments.config.is_none());
        let named = socket.argument().cloned().or_else(variable);
        let of_config =
            |config: &Config| config.socket.admin_path.clone().unwrap_or_else(|| config.socket.path.clone());
        let asked = named.unwrap_or_else(|| loaded.as_ref().map_or_else(|_| ADMIN_SOCKET.into(), of_config));
        let is_its = |config: &Config| {
            config.socket.path == asked || config.socket.admin_path.as_deref() == Some(asked.as_path())
        };
        let file = arguments.config.as_deref().unwrap_or_else(|| Path::new(DEFAULT_PATH));
        let configured = match loaded {
            Err(error) => Configured::Invalid { text: chain(&error), mend: config_mend(&error, file) },
            Ok(config) if arguments.config.is_some() || is_its(&config) => Configured::By(Box::new(config)),
            Ok(_) => Configured::Unknown(format!(
                "{} is not a socket of {}: name the configuration with --config FILE",
                asked.display(),
                file.display()
            )),
        };
        let is_service = file == Path::new(DEFAULT_PATH) && !matches!(configured, Configured::Unknown(_));
        let unit = match &memory {
            _ if !is_service => Err(format!("{} is not the machine's own service", asked.display())),
            Ok(memory) => Unit::read(memory),
            Err(reason) => Err(reason.clone()),
        };
        let given = memory.as_ref().map(given).unwrap_or_default();
        let daemon = runtime::of_this_thread()?.block_on(asking(&asked));
        // To ask may have started it: what became of that counts.
        let state = memory.as_ref().ok().filter(|_| is_service).and_then(unit::state);
        let mut case = Self {
            machine,
            memory,
            daemon,
            socket: asked,
            configured,
            config_file: file.to_owned(),
            is_service,
            unit,
            state,
            claimed: Claimed::Nothing,
            given,
            users: arguments.user.clone(),
        };
        case.claimed = case.claim();
        Ok(case)
    }

    /// What the daemon told.
    pub(super) fn status(&self) -> Option<&GetStatusResponse> {
        match &self.daemon {
            Daemon::Answered(status) => Some(status),
            _ => None,
        }
    }

    pub(super) fn config(&self) -> Option<&Config> {
        match &self.configured {
            Configured::By(config) => Some(config),
            _ => None,
        }
    }

    /// Why there is no configuration to go by.
    pub(super) fn unconfigured(&self) -> String {
        match &self.configured {
            Configured::By(_) => String::new(),
            Configured::Invalid { .. } => "the configuration cannot be read".to_owned(),
            Configured::Unknown(reason) => reason.clone(),
        }
    }

    /// Where the daemon's files lie, by its own word, else by its configuration.
    pub(super) fn places(&self) -> Option<Places> {
        let configured = self.config().map(places::places);
        let Some(told) = self.status().and_then(|status| status.store.as_ref()) else { return configured };
        let (store, configured) =
            (PathBuf::from(&told.path), configured.filter(|its| its.store == Path::new(&told.path)));
        let backups = self.status().and_then(|status| status.backup.as_ref()).map(|backup| &backup.directory);
        let known = configured.unwrap_or_else(|| {
            let defaults = places::places(&Config::default());
            Places { mark: mark_beside(&store), store, ..defaults }
        });
        Some(Places { backups: backups.map_or(known.backups, PathBuf::from), ..known })
    }

    /// The user and group that the daemon runs as: whose the store's directory is, else the service's.
    pub(super) fn daemon_ids(&self) -> Option<(u32, u32)> {
        let found = self.places().and_then(|places| directory_of(&places.store).metadata().ok());
        let of_service = || (self.machine.user)(SERVICE_USER).ok()?.map(|user| (user.uid, user.gids.first().copied()));
        match found {
            Some(found) => Some((found.uid(), found.gid())),
            None if self.is_service => of_service().and_then(|(uid, gid)| Some((uid, gid?))),
            None => None,
        }
    }

    /// Whether what is the daemon's can be looked at: as root, or as its user. Else, why not.
    pub(super) fn sees_as_daemon(&self) -> Result<(), String> {
        match self.daemon_ids() {
            Some((owner, _)) if self.machine.euid != 0 && self.machine.euid != owner => {
                Err("only root and the daemon's own user can: sudo servos-keyctl doctor".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The group that the components' socket is to have: of a socket that systemd makes, its unit's counts, and tells so.
    pub(super) fn socket_group(&self) -> Option<(&str, bool)> {
        let of_unit = self.unit.as_ref().ok().and_then(|unit| unit.socket_group.as_deref());
        let configured = self.config().and_then(|config| config.socket.group.as_deref());
        of_unit.map(|group| (group, true)).or_else(|| configured.map(|group| (group, false)))
    }

    /// Whether nothing tells that there was ever a store here.
    pub(super) fn is_new(&self) -> bool {
        self.status().is_none() && self.places().is_some_and(|places| matches!(vacancy(&places), Ok(Vacancy::Empty)))
    }

    /// The key file that the daemon opens itself.
    pub(super) fn key_file(&self) -> Option<PathBuf> {
        let told = self.status().and_then(|status| KeyPlace::find(status, None).ok()?).map(|place| place.file);
        told.or_else(|| self.config()?.master_key.file.clone())
    }

    /// The fingerprints of the keys that open the store: two while a rotation is pending; none where it is not known.
    pub(super) fn opens(&self) -> Vec<String> {
        match (self.status(), &self.claimed) {
            (Some(status), _) => {
                let opens = status.rotation.as_ref().map(|rotation| rotation.opens.clone()).unwrap_or_default();
                let in_use = status.master_key.iter().map(|master| master.fingerprint.clone());
                if opens.is_empty() { in_use.filter(|fingerprint| !fingerprint.is_empty()).collect() } else { opens }
            }
            (None, Claimed::Keys { fingerprints, .. }) => fingerprints.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether a file holds a key that opens the store; not where either is not known.
    pub(super) fn holds_key_in_use(&self, path: &Path) -> bool {
        let Ok(memory) = &self.memory else { return false };
        let found = key::read_given(path, true, memory).unwrap_or_default();
        let (held, opens) = (key::held(&found, memory).unwrap_or_default(), self.opens());
        held.iter().any(|held| opens.contains(&held.key.fingerprint().to_string()))
    }

    fn claim(&self) -> Claimed {
        let Some(store) = self.places().map(|places| places.store) else { return Claimed::Nothing };
        if self.status().is_some() || !store.is_file() {
            return match self.sees_as_daemon() {
                Err(reason) if self.status().is_none() => Claimed::Unread(reason),
                _ => Claimed::Nothing,
            };
        }
        let _lock = match DirectoryLock::shared(directory_of(&store)) {
            Ok(lock) => lock,
            Err(StoreError::InUse { .. }) => return Claimed::Unread("a process has it".to_owned()),
            Err(error) => return Claimed::Unread(chain(&error)),
        };
        let seen = redb_adapter::view(&store).map_err(StartFailure::of_file);
        match seen.and_then(|snapshot| Ok((snapshot.generation, claim(&snapshot)?))) {
            Ok((generation, claim)) => {
                let fingerprints = claim.fingerprints.iter().map(ToString::to_string).collect();
                Claimed::Keys { fingerprints, generation }
            }
            Err(StartFailure::Store(StoreError::NotPermitted { .. })) => {
                Claimed::Unread("this user cannot read it".to_owned())
            }
            Err(failure) => Claimed::Damaged(chain(&failure)),
        }
    }
}

/// What helps where the configuration cannot be read: its own text says what is to stand there.
fn config_mend(error: &ConfigError, file: &Path) -> String {
    let quoted = shell_quoted(file);
    match error {
        ConfigError::Denied { obstacle: Some(Obstacle::Modes(mend)), .. } => mend.clone(),
        ConfigError::Denied { .. } | ConfigError::Unreadable { .. } | ConfigError::NotFound { .. } => {
            format!("ls -ld {quoted} {}", shell_quoted(directory_of(file)))
        }
        error => {
            let at = error.line().map(|line| format!(" +{line}")).unwrap_or_default();
            format!("\"${{EDITOR:-vi}}\"{at} {quoted} && servos-keyctl config check --config {quoted}")
        }
    }
}

/// What the shell gives to what is started from it.
fn given(memory: &LockedMemory) -> Given {
    match key::sources(&MasterKey::default(), memory) {
        Ok(sources) => Given { files: sources.key_files, environment_key: sources.environment_key, fault: None },
        Err(failure) => Given { fault: Some(failure.message), ..Given::default() },
    }
}

async fn asking(socket: &Path) -> Daemon {
    match SocketArguments::admin_on(socket).status().await {
        Ok(status) => Daemon::Answered(Box::new(status)),
        Err(error @ Error::Unauthenticated { .. }) => Daemon::Unmapped(error.into()),
        Err(error @ (Error::NotPermitted { .. } | Error::NotServed { .. })) => Daemon::Closed(error.into()),
        Err(error) => Daemon::Silent(error.into()),
    }
}
