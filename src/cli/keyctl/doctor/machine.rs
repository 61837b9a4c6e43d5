//! The machine that is looked at: its files below a root, its accounts, its mounts, its clock, what its kernel gives.
//!
//! Must never change anything, nor be asked for a path that a configuration names: those are as they are.
//! Made by `case`; tests plant one in a directory.

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, Group, User, geteuid, getgrouplist};
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::key;
use crate::config::file_system::network_file_system;
use crate::sys::locked::{LockedMemory, Protection};

/// A group of the machine's.
#[derive(Clone)]
pub(super) struct GroupEntry {
    pub(super) gid: u32,
    pub(super) members: Vec<String>,
}

/// A user of the machine's, with every group it is in.
#[derive(Clone)]
pub(super) struct UserEntry {
    pub(super) uid: u32,
    pub(super) gids: Vec<u32>,
}

/// What a place lies on.
#[derive(Clone, Default)]
pub(super) struct Mount {
    /// The network file system that it is on.
    pub(super) network: Option<String>,
    pub(super) is_overlay: bool,
    pub(super) is_read_only: bool,
    pub(super) free_bytes: u64,
}

type MountOf = Box<dyn Fn(&Path) -> Option<Mount>>;
type Lookup<T> = Box<dyn Fn(&str) -> Result<Option<T>, String>>;

/// Everything about the machine that makes a difference.
pub(super) struct Machine {
    root: PathBuf,
    /// Unix seconds.
    pub(super) now: i64,
    pub(super) euid: u32,
    /// The most memory that this process may lock; none if there is no limit.
    pub(super) memlock_bytes: Option<u64>,
    /// Whether the kernel gives memfd_secret, or why not.
    pub(super) memfd_secret: Result<(), String>,
    pub(super) group: Lookup<GroupEntry>,
    pub(super) user: Lookup<UserEntry>,
    pub(super) mount: MountOf,
}

impl Machine {
    /// The one that this runs on.
    pub(super) fn here(memory: &Result<LockedMemory, String>) -> Self {
        let memlock_bytes = getrlimit(Resource::RLIMIT_MEMLOCK).ok().map(|(soft, _)| soft);
        Self {
            root: PathBuf::from("/"),
            now: key::now(),
            euid: geteuid().as_raw(),
            memlock_bytes: memlock_bytes.filter(|soft| *soft != nix::sys::resource::RLIM_INFINITY),
            memfd_secret: match memory {
                Ok(memory) if memory.protection() == Protection::MemfdSecret => Ok(()),
                Ok(memory) => Err(memory.fallback_reason().unwrap_or("the kernel refuses it").to_owned()),
                Err(reason) => Err(reason.clone()),
            },
            group: Box::new(group),
            user: Box::new(user),
            mount: Box::new(mount),
        }
    }

    #[cfg(test)]
    pub(super) fn planted(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            now: 1_800_000_000,
            euid: geteuid().as_raw(),
            memlock_bytes: Some(8 << 20),
            memfd_secret: Ok(()),
            group: Box::new(|_| Ok(None)),
            user: Box::new(|_| Ok(None)),
            mount: Box::new(|_| Some(Mount { free_bytes: 1 << 40, ..Mount::default() })),
        }
    }

    /// A path of the system's, below the root.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file of the system's.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let bytes = std::fs::read(self.at(path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same, and nothing where it is not there or not to be had.
    pub(super) fn text(&self, path: &str) -> String {
        self.read(path).unwrap_or_default()
    }

    /// Whether something lies there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// Whether the kernel was booted with this parameter.
    pub(super) fn is_booted_with(&self, parameter: &str) -> bool {
        self.text("/proc/cmdline").split_ascii_whitespace().any(|word| word == parameter)
    }
}

fn group(name: &str) -> Result<Option<GroupEntry>, String> {
    let found = Group::from_name(name).map_err(|error| error.to_string())?;
    Ok(found.map(|group| GroupEntry { gid: group.gid.as_raw(), members: group.mem }))
}

fn user(name: &str) -> Result<Option<UserEntry>, String> {
    let Some(user) = User::from_name(name).map_err(|error| error.to_string())? else { return Ok(None) };
    let name = CString::new(name).map_err(|error| error.to_string())?;
    let gids = getgrouplist(&name, user.gid).map_err(|error| error.to_string())?;
    Ok(Some(UserEntry { uid: user.uid.as_raw(), gids: gids.into_iter().map(Gid::as_raw).collect() }))
}

fn mount(path: &Path) -> Option<Mount> {
    // One that is yet to be made will lie where what it is made in lies.
    let there = path.ancestors().find(|path| path.exists())?;
    let (kind, state) = (statfs(there).ok()?, statvfs(there).ok()?);
    let has_names = state.files() == 0 || state.files_available() > 0;
    Some(Mount {
        network: network_file_system(there),
        is_overlay: kind.filesystem_type() == OVERLAYFS_SUPER_MAGIC,
        is_read_only: state.flags().contains(FsFlags::ST_RDONLY),
        free_bytes: if has_names { state.blocks_available().saturating_mul(state.fragment_size()) } else { 0 },
    })
}
