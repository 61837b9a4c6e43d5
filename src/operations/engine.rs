//! What every call needs: the keyring of the moment, time, randomness, and whether changes are possible.
//!
//! Must never be asked to wait: it touches no disk.
//! Called by `rpc`; made by `cli`, which brings clock and randomness.

use super::health::{HealthWatch, StoreState};
use super::keyring::Keyring;
use super::progress::Progress;
use super::refusal::Refusal;
use super::rotation::key_sources::SourceView;
use super::upkeep::Upkeep;
use crate::custody::random::Random;
use crate::store::port::{DENIED, StoreError};
use crate::telemetry::events;
use crate::telemetry::traffic::Traffic;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Tells the time: Unix seconds.
pub type Clock = dyn Fn() -> i64 + Send + Sync;

/// Tells how many bytes of memory are locked for keys.
pub type LockedBytes = dyn Fn() -> u64 + Send + Sync;

/// Does work that takes long behind what serves calls, and returns when it is done. The work says where it can rest.
pub type Background = fn(&mut (dyn FnMut(&mut Rest) + Send));

/// Leaves the processor to calls for a moment.
pub type Rest<'a> = dyn FnMut() + 'a;

/// What the daemon said of itself at its start, for status.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// When it started: Unix seconds.
    pub started: i64,
    /// Path of the store.
    pub store_path: String,
    /// Directory of the backups.
    pub backup_directory: String,
    /// Where the master key was read.
    pub key_source: String,
    /// Every place that the master key was read from, with what it yielded then.
    pub sources: Vec<SourceView>,
    /// Where a new master key is looked for; empty where no key file is opened.
    pub next_file: String,
    /// What lets a running daemon see a changed credential or environment.
    pub restart_command: String,
    /// Whether memfd_secret holds the keys; else mlock does.
    pub memfd_secret: bool,
    /// How many bytes of memory may be locked; none for any number.
    pub lock_limit_bytes: Option<u64>,
    /// What the process has closed to itself; none where nobody told, which is not "turned off".
    pub sandbox: Option<Sandbox>,
    /// What an operator should know and mend, from the start.
    pub warnings: Vec<String>,
    /// Where its sockets lie.
    pub sockets: Vec<PathBuf>,
    /// Decrypt-only.
    pub salvage: bool,
    /// Records that salvage could not open.
    pub unopened: Vec<String>,
}

/// The two halves of the process's sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The files it can open.
    pub landlock: Confinement,
    /// The version of Landlock's interface that the kernel has; 0 if none is in force.
    pub landlock_abi: u32,
    /// The system calls it can make.
    pub seccomp: Confinement,
}

impl Sandbox {
    /// Whether a directory that was not there when it was entered is closed, whatever its modes.
    #[must_use]
    pub fn closes_new_directories(&self) -> bool {
        matches!(self.landlock, Confinement::Enforced | Confinement::Partial(_))
    }

    /// What a sandbox may have to do with an error, to be put behind it: nothing that an operator sees of the directory tells.
    #[must_use]
    pub fn hint(sandbox: Option<&Self>, error: &StoreError) -> &'static str {
        match error {
            StoreError::NotPermitted { detail, .. }
                if detail == DENIED && sandbox.is_some_and(Self::closes_new_directories) =>
            {
                "; if the directory was made or mounted after the daemon's start, restart the daemon"
            }
            _ => "",
        }
    }
}

/// How far one half of the sandbox took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// The configuration turns it off.
    Off,
    /// All of it.
    Enforced,
    /// What the kernel knows of it; what it leaves open.
    Partial(String),
    /// Nothing: why.
    Unavailable(String),
}

/// The keyring of the moment with what calls need beside it.
pub struct Engine {
    keyring: RwLock<Arc<Keyring>>,
    /// The kernel's randomness.
    pub random: Box<Random>,
    /// The clock.
    pub clock: Box<Clock>,
    /// What was said at the start.
    pub facts: Facts,
    upkeep: RwLock<Arc<Upkeep>>,
    reload_refused: RwLock<Option<Arc<str>>>,
    sockets_gone: RwLock<Vec<PathBuf>>,
    /// What the writer did last.
    pub progress: Progress,
    /// What the daemon knows to be wrong with itself.
    pub health: HealthWatch,
    /// What goes on on the sockets.
    pub traffic: Arc<Traffic>,
    /// How much memory is locked now.
    pub locked_bytes: Box<LockedBytes>,
    background: Background,
    background_work: AtomicUsize,
}

