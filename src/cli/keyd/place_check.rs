//! What lies in the places of the daemon's files, judged before anything is read from it: file system, owners, modes.
//!
//! Must never read or write a byte of a file, nor refuse without the command that mends it.
//! Called by `place`, for every command that touches the store, and by `servos-keyctl doctor`.

use super::output;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::file_system::network_file_system;
use crate::config::key_source_error::{chown_name, shell_quoted, user_name};
use crate::operations::ledger::Places;
use crate::store::durable::directory_of;
use crate::telemetry::events;
use nix::unistd::{AccessFlags, Gid, getegid, geteuid, getgroups};
use std::fs::{Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// What a command does with the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It may change it.
    Change,
    /// It only looks: salvage, and a check.
    Look,
}

/// Refuses a directory for the store where neither locks nor syncs hold.
///
/// # Errors
/// 78 with the setting to change.
pub fn check_file_system(directory: &Path) -> Result<(), Failure> {
    // One that is yet to be made will lie where what it is made in lies.
    let there = directory.ancestors().find(|directory| directory.is_dir()).unwrap_or(directory);
    refuse_network(directory, network_file_system(there).as_deref())
}

/// Refuses a directory for the store on this kind of network file system, if it is one.
///
/// # Errors
/// 78 with the setting to change.
pub fn refuse_network(directory: &Path, kind: Option<&str>) -> Result<(), Failure> {
    let Some(kind) = kind else { return Ok(()) };
    let directory = directory.display();
    Err(Failure::say(
        exit::CONFIG,
        format!(
            "the store's directory {directory} is on {kind}, a network file system, where neither locks nor syncs are sure \
             to hold: name a place on a local disk with `path` and `mark` in [store], and move a store that is there already \
             to it, with its mark; backups may stay on a network file system"
        ),
    ))
}

/// Judges what is in the places of store, mark and backups; what is not there is not judged.
///
/// # Errors
/// 77 with the commands that mend it.
pub fn check_files(places: &Places, purpose: Use) -> Result<(), Failure> {
    let Judged { refused, warnings } = judge_files(places, purpose);
    warnings.iter().for_each(|warning| warn(warning));
    if refused.is_empty() { Ok(()) } else { Err(Failure::say(exit::NOT_PERMITTED, refused.join("; "))) }
}

/// What is wrong with the files in the places, each a sentence with the command that mends it.
pub struct Judged {
    /// What a start refuses.
    pub refused: Vec<String>,
    /// What it warns of.
    pub warnings: Vec<String>,
}

/// Judges what is in the places, as [`check_files`] does, and only tells.
pub fn judge_files(places: &Places, purpose: Use) -> Judged {
    let mut judge = Judge { directory: directory_of(&places.store).metadata().ok(), ..Judge::default() };
    judge.file(&places.store, "the store", purpose);
    judge.file(&places.mark, "the mark", Use::Look);
    judge.names(&places.store);
    judge.place_of_mark(places);
    judge.backups(&places.backups);
    Judged { refused: judge.refused, warnings: judge.warnings }
}

fn warn(warning: &str) {
    if output::has_log() {
        tracing::warn!(event = events::STORE_PLACE_WARNING, "{warning}");
    } else {
        output::remark(&format!("warning: {warning}"));
    }
}

#[derive(Default)]
struct Judge {
    /// The store's directory.
    directory: Option<Metadata>,
    refused: Vec<String>,
    warnings: Vec<String>,
}

impl Judge {
    /// A file of the daemon's own. What is no file at all its reader names.
    fn file(&mut self, path: &Path, what: &str, purpose: Use) {
        let Ok(found) = path.symlink_metadata() else { return };
        if !found.is_file() {
            return;
        }
        let (quoted, mode) = (shell_quoted(path), found.mode() & 0o7777);
        if !self.is_trusted_owner(found.uid()) {
            let (owner, daemon) = (user_name(found.uid()), chown_name(geteuid().as_raw()));
            self.refused.push(format!(
                "{what} {quoted} belongs to {owner}, neither root nor the daemon's user: chown {daemon} {quoted}"
            ));
        } else if mode & 0o002 != 0 {
            self.refused.push(format!("everyone can change {what} {quoted} (mode {mode:04o}): chmod 600 {quoted}"));
        } else if mode & 0o020 != 0 {
            let fault = format!("the group can change {what} {quoted} (mode {mode:04o}): chmod 600 {quoted}");
            let is_no_matter = self.group_has_the_directory(found.gid());
            (if is_no_matter { &mut self.warnings } else { &mut self.refused }).push(fault);
        } else if mode & 0o044 != 0 {
            self.warnings.push(format!(
                "others can read {what} {quoted} (mode {mode:04o}), with all names and times: chmod 600 {quoted}"
            ));
        }
        self.opens(path, what, purpose);
    }

