//! Binding at a path, with everything that can be there already.
//!
//! Must never change the umask of the process that runs the other tests: each test runs apart.
//! Called by `cargo test`.

use std::os::unix::{
    fs::PermissionsExt,
    net::{UnixDatagram, UnixStream},
};

use nix::unistd::Gid;
use tempfile::TempDir;

use super::*;
use crate::sys::apart::{in_a_fork_of_its_own, not_run};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyd.sock");
    (directory, path)
}

fn bound(path: &Path) -> Result<BoundSocket, BindError> {
    bind(path, SocketMode::OwnerAndGroup, None)
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A socket's file without a socket.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[test]
fn the_mode_is_final_under_every_umask_and_the_umask_stays() {
    in_a_fork_of_its_own(module_path!(), "the_mode_is_final_under_every_umask_and_the_umask_stays", || {
        for mask in [0o000, 0o022, 0o077, 0o777] {
            for (mode, bits) in [(SocketMode::Owner, 0o600), (SocketMode::OwnerAndGroup, 0o660)] {
                umask(Mode::from_bits_truncate(0o022));
                let (_directory, path) = place();
                umask(Mode::from_bits_truncate(mask));
                let socket = bind(&path, mode, None).unwrap();
                assert_eq!(mode_of(&path), bits);
                assert_eq!(umask(Mode::empty()).bits(), mask);
                let _client = UnixStream::connect(&path).unwrap();
                socket.listener.accept().unwrap();
                let empty = socket.listener.accept().unwrap_err();
                assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
            }
        }
    });
}

#[test]
fn a_missing_directory_is_made_one_level_deep() {
    in_a_fork_of_its_own(module_path!(), "a_missing_directory_is_made_one_level_deep", || {
        umask(Mode::from_bits_truncate(0o077));
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("run/keyd.sock");
        let _socket = bound(&path).unwrap();
        assert_eq!(mode_of(path.parent().unwrap()), 0o750);
        let deeper = bound(&top.path().join("a/b/keyd.sock")).unwrap_err();
        assert!(matches!(deeper, BindError::Refused { step: "making the directory", .. }), "{deeper}");
    });
}

#[test]
fn socket_and_new_directory_are_given_to_the_group() {
    in_a_fork_of_its_own(module_path!(), "socket_and_new_directory_are_given_to_the_group", || {
        // Without root, the only group at hand is our own.
        let group = if Uid::effective().is_root() {
            4_321
        } else {
            not_run("a socket of another group: only root gives files away");
            Gid::effective().as_raw()
        };
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("run/keyd.sock");
        let _socket = bind(&path, SocketMode::OwnerAndGroup, Some(group)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().gid(), group);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().gid(), group);
    });
}

#[test]
fn a_stale_socket_is_replaced() {
    in_a_fork_of_its_own(module_path!(), "a_stale_socket_is_replaced", || {
        let (_directory, path) = place();
        leave_stale(&path);
        set_mode(&path, 0o777);
        let _socket = bound(&path).unwrap();
        assert_eq!(mode_of(&path), 0o660);
        UnixStream::connect(&path).unwrap();
    });
}

#[test]
fn a_served_socket_is_left_alone_even_if_its_queue_is_full() {
    in_a_fork_of_its_own(module_path!(), "a_served_socket_is_left_alone_even_if_its_queue_is_full", || {
        let (_directory, path) = place();
        let served = bound(&path).unwrap();
        assert!(matches!(bound(&path), Err(BindError::AlreadyServed { .. })));
        let mut waiting = Vec::new();
        loop {
            let kind = (AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK);
            let client = socket(kind.0, kind.1, kind.2, None).unwrap();
            let address = UnixAddr::new(path.as_os_str().as_bytes()).unwrap();
            let connected = connect(std::os::fd::AsRawFd::as_raw_fd(&client), &address);
            waiting.push(client);
            if connected == Err(Errno::EAGAIN) {
                break;
            }
            connected.unwrap();
            if waiting.len() > 900 {
                // The system's queue is longer than our descriptors reach; the first half of the test stands.
                break;
            }
        }
        assert!(matches!(bound(&path), Err(BindError::AlreadyServed { .. })));
        drop(served);
    });
}

#[test]
fn what_is_no_stream_socket_is_refused_and_never_touched() {
    in_a_fork_of_its_own(module_path!(), "what_is_no_stream_socket_is_refused_and_never_touched", || {
        let (directory, path) = place();
        let target = directory.path().join("target");
        leave_stale(&target);
        let untouched = |said: &str| {
            let before = fs::symlink_metadata(&path).unwrap();
            let refused = bound(&path).unwrap_err();
            assert!(matches!(refused, BindError::Occupied { .. }) && refused.to_string().contains(said), "{refused}");
            let after = fs::symlink_metadata(&path).unwrap();
            assert_eq!((before.ino(), before.mode(), before.ctime()), (after.ino(), after.mode(), after.ctime()));
        };
        fs::write(&path, "a file").unwrap();
        untouched("is a file");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        untouched("is a directory");
        fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRUSR).unwrap();
        untouched("is a device or a pipe");
        fs::remove_file(&path).unwrap();
        for target in [&target, Path::new("nowhere")] {
            std::os::unix::fs::symlink(target, &path).unwrap();
            untouched("is a symbolic link");
            fs::remove_file(&path).unwrap();
        }
        assert!(target.exists());
        let _datagram = UnixDatagram::bind(&path).unwrap();
        untouched("is a socket of another kind");
    });
}

