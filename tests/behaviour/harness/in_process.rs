//! The daemon's parts put together in this process, with a source of randomness that panics on demand.
//!
//! Must never be used for what the binary can be made to do.
//! Used by tests of bugs that nobody can cause from outside.

use super::random_key;
use servos_keyd::auth::peer::Socket;
use servos_keyd::auth::policy::Policy;
use servos_keyd::cli::key_sources::GivenSources;
use servos_keyd::config::key_source::{Sources, Trust};
use servos_keyd::custody::keys::{LockedMemory, MasterKey};
use servos_keyd::custody::random::RandomUnavailable;
use servos_keyd::operations::create::{Creation, create};
use servos_keyd::operations::engine::{Engine, Facts};
use servos_keyd::operations::ledger::{Ledger, Places};
use servos_keyd::operations::load;
use servos_keyd::operations::writer::Writer;
use servos_keyd::rpc::connection::{Connection, Services};
use servos_keyd::rpc::key_admin::KeyAdminHandler;
use servos_keyd::rpc::key_service::KeyServiceHandler;
use servos_keyd::server::limits::{CALL_BYTES, DRAIN, Limits};
use servos_keyd::server::serve::{Endpoint, serve};
use servos_keyd::store::redb_adapter::{RedbStore, view};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tonic_health::server::{HealthReporter, HealthService};

/// The daemon, served by the runtime it was started in.
pub struct InProcess {
    /// The one socket, which serves everything.
    pub socket: PathBuf,
    /// The way to the writer's thread.
    pub writer: Writer,
    panics: Arc<AtomicU32>,
    _directory: TempDir,
}

impl InProcess {
    /// Makes a store and serves it.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let places =
            Places { store: at("keyd.redb"), mark: at("keyd.redb.mark"), backups: at("backup"), keep: 10, keep_for: 0 };
        let panics = Arc::new(AtomicU32::new(0));
        let (ledger, engine) = open(&places, Arc::clone(&panics));
        let (writer, _) = Writer::start(ledger).unwrap();
        let socket = at("keyd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let services = Arc::new(services(&engine, &writer));
        let endpoint =
            Endpoint { name: "dev", listener, connection: move |peer| Connection::new(Arc::clone(&services), peer) };
        let limits = Limits {
            connections: 64,
            connections_per_user: 64,
            call_bytes: CALL_BYTES,
            streams: 64,
            request_timeout: Duration::from_secs(30),
            idle_connection: Duration::from_secs(30),
            drain: DRAIN,
        };
        tokio::spawn(serve(vec![endpoint], limits, Arc::clone(&engine.traffic), std::future::pending()));
        Self { socket, writer, panics, _directory: directory }
    }

    /// The next use of randomness is a bug.
    pub fn break_next(&self) {
        self.panics.store(1, Ordering::SeqCst);
    }
}

fn services(engine: &Arc<Engine>, writer: &Writer) -> Services {
    let policy = Arc::new(Policy::new(nix::unistd::geteuid().as_raw()));
    let (engine, writer) = (Arc::clone(engine), Some(writer.clone()));
    let service =
        KeyServiceHandler { policy: Arc::clone(&policy), engine: Arc::clone(&engine), writer: writer.clone() };
    let admin = KeyAdminHandler { policy, engine, writer };
    let health = HealthService::from_health_reporter(HealthReporter::new());
    Services::new(Socket::Dev, service, Some(admin), health)
}

fn open(places: &Places, panics: Arc<AtomicU32>) -> (Ledger, Arc<Engine>) {
    let memory = LockedMemory::new().unwrap();
    let text = super::hex(&random_key());
    let key = || MasterKey::parse(text.as_bytes(), &memory).unwrap();
    let random = move |bytes: &mut [u8]| {
        let planted = panics.swap(0, Ordering::SeqCst) != 0;
        assert!(!planted, "planted");
        servos_keyd::sys::random::fill(bytes).map_err(|_| RandomUnavailable)
    };
    let creation = Creation {
        places,
        master: &key(),
        shared: false,
        adopt_legacy: false,
        memory: &memory,
        random: &random,
        now: 1_800_000_000,
    };
    create(&creation).unwrap();
    let authentic = load::authenticate(view(&places.store).unwrap(), key(), &memory).unwrap();
    let loaded = load::open(authentic, &memory).unwrap();
    let engine = Arc::new(Engine::new(loaded.keyring, Box::new(random), Box::new(|| 1_800_000_000), Facts::default()));
    let store = Box::new(RedbStore::open(&places.store).unwrap());
    let (secrets, shared) = (loaded.secrets, Arc::clone(&engine));
    let ledger = Ledger::new(store, places.clone(), secrets, shared, memory.clone(), key_sources(memory)).unwrap();
    (ledger, engine)
}

/// No source at all: nobody rotates here.
fn key_sources(memory: LockedMemory) -> Box<GivenSources> {
    let trust = Trust { credentials_directory: None, allow_readable: false, daemon_uid: 0, daemon_gid: 0 };
    let sources = Sources { key_files: Vec::new(), environment_key: Vec::new(), trust };
    Box::new(GivenSources::new(Arc::new(sources), memory))
}
