//! A file that is there whole or not at all, readable by its owner only.
//!
//! Must never leave half a file under the name that was asked for, nor replace one unasked.
//! Called by the commands that write keys, secrets, ciphertexts and keyrings.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::key_source_error::shell_quoted;
use crate::store::durable::directory_of;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{geteuid, linkat};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Whether a file that exists may be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Replace {
    /// Never: the command has no `--force`.
    Never,
    /// Not asked for.
    Unasked,
    /// It was asked for.
    Asked,
}

impl Replace {
    /// From `--force`.
    pub(super) fn from_force(force: bool) -> Self {
        if force { Self::Asked } else { Self::Unasked }
    }
}

/// Refuses early what [`write`] would refuse: before a person is asked or the daemon does work in vain.
pub(super) fn check_absent(path: &Path, replace: Replace) -> Result<(), Failure> {
    if replace != Replace::Asked && fs::symlink_metadata(path).is_ok() {
        return Err(exists(path, replace));
    }
    // A device or pipe that is replaced by a file is gone for everyone, and it was meant to be written to.
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let failure = Failure::say(exit::CANNOT_CREATE, format!("{} is no regular file", path.display()));
        return Err(failure.with_hint("choose another name: only a file is replaced"));
    }
    Ok(())
}

/// Writes a file of mode 0600: into a temporary one beside it, synced, then under its name, then the directory synced.
pub(super) fn write(path: &Path, bytes: &[u8], replace: Replace) -> Result<(), Failure> {
    if replace == Replace::Asked {
        check_absent(path, replace)?;
    }
    write_with(path, bytes, replace, &|_| Ok(()))
}

/// Writes a file as [`write`] does, which everyone may read: for what is sealed, and opens through the daemon only.
pub(super) fn write_for_all(path: &Path, bytes: &[u8], replace: Replace) -> Result<(), Failure> {
    write_with(path, bytes, replace, &|file| file.set_permissions(Permissions::from_mode(0o644)))
}

/// Writes a new file as [`write`] does, for those who may read `model`: root gives it to the owner and the group of that
/// file, and lets the group read it if it may read that one.
pub(super) fn write_like(path: &Path, bytes: &[u8], model: &Metadata) -> Result<(), Failure> {
    write_with(path, bytes, Replace::Never, &|file| {
        // Others than root keep what they make; that is where it is theirs to read.
        if !geteuid().is_root() {
            return Ok(());
        }
        let made = file.metadata()?;
        // Some file systems know one owner only, and refuse to be told even that one.
        if (made.uid(), made.gid()) != (model.uid(), model.gid()) {
            fchown(file, Some(model.uid()), Some(model.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(0o600 | (model.mode() & 0o040)))
    })
}

/// Makes the regular file that a name leads to survive a power cut, whoever wrote it.
///
/// # Errors
/// What is no regular file is not waited for; and what keeps one from being synced.
pub(super) fn settle(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if tests::DISK_FAILS.get() {
        return Err(io::Error::from_raw_os_error(libc::EIO));
    }
    let target = fs::canonicalize(path)?;
    // To open a device may do something.
    check_regular(&fs::metadata(&target)?)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(&target)?;
    check_regular(&file.metadata()?)?;
    file.sync_all()?;
    // A link and what it leads to are entries of a directory each.
    File::open(directory_of(&target))?.sync_all()?;
    File::open(directory_of(path))?.sync_all()
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")) }
}

/// What to do about a file in the way that may hold something.
pub(super) fn how_to_move_away(path: &Path) -> String {
    let quoted = shell_quoted(path);
    format!("move it away: `mv {quoted} {quoted}.unknown`")
}

/// Takes a file away durably.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    File::open(directory_of(path))?.sync_all()
}

pub(super) type Prepare<'p> = &'p dyn Fn(&File) -> io::Result<()>;

/// `prepare` has the file while it has no name that anybody knows, and nothing in it.
fn write_with(path: &Path, bytes: &[u8], replace: Replace, prepare: Prepare<'_>) -> Result<(), Failure> {
    let directory = directory_of(path);
    let Some(name) = path.file_name() else {
        return Err(Failure::say(exit::CANNOT_CREATE, format!("{} is no name for a file", path.display())));
    };
    // A name can be given to a file without one, but not taken from another file for it.
    let unnamed = match replace {
        Replace::Asked => Err(ErrorKind::Unsupported.into()),
        Replace::Never | Replace::Unasked => write_unnamed(path, bytes, prepare),
    };
    let written = match unnamed {
        // Not every file system has files without a name, nor every process a /proc.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            write_named(&temporary_beside(directory, name), path, bytes, replace, prepare)
        }
        written => written,
    };
    match written.and_then(|()| File::open(directory)?.sync_all()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(path, replace)),
        Err(error) => Err(Failure::writing(path, &error)),
    }
}

