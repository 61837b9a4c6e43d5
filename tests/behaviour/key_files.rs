//! What lies around the key: the modes and owners of its file, and the environment of the process.
//!
//! Must never count as run where the system does not let it. Run by `cargo test`.

use crate::harness::{Installation, KeyFile, eventually, hex, is_root, not_run};
use std::os::unix::fs::{PermissionsExt, chown};

/// A key file where modes count: on a file system that is not in memory.
fn key_on_disk(installation: &mut Installation) -> Option<tempfile::TempDir> {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if statfs(directory.path()).unwrap().filesystem_type() == TMPFS_MAGIC {
        not_run("modes of key files are only judged outside of tmpfs, and everything here is on it");
        return None;
    }
    let path = directory.path().join("master.key");
    std::fs::write(&path, hex(&installation.key)).unwrap();
    installation.key_file = KeyFile::At(path);
    Some(directory)
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let mut installation = Installation::made();
    let Some(directory) = key_on_disk(&mut installation) else { return };
    let path = directory.path().join("master.key");
    let mend = format!("chmod 600 {}", path.display());
    for (mode, allow, code) in [
        (0o600, false, 0),
        (0o400, false, 0),
        (0o644, false, 77),
        (0o604, false, 77),
        (0o644, true, 0),
        (0o622, true, 77),
        (0o666, false, 77),
    ] {
        installation.allow_readable = allow;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        if code == 0 {
            let stopped = installation.serve().stop().expect(0);
            assert_eq!(stopped.said().contains(&mend), mode == 0o644, "mode {mode:o}: {stopped:#?}");
        } else {
            let before = installation.files();
            installation.serve_refused().expect(code).saying(&[&mend, &format!("{mode:o}")]);
            assert_eq!(installation.files(), before, "mode {mode:o}");
        }
    }
}

#[test]
fn a_key_file_of_another_user_is_refused() {
    let mut installation = Installation::made();
    let Some(directory) = key_on_disk(&mut installation) else { return };
    let path = directory.path().join("master.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    if !is_root() {
        return not_run("only root can give a file away");
    }
    chown(&path, Some(4711), None).unwrap();
    installation.serve_refused().expect(77).saying(&["user 4711", "chown -h root "]);
}

#[test]
fn the_environment_of_the_running_daemon_no_longer_shows_the_key() {
    let mut installation = Installation::made();
    let text = hex(&installation.key);
    installation.key_file = KeyFile::None;
    let run = installation.command("serve", &[]).variable("SERVOS_MASTER_KEY", &text);
    let daemon = installation.serve_with(&run);
    let shown = |id: u32| std::fs::read(format!("/proc/{id}/environ"));
    let holds = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    // A process that does not wipe it shows it there: the search finds what is to be found.
    let mut control = std::process::Command::new("/bin/sh");
    let mut control = control.args(["-c", "read line"]).env("SERVOS_MASTER_KEY", &text);
    control = control.stdin(std::process::Stdio::piped());
    let mut control = control.spawn().unwrap();
    eventually("the control shows its environment", || {
        shown(control.id()).is_ok_and(|bytes| holds(&bytes, text.as_bytes()))
    });
    drop(control.stdin.take());
    control.wait().unwrap();
    match shown(daemon.id()) {
        Ok(bytes) => {
            assert!(holds(&bytes, b"NOTIFY_SOCKET="), "the environment is not to be seen at all");
            assert!(!holds(&bytes, text.as_bytes()));
            assert!(!holds(&bytes, &text.as_bytes()[..8]));
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            not_run("only root can look into the environment of a process that is not dumpable");
        }
    }
}
