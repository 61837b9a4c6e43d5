//! Where the daemon's files lie, made ready and locked: one process at a time.
//!
//! Must never make a directory that others can write to.
//! Called by every command that touches the store.

use super::output;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::misplaced;
use crate::cli::places::{
    self, DirectoryFault, Fault, Judged, Use, check_file_system, closed_directory, directory_fault, judge_files,
};
use crate::config::key_source_error::shell_quoted;
use crate::config::settings::Config;
use crate::operations::ledger::Places;
use crate::operations::start_failure::StartFailure;
use crate::store::directory_lock::DirectoryLock;
use crate::store::durable::{self, directory_of};
use crate::store::port::StoreError;
use crate::telemetry::events;
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Directories of the whole system's: what lies in one of them itself lies beside everybody's.
const SHARED: [&str; 21] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/dev/shm",
    "/etc",
    "/home",
    "/lib",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/run",
    "/var/tmp",
];

/// Whether a directory is the whole system's.
pub fn is_shared(directory: &Path) -> bool {
    SHARED.iter().any(|shared| directory == Path::new(shared))
}

/// The places that a configuration names, where no store elsewhere tells that it names the wrong one; `file` is that
/// configuration's, if it is not the machine's own.
///
/// # Errors
/// 77 where the store's directory is another's, 66 with the line to correct: what is made or brought back at the wrong place is a second store of one installation.
pub fn settled(config: &Config, file: Option<&Path>) -> Result<Places, Failure> {
    // Of whom it is comes first: what is closed to this user looks as if it were not there.
    if let Some(DirectoryFault::Refused(fault)) = directory_fault(directory_of(&config.store.path)) {
        return Err(Failure::say(exit::NOT_PERMITTED, fault.to_string()));
    }
    match misplaced::find(config, file) {
        None => Ok(places::places(config)),
        Some(misplaced) => Err(misplaced.failure().into()),
    }
}

/// Locks the store's directory, and judges what lies in the places.
///
/// # Errors
/// 66 if there is no directory, 75 if another process has it, 77 if others can change it or what is in it, 78 if it is on
/// a network file system.
pub fn lock(places: &Places) -> Result<DirectoryLock, Failure> {
    lock_for(places, Use::Change)
}

/// The same for a command that does what `purpose` says.
///
/// # Errors
/// As [`lock`].
pub fn lock_for(places: &Places, purpose: Use) -> Result<DirectoryLock, Failure> {
    let directory = directory_of(&places.store);
    check_directory(directory)?;
    check_file_system(directory)?;
    let lock = acquire(places, directory)?;
    check_files(places, purpose)?;
    Ok(lock)
}

fn acquire(places: &Places, directory: &Path) -> Result<DirectoryLock, Failure> {
    DirectoryLock::acquire(directory).map_err(|error| match error {
        StoreError::Missing { .. } => StartFailure::NoStore { store: places.store.clone() }.into(),
        error @ StoreError::InUse { .. } => Failure::say(
            exit::of_store(&error),
            format!(
                "{error}: a servos-keyd that serves, or a command on its store. Stop it first: `systemctl stop \
                 'servos-keyd*'`, its sockets too, or Ctrl-C where it runs"
            ),
        ),
        error @ StoreError::NotPermitted { .. } => {
            Failure::say(exit::of_store(&error), closed_directory(directory, &error).to_string())
        }
        error => error.into(),
    })
}

/// Locks the store's directory beside others that only read.
///
/// # Errors
/// 66 if there is no directory, 75 while a daemon, or a command that writes, has it, 77 if others can change it or what is
/// in it, 78 if it is on a network file system: a start would refuse these too.
pub fn lock_beside_readers(places: &Places) -> Result<DirectoryLock, Failure> {
    let directory = directory_of(&places.store);
    check_directory(directory)?;
    check_file_system(directory)?;
    let lock = DirectoryLock::shared(directory).map_err(|error| match error {
        StoreError::Missing { .. } => StartFailure::NoStore { store: places.store.clone() }.into(),
        error @ StoreError::InUse { .. } => Failure::say(
            exit::of_store(&error),
            format!(
                "{error}: a running servos-keyd checks its store by itself, and `servos-keyctl status` tells what it \
                 found; for a check from outside, stop it first"
            ),
        ),
        error => error.into(),
    })?;
    check_files(places, Use::Look)?;
    Ok(lock)
}

/// Refuses a directory in which others could put another store into this one's place.
fn check_directory(directory: &Path) -> Result<(), Failure> {
    match directory_fault(directory) {
        None => {}
        Some(DirectoryFault::Refused(fault)) => return Err(Failure::say(exit::NOT_PERMITTED, fault.to_string())),
        Some(DirectoryFault::Warned(fault)) if output::has_log() => {
            tracing::warn!(event = events::STORE_DIRECTORY_WRITABLE, "{fault}");
        }
        Some(DirectoryFault::Warned(fault)) => output::remark(&format!("warning: {fault}")),
    }
    Ok(())
}

