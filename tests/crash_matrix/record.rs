//! What the store did to the disk, in order, with what was published to calls meanwhile.
//!
//! Must never take for acknowledged what was not yet published when an operation began.
//! Registered by the matrix as the watcher of a room.

use super::faults::{Fault, Kind};
use super::promise::{Promise, State, Value};
use super::room::Room;
use servos_keyd::operations::engine::Engine;
use servos_keyd::store::disk::Operation;
use servos_keyd::store::disk::watch::{Watch, Watcher, watch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fmt, io};

/// One operation, with paths below the room's state directory.
#[derive(Clone)]
pub enum Done {
    Create(PathBuf, u64),
    Write(u64, u64, Vec<u8>),
    SetLength(u64, u64),
    Sync(u64),
    /// A sync that failed.
    Lost(u64),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    MakeDirectory(PathBuf),
    SyncDirectory(PathBuf),
}

impl fmt::Debug for Done {
    /// In short: not the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(path, inode) => write!(f, "create {} as {inode}", path.display()),
            Self::Write(inode, offset, bytes) => write!(f, "write {} bytes at {offset} of {inode}", bytes.len()),
            Self::SetLength(inode, length) => write!(f, "make {inode} {length} bytes long"),
            Self::Sync(inode) => write!(f, "sync {inode}"),
            Self::Lost(inode) => write!(f, "sync {inode} fails"),
            Self::Rename(from, to) => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::Link(from, to) => write!(f, "link {} as {}", from.display(), to.display()),
            Self::Remove(path) => write!(f, "remove {}", path.display()),
            Self::MakeDirectory(path) => write!(f, "make directory {}", path.display()),
            Self::SyncDirectory(path) => write!(f, "sync directory /{}", path.display()),
        }
    }
}

impl Done {
    pub fn is_sync(&self) -> bool {
        matches!(self, Self::Sync(_) | Self::SyncDirectory(_))
    }
}

#[derive(Default)]
struct Notes {
    done: Vec<Done>,
    engine: Option<Arc<Engine>>,
    promise: Promise,
    fault: Option<Fault>,
    /// How often the fault was met.
    met: usize,
    /// How many operations of each kind there were.
    kinds: BTreeMap<Kind, usize>,
}

impl Notes {
    /// What the operation is answered with, where it is the fault's turn.
    fn meet(&mut self, operation: Operation<'_>, inode: Option<u64>) -> io::Result<()> {
        let kind = Kind::of(operation);
        let count = self.kinds.entry(kind).or_default();
        *count += 1;
        let Some(fault) = self.fault.filter(|fault| fault.kind == kind) else { return Ok(()) };
        if *count != fault.turn && !(fault.lasting && *count > fault.turn) {
            return Ok(());
        }
        self.met += 1;
        if let (Kind::Sync, Some(inode)) = (kind, inode) {
            self.done.push(Done::Lost(inode));
        }
        Err(io::Error::from_raw_os_error(fault.error))
    }

    /// Takes down what is published now and was not before. It was before the operation that comes next.
    fn look(&mut self) {
        let Some(engine) = &self.engine else { return };
        let keyring = engine.keyring();
        if self.promise.states.last().is_some_and(|state| state.generation == keyring.generation) {
            return;
        }
        let at = self.done.len();
        self.promise.values.extend(Value::seal_some(engine, at));
        self.promise.states.push(State::of(&keyring, at));
    }
}

/// Writes down what is done below a room's state directory.
pub struct Recorder {
    notes: Arc<Mutex<Notes>>,
    watch: Option<Watch>,
}

/// What was recorded.
pub struct Record {
    pub done: Vec<Done>,
    pub promise: Promise,
    pub met: usize,
    pub kinds: BTreeMap<Kind, usize>,
}

struct Pen(PathBuf, Arc<Mutex<Notes>>);

impl Watcher for Pen {
    fn before(&self, operation: Operation<'_>, inode: Option<u64>) -> io::Result<()> {
        let mut notes = self.1.lock().unwrap();
        notes.look();
        notes.meet(operation, inode)
    }

    fn done(&self, operation: Operation<'_>, inode: Option<u64>) {
        use Operation as O;
        let below = |path: &Path| path.strip_prefix(&self.0).unwrap().to_owned();
        let done = match operation {
            O::Read(_) => return,
            O::Create(path) => Done::Create(below(path), inode.unwrap()),
            O::Write(_, offset, bytes) => Done::Write(inode.unwrap(), offset, bytes.to_vec()),
            O::SetLength(_, length) => Done::SetLength(inode.unwrap(), length),
            O::Sync(_) => Done::Sync(inode.unwrap()),
            O::Rename(from, to) => Done::Rename(below(from), below(to)),
            O::Link(from, to) => Done::Link(below(from), below(to)),
            O::Remove(path) => Done::Remove(below(path)),
            O::MakeDirectory(path) => Done::MakeDirectory(below(path)),
            O::SyncDirectory(path) => Done::SyncDirectory(below(path)),
        };
        self.1.lock().unwrap().done.push(done);
    }
}

impl Recorder {
    /// Begins to record, with what was acknowledged before.
    pub fn begin(room: &Room, promise: Promise) -> Self {
        let notes = Arc::new(Mutex::new(Notes { promise, ..Notes::default() }));
        let root = room.state();
        let watch = watch(&root.clone(), Arc::new(Pen(root, Arc::clone(&notes))));
        Self { notes, watch: Some(watch) }
    }

    /// The same, with a fault on the way.
    pub fn with(self, fault: Option<Fault>) -> Self {
        self.notes.lock().unwrap().fault = fault;
        self
    }

    /// Whose publications count.
    pub fn follow(&self, engine: &Arc<Engine>) {
        let mut notes = self.notes.lock().unwrap();
        notes.engine = Some(Arc::clone(engine));
        notes.look();
    }

    /// Ends it, and the fault with it.
    pub fn end(mut self) -> Record {
        self.watch = None;
        let mut notes = self.notes.lock().unwrap();
        notes.look();
        let Notes { done, promise, met, kinds, .. } = std::mem::take(&mut *notes);
        Record { done, promise, met, kinds }
    }
}
