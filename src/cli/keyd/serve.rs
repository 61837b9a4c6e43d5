//! `servos-keyd serve`: from a hardened process to a served socket, step by numbered step.
//!
//! Must never read a secret before step 1, leave a thread running before step 9, or serve before the canary has opened.
//! Called by `run`.

use super::key;
use super::reload::{self, Reload};
use super::sandbox::{self, Entered, Needs};
use super::sockets;
use super::store::{self, Opened};
use super::turn_away::Waiting;
use super::{ConfigArguments, dev, harden, place};
use crate::auth::policy::Policy;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key_sources::GivenSources;
use crate::cli::keyd::runtime;
use crate::cli::places::{self, Use};
use crate::config::file::DEFAULT_PATH;
use crate::config::key_source::Sources;
use crate::config::settings::{Config, LogFormat};
use crate::operations::ledger::Places;
use crate::operations::self_test;
use crate::server::limits::{CALL_BYTES, DRAIN, Limits};
use crate::sys::locked::{LockedMemory, Protection};
use crate::sys::sockets::inherited::Inherited;
use crate::telemetry::{events, log, panic};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// Try it out: key, store and one socket for everything under DIR [default: servos-keyd-dev in the runtime or temp
    /// directory]
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with = "config")]
    pub(super) dev: Option<Option<PathBuf>>,
    /// With --dev: keep the master key as a legacy key too when the store is made
    #[arg(long, requires = "dev")]
    adopt_legacy: bool,
    /// Open what opens of a damaged store, list what does not, and write nothing
    #[arg(long)]
    salvage: bool,
}

impl Arguments {
    /// The configuration's file; none with `--dev`.
    fn config_file(&self) -> Option<&Path> {
        let named = self.config.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        self.dev.is_none().then_some(named)
    }
}

/// Serves. When the start fails, `waiting` has the sockets of the service manager in which somebody may wait for it.
pub fn run(arguments: &Arguments, waiting: &mut Option<Waiting>) -> Result<(), Failure> {
    let began = Instant::now();
    let (config, handed_over) = begin(arguments, waiting)?;
    let memory = key::memory_as(config.memory)?;
    // Whatever ends the start or the service, a panic too, leaves no key behind.
    let _wiped_at_the_end = memory.wiped_at_the_end();
    report_memory(&memory);
    let sources = Arc::new(key::sources(&config.master_key, &memory)?);
    // 4. The store's directory, for this process alone, and that of the backups; then the sockets, inherited or bound.
    let places = match arguments.dev {
        None => place::settled(&config, arguments.config.config.as_deref())?,
        Some(_) => places::places(&config),
    };
    if config.store.create {
        place::make_directory(&places)?;
    }
    let purpose = if arguments.salvage { Use::Look } else { Use::Change };
    let lock = place::lock_for(&places, purpose)?;
    if purpose == Use::Change && (config.store.create || places.store.is_file()) {
        place::make_backup_directory(&places);
    }
    let sockets = sockets::open(handed_over, &config, arguments.dev.is_some())?;
    let workers = runtime::workers();
    // 5. The sandbox, while there is one thread, and before anything is read that others wrote.
    let needs = Needs {
        config: &config,
        config_file: arguments.config_file(),
        places: &places,
        sources: &sources,
        sockets: &sockets,
        purpose,
    };
    let mut entered = sandbox::enter(&needs);
    entered.warnings.extend(sockets::elsewhere(&sockets, &config));
    runtime::threads_are_to_be_had(workers)?;
    if arguments.dev.is_some() && config.store.create {
        dev::make_key(&config, &memory)?;
    }
    let Opened { engine, ledger } = open(arguments, &config, &places, sources, &memory, &entered)?;
    // From here on whoever connects is served, or is the next daemon's.
    drop(waiting.take());
    // 9. Threads, serving, READY; then a signal, the drain, and the end.
    let policy = Arc::new(Policy::new(nix::unistd::geteuid().as_raw()));
    let dev_socket = arguments.dev.is_some().then(|| config.socket.path.clone());
    let (limits, self_check) = (limits(&config), config.store.self_check);
    engine.keep_up(reload::upkeep(&config));
    let reload = arguments.dev.is_none().then(|| Reload::new(arguments.config.config.clone(), config));
    let daemon =
        runtime::Daemon { engine, ledger, policy, sockets, self_check, workers, limits, dev_socket, began, reload };
    let cut = runtime::run(daemon)?;
    // 10. Wipe.
    memory.wipe_all();
    drop(lock);
    tracing::info!(event = events::DAEMON_STOPPED, calls_cut = cut, "stopped; keys wiped");
    Ok(())
}

