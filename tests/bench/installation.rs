//! An installation to measure on: key, store, mark, backup and configuration in a directory of its own.
//!
//! Must never touch one that is in use: it makes its own. Called by `footprint`.

use super::Outcome;
use super::many_versions;
use super::master_keys::KeyFile;
use servos_keyd::auth::key_name::KeyName;
use servos_keyd::auth::operation::{CreateKey, RotateKey};
use servos_keyd::auth::peer::{Peer, PeerCredentials, Socket};
use servos_keyd::auth::policy::Policy;
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
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;
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
    /// So many keys in all, with so many versions in all, made at once.
    Spread { keys: usize, versions: usize },
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
            "[socket]\npath = {:?}\nadmin_path = {:?}\ngroup = {:?}\n[store]\npath = {:?}\n[backup]\ndir = {:?}\nkeep = 2\n\
             keep_for = \"1m\"\n[master_key]\nfile = {:?}\n[log]\nlevel = \"info\"\n",
            at("keyd.sock"),
            at("admin.sock"),
            own_group(),
            at("store/keyd.redb"),
            at("backup"),
            at("master.key")
        )
    }

    /// The socket of its administrators.
    pub fn admin_socket(&self) -> PathBuf {
        self.path("admin.sock")
    }

    /// Its store.
    pub fn store(&self) -> PathBuf {
        self.path("store/keyd.redb")
    }

    /// The directory of its backups.
    pub fn backups(&self) -> PathBuf {
        self.path("backup")
    }

    /// Its key file, with keys in `memory`.
    pub fn key_file(&self, memory: &LockedMemory) -> KeyFile {
        KeyFile::new(self.path("master.key"), memory.clone())
    }

    /// Opens its store in this process, as a start of the daemon does.
    pub fn open(&self, memory: &LockedMemory) -> Outcome<Ledger> {
        let key_file = self.key_file(memory);
        let authentic = load::authenticate(view(&self.store())?, key_file.key()?, memory)?;
        let loaded = load::open(authentic, memory)?;
        // A clock that runs ahead, so that the backup of each change is old at the next one, and goes.
        let clock = AtomicI64::new(now()?);
        let clock = Box::new(move || clock.fetch_add(10, Ordering::Relaxed));
        let engine = Engine::new(loaded.keyring, Box::new(random), clock, Facts::default());
        let opened = Box::new(RedbStore::open(&self.store())?);
        let (engine, sources) = (Arc::new(engine), Box::new(key_file));
        Ok(Ledger::new(opened, self.places(), loaded.secrets, engine, memory.clone(), sources)?)
    }

    fn places(&self) -> Places {
        let (store, mark) = (self.store(), self.path("store/keyd.redb.mark"));
        Places { store, mark, backups: self.path("backup"), keep: 1, keep_for: 0 }
    }

    fn fill(&self, contents: Contents) -> Outcome<()> {
        let memory = LockedMemory::new()?;
        let (places, master) = (self.places(), self.key_file(&memory).make()?);
        let (shared, adopt_legacy, now) = (false, false, now()?);
        create(&Creation {
            places: &places,
            master: &master,
            shared,
            adopt_legacy,
            memory: &memory,
            random: &random,
            now,
        })?;
        match contents {
            Contents::FirstKeys => Ok(()),
            Contents::Versions(versions) => rotate(&mut self.open(&memory)?, versions - FIRST_KEYS.len()),
            Contents::Keys(keys) => add_keys(&mut self.open(&memory)?, keys - FIRST_KEYS.len()),
            Contents::Spread { keys, versions } => many_versions::fill(&places, &master, &memory, keys, versions, now),
        }
    }
}

/// A group that there is, as there is one where the daemon is installed: looking for one that there is not loads every
/// service of the C library's switch.
fn own_group() -> String {
    let group = nix::unistd::Group::from_gid(nix::unistd::getegid()).ok().flatten();
    group.map_or_else(String::new, |group| group.name)
}

/// Unix seconds.
fn now() -> Outcome<i64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().try_into()?)
}

/// One who may do everything.
pub fn administrator() -> (Policy, Peer) {
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

/// The kernel's randomness.
pub fn random(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    servos_keyd::sys::random::fill(bytes).map_err(|_| RandomUnavailable)
}
