//! Opens a file that holds a master key, judges it by what was opened, and reads it into locked memory.
//!
//! Must never wait for a FIFO or device, nor read a file that others could have read or changed, unless told so.
//! Called by `config::key_source`.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{self, FsType};

use super::key_source_error::{KeySourceError, chown, chown_name, shell_quoted, user_name};
use crate::sys::locked::{LockedBuffer, LockedMemory};

/// The largest key file or env file, in bytes.
pub const LIMIT_BYTES: usize = 64 * 1024;

/// Source: linux/magic.h; nix names only one of the two.
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// Whom the daemon trusts with its files.
#[derive(Clone, Debug)]
pub struct Trust {
    /// systemd's directory of credentials for this unit.
    pub credentials_directory: Option<PathBuf>,
    /// `[master_key] allow_readable`.
    pub allow_readable: bool,
    /// The daemon's effective user.
    pub daemon_uid: u32,
    /// The daemon's effective group.
    pub daemon_gid: u32,
}

/// A file that was read, and what should be mended about it.
pub struct KeyFile {
    pub content: LockedBuffer,
    pub is_credential: bool,
    pub warnings: Vec<String>,
}

/// Reads the file at `path`, following symbolic links; `place` names it in errors and warnings.
///
/// # Errors
/// Those of [`KeySourceError`] that concern a file as a whole.
pub fn read(path: &Path, place: &str, trust: &Trust, memory: &LockedMemory) -> Result<KeyFile, KeySourceError> {
    let place = || place.to_owned();
    let mut file = open(path).map_err(|fault| open_fault(fault, path, place(), trust))?;
    let unreadable = |source| KeySourceError::Unreadable { place: place(), source };
    let metadata = file.metadata().map_err(unreadable)?;
    if let Some(kind) = not_a_file(&metadata) {
        return Err(KeySourceError::NotAFile { place: place(), kind });
    }
    let facts = Facts::of(&file, &metadata, trust).map_err(unreadable)?;
    let (refused, tolerated): (Vec<_>, Vec<_>) =
        judge(&facts, trust).into_iter().partition(|(_, excuse)| excuse.is_none());
    if !refused.is_empty() {
        let faults: Vec<String> = refused.iter().map(|(fault, _)| fault.with_mend(path, trust)).collect();
        return Err(KeySourceError::Exposed { place: place(), faults: faults.join("; ") });
    }
    let warnings = tolerated
        .iter()
        .filter_map(|(fault, excuse)| excuse.map(|excuse| (fault, excuse)))
        .map(|(fault, excuse)| format!("{}: {}; tolerated because {excuse}", place(), fault.with_mend(path, trust)))
        .collect();

    let too_large = || KeySourceError::TooLarge { place: place(), limit_bytes: LIMIT_BYTES };
    let length = usize::try_from(metadata.len()).ok().filter(|length| *length <= LIMIT_BYTES).ok_or_else(too_large)?;
    let mut content = memory.buffer(length).map_err(|source| KeySourceError::Memory { place: place(), source })?;
    if !content.read_from(&mut file).map_err(unreadable)? {
        return Err(unreadable_while_written(place()));
    }
    Ok(KeyFile { content, is_credential: facts.is_credential, warnings })
}

/// `O_NONBLOCK`: a FIFO without a writer opens at once. `O_NOCTTY`: a terminal does not become ours. std adds `O_CLOEXEC`.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

fn open_fault(fault: io::Error, path: &Path, place: String, trust: &Trust) -> KeySourceError {
    match fault.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => KeySourceError::Missing { place },
        Some(libc::EACCES | libc::EPERM) => KeySourceError::Denied {
            place,
            daemon_uid: trust.daemon_uid,
            mend: chown(&chown_name(trust.daemon_uid), path),
        },
        // What open(2) says of a socket, and of a device without a driver.
        Some(libc::ENXIO) => KeySourceError::NotAFile { place, kind: "a socket or a device" },
        _ => KeySourceError::Unreadable { place, source: fault },
    }
}

fn unreadable_while_written(place: String) -> KeySourceError {
    KeySourceError::Unreadable { place, source: io::Error::other("it grew while it was read") }
}

