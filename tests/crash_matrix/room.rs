//! A directory with an installation in it, laid out from an image, and the daemon's parts started on it as `serve` does.
//!
//! Must never share a directory with another room.
//! Used by the matrix; each of its threads has rooms of its own.

use super::disk::Image;
use super::random::source;
use servos_keyd::auth::key_name::KeyName;
use servos_keyd::auth::operation::{Keyed, Whole};
use servos_keyd::auth::peer::{Peer, PeerCredentials, Socket};
use servos_keyd::auth::permit::Permit;
use servos_keyd::auth::policy::Policy;
use servos_keyd::cli::key_sources::GivenSources;
use servos_keyd::cli::keyd::sandbox::Entered;
use servos_keyd::cli::keyd::store;
use servos_keyd::cli::places;
use servos_keyd::config::key_source::{Sources, Trust};
use servos_keyd::config::settings::Config;
use servos_keyd::custody::keys::{LockedMemory, MasterKey};
use servos_keyd::operations::Context;
use servos_keyd::operations::engine::Engine;
use servos_keyd::operations::ledger::{Ledger, Places};
use servos_keyd::operations::resume::resume;
use servos_keyd::operations::rotation::steps::{Advance, advance};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// The master key of before, the one to come, and one that the store never heard of.
pub const OLD: &str = "8c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";
pub const NEW: &str = "11c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e";
pub const STRANGER: &str = "33c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e";
/// A key that components used before there was a daemon.
pub const FORMER: &str = "44c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e";

pub fn context() -> Context {
    Context::new([("table", "servers"), ("id", "1")]).unwrap()
}

pub fn peer() -> Peer {
    Peer { credentials: PeerCredentials { uid: 0, gid: 0, pid: 1 }, socket: Socket::Admin }
}

pub fn permit<Op: Keyed>(key: &str) -> Permit<Op> {
    Policy::new(0).admit::<Op>(peer()).unwrap().for_key(&KeyName::parse(key).unwrap()).unwrap()
}

pub fn whole<Op: Whole>() -> Permit<Op> {
    Policy::new(0).admit::<Op>(peer()).unwrap().permit()
}

/// A room with its key file.
pub struct Room {
    directory: TempDir,
    config: Config,
    pub memory: LockedMemory,
    clock: Arc<AtomicI64>,
}

/// A started daemon, without its sockets and threads.
pub struct Live {
    pub engine: Arc<Engine>,
    pub ledger: Ledger,
}

impl Room {
    /// In memory, where the system has such a place: what is synced is seen all the same.
    pub fn new(memory: &LockedMemory) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        let mut config = Config::dev(&directory.path().join("state"));
        config.store.create = false;
        config.backup.keep = 2;
        config.backup.keep_for = std::time::Duration::ZERO;
        config.master_key.file = Some(directory.path().join("master.key"));
        Self { directory, config, memory: memory.clone(), clock: Arc::new(AtomicI64::new(1_800_000_000)) }
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn places(&self) -> Places {
        places::places(&self.config)
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub fn key(&self, text: &str) -> MasterKey {
        MasterKey::parse(text.as_bytes(), &self.memory).unwrap()
    }

    /// The key file holds this key.
    pub fn hold(&self, key: &str) {
        let path = self.directory.path().join("master.key");
        fs::write(&path, key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Puts an image in the place of what is there.
    pub fn lay(&self, image: &Image) {
        let state = self.state();
        fs::remove_dir_all(&state).unwrap();
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        for directory in &image.directories {
            fs::create_dir(state.join(directory)).unwrap();
        }
        for (path, bytes) in &image.files {
            let path = state.join(path);
            fs::write(&path, bytes.as_slice()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// What is there, and the inode of each file.
    pub fn capture(&self) -> (Image, BTreeMap<PathBuf, u64>) {
        let (mut image, mut inodes) = (Image::default(), BTreeMap::new());
        self.capture_below(Path::new(""), &mut image, &mut inodes);
        (image, inodes)
    }

    fn capture_below(&self, below: &Path, image: &mut Image, inodes: &mut BTreeMap<PathBuf, u64>) {
        for entry in fs::read_dir(self.state().join(below)).unwrap() {
            let (entry, path) = entry.map(|entry| (entry.path(), below.join(entry.file_name()))).unwrap();
            if entry.is_dir() {
                self.capture_below(&path, image, inodes);
                image.directories.insert(path);
            } else {
                inodes.insert(path.clone(), entry.metadata().unwrap().ino());
                image.files.insert(path, Arc::new(fs::read(entry).unwrap()));
            }
        }
    }

    /// The steps of a start, from the look at the store to the rotation that is taken up. Randomness comes from `seed`.
    ///
    /// # Errors
    /// What the daemon would say when it does not start.
    pub fn start(&self, seed: u64) -> Result<Live, String> {
        let (places, memory) = (self.places(), &self.memory);
        let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let trust = Trust { credentials_directory: None, allow_readable: false, daemon_uid: user, daemon_gid: group };
        let key_files = self.config.master_key.file.iter().cloned().collect();
        let sources = Arc::new(Sources { key_files, environment_key: Vec::new(), trust });
        let seen = store::look(&self.config, &places, &sources, false, memory, &Entered::none());
        let seen = seen.map_err(|failure| failure.message)?;
        let sources = Box::new(GivenSources::new(sources, memory.clone()));
        let clock = Arc::clone(&self.clock);
        let clock = Box::new(move || clock.load(Ordering::Relaxed));
        let opened = store::open_with(seen, &places, sources, memory, source(seed), clock);
        let opened = opened.map_err(|failure| failure.message)?;
        Ok(Live { engine: opened.engine, ledger: opened.ledger.unwrap() })
    }
}

impl Live {
    /// What goes on behind a start, to its end.
    ///
    /// # Errors
    /// A step that waits.
    pub fn settle(&mut self) -> Result<(), String> {
        resume(&mut self.ledger);
        self.advance()
    }

    /// The steps of a rotation that is decided, to their end.
    ///
    /// # Errors
    /// A step that waits.
    pub fn advance(&mut self) -> Result<(), String> {
        loop {
            match advance(&mut self.ledger) {
                Advance::More => {}
                Advance::Idle => return Ok(()),
                Advance::Later => return Err(format!("the rotation waits: {}", self.engine.progress.rotation().2)),
            }
        }
    }
}
