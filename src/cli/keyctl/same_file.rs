//! A file replaced by one that differs in its bytes alone.
//!
//! Must never give a file's name to bytes that were not judged, nor leave a second copy of them behind.
//! Called by `rotate_run`, for the files that hold the master key.

use super::durable_file::write_synced;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::store::durable::directory_of;
use crate::store::fault;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use xattr::FileExt as _;

/// What came of [`replace_same`].
#[derive(Debug)]
pub(super) enum Replaced {
    /// The file holds the bytes, durably.
    Done,
    /// Nothing was changed: the file system, or what is mounted there, does not let it be replaced.
    NotFromHere(io::Error),
}

/// Replaces a file by one that differs in its bytes alone: owner, group, mode and extended attributes (lists of access
/// among them) are those of `file`, the open file, as it was when `before` was taken. `is_good` judges the new file before
/// it takes the name.
///
/// # Errors
/// 75 if the file was changed meanwhile, what `is_good` says, and what keeps a file from being made like it.
pub(super) fn replace_same(
    path: &Path,
    bytes: &[u8],
    file: &File,
    before: &Metadata,
    is_good: &dyn Fn(&Path) -> Result<(), Failure>,
) -> Result<Replaced, Failure> {
    let temporary = successor_of(path);
    // Of one that was killed before it could take the name.
    clear_successor(path).map_err(|error| Failure::writing(&temporary, &error))?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let made = match made {
        Err(error) if is_closed_place(&error) => return Ok(Replaced::NotFromHere(error)),
        made => made.map_err(|error| Failure::writing(path, &error))?,
    };
    let replaced = write_synced(&made, bytes, &|made| make_same(made, file, before))
        .map_err(|error| Failure::writing(path, &error))
        .and_then(|()| is_good(&temporary))
        .inspect(|()| fault::point("key-file-written"))
        .and_then(|()| take_place(&temporary, path, before));
    if !matches!(replaced, Ok(Replaced::Done)) {
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// Takes away what a [`replace_same`] that was killed left beside a file.
///
/// # Errors
/// What keeps it from being removed.
pub(super) fn clear_successor(path: &Path) -> io::Result<()> {
    match fs::remove_file(successor_of(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn successor_of(path: &Path) -> PathBuf {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(".rotating");
    directory_of(path).join(hidden)
}

fn make_same(made: &File, file: &File, before: &Metadata) -> io::Result<()> {
    let new = made.metadata()?;
    if (new.uid(), new.gid()) != (before.uid(), before.gid()) {
        fchown(made, Some(before.uid()), Some(before.gid()))?;
    }
    made.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    // A file system without them says so, and has none to keep.
    let names = match file.list_xattr() {
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
        names => names?,
    };
    // Those of the kernel's integrity measurements say what the bytes are, and these are others.
    let of_bytes = |name: &OsString| matches!(name.to_str(), Some("security.ima" | "security.evm"));
    for name in names.filter(|name| !of_bytes(name)) {
        // One that nobody has set, but the system answers with, need not be set.
        let Some(value) = file.get_xattr(&name)? else { continue };
        if made.get_xattr(&name)?.as_ref() != Some(&value) {
            made.set_xattr(&name, &value)?;
        }
    }
    Ok(())
}

fn take_place(temporary: &Path, path: &Path, before: &Metadata) -> Result<Replaced, Failure> {
    let now = fs::symlink_metadata(path).map_err(|error| Failure::reading(path, &error))?;
    let state =
        |of: &Metadata| (of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
    if state(&now) != state(before) {
        let text = format!("{} was changed by somebody else meanwhile; it was left as it is now", path.display());
        return Err(Failure::say(exit::TRY_AGAIN, text));
    }
    match fs::rename(temporary, path) {
        Err(error) if is_closed_place(&error) => Ok(Replaced::NotFromHere(error)),
        renamed => {
            let synced = renamed.and_then(|()| File::open(directory_of(path))?.sync_all());
            synced.map(|()| Replaced::Done).map_err(|error| Failure::writing(path, &error))
        }
    }
}

/// Whether a place is closed to everyone, however often it is tried.
fn is_closed_place(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EROFS | libc::EBUSY | libc::EPERM))
}
