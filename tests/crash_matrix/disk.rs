//! A disk as a power cut leaves it: what was synced, and any part of what was not.
//!
//! Must never keep more than POSIX promises: a file's sync is not its name's, and a rename lasts with its directory's sync.
//! Used by the matrix, on what a recorder wrote down.

use super::random::Seeded;
use super::record::Done;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The files and directories below a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    pub directories: BTreeSet<PathBuf>,
    pub files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
}

impl Image {
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    Nothing,
    Everything,
    /// A part that the number chooses.
    Some(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLength(u64),
}

#[derive(Clone, Debug, Default)]
struct Node {
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Naming {
    Set(PathBuf, usize),
    Clear(PathBuf),
    Move(PathBuf, PathBuf, usize),
    Directory(PathBuf),
}

impl Naming {
    fn directory(&self) -> &Path {
        let (Self::Set(path, _) | Self::Clear(path) | Self::Move(_, path, _) | Self::Directory(path)) = self;
        path.parent().unwrap_or(Path::new(""))
    }
}

/// The names, as a directory on the disk has them.
#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, naming: &Naming) {
        match naming {
            Naming::Set(path, node) => drop(self.files.insert(path.clone(), *node)),
            Naming::Clear(path) => drop(self.files.remove(path)),
            Naming::Move(from, to, node) => {
                self.files.remove(from);
                self.files.insert(to.clone(), *node);
            }
            Naming::Directory(path) => drop(self.directories.insert(path.clone())),
        }
    }
}

/// A disk under way.
#[derive(Debug, Default)]
pub struct Disk {
    nodes: Vec<Node>,
    by_inode: HashMap<u64, usize>,
    /// As the processes see it.
    live: Names,
    durable: Names,
    pending: Vec<Naming>,
    /// What the disk got of a file whose sync failed. The kernel takes it all for written, and never tries again.
    failing: Option<Survives>,
}

impl Disk {
    /// A disk that holds this image, all of it durable. `inodes` names the files' inodes.
    pub fn of(image: &Image, inodes: &BTreeMap<PathBuf, u64>) -> Self {
        let mut disk = Self::default();
        disk.live.directories = image.directories.clone();
        for (path, bytes) in &image.files {
            let node = disk.nodes.len();
            disk.nodes.push(Node { durable: Arc::clone(bytes), pending: Vec::new() });
            disk.by_inode.insert(inodes[path], node);
            disk.live.files.insert(path.clone(), node);
        }
        disk.durable = disk.live.clone();
        disk
    }

    /// The same, with what the disk gets where a sync fails.
    pub fn failing(self, survives: Survives) -> Self {
        Self { failing: Some(survives), ..self }
    }

    /// The next operation.
    pub fn apply(&mut self, done: &Done) {
        let naming = match done {
            Done::Write(inode, offset, bytes) => {
                let node = self.by_inode[inode];
                return self.nodes[node].pending.push(Change::Write(*offset, bytes.clone()));
            }
            Done::SetLength(inode, length) => {
                let node = self.by_inode[inode];
                return self.nodes[node].pending.push(Change::SetLength(*length));
            }
            Done::Sync(inode) => {
                let node = &mut self.nodes[self.by_inode[inode]];
                let durable = Arc::make_mut(&mut node.durable);
                std::mem::take(&mut node.pending).iter().for_each(|change| make(durable, change));
                return;
            }
            Done::Lost(inode) => {
                let node = self.by_inode[inode];
                let got = self.content(node, &mut Chance::of(self.failing.unwrap_or(Survives::Nothing)));
                self.nodes[node] = Node { durable: got, pending: Vec::new() };
                return;
            }
            Done::SyncDirectory(path) => {
                let (now, later) = std::mem::take(&mut self.pending).into_iter().partition(|n| n.directory() == path);
                self.pending = later;
                let now: Vec<Naming> = now;
                return now.iter().for_each(|naming| self.durable.apply(naming));
            }
            Done::Create(path, inode) => {
                self.by_inode.insert(*inode, self.nodes.len());
                self.nodes.push(Node::default());
                Naming::Set(path.clone(), self.nodes.len() - 1)
            }
            Done::Rename(from, to) => Naming::Move(from.clone(), to.clone(), self.live.files[from]),
            Done::Link(from, to) => Naming::Set(to.clone(), self.live.files[from]),
            Done::Remove(path) => Naming::Clear(path.clone()),
            Done::MakeDirectory(path) => Naming::Directory(path.clone()),
        };
        self.live.apply(&naming);
        self.pending.push(naming);
    }

    /// Whether anything waits for a sync.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.nodes.iter().all(|node| node.pending.is_empty())
    }

    /// What is there when the power comes back.
    pub fn cut(&self, survives: Survives) -> Image {
        let mut chance = Chance::of(survives);
        let mut names = self.durable.clone();
        self.pending.iter().filter(|_| chance.name()).for_each(|naming| names.apply(naming));
        let mut image = Image { directories: names.directories, files: BTreeMap::new() };
        for (path, node) in names.files {
            // What lies in a directory that is not there is not there.
            if path.parent().is_none_or(|parent| parent == Path::new("") || image.directories.contains(parent)) {
                image.files.insert(path, self.content(node, &mut chance));
            }
        }
        image
    }

    fn content(&self, node: usize, chance: &mut Chance) -> Arc<Vec<u8>> {
        let node = &self.nodes[node];
        if node.pending.is_empty() || chance.survives == Survives::Nothing {
            return Arc::clone(&node.durable);
        }
        let mut bytes = (*node.durable).clone();
        for change in &node.pending {
            match change {
                Change::SetLength(_) if chance.sector() => make(&mut bytes, change),
                Change::SetLength(_) => {}
                Change::Write(_, _) if chance.survives == Survives::Everything => make(&mut bytes, change),
                Change::Write(offset, data) => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if chance.sector() {
                            let offset = offset + u64::try_from(n * SECTOR).unwrap();
                            write(&mut bytes, offset, sector);
                        }
                    }
                }
            }
        }
        Arc::new(bytes)
    }
}

fn make(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => write(bytes, *offset, data),
        Change::SetLength(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    bytes.resize(bytes.len().max(start + data.len()), 0);
    bytes[start..start + data.len()].copy_from_slice(data);
}

/// Decides for each thing that was not synced.
struct Chance {
    survives: Survives,
    numbers: Seeded,
    /// In 100 names, and in 100 sectors.
    names: u64,
    sectors: u64,
}

impl Chance {
    fn of(survives: Survives) -> Self {
        let Survives::Some(seed) = survives else {
            return Self { survives, numbers: Seeded::new(0), names: 0, sectors: 0 };
        };
        let mut numbers = Seeded::new(seed);
        let of = [3, 25, 50, 75, 97];
        let (names, sectors) = ([0, 50, 50, 100][numbers.below(4)], of[numbers.below(5)]);
        Self { survives, numbers, names, sectors }
    }

    fn name(&mut self) -> bool {
        let percent = self.names;
        self.decide(percent)
    }

    fn sector(&mut self) -> bool {
        let percent = self.sectors;
        self.decide(percent)
    }

    fn decide(&mut self, percent: u64) -> bool {
        match self.survives {
            Survives::Nothing => false,
            Survives::Everything => true,
            Survives::Some(_) => self.numbers.percent(percent),
        }
    }
}
