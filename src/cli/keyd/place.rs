//! Where the daemon's files lie, made ready and locked: one process at a time.
//!
//! Must never make a directory that others can write to.
//! Called by every command that touches the store.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::settings::Config;
use crate::operations::ledger::Places;
use crate::operations::start_failure::StartFailure;
use crate::store::directory_lock::DirectoryLock;
use crate::store::durable::directory_of;
use crate::store::port::StoreError;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// The places that a configuration names.
pub fn places(config: &Config) -> Places {
    Places {
        store: config.store.path.clone(),
        mark: config.store.mark.clone(),
        backups: config.backup.dir.clone(),
        keep: usize::try_from(config.backup.keep).unwrap_or(usize::MAX),
        keep_for: config.backup.keep_for.as_secs(),
    }
}

/// Locks the store's directory.
///
/// # Errors
/// 66 if there is no directory, 75 if another process has it.
pub fn lock(places: &Places) -> Result<DirectoryLock, Failure> {
    let directory = directory_of(&places.store);
    DirectoryLock::acquire(directory).map_err(|error| match error {
        StoreError::Missing { .. } => StartFailure::NoStore { store: places.store.clone() }.into(),
        error => error.into(),
    })
}

/// Makes the store's directory, one level, mode 0700, if it is missing.
///
/// # Errors
/// 73 or 77 with what the system says.
pub fn make_directory(places: &Places) -> Result<(), Failure> {
    let directory = directory_of(&places.store);
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let error = StoreError::from_io(directory, error);
            Err(Failure::new(exit::CANNOT_CREATE, &error))
        }
        _ => Ok(()),
    }
}

/// Gives what root made to the owner of the state directory, who will run the daemon.
///
/// # Errors
/// 77 with the path that could not be given.
pub fn give_to_owner(places: &Places) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let directory = directory_of(&places.store);
    let give = |path: &Path| {
        let owner = directory.metadata()?;
        std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
    };
    let mut made = vec![places.store.clone(), places.mark.clone(), places.backups.clone()];
    made.extend(crate::store::backup_file::list(&places.backups).unwrap_or_default());
    for path in made.iter().filter(|path| path.symlink_metadata().is_ok()) {
        give(path).map_err(|error| Failure::new(exit::NOT_PERMITTED, &StoreError::from_io(path, error)))?;
    }
    Ok(())
}