fn temporary_beside(directory: &Path, name: &std::ffi::OsStr) -> PathBuf {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", Uuid::new_v4()));
    directory.join(hidden)
}

/// Gives the file its name when it is whole: a process that ends before leaves nothing behind.
fn write_unnamed(path: &Path, bytes: &[u8], prepare: Prepare<'_>) -> io::Result<()> {
    let directory = directory_of(path);
    let file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory)?;
    write_synced(&file, bytes, prepare)?;
    let unnamed = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(linkat(AT_FDCWD, &unnamed, AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)?)
}

/// Writes the file under another name first, which stays behind if the process is killed meanwhile.
fn write_named(temporary: &Path, path: &Path, bytes: &[u8], replace: Replace, prepare: Prepare<'_>) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let written = write_synced(&file, bytes, prepare).and_then(|()| put_in_place(temporary, path, replace));
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written
}

pub(super) fn write_synced(mut file: &File, bytes: &[u8], prepare: Prepare<'_>) -> io::Result<()> {
    prepare(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn put_in_place(temporary: &Path, path: &Path, replace: Replace) -> io::Result<()> {
    if replace == Replace::Asked {
        return fs::rename(temporary, path);
    }
    match fs::hard_link(temporary, path) {
        Ok(()) => fs::remove_file(temporary),
        // File systems without hard links, as on USB sticks: claim the name with an empty file, then replace that.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            fs::rename(temporary, path)
        }
        Err(error) => Err(error),
    }
}

fn exists(path: &Path, replace: Replace) -> Failure {
    let failure = Failure::say(exit::CANNOT_CREATE, format!("{} exists already", path.display()));
    failure.with_hint(match replace {
        Replace::Never => "choose another name",
        Replace::Unasked | Replace::Asked => "choose another name, or add --force to replace it",
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sys::apart;

    thread_local! {
        /// Has every settling on this thread fail.
        pub(in crate::cli::keyctl) static DISK_FAILS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    #[test]
    fn a_new_file_is_whole_and_its_owners_alone_with_nothing_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("export");
        write(&path, b"bytes", Replace::Never).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_like_another_belongs_to_those_who_may_read_that_one() {
        let dir = tempfile::tempdir().unwrap();
        let (model, path) = (dir.path().join("key"), dir.path().join("key.next"));
        let is_root = geteuid().is_root();
        if !is_root {
            apart::not_run("the mode of a file like another's: only root gives files away");
        }
        for (mode, expected) in [(0o600, 0o600), (0o640, 0o640), (0o400, 0o600), (0o666, 0o640)] {
            let _ = fs::remove_file(&model);
            fs::write(&model, b"key").unwrap();
            if is_root {
                std::os::unix::fs::chown(&model, Some(12_345), Some(54_321)).unwrap();
            }
            fs::set_permissions(&model, Permissions::from_mode(mode)).unwrap();
            let model = model.metadata().unwrap();
            write_like(&path, b"next", &model).unwrap();
            let made = path.metadata().unwrap();
            assert_eq!(made.mode() & 0o7777, if is_root { expected } else { 0o600 }, "like {mode:04o}");
            assert_eq!((made.uid(), made.gid()), (model.uid(), model.gid()));
            assert_eq!(write_like(&path, b"other", &model).unwrap_err().exit, exit::CANNOT_CREATE);
            assert_eq!(fs::read(&path).unwrap(), b"next");
            remove(&path).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");
        assert!(settle(&model).is_ok() && settle(&path).is_err());
    }

    #[test]
    fn while_a_new_file_is_written_nothing_can_be_left_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, seen) = (dir.path().join("key.next"), std::cell::RefCell::new(Vec::new()));
        let look = |_: &File| {
            seen.borrow_mut().push(fs::read_dir(dir.path())?.count());
            Ok(())
        };
        let has_unnamed = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(dir.path()).is_ok();
        write_with(&path, b"key", Replace::Never, &look).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(dir.path()).unwrap().count()), (b"key".to_vec(), 1));
        assert_eq!(*seen.borrow(), [usize::from(!has_unnamed)], "a name before the file is whole");
        assert_eq!(write_with(&path, b"other", Replace::Never, &look).unwrap_err().exit, exit::CANNOT_CREATE);
        assert_eq!(fs::read(&path).unwrap(), b"key");
    }

    #[test]
    fn where_every_file_has_a_name_a_new_one_is_whole_too() {
        let dir = tempfile::tempdir().unwrap();
        let (path, temporary) = (dir.path().join("key.next"), dir.path().join(".key.next.1"));
        let write = |bytes| write_named(&temporary, &path, bytes, Replace::Never, &|_| Ok(()));
        write(b"key").unwrap();
        assert_eq!(write(b"other").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(dir.path()).unwrap().count()), (b"key".to_vec(), 1));
    }

    #[test]
    fn only_a_regular_file_is_settled_and_a_link_leads_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, other) = (dir.path().join("fifo"), dir.path().join("other"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(&other).unwrap();
        for path in [fifo.as_path(), dir.path(), Path::new("/dev/null")] {
            assert_eq!(settle(path).unwrap_err().kind(), ErrorKind::InvalidInput, "{}", path.display());
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(other.join("key"), &link).unwrap();
        assert_eq!(settle(&link).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(other.join("key"), b"key").unwrap();
        settle(&link).unwrap();
    }

    #[test]
    fn what_exists_is_kept_unless_replacing_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("export");
        fs::write(&path, b"old").unwrap();
        assert_eq!(check_absent(&path, Replace::Never).unwrap_err().exit, exit::CANNOT_CREATE);
        assert_eq!(write(&path, b"new", Replace::Never).unwrap_err().exit, exit::CANNOT_CREATE);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file was left");
        write(&path, b"new", Replace::Asked).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_file_is_not_replaced_though_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, link) = (dir.path().join("fifo"), dir.path().join("link"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for path in [&fifo, &link] {
            let before = fs::symlink_metadata(path).unwrap().ino();
            assert_eq!(check_absent(path, Replace::Asked).unwrap_err().exit, exit::CANNOT_CREATE);
            assert_eq!(write(path, b"new", Replace::Asked).unwrap_err().exit, exit::CANNOT_CREATE);
            assert_eq!(fs::symlink_metadata(path).unwrap().ino(), before);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a temporary file was left");
        assert!(check_absent(Path::new("/dev/null"), Replace::Asked).is_err());
    }

    #[test]
    fn force_is_advised_only_where_the_command_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let hint = |replace| check_absent(dir.path(), replace).unwrap_err().hint.unwrap();
        assert!(hint(Replace::from_force(false)).contains("--force"));
        assert!(!hint(Replace::Never).contains("--force"));
    }

    #[test]
    fn a_dangling_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("target"), &path).unwrap();
        assert_eq!(write(&path, b"x", Replace::Never).unwrap_err().exit, exit::CANNOT_CREATE);
        assert!(!dir.path().join("target").exists());
    }

    #[test]
    fn a_missing_directory_and_a_missing_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none").join("export");
        assert_eq!(write(&missing, b"x", Replace::Never).unwrap_err().exit, exit::CANNOT_CREATE);
        assert_eq!(write(Path::new("/"), b"x", Replace::Asked).unwrap_err().exit, exit::CANNOT_CREATE);
    }
}
