//! Where the daemon's files lie, and what lies there, judged before anything is read from it: file system, owners, modes.
//!
//! Must never read or write a byte of a file, nor refuse without the command that mends it.
//! Called by `keyd::place`, for every command that touches the store, and by `servos-keyctl doctor`.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::service::USER as SERVICE_USER;
use crate::config::file_system::network_file_system;
use crate::config::key_source_error::{chown_name, shell_quoted, user_name};
use crate::config::settings::Config;
use crate::operations::ledger::Places;
use crate::store::durable::directory_of;
use crate::store::port::StoreError;
use nix::unistd::{AccessFlags, Gid, Uid, User, getegid, geteuid, getgroups};
use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
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

/// What is wrong with a place.
#[derive(Debug)]
pub struct Fault {
    /// In words.
    pub what: String,
    /// The command that mends it, where there is one.
    pub mend: Option<String>,
}

impl Fault {
    fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: Some(mend.into()) }
    }

    fn without_mend(what: impl Into<String>) -> Self {
        Self { what: what.into(), mend: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.mend.iter().try_for_each(|mend| write!(f, ": {mend}"))
    }
}

/// The command that gives a file or a directory to the daemon's user. That user may put a link into its place before root runs
/// it: the owner is changed of what has the name itself, and the mode by that user, who can change only what is its own.
#[must_use]
pub fn hand_over(uid: u32, gid: Option<u32>, path: &Path, mode: &str) -> String {
    let (user, quoted) = (chown_name(uid), shell_quoted(path));
    let group = gid.map(|gid| format!(":{}", group_name(gid))).unwrap_or_default();
    let as_user = match uid {
        0 => String::new(),
        // runuser(1) knows names only.
        _ if user == uid.to_string() => {
            format!("setpriv --reuid {uid} --regid {} --clear-groups ", gid.unwrap_or(uid))
        }
        _ => format!("runuser -u {user} -- "),
    };
    format!("chown -h {user}{group} {quoted} && {as_user}chmod {mode} {quoted}")
}

/// A group as chown(1) and install(1) take them.
#[must_use]
pub fn group_name(gid: u32) -> String {
    let found = nix::unistd::Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    found.map_or_else(|| gid.to_string(), |group| group.name)
}

/// Where `owner` has a file of the daemon's that this process may not have: the user that it should run as, if it is not the
/// owner that is wrong. What is the service's is never given to whoever happened to start a daemon by hand.
fn right_user(owner: u32) -> Option<String> {
    let name_of = |uid| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    let has_service = || User::from_name(SERVICE_USER).is_ok_and(|user| user.is_some());
    let own = geteuid();
    if own.is_root() { None } else { right_user_of(name_of(own.as_raw()).as_deref(), owner, name_of, has_service) }
}

fn right_user_of(
    own: Option<&str>,
    owner: u32,
    name_of: impl Fn(u32) -> Option<String>,
    has_service: impl Fn() -> bool,
) -> Option<String> {
    match owner {
        _ if own == Some(SERVICE_USER) => None,
        0 => has_service().then(|| SERVICE_USER.to_owned()),
        // One that has no name is what another system's copy left.
        owner => name_of(owner),
    }
}

/// That `what`, which is `owner`'s, is closed to this process: who should run it, or else `hand_over`, which gives it away.
fn closed(what: &str, owner: u32, hand_over: impl FnOnce() -> Fault) -> Fault {
    let Some(right) = right_user(owner) else { return hand_over() };
    let start = match right.as_str() {
        SERVICE_USER => "systemctl start servos-keyd".to_owned(),
        right => format!("runuser -u {right} -- servos-keyd serve"),
    };
    let (own, owner) = (user_name(geteuid().as_raw()), user_name(owner));
    let said =
        format!("this runs as {own}, and {what} belongs to {owner}: {right} runs the daemon, and root its commands");
    Fault::new(said, start)
}

/// That the store's directory could not be opened.
#[must_use]
pub fn closed_directory(directory: &Path, error: &StoreError) -> Fault {
    let path = shell_quoted(directory);
    let owner = directory.metadata().map_or(0, |found| found.uid());
    closed(&format!("the store's directory {path}"), owner, || {
        Fault::new(error.to_string(), hand_over(geteuid().as_raw(), None, directory, "700"))
    })
}

/// What is wrong with the store's directory.
#[derive(Debug)]
pub enum DirectoryFault {
    /// A start refuses it.
    Refused(Fault),
    /// A start warns of it.
    Warned(Fault),
}

/// Whether others could put another store into this one's place.
pub fn directory_fault(directory: &Path) -> Option<DirectoryFault> {
    let found = directory.metadata().ok()?;
    let (mode, user) = (found.mode() & 0o7777, geteuid());
    if !user.is_root() && found.uid() != 0 && found.uid() != user.as_raw() {
        let (owner, daemon, path) = (user_name(found.uid()), chown_name(user.as_raw()), shell_quoted(directory));
        let what = format!("the store's directory {path}");
        return Some(DirectoryFault::Refused(closed(&what, found.uid(), || {
            let fault = format!("{what} belongs to {owner}, not to the daemon's user");
            Fault::new(fault, format!("chown -h {daemon} {path}"))
        })));
    }
    // The sticky bit keeps what is there from being renamed or removed by others.
    let (is_sticky, path) = (mode & 0o1000 != 0, shell_quoted(directory));
    if mode & 0o002 != 0 && !is_sticky {
        let what = format!("everyone can change the store's directory {path} (mode {mode:04o})");
        return Some(DirectoryFault::Refused(Fault::new(what, format!("chmod 700 {path}"))));
    }
    if mode & 0o020 != 0 && !is_sticky {
        let what = format!("the group can change the store's directory {path} (mode {mode:04o})");
        return Some(DirectoryFault::Warned(Fault::new(what, format!("chmod 700 {path}"))));
    }
    None
}

