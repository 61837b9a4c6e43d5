//! An installation to measure on: key, store, mark, backup and configuration in a directory of its own.
//!
//! Must never touch one that is in use: it makes its own. Called by `footprint`.

use super::Outcome;
use servos_keyd::auth::key_name::KeyName;
use servos_keyd::auth::operation::{CreateKey, RotateKey};
use servos_keyd::auth::peer::{Peer, PeerCredentials, Socket};
use servos_keyd::auth::policy::Policy;
use servos_keyd::cli::key_sources::GivenSources;
use servos_keyd::config::key_source::{Sources, Trust};
use servos_keyd::custody::keys::MasterKey;
use servos_keyd::custody::random::RandomUnavailable;
use servos_keyd::operations::create::{Creation, FIRST_KEYS, create};
use servos_keyd::operations::create_key::create_key;
use servos_keyd::operations::engine::{Engine, Facts};
use servos_keyd::operations::ledger::{Ledger, Places};
use servos_keyd::operations::load;
use servos_keyd::operations::rotate_key::rotate_key;
use servos_keyd::store::redb_adapter::{RedbStore, view};
use servos_keyd::sys::locked::LockedMemory;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// What a store holds beside its first keys, each of which has one version.
#[derive(Clone, Copy)]
pub enum Contents {
    /// Nothing more.
    FirstKeys,
    /// The first keys rotated until there are so many versions in all.
    Versions(usize),
    /// More keys of one version each, until there are so many versions in all.
    Keys(usize),
}

/// An installation, removed when dropped.
pub struct Installation {
    directory: TempDir,
}

impl Installation {
    /// Makes one, by the operations that the daemon itself has, and closes its store cleanly.
    pub fn make(contents: Contents) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("keyd-bench").tempdir()?;
        let this = Self { directory };
        fs::set_permissions(this.directory.path(), fs::Permissions::from_mode(0o700))?;
        for part in ["store", "backup"] {
            fs::create_dir(this.path(part))?;
            fs::set_permissions(this.path(part), fs::Permissions::from_mode(0o700))?;
        }
        fs::write(this.configuration(), this.configuration_text())?;
        this.fill(contents)?;
        Ok(this)
    }

    /// The socket that its daemon listens on.
    pub fn socket(&self) -> PathBuf {
        self.path("keyd.sock")
    }

    /// Its configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.path("keyd.toml")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configuration_text(&self) -> String {
        let at = |name: &str| self.path(name).display().to_string();
        format!(
            "[socket]\npath = {:?}\nadmin_path = {:?}\ngroup = {:?}\n[store]\npath = {:?}\n[backup]\ndir = {:?}\n\
             [master_key]\nfile = {:?}\n[log]\nlevel = \"info\"\n",
            at("keyd.sock"),
            at("admin.sock"),
            own_group(),
            at("store/keyd.redb"),
            at("backup"),
            at("master.key")
        )
    }

    fn fill(&self, contents: Contents) -> Outcome<()> {
        let memory = LockedMemory::new()?;
        let master = MasterKey::generate(&memory, &random)?;
        let mut text = memory.buffer(128)?;
        master.write_hex(&mut text)?;
        write_private(&self.path("master.key"), text.expose_bytes())?;

        let store = self.path("store/keyd.redb");
        let mark = self.path("store/keyd.redb.mark");
        let places = Places { store: store.clone(), mark, backups: self.path("backup"), keep: 1, keep_for: 0 };
        let (shared, adopt_legacy, now) = (false, false, 1_700_000_000);
        create(&Creation {
            places: &places,
            master: &master,
            shared,
            adopt_legacy,
            memory: &memory,
            random: &random,
            now,
        })?;

        let authentic = load::authenticate(view(&store)?, master, &memory)?;
        let loaded = load::open(authentic, &memory)?;
        // A clock that runs ahead, so that the backup of each change is old at the next one, and goes.
        let clock = AtomicI64::new(now);
        let clock = Box::new(move || clock.fetch_add(10, Ordering::Relaxed));
        let engine = Engine::new(loaded.keyring, Box::new(random), clock, Facts::default());
        let opened = Box::new(RedbStore::open(&store)?);
        let mut ledger =
            Ledger::new(opened, places, loaded.secrets, Arc::new(engine), memory.clone(), key_sources(memory))?;
        match contents {
            Contents::FirstKeys => Ok(()),
            Contents::Versions(versions) => rotate(&mut ledger, versions - FIRST_KEYS.len()),
            Contents::Keys(keys) => add_keys(&mut ledger, keys - FIRST_KEYS.len()),
        }
    }
}

/// No source at all: nobody rotates here.
fn key_sources(memory: LockedMemory) -> Box<GivenSources> {
    let trust = Trust { credentials_directory: None, allow_readable: false, daemon_uid: 0, daemon_gid: 0 };
    let sources = Sources { key_files: Vec::new(), environment_key: Vec::new(), trust };
    Box::new(GivenSources::new(Arc::new(sources), memory))
}

/// A group that there is, as there is one where the daemon is installed: looking for one that there is not loads every
/// service of the C library's switch.
fn own_group() -> String {
    let group = nix::unistd::Group::from_gid(nix::unistd::getegid()).ok().flatten();
    group.map_or_else(String::new, |group| group.name)
}

fn administrator() -> (Policy, Peer) {
    let credentials = PeerCredentials { uid: 0, gid: 0, pid: 1 };
    (Policy::new(0), Peer { credentials, socket: Socket::Dev })
}

fn rotate(ledger: &mut Ledger, times: usize) -> Outcome<()> {
    let (policy, peer) = administrator();
    for name in FIRST_KEYS.iter().cycle().take(times) {
        let permit = policy.admit::<RotateKey>(peer)?.for_key(&KeyName::parse(name)?)?;
        rotate_key(&permit, ledger, None)?;
    }
    Ok(())
}

fn add_keys(ledger: &mut Ledger, count: usize) -> Outcome<()> {
    let (policy, peer) = administrator();
    for number in 0..count {
        let permit = policy.admit::<CreateKey>(peer)?.for_key(&KeyName::parse(&format!("bench-{number}"))?)?;
        create_key(&permit, ledger, None)?;
    }
    Ok(())
}

fn random(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    servos_keyd::sys::random::fill(bytes).map_err(|_| RandomUnavailable)
}

fn write_private(path: &Path, text: &[u8]) -> Outcome<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}