/// Takes one off when it goes: with the work's end, or with a panic in it.
struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Engine {
    /// An engine on a keyring that was loaded.
    #[must_use]
    pub fn new(keyring: Keyring, random: Box<Random>, clock: Box<Clock>, facts: Facts) -> Self {
        let health = HealthWatch::new(if facts.salvage { StoreState::ReadOnly } else { StoreState::Healthy });
        let keyring = RwLock::new(Arc::new(keyring));
        Self {
            keyring,
            random,
            clock,
            facts,
            upkeep: RwLock::default(),
            reload_refused: RwLock::default(),
            sockets_gone: RwLock::default(),
            progress: Progress::default(),
            health,
            traffic: Arc::default(),
            locked_bytes: Box::new(|| 0),
            background: |work| work(&mut || ()),
            background_work: AtomicUsize::new(0),
        }
    }

    /// The same, with long work done by `background`.
    #[must_use]
    pub fn with_background(self, background: Background) -> Self {
        Self { background, ..self }
    }

    /// What the configuration asks of an operator's care, as it was read last.
    #[must_use]
    pub fn upkeep(&self) -> Arc<Upkeep> {
        Arc::clone(&self.upkeep.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for this from now on.
    pub fn keep_up(&self, upkeep: Upkeep) {
        *self.upkeep.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(upkeep);
    }

    /// Why the configuration could not be read again when that was last asked; none if it could.
    #[must_use]
    pub fn reload_refused(&self) -> Option<Arc<str>> {
        self.reload_refused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration was read again, or why not.
    pub fn reloaded(&self, refused: Option<&str>) {
        *self.reload_refused.write().unwrap_or_else(PoisonError::into_inner) = refused.map(Arc::from);
    }

    /// Its sockets that who connects now does not reach: their files are gone, or others lie there.
    #[must_use]
    pub fn sockets_gone(&self) -> Vec<PathBuf> {
        self.sockets_gone.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These of its sockets cannot be reached, and no others; each is said once in the log.
    pub(super) fn found_gone(&self, gone: Vec<PathBuf>) {
        let before = std::mem::replace(&mut *self.sockets_gone.write().unwrap_or_else(PoisonError::into_inner), gone);
        for path in self.sockets_gone().iter().filter(|path| !before.contains(path)) {
            tracing::warn!(event = events::SOCKET_GONE, path = %path.display(), "the socket's file is gone, or another's");
        }
    }

    /// The same, with what tells how much memory is locked.
    #[must_use]
    pub fn with_locked_bytes(self, locked_bytes: Box<LockedBytes>) -> Self {
        Self { locked_bytes, ..self }
    }

    /// Whether the writer waits for work that takes long, on a backup for one.
    #[must_use]
    pub fn is_in_background(&self) -> bool {
        self.background_work.load(Ordering::Acquire) > 0
    }

    /// Does work that takes long on a large store behind what serves calls. `None` would be work that was not done.
    pub(super) fn in_background<T: Send>(&self, work: impl FnOnce(&mut Rest) -> T + Send) -> Option<T> {
        let (mut work, mut done) = (Some(work), None);
        self.background_work.fetch_add(1, Ordering::AcqRel);
        let _ended = Ended(&self.background_work);
        (self.background)(&mut |rest| done = work.take().map(|work| work(rest)));
        done
    }

    /// The keyring as it stands now; a change later does not reach it.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        // A poisoned lock still holds a whole keyring: the only write is the swap below.
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn publish(&self, keyring: Keyring) {
        let mut place = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *place, Arc::new(keyring));
        // The last one to hold it frees it, which takes time: not while calls wait.
        drop(place);
        drop(before);
    }

    /// Refuses what salvage must not do.
    ///
    /// # Errors
    /// [`Refusal::Salvage`].
    pub fn changes_allowed(&self) -> Result<(), Refusal> {
        if self.facts.salvage { Err(Refusal::Salvage) } else { Ok(()) }
    }
}