/// What is wrong with the files in the places.
pub struct Judged {
    /// What a start refuses.
    pub refused: Vec<Fault>,
    /// What it warns of.
    pub warnings: Vec<Fault>,
}

/// Judges what is in the places, and only tells. What is not there is not judged.
pub fn judge_files(places: &Places, purpose: Use) -> Judged {
    let mut judge = Judge { directory: directory_of(&places.store).metadata().ok(), ..Judge::default() };
    judge.file(&places.store, "the store", purpose);
    judge.file(&places.mark, "the mark", Use::Look);
    judge.names(&places.store);
    judge.place_of_mark(places);
    judge.backups(&places.backups);
    Judged { refused: judge.refused, warnings: judge.warnings }
}

#[derive(Default)]
struct Judge {
    /// The store's directory.
    directory: Option<Metadata>,
    refused: Vec<Fault>,
    warnings: Vec<Fault>,
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
            let (owner, daemon) = (user_name(found.uid()), chown_name(self.daemon()));
            self.refused.push(Fault::new(
                format!("{what} {quoted} belongs to {owner}, neither root nor the daemon's user"),
                format!("chown -h {daemon} {quoted}"),
            ));
        } else if mode & 0o002 != 0 {
            let fault = format!("everyone can change {what} {quoted} (mode {mode:04o})");
            self.refused.push(Fault::new(fault, format!("chmod 600 {quoted}")));
        } else if mode & 0o020 != 0 {
            let fault = format!("the group can change {what} {quoted} (mode {mode:04o})");
            let fault = Fault::new(fault, format!("chmod 600 {quoted}"));
            let is_no_matter = self.group_has_the_directory(found.gid());
            (if is_no_matter { &mut self.warnings } else { &mut self.refused }).push(fault);
        } else if mode & 0o044 != 0 {
            let fault = format!("others can read {what} {quoted} (mode {mode:04o}), with all names and times");
            self.warnings.push(Fault::new(fault, format!("chmod 600 {quoted}")));
        }
        self.opens(path, what, purpose);
    }

    fn opens(&mut self, path: &Path, what: &str, purpose: Use) {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let opened = OpenOptions::new().read(true).write(purpose == Use::Change).custom_flags(flags).open(path);
        let Err(error) = opened else { return };
        let (quoted, user) = (shell_quoted(path), geteuid().as_raw());
        match error.kind() {
            io::ErrorKind::PermissionDenied => self.refused.push(Fault::new(
                format!("{what} {quoted} cannot be opened by the daemon's user, {}", user_name(user)),
                hand_over(user, None, path, "600"),
            )),
            io::ErrorKind::ReadOnlyFilesystem => self.refused.push(Fault::without_mend(format!(
                "{what} {quoted} lies on a file system that is mounted read-only: mount it writable; if a fault made it \
                 read-only (`dmesg` tells), open what is there with `servos-keyd serve --salvage` and mend the disk first"
            ))),
            _ => {}
        }
    }

    /// Whom the daemon runs as: for root, the user who has the directory.
    fn daemon(&self) -> u32 {
        let own = geteuid();
        let of_directory = self.directory.as_ref().map(Metadata::uid);
        of_directory.filter(|_| own.is_root()).unwrap_or(own.as_raw())
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
            let fault = format!(
                "the store {quoted} has {} names (hard links): another one shows the same file, and keeps seals that are \
                 dropped here; find it and remove it",
                found.nlink()
            );
            self.warnings.push(Fault::new(fault, format!("find / -xdev -samefile {quoted}")));
        }
    }

    fn place_of_mark(&mut self, places: &Places) {
        let (directory, store) = (directory_of(&places.mark), directory_of(&places.store));
        if directory == store {
            return;
        }
        if let Some(kind) = network_file_system(directory) {
            let directory = directory.display();
            self.warnings.push(Fault::without_mend(format!(
                "the mark's directory {directory} is on {kind}, a network file system: a mark that comes back older after a \
                 fault there tells of less than there was"
            )));
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
                    let fault = format!("no backup can be written to {quoted}");
                    self.warnings.push(Fault::new(fault, format!("install -d -m 755 {parent}")));
                }
                return;
            }
            Err(error) => {
                self.warnings.push(Fault::without_mend(format!("no backup can be written to {quoted}: {error}")));
                return;
            }
        };
        let (mode, user) = (found.mode() & 0o7777, geteuid().as_raw());
        if !found.is_dir() {
            let fault = format!("no backup can be written to {quoted}: it is not a directory");
            self.warnings.push(Fault::without_mend(fault));
        } else if mode & 0o1002 == 0o002 {
            let fault = format!("everyone can change the backup directory {quoted} (mode {mode:04o})");
            self.refused.push(Fault::new(fault, format!("chmod 700 {quoted}")));
        } else if !is_usable(directory) {
            self.warnings.push(Fault::new(
                format!("no backup can be written to {quoted} by the daemon's user, {}", user_name(user)),
                hand_over(user, None, directory, "700"),
            ));
        } else if mode & 0o1020 == 0o020 {
            let fault = format!("the group can change the backup directory {quoted} (mode {mode:04o})");
            self.warnings.push(Fault::new(fault, format!("chmod 700 {quoted}")));
        }
    }
}

fn is_usable(directory: &Path) -> bool {
    let access = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    nix::unistd::faccessat(nix::fcntl::AT_FDCWD, directory, access, nix::fcntl::AtFlags::AT_EACCESS).is_ok()
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