#[test]
fn a_directory_in_which_others_could_replace_the_socket_is_refused_with_the_remedy() {
    let name = "a_directory_in_which_others_could_replace_the_socket_is_refused_with_the_remedy";
    in_a_fork_of_its_own(module_path!(), name, || {
        let (directory, path) = place();
        for (mode, safe) in
            [(0o770, false), (0o707, false), (0o777, false), (0o1777, true), (0o755, true), (0o700, true)]
        {
            set_mode(directory.path(), mode);
            match bound(&path) {
                Ok(_) => assert!(safe, "{mode:o}"),
                Err(refused) => {
                    let said = refused.to_string();
                    assert!(!safe && matches!(refused, BindError::PathNotSafe { .. }), "{mode:o}: {said}");
                    assert!(said.contains(&format!("{mode:04o}")) && said.contains("run: chmod go-w '"), "{said}");
                    assert!(!path.exists());
                }
            }
        }
    });
}

#[test]
fn what_belongs_to_another_user_is_refused_except_by_root() {
    in_a_fork_of_its_own(module_path!(), "what_belongs_to_another_user_is_refused_except_by_root", || {
        let (directory, path) = place();
        let other = Uid::from_raw(Uid::effective().as_raw() + 1);
        leave_stale(&path);
        let refused = clear_stale(&path, other).unwrap_err();
        assert!(matches!(refused, BindError::NotOurs { .. }), "{refused}");
        assert!(path.exists());
        clear_stale(&path, Uid::from_raw(0)).unwrap();
        assert!(!path.exists());

        if Uid::effective().is_root() {
            // Root's own directories are safe for everybody.
            lchown(directory.path(), Some(4_321), None).unwrap();
        }
        let refused = judge_directory(directory.path(), other).unwrap_err();
        assert!(matches!(refused, BindError::PathNotSafe { .. }), "{refused}");
        assert!(refused.to_string().contains(&format!("run: chown {other} '/")), "{refused}");
        judge_directory(Path::new("/"), other).unwrap();
    });
}

#[test]
fn a_path_that_no_address_holds_is_refused_clearly() {
    in_a_fork_of_its_own(module_path!(), "a_path_that_no_address_holds_is_refused_clearly", || {
        let (directory, _) = place();
        let room = LONGEST_PATH_BYTES - directory.path().as_os_str().len() - 1;
        let _longest = bound(&directory.path().join("s".repeat(room))).unwrap();
        let refused = bound(&directory.path().join("s".repeat(room + 1))).unwrap_err();
        assert!(refused.to_string().contains("is 108 bytes long; 107 is the most"), "{refused}");
        bound(Path::new("/")).unwrap_err();
        bound(Path::new("")).unwrap_err();
        bound(Path::new("/dev/null/keyd.sock")).unwrap_err();
    });
}

#[test]
fn a_relative_path_is_bound_in_the_current_directory() {
    in_a_fork_of_its_own(module_path!(), "a_relative_path_is_bound_in_the_current_directory", || {
        let (directory, path) = place();
        std::env::set_current_dir(directory.path()).unwrap();
        let _socket = bound(Path::new("keyd.sock")).unwrap();
        assert_eq!(mode_of(&path), 0o660);
    });
}

#[test]
fn the_file_is_removed_at_the_stop_only_if_it_is_the_one_that_was_bound() {
    let name = "the_file_is_removed_at_the_stop_only_if_it_is_the_one_that_was_bound";
    in_a_fork_of_its_own(module_path!(), name, || {
        let (_directory, path) = place();
        let socket = bound(&path).unwrap();
        assert_eq!(socket.file.path, path);
        drop(socket.file);
        assert!(!path.exists());

        let socket = bound(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = bound(&path).unwrap();
        drop(socket.file);
        assert!(path.exists(), "a successor's socket stays");
        drop(successor.file);
        assert!(!path.exists());
    });
}

#[test]
fn a_path_in_a_command_is_quoted() {
    assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
}

#[test]
fn a_group_that_the_daemons_user_is_not_in_is_told_with_the_command_that_puts_it_there() {
    let directory = Path::new("/run/no-such");
    let told = ungiven(&directory.join("keyd.sock"), directory, 4_290_000_991)(io::ErrorKind::PermissionDenied.into());
    let BindError::PathNotSafe { remedy, danger, .. } = told else { panic!("{told}") };
    assert!(remedy.starts_with("usermod -aG 4290000991 "), "{remedy}");
    assert!(danger.contains("cannot be given to the group 4290000991"), "{danger}");
    let other = ungiven(directory, directory, 0)(io::ErrorKind::StorageFull.into());
    assert!(matches!(other, BindError::Refused { step: "giving to its group", .. }), "{other}");
}