    fn opens(&mut self, path: &Path, what: &str, purpose: Use) {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let opened = OpenOptions::new().read(true).write(purpose == Use::Change).custom_flags(flags).open(path);
        let Err(error) = opened else { return };
        let (quoted, user) = (shell_quoted(path), geteuid().as_raw());
        match error.kind() {
            io::ErrorKind::PermissionDenied => self.refused.push(format!(
                "{what} {quoted} cannot be opened by the daemon's user, {}: chown {} {quoted} && chmod 600 {quoted}",
                user_name(user),
                chown_name(user)
            )),
            io::ErrorKind::ReadOnlyFilesystem => self.refused.push(format!(
                "{what} {quoted} lies on a file system that is mounted read-only: mount it writable; if a fault made it \
                 read-only (`dmesg` tells), open what is there with `servos-keyd serve --salvage` and mend the disk first"
            )),
            _ => {}
        }
    }

    /// Root, the daemon's user, and for root the user who has the directory, and for whom the daemon runs.
    fn is_trusted_owner(&self, owner: u32) -> bool {
        let of_directory = self.directory.as_ref().map(Metadata::uid);
        owner == 0 || owner == geteuid().as_raw() || (geteuid().is_root() && of_directory == Some(owner))
    }

    /// Whether one of the daemon's own groups can change the directory too, as in a Kubernetes volume with `fsGroup`: then
    /// the file's mode protects nothing more.
    fn group_has_the_directory(&self, group: u32) -> bool {
        let ours =
            || getegid() == Gid::from_raw(group) || getgroups().is_ok_and(|all| all.contains(&Gid::from_raw(group)));
        self.directory.as_ref().is_some_and(|found| found.gid() == group && found.mode() & 0o1020 == 0o020) && ours()
    }

    /// A second name of the store's file: a rewrite leaves the old file, and the seals in it, under that name. One step of
    /// a creation has two where the file system cannot rename as it should.
    fn names(&mut self, store: &Path) {
        let Ok(found) = store.symlink_metadata() else { return };
        let unfinished = crate::store::redb_adapter::unfinished(store).symlink_metadata();
        let is_unfinished = unfinished.is_ok_and(|new| (new.dev(), new.ino()) == (found.dev(), found.ino()));
        if found.is_file() && found.nlink() > 1 && !is_unfinished {
            let quoted = shell_quoted(store);
            self.warnings.push(format!(
                "the store {quoted} has {} names (hard links): another one shows the same file, and keeps seals that are \
                 dropped here; find it and remove it: find / -xdev -samefile {quoted}",
                found.nlink()
            ));
        }
    }

    fn place_of_mark(&mut self, places: &Places) {
        let (directory, store) = (directory_of(&places.mark), directory_of(&places.store));
        if directory == store {
            return;
        }
        if let Some(kind) = network_file_system(directory) {
            let directory = directory.display();
            self.warnings.push(format!(
                "the mark's directory {directory} is on {kind}, a network file system: a mark that comes back older after a \
                 fault there tells of less than there was"
            ));
        }
    }

    /// The directory of backups. What is sealed in it only its loss can hurt.
    fn backups(&mut self, directory: &Path) {
        let quoted = shell_quoted(directory);
        let found = match directory.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = directory_of(directory);
                // It is made with the first backup, if only it is missing.
                if !parent.is_dir() {
                    let parent = shell_quoted(parent);
                    self.warnings.push(format!("no backup can be written to {quoted}: install -d -m 755 {parent}"));
                }
                return;
            }
            Err(error) => {
                self.warnings.push(format!("no backup can be written to {quoted}: {error}"));
                return;
            }
        };
        let (mode, user) = (found.mode() & 0o7777, geteuid().as_raw());
        if !found.is_dir() {
            self.warnings.push(format!("no backup can be written to {quoted}: it is not a directory"));
        } else if mode & 0o1002 == 0o002 {
            self.refused.push(format!(
                "everyone can change the backup directory {quoted} (mode {mode:04o}): chmod 700 {quoted}"
            ));
        } else if !is_usable(directory) {
            self.warnings.push(format!(
                "no backup can be written to {quoted} by the daemon's user, {}: chown {} {quoted} && chmod 700 {quoted}",
                user_name(user),
                chown_name(user)
            ));
        } else if mode & 0o1020 == 0o020 {
            self.warnings.push(format!(
                "the group can change the backup directory {quoted} (mode {mode:04o}): chmod 700 {quoted}"
            ));
        }
    }
}

fn is_usable(directory: &Path) -> bool {
    let access = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    nix::unistd::faccessat(nix::fcntl::AT_FDCWD, directory, access, nix::fcntl::AtFlags::AT_EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_file_system_is_a_matter_of_configuration_and_is_named_with_the_setting() {
        let refused = refuse_network(Path::new("/mnt/state"), Some("nfs")).unwrap_err();
        assert_eq!(refused.exit, exit::CONFIG);
        for word in ["/mnt/state is on nfs", "[store]", "`path`", "backups may stay"] {
            assert!(refused.message.contains(word), "{}", refused.message);
        }
        refuse_network(Path::new("/mnt/state"), None).unwrap();
    }

    #[test]
    fn a_directory_that_is_yet_to_be_made_is_judged_by_where_it_will_lie() {
        let place = tempfile::tempdir().unwrap();
        check_file_system(&place.path().join("not/yet/there")).unwrap();
        check_file_system(Path::new("relative/and/missing")).unwrap();
    }
}
