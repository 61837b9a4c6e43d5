//! What a peer's process is called, as far as this machine tells the tool.
//!
//! Must never name a process that is another user's than the peer was: its number may have been used again.
//! Called by `traffic` for each peer that is shown.

use crate::cli::keyctl::output::plain;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// The name of a process, which it can choose itself; none where it cannot be told.
pub(super) fn name(pid: i32, uid: u32) -> Option<String> {
    let directory = PathBuf::from("/proc").join(u32::try_from(pid).ok().filter(|pid| *pid != 0)?.to_string());
    let owner = fs::metadata(&directory).ok()?.uid();
    let name = fs::read(directory.join("comm")).ok()?;
    // What is not dumpable belongs to root there, whoever runs it.
    let name = String::from_utf8_lossy(&name);
    (owner == uid || owner == 0).then(|| plain(name.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_for_its_own_user_and_none_for_another() {
        let own = i32::try_from(std::process::id()).unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        assert!(name(own, uid).is_some_and(|name| !name.is_empty() && !name.contains('\n')));
        assert_eq!(name(own, uid + 1).is_some(), uid == 0, "root's number may stand for any user");
        assert_eq!((name(0, uid), name(-1, uid), name(i32::MAX, uid)), (None, None, None));
    }
}
