//! Landlock: the files that the process can open from here on, by the directories they lie in.
//!
//! Must never give the right to execute, nor a right to a single file that a rename would take away again.
//! Called by `cli`, which knows the directories.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Enforcement;

/// What the process must still be able to open. What is not there is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Directories in which files are read, written, made, renamed and removed, at any depth.
    pub writable: Vec<PathBuf>,
    /// Directories in which files are removed, and nothing else.
    pub clearable: Vec<PathBuf>,
    /// Directories, or files that are never replaced, in which everything may be read.
    pub readable: Vec<PathBuf>,
    /// Whether abstract sockets of other processes are closed too.
    pub close_abstract_sockets: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Confined {
    /// How far it took.
    pub enforcement: Enforcement,
    /// The version of Landlock's interface that the kernel has; 0 if none is in force.
    pub abi: u32,
    /// Directories that should be writable and are not there: what is made in their place later stays closed.
    pub missing: Vec<PathBuf>,
    /// Kept open: a directory of /proc that nobody holds is another one when it is looked up again, without its right.
    _held: Vec<File>,
}

/// The last version of the interface whose every right was tried with the daemon: later ones refuse what it may need.
const FILES: ABI = ABI::V5;

/// A filter of a container's answers as an older kernel does: which of them it was, nobody can tell from within.
pub(super) const UNANSWERED: &str = "the kernel has no Landlock, or a filter of system calls refuses it";

/// Closes every file, but those in reach, to this thread and those it will start, for good; no file can be executed, no
/// TCP port be bound or connected to, and no signal be sent to a process outside.
///
/// A kernel that knows less closes what it can.
#[must_use]
pub fn confine(reach: &Reach) -> Confined {
    let (mut missing, mut held) = (Vec::new(), Vec::new());
    match try_confine(reach, &mut missing, &mut held) {
        Ok((enforcement, abi)) => Confined { enforcement, abi, missing, _held: held },
        Err(refused) => {
            Confined { enforcement: Enforcement::Refused(refused.to_string()), abi: 0, missing, _held: Vec::new() }
        }
    }
}

fn try_confine(
    reach: &Reach,
    missing: &mut Vec<PathBuf>,
    held: &mut Vec<File>,
) -> Result<(Enforcement, u32), RulesetError> {
    let scopes = match reach.close_abstract_sockets {
        true => Scope::AbstractUnixSocket | Scope::Signal,
        false => Scope::Signal.into(),
    };
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(FILES))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(scopes)?
        .create()?;
    for path in &reach.writable {
        match open(path) {
            Ok(opened) => rules = allow(rules, &opened, written())?,
            Err(_) => missing.push(path.clone()),
        }
    }
    for path in &reach.clearable {
        let Ok(opened) = open(path) else { continue };
        rules = allow(rules, &opened, AccessFs::RemoveFile.into())?;
    }
    for path in &reach.readable {
        let Ok(opened) = open(path) else { continue };
        let is_directory = opened.metadata().is_ok_and(|found| found.is_dir());
        let read = if is_directory { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
        rules = allow(rules, &opened, read)?;
        if path.starts_with("/proc") {
            held.push(opened);
        }
    }
    Ok(enforced(rules.restrict_self()?))
}

/// How much of the rules the kernel keeps, and by which version of the interface.
fn enforced(status: RestrictionStatus) -> (Enforcement, u32) {
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.and_then(|abi| u32::try_from(abi).ok()).unwrap_or(effective_abi as u32)
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    let enforcement = match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Enforcement::Whole,
        (RulesetStatus::PartiallyEnforced, _) => Enforcement::Partial(unknown_to(abi)),
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Enforcement::Refused(
            "the kernel was booted without Landlock: add it to lsm= on its command line".to_owned(),
        ),
        (RulesetStatus::NotEnforced, _) => Enforcement::Refused(UNANSWERED.to_owned()),
    };
    (enforcement, abi)
}

/// What a store, its mark and its backups need: their files are made, written, renamed and removed where they are.
fn written() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
}

/// A handle on a place: opens nothing, so it asks for no right but to get there.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)
}

fn allow(rules: RulesetCreated, place: &File, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    rules.add_rule(PathBeneath::new(place, access))
}

/// What stays open under an older version of the interface. Source: the kernel's userspace-api/landlock.
pub(super) fn unknown_to(abi: u32) -> String {
    let since = [
        (3, "truncating files"),
        (4, "TCP (which the other half of the sandbox closes)"),
        (5, "control of devices"),
        (6, "signals to other processes"),
        (6, "abstract sockets of other processes"),
    ];
    let open: Vec<&str> = since.into_iter().filter(|(version, _)| *version > abi).map(|(_, what)| what).collect();
    format!("this kernel's Landlock (version {abi}) leaves open: {}", open.join(", "))
}