fn not_a_file(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_fifo() => Some("a FIFO"),
        _ if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

/// What the judgement rests on.
#[derive(Clone, Copy, Debug)]
struct Facts {
    owner: u32,
    group: u32,
    mode: u32,
    is_credential: bool,
    is_in_memory: bool,
}

impl Facts {
    fn of(file: &File, metadata: &Metadata, trust: &Trust) -> io::Result<Self> {
        let file_system = statfs::fstatfs(file)?.filesystem_type();
        Ok(Self {
            owner: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode() & 0o7777,
            is_credential: trust.credentials_directory.as_deref().is_some_and(|directory| lies_under(file, directory)),
            is_in_memory: is_in_memory(file_system),
        })
    }
}

/// Whether what lies on this kind of file system is gone when the machine stops.
#[must_use]
pub fn is_in_memory(file_system: FsType) -> bool {
    file_system == statfs::TMPFS_MAGIC || file_system == FsType(RAMFS_MAGIC)
}

/// By where the opened file is, not by how it was named: `..` and symbolic links lead elsewhere.
fn lies_under(file: &File, directory: &Path) -> bool {
    let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    match (opened, std::fs::canonicalize(directory)) {
        (Ok(opened), Ok(directory)) => opened.starts_with(directory),
        _ => false,
    }
}

/// Whether the file at `path` would be a credential, whether or not it is there.
pub fn is_credential(path: &Path, trust: &Trust) -> bool {
    let Some(directory) = trust.credentials_directory.as_deref().and_then(|d| d.canonicalize().ok()) else {
        return false;
    };
    let beside = || path.parent().map(Path::canonicalize).and_then(Result::ok);
    path.canonicalize().ok().or_else(beside).is_some_and(|resolved| resolved.starts_with(directory))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ForeignOwner(u32),
    Writable { owner: u32, mode: u32 },
    Readable { owner: u32, mode: u32 },
}

/// Why a fault is a warning only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    Credential,
    InMemory,
    OwnGroup,
    AllowReadable,
}

fn judge(facts: &Facts, trust: &Trust) -> Vec<(Fault, Option<Excuse>)> {
    let place = match (facts.is_credential, facts.is_in_memory) {
        (true, _) => Some(Excuse::Credential),
        (_, true) => Some(Excuse::InMemory),
        _ => None,
    };
    let allowed = place.or(trust.allow_readable.then_some(Excuse::AllowReadable));
    let (owner, mode) = (facts.owner, facts.mode);
    let mut faults = Vec::new();
    if owner != 0 && owner != trust.daemon_uid {
        faults.push((Fault::ForeignOwner(owner), allowed));
    }
    if mode & 0o022 != 0 {
        faults.push((Fault::Writable { owner, mode }, place));
    } else if mode & 0o044 != 0 && !is_acl_of_a_credential(facts) {
        let own_group = mode & 0o004 == 0 && facts.group == trust.daemon_gid;
        faults.push((Fault::Readable { owner, mode }, allowed.or(own_group.then_some(Excuse::OwnGroup))));
    }
    faults
}

/// systemd gives a credential to the unit's user by an access list, whose mask stands where the group's bits were.
fn is_acl_of_a_credential(facts: &Facts) -> bool {
    facts.is_credential && facts.owner == 0 && facts.group == 0 && facts.mode == 0o440
}

impl Fault {
    /// What is wrong, and the command after which it is not, and the daemon can still read the file.
    fn with_mend(self, path: &Path, trust: &Trust) -> String {
        let given = chown(&chown_name(trust.daemon_uid), path);
        let path = shell_quoted(path);
        let chmod = |owner: u32| match owner {
            // After `chmod 600` alone, root's file is closed to the daemon too; others than the daemon may rely on its owner.
            0 if trust.daemon_uid != 0 => format!(
                "chmod 600 {path}; so that {} can still read it, pass it with LoadCredential= (or, if nobody else needs \
                 it, {given})",
                user_name(trust.daemon_uid)
            ),
            _ => format!("chmod 600 {path}"),
        };
        match self {
            Self::ForeignOwner(owner) => {
                format!("it belongs to {}, neither root nor the daemon's user: {given}", user_name(owner))
            }
            Self::Writable { owner, mode } => format!("others can change it (mode {mode:04o}): {}", chmod(owner)),
            Self::Readable { owner, mode } => format!("others can read it (mode {mode:04o}): {}", chmod(owner)),
        }
    }
}

impl fmt::Display for Excuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credential => "it is a systemd credential",
            Self::InMemory => "it lies on a file system in memory",
            Self::OwnGroup => "only the daemon's own group can",
            Self::AllowReadable => "[master_key] allow_readable is set",
        })
    }
}

#[cfg(test)]
#[path = "key_file_tests.rs"]
pub(super) mod tests;
