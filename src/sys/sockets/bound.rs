//! Binding a Unix socket at a path: its directory judged, a stale one cleared away, the mode final from the start.
//!
//! Must never touch a file that is no socket, a socket that somebody serves, or one that belongs to somebody else.
//! Called by `cli` at the start, where the service manager handed over no socket, and at the stop; and by `doctor`.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, lchown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
        stat::{Mode, umask},
    },
    unistd::{Group, Uid, User},
};

/// What fits a Unix socket's address, without the zero at its end.
const LONGEST_PATH_BYTES: usize = 107;
/// The mode of a socket's directory that did not exist.
const DIRECTORY_MODE: u32 = 0o750;

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketMode {
    /// 0600
    Owner,
    /// 0660
    OwnerAndGroup,
}

impl SocketMode {
    fn bits(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::OwnerAndGroup => 0o660,
        }
    }
}

/// Why no socket could be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path does not fit an address.
    #[error(
        "the socket's path {} is {} bytes long; {LONGEST_PATH_BYTES} is the most that a Unix socket can have",
        path.display(), path.as_os_str().len()
    )]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The directory would let others put a socket of theirs in the place of this one.
    #[error("the socket's directory {} {danger}; run: {remedy}", directory.display())]
    PathNotSafe {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        danger: String,
        /// The command that mends it.
        remedy: String,
    },
    /// Something else than a socket is there; it was not touched.
    #[error("{} is {found}, not a socket; it was not touched", path.display())]
    Occupied {
        /// The socket's path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A socket of another user is there; it was not touched.
    #[error("the socket {} belongs to uid {owner}; it was not touched", path.display())]
    NotOurs {
        /// The socket's path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another process serves this socket.
    #[error("another process answers on {}", path.display())]
    AlreadyServed {
        /// The socket's path.
        path: PathBuf,
    },
    /// The socket came out with another mode: the directory has a default access list, say.
    #[error("the socket {} came out with mode {mode:04o} and was removed; look at: getfacl {}", path.display(), directory.display())]
    ModeNotKept {
        /// The socket's path.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
        /// The mode it came out with.
        mode: u32,
    },
    /// The system refused a step.
    #[error("{step} {} failed", path.display())]
    Refused {
        /// What was tried.
        step: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A listening socket, and its file.
#[derive(Debug)]
pub struct BoundSocket {
    /// The socket, non-blocking.
    pub listener: UnixListener,
    /// Its file.
    pub file: SocketFile,
}

/// The file of a socket bound here; dropping it removes the file, if it is still the one that was bound.
///
/// To be dropped before the listener: while that is open, no other file can have the same inode number.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = |found: fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(same) {
            // A socket that stays is stale, and cleared away at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a listening socket at `path`, which has its final mode from the moment it exists.
///
/// A missing directory is made, one level, with mode 0750 and the group given; so bind the components' socket first.
/// A socket that nobody answers on is replaced, if it is ours or we are root. Changes the process's umask for a moment:
/// to be called with a single thread. `group` needs to be one that this process may give files to.
///
/// # Errors
/// [`BindError`], by cause.
pub fn bind(path: &Path, mode: SocketMode, group: Option<u32>) -> Result<BoundSocket, BindError> {
    if path.as_os_str().len() > LONGEST_PATH_BYTES {
        return Err(BindError::PathTooLong { path: path.to_owned() });
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let own = Uid::effective();
    make_directory(directory, group)?;
    judge_directory(directory, own)?;
    clear_stale(path, own)?;
    let listener = {
        let _masked = Masked::to_allow(mode.bits());
        UnixListener::bind(path).map_err(|source| match source.kind() {
            // Somebody was quicker than we, after the path was found free.
            io::ErrorKind::AddrInUse => BindError::AlreadyServed { path: path.to_owned() },
            _ => refused("binding", path)(source),
        })?
    };
    let found = fs::symlink_metadata(path).map_err(refused("looking at", path))?;
    let file = SocketFile { path: path.to_owned(), device: found.dev(), inode: found.ino() };
    if found.mode() & 0o7777 != mode.bits() {
        let (path, directory) = (path.to_owned(), directory.to_owned());
        return Err(BindError::ModeNotKept { path, directory, mode: found.mode() & 0o7777 });
    }
    if let Some(group) = group {
        lchown(path, None, Some(group)).map_err(ungiven(path, directory, group))?;
    }
    listener.set_nonblocking(true).map_err(refused("setting up", path))?;
    Ok(BoundSocket { listener, file })
}

/// Only who is in a group gives files to it, root aside. Source: chown(2).
fn ungiven<'p>(path: &'p Path, directory: &'p Path, group: u32) -> impl FnOnce(io::Error) -> BindError + 'p {
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            let named = |name: Option<String>, number: u32| name.unwrap_or_else(|| number.to_string());
            let group = named(Group::from_gid(group.into()).ok().flatten().map(|found| found.name), group);
            let own = Uid::effective();
            let user = named(User::from_uid(own).ok().flatten().map(|found| found.name), own.as_raw());
            BindError::PathNotSafe {
                directory: directory.to_owned(),
                danger: format!("or the socket in it cannot be given to the group {group}: {user} is not in it"),
                remedy: format!("usermod -aG {group} {user}"),
            }
        }
        _ => refused("giving to its group", path)(source),
    }
}

fn make_directory(directory: &Path, group: Option<u32>) -> Result<(), BindError> {
    let made = {
        let _masked = Masked::to_allow(DIRECTORY_MODE);
        fs::DirBuilder::new().mode(DIRECTORY_MODE).create(directory)
    };
    match made {
        Ok(()) => match group {
            Some(group) => lchown(directory, None, Some(group)).map_err(|refused| {
                // Left there, the next start would take it as it is.
                let _ = fs::remove_dir(directory);
                ungiven(directory, directory, group)(refused)
            }),
            None => Ok(()),
        },
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(there) if there.kind() == io::ErrorKind::PermissionDenied => Err(BindError::PathNotSafe {
            directory: directory.to_owned(),
            danger: "is not there, and cannot be made by this user".to_owned(),
            remedy: format!("install -d -m {DIRECTORY_MODE:o} -o {} {}", Uid::effective(), directory.display()),
        }),
        Err(source) => Err(refused("making the directory", directory)(source)),
    }
}

/// Refuses a directory in which others than root and `own`, the daemon's user, could replace the socket by their own.
///
/// # Errors
/// [`BindError::PathNotSafe`] with the command that mends it, [`BindError::Refused`].
pub fn judge_directory(directory: &Path, own: Uid) -> Result<(), BindError> {
    let found = fs::metadata(directory).map_err(refused("looking at", directory))?;
    let unsafe_for = |danger: String, command: &str| BindError::PathNotSafe {
        directory: directory.to_owned(),
        danger,
        remedy: format!("{command} {}", quoted(directory)),
    };
    if !found.is_dir() {
        return Err(refused("entering", directory)(Errno::ENOTDIR.into()));
    }
    if found.uid() != 0 && found.uid() != own.as_raw() {
        let danger = format!("belongs to uid {}, who could replace the socket", found.uid());
        return Err(unsafe_for(danger, &format!("chown {own}")));
    }
    let sticky = found.mode() & 0o1000 != 0;
    if found.mode() & 0o022 != 0 && !sticky {
        let danger = format!("has mode {:04o}: others could replace the socket", found.mode() & 0o7777);
        return Err(unsafe_for(danger, "chmod go-w"));
    }
    Ok(())
}

/// Removes a socket that nobody answers on; refuses whatever else is at the path.
fn clear_stale(path: &Path, own: Uid) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(refused("looking at", path))?,
    };
    let occupied = |found| Err(BindError::Occupied { path: path.to_owned(), found });
    let kind = found.file_type();
    if !kind.is_socket() {
        return occupied(if kind.is_symlink() {
            "a symbolic link"
        } else if kind.is_dir() {
            "a directory"
        } else if kind.is_file() {
            "a file"
        } else {
            "a device or a pipe"
        });
    }
    match answer(path).map_err(|errno| refused("asking whether anybody serves", path)(errno.into()))? {
        Answer::Served => return Err(BindError::AlreadyServed { path: path.to_owned() }),
        Answer::OtherKind => return occupied("a socket of another kind"),
        Answer::Refused => {}
        Answer::Gone => return Ok(()),
    }
    if !own.is_root() && found.uid() != own.as_raw() {
        return Err(BindError::NotOurs { path: path.to_owned(), owner: found.uid() });
    }
    let now = fs::symlink_metadata(path).map_err(refused("looking at", path))?;
    if (now.dev(), now.ino()) != (found.dev(), found.ino()) {
        return Err(BindError::AlreadyServed { path: path.to_owned() });
    }
    fs::remove_file(path).map_err(refused("removing the stale socket", path))
}

enum Answer {
    Served,
    OtherKind,
    Refused,
    Gone,
}

/// Knocks without waiting: a server whose queue is full is a server.
fn answer(path: &Path) -> Result<Answer, Errno> {
    let knocking =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    match connect(std::os::fd::AsRawFd::as_raw_fd(&knocking), &UnixAddr::new(path.as_os_str().as_bytes())?) {
        // What may not be knocked at belongs to somebody, and may be served.
        Ok(()) | Err(Errno::EAGAIN | Errno::EACCES | Errno::EPERM) => Ok(Answer::Served),
        Err(Errno::EPROTOTYPE) => Ok(Answer::OtherKind),
        Err(Errno::ECONNREFUSED) => Ok(Answer::Refused),
        Err(Errno::ENOENT) => Ok(Answer::Gone),
        Err(other) => Err(other),
    }
}

/// The process's umask, replaced until this is dropped.
struct Masked {
    before: Mode,
}

impl Masked {
    fn to_allow(mode: u32) -> Self {
        Self { before: umask(Mode::from_bits_truncate(!mode & 0o777)) }
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        umask(self.before);
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

fn refused(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Refused { step, path, source }
}

#[cfg(test)]
mod tests;