/// Judges what is in the places of store, mark and backups; what is not there is not judged.
///
/// # Errors
/// 77 with the commands that mend it.
fn check_files(places: &Places, purpose: Use) -> Result<(), Failure> {
    let Judged { refused, warnings } = judge_files(places, purpose);
    warnings.iter().for_each(warn);
    if refused.is_empty() {
        return Ok(());
    }
    let faults: Vec<String> = refused.iter().map(ToString::to_string).collect();
    Err(Failure::say(exit::NOT_PERMITTED, faults.join("; ")))
}

fn warn(warning: &Fault) {
    if output::has_log() {
        tracing::warn!(event = events::STORE_PLACE_WARNING, "{warning}");
    } else {
        output::remark(&format!("warning: {warning}"));
    }
}

/// Whether the store's directory is there.
pub fn has_directory(places: &Places) -> bool {
    directory_of(&places.store).is_dir()
}

/// Sees that the first backup will have a place, before anything is written.
///
/// # Errors
/// 73 with the command that makes what is missing.
pub fn check_backup_directory(places: &Places) -> Result<(), Failure> {
    let (backups, parent) = (&places.backups, directory_of(&places.backups));
    let problem = match backups.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "it is not a directory".to_owned(),
        Err(_) if parent.is_dir() => return Ok(()),
        // Not 0700: the daemon's user goes through it to its backups, which are closed themselves.
        Err(_) => format!("{} is missing: install -d -m 755 {}", parent.display(), shell_quoted(parent)),
    };
    Err(Failure::say(exit::CANNOT_CREATE, format!("no backup can be written to {}: {problem}", backups.display())))
}

/// Makes the store's directory, one level, mode 0700, if it is missing.
///
/// # Errors
/// 73 or 77 with what the system says, 78 on a network file system.
pub fn make_directory(places: &Places) -> Result<(), Failure> {
    let directory = directory_of(&places.store);
    check_file_system(directory)?;
    durable::make_directory(directory).map_err(|error| Failure::new(exit::CANNOT_CREATE, &error))
}

/// Makes the directory of backups, one level, mode 0700, if it is missing: the sandbox would close one that is made later,
/// unless it lies below the store's. Where it cannot be made, the first backup says why. The directory it lies in is
/// synced in any case: behind the sandbox nobody can.
pub fn make_backup_directory(places: &Places) {
    if !backups_lie_with_the_store(places) {
        let _ = durable::make_directory(&places.backups);
    }
}

/// Whether the directory of backups is made in the store's, so that it is open with that, whenever it is made. Names alone
/// do not tell: they can lead elsewhere.
pub fn backups_lie_with_the_store(places: &Places) -> bool {
    let [parent, own] = [&places.backups, &places.store].map(|path| directory_of(path).canonicalize().ok());
    own.zip(parent).is_some_and(|(own, parent)| parent.starts_with(own)) && !places.backups.is_symlink()
}

/// Whether the directory of backups is to be made, or holds nothing but what a creation left that broke off: then it is
/// for this daemon alone.
pub fn backups_are_new(places: &Places) -> bool {
    let is_backup = |name: &str| name.starts_with("keyd-") && name.trim_end_matches(".tmp").ends_with(".skb1");
    match std::fs::read_dir(&places.backups) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|e| e.file_name().to_str().is_some_and(is_backup))),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Gives what root made to the owner of the state directory, who will run the daemon: store and mark, and the directory
/// of backups with what is in it, if `backups_were_new`. One that had other things in it stays whose it is.
///
/// # Errors
/// 77 with the path that could not be given.
pub fn give_to_owner(places: &Places, backups_were_new: bool) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let directory = directory_of(&places.store);
    let mut made = vec![places.store.clone(), places.mark.clone()];
    if backups_were_new {
        made.extend(crate::store::backup_file::list(&places.backups).unwrap_or_default());
        made.push(places.backups.clone());
    }
    for path in made.iter().filter(|path| path.symlink_metadata().is_ok()) {
        give(path, directory).map_err(|error| Failure::new(exit::NOT_PERMITTED, &StoreError::from_io(path, error)))?;
    }
    Ok(())
}

/// Gives what is opened, not what has the name by then: the daemon's user can write where it lies, and could put a link
/// to a file of root's there.
fn give(path: &Path, directory: &Path) -> std::io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let (found, owner) = (opened.metadata()?, directory.metadata()?);
    let linked = found.is_file() && found.nlink() != 1;
    if found.uid() != 0 || owner.uid() == 0 || linked {
        return Ok(());
    }
    std::os::unix::fs::fchown(&opened, Some(owner.uid()), Some(owner.gid()))
}