/// The first three steps: the configuration, and the sockets that were handed over.
fn begin(arguments: &Arguments, waiting: &mut Option<Waiting>) -> Result<(Config, Vec<Inherited>), Failure> {
    // 1. Harden the process, while it has one thread and no secret.
    harden()?;
    panic::install_panic_hook();
    // A limit that cannot be raised is no reason not to serve: descriptors that run out are waited for.
    let _ = crate::sys::harden::raise_descriptor_limit();
    let handed_over = sockets::take_inherited()?;
    let waiting = waiting.insert(Waiting::hold(&handed_over));
    // 2. Configuration, which says how to log.
    let mut config = configuration(arguments)?;
    // Salvage reads what was lost; it begins nothing in its place.
    config.store.create &= !arguments.salvage;
    waiting.know(&config);
    // 3. Logging.
    start_log(&config)?;
    tracing::info!(event = events::CONFIG_LOADED, store = %config.store.path.display(), "configuration read");
    Ok((config, handed_over))
}

/// The steps from a store that nobody has looked at to one that is believed.
fn open(
    arguments: &Arguments,
    config: &Config,
    places: &Places,
    sources: Arc<Sources>,
    memory: &LockedMemory,
    entered: &Entered,
) -> Result<Opened, Failure> {
    // 6. The store, looked at without changing it, and the key from its source.
    let seen = store::look(config, places, &sources, arguments.salvage, memory, entered)?;
    // 7. Root, MAC, mark and canary; only then is the store opened for writing.
    let opened = if arguments.salvage {
        store::salvage(seen, places, memory)?
    } else {
        let sources = GivenSources::new(sources, memory.clone()).within(&entered.sandbox);
        store::open(seen, places, Box::new(sources), memory)?
    };
    // 8. Self-test with the live keys.
    self_test::run(&opened.engine.keyring(), &key::random)?;
    crate::sys::allocator::release_free_memory();
    Ok(opened)
}

fn configuration(arguments: &Arguments) -> Result<Config, Failure> {
    let Some(directory) = &arguments.dev else {
        return arguments.config.load();
    };
    let directory = directory.clone().unwrap_or_else(dev::default_directory);
    let directory = std::path::absolute(&directory).map_err(|error| Failure::new(exit::USAGE, &error))?;
    dev::make_directory(&directory)?;
    let mut config = Config::dev(&directory);
    config.legacy.adopt = arguments.adopt_legacy;
    Ok(config)
}

fn start_log(config: &Config) -> Result<(), Failure> {
    let format = match config.log.format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    log::init(config.log.level.as_str(), format).map_err(|fault| Failure::new(exit::CONFIG, &fault))
}

fn report_memory(memory: &LockedMemory) {
    match memory.protection() {
        Protection::MemfdSecret => {
            tracing::info!(
                event = events::MEMORY_PROTECTED,
                by = "memfd_secret",
                "keys lie in memory that root cannot read"
            );
        }
        Protection::Mlock => tracing::warn!(
            event = events::MEMORY_PROTECTED,
            by = "mlock",
            reason = memory.fallback_reason().unwrap_or_default(),
            "the kernel refuses memfd_secret: keys lie in locked pages that root can read"
        ),
    }
}

fn limits(config: &Config) -> Limits {
    let connections = usize::try_from(config.limits.connections).unwrap_or(usize::MAX);
    Limits {
        connections,
        // One user cannot take every place: another component still gets in.
        connections_per_user: connections.div_ceil(2),
        call_bytes: CALL_BYTES,
        streams: config.limits.streams,
        request_timeout: config.limits.request_timeout,
        idle_connection: config.limits.idle_connection,
        drain: DRAIN,
    }
}
