//! Tests of the sandbox: probed from the thread that entered it and from one started afterwards, each in a fork of its own.
//!
//! Must never probe without a control that shows the same call let through before.
//! Run by `cargo test`.
#![allow(unsafe_code, reason = "the probes are the system calls themselves")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::ptr::null;

use super::files::{Reach, UNANSWERED, confine, unknown_to};
use super::system_calls::{ALLOWED, FORBIDDEN};
use super::{Enforcement, argument_tests, calls};
use crate::sys::apart;
use crate::sys::locked::LockedMemory;

/// Where the daemon may write, where it may read, and where it may do neither.
struct Place {
    _directory: tempfile::TempDir,
    own: PathBuf,
    key: PathBuf,
    other: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let [own, key, other] = ["own", "key", "other"].map(|name| directory.path().join(name));
    for path in [&own, &key, &other] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), b"before").unwrap();
    }
    Place { _directory: directory, own, key, other }
}

fn reach(place: &Place) -> Reach {
    Reach {
        writable: vec![place.own.clone()],
        readable: vec![place.key.clone(), "/proc/self".into()],
        close_abstract_sockets: true,
        ..Reach::default()
    }
}

/// The error of a system call; 0 if it is let through.
pub(super) fn errno(call: libc::c_long, arguments: [libc::c_long; 6]) -> i32 {
    let [a, b, c, d, e, f] = arguments;
    // JUSTIFICATION: whether the kernel takes the call at all is the question.
    // SAFETY: every call below is refused, or does nothing with arguments that are null, -1 or flags.
    match unsafe { libc::syscall(call, a, b, c, d, e, f) } {
        -1 => io::Error::last_os_error().raw_os_error().unwrap(),
        _ => 0,
    }
}

fn open_error(path: &Path) -> i32 {
    fs::File::open(path).err().and_then(|refused| refused.raw_os_error()).unwrap_or(0)
}

/// Probes from this thread, and from one that is made for it.
pub(super) fn in_both_threads(probe: impl Fn() + Send + Sync) {
    probe();
    std::thread::scope(|scope| scope.spawn(&probe).join()).unwrap();
}

pub(super) fn bits(flags: i32) -> libc::c_long {
    libc::c_long::from(flags)
}

/// To whom files may be given.
pub(super) const OWNERS: [calls::Owner; 2] = [(12_345, 54_321), (12_345, 54_322)];

/// What no argument makes harmless.
fn forbidden_calls() -> [libc::c_long; 24] {
    [
        libc::SYS_execveat,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_kexec_load,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_chroot,
        libc::SYS_init_module,
        libc::SYS_memfd_create,
        libc::SYS_seccomp,
        libc::SYS_bind,
        libc::SYS_setresuid,
    ]
}

fn probe_calls() {
    let none = [0; 6];
    for call in forbidden_calls() {
        assert_eq!(errno(call, [-1; 6]), libc::EPERM, "system call {call}");
    }
    let program = CString::new("/bin/true").unwrap();
    let arguments = [program.as_ptr(), null()];
    // JUSTIFICATION: the test is whether a program can be started.
    // SAFETY: C strings and lists that end with null; if it were let through, the fork would end as the other program.
    assert_eq!(unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), null()) }, -1);
    assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
    assert_eq!(errno(libc::SYS_ptrace, [bits(libc::PTRACE_TRACEME.cast_signed()), 0, 0, 0, 0, 0]), libc::EPERM);
    #[cfg(target_arch = "x86_64")]
    for call in [libc::SYS_fork, libc::SYS_vfork] {
        assert_eq!(errno(call, none), libc::EPERM);
    }
    for call in [libc::SYS_clone3, libc::SYS_openat2, libc::SYS_landlock_create_ruleset, 9_999] {
        assert_eq!(errno(call, none), libc::ENOSYS, "system call {call}");
    }
    argument_tests::probe();
}

fn probe_files(place: &Place) {
    for closed in [Path::new("/etc/shadow"), Path::new("/"), Path::new("/root"), &place.other.join("file")] {
        assert_eq!(open_error(closed), libc::EACCES, "{}", closed.display());
    }
    for file in [place.other.join("made"), place.other.join("file"), place.key.join("file")] {
        assert_eq!(fs::write(&file, b"x").unwrap_err().raw_os_error(), Some(libc::EACCES), "{}", file.display());
    }
    assert!(fs::remove_file(place.key.join("file")).is_err() && fs::remove_file(place.other.join("file")).is_err());
    assert!(fs::rename(place.own.join("file"), place.other.join("taken")).is_err());
    assert!(std::os::unix::fs::symlink("/etc/shadow", place.own.join("link")).is_err());
    // What the work needs, with a key file that is replaced.
    assert_eq!(fs::read(place.key.join("file")).unwrap().len(), 6);
    fs::write(place.own.join("made"), b"x").unwrap();
    fs::rename(place.own.join("made"), place.own.join("renamed")).unwrap();
    fs::remove_file(place.own.join("renamed")).unwrap();
    assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Threads:"));
}

/// A test that cannot run here says so past the capture, and is not counted as one that did.
fn landlock_is_there() -> bool {
    // The version of the interface; an error where there is none.
    let there = errno(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0, 0]) == 0;
    if !there {
        apart::not_run(UNANSWERED);
    }
    there
}

#[test]
fn neither_thread_can_start_a_program_look_into_another_process_or_reach_a_network() {
    let name = "neither_thread_can_start_a_program_look_into_another_process_or_reach_a_network";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        let family = bits(libc::AF_INET);
        assert_eq!(errno(libc::SYS_socket, [family, bits(libc::SOCK_DGRAM), 0, 0, 0, 0]), 0, "the control");
        assert_eq!(errno(libc::SYS_kill, [i64::from(std::os::unix::process::parent_id()), 0, 0, 0, 0, 0]), 0);
        assert_ne!(errno(libc::SYS_bpf, [-1; 6]), libc::ENOSYS);
        assert_eq!(calls::restrict(&OWNERS), Enforcement::Whole);
        in_both_threads(probe_calls);
    });
}

#[test]
fn under_the_filter_keys_are_locked_threads_are_started_and_files_are_synced() {
    let name = "under_the_filter_keys_are_locked_threads_are_started_and_files_are_synced";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        let place = place();
        let before = LockedMemory::new().unwrap().protection();
        assert_eq!(calls::restrict(&OWNERS), Enforcement::Whole);
        in_both_threads(|| {
            let memory = LockedMemory::new().unwrap();
            assert_eq!(memory.protection(), before);
            assert_eq!(memory.buffer(64 * 1024).unwrap().expose_bytes().len(), 0);
            let file = fs::File::create(place.own.join("synced")).unwrap();
            file.set_len(8192).unwrap();
            file.sync_all().unwrap();
            file.lock().unwrap();
            UnixStream::pair().unwrap().0.set_nonblocking(true).unwrap();
            let _ = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap();
            std::thread::Builder::new().name("named".into()).spawn(|| ()).unwrap().join().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1));
        });
    });
}

#[test]
fn neither_thread_can_open_execute_or_write_what_is_not_its_own() {
    let name = "neither_thread_can_open_execute_or_write_what_is_not_its_own";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        let place = place();
        if !landlock_is_there() {
            return;
        }
        assert_eq!(open_error(&place.other.join("file")), 0, "the control");
        fs::copy("/bin/true", place.own.join("program")).unwrap();
        let [outside, inside] = ["outside", "inside"]
            .map(|name| SocketAddr::from_abstract_name(place.own.join(name).as_os_str().as_encoded_bytes()).unwrap());
        // What is bound before belongs to no sandbox, as another process's does.
        let _others = UnixListener::bind_addr(&outside).unwrap();
        UnixStream::connect_addr(&outside).expect("the control");
        let signal_parent = || errno(libc::SYS_kill, [i64::from(std::os::unix::process::parent_id()), 0, 0, 0, 0, 0]);
        assert_eq!(signal_parent(), 0, "the control");
        let confined = confine(&reach(&place));
        assert_ne!(confined.abi, 0, "{confined:?}");
        assert!(!matches!(confined.enforcement, Enforcement::Refused(_)), "{confined:?}");
        in_both_threads(|| {
            probe_files(&place);
            // A file of its own is no program either, though its owner could make it one.
            let program = CString::new(place.own.join("program").as_os_str().as_encoded_bytes()).unwrap();
            // JUSTIFICATION: the test is whether a program can be started.
            // SAFETY: a C string and lists that are null, which Linux takes for empty ones.
            assert_eq!(unsafe { libc::execve(program.as_ptr(), null(), null()) }, -1);
            assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EACCES));
            if confined.abi >= 4 {
                let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap_err();
                assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
            }
        });
        if confined.abi < 6 {
            apart::not_run("some of what is closed beside files: no Landlock of version 6 in this kernel");
        } else {
            let _own = UnixListener::bind_addr(&inside).unwrap();
            in_both_threads(|| {
                assert_eq!(signal_parent(), libc::EPERM);
                let refused = UnixStream::connect_addr(&outside).unwrap_err();
                assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
                UnixStream::connect_addr(&inside).unwrap();
            });
        }
    });
}

#[test]
fn both_halves_stand_behind_each_other() {
    apart::in_a_fork_of_its_own(module_path!(), "both_halves_stand_behind_each_other", || {
        let place = place();
        if !landlock_is_there() {
            return;
        }
        let confined = confine(&reach(&place));
        assert!(!matches!(confined.enforcement, Enforcement::Refused(_)), "{confined:?}");
        assert_eq!(calls::restrict(&OWNERS), Enforcement::Whole);
        in_both_threads(|| {
            probe_calls();
            probe_files(&place);
        });
    });
}

#[test]
fn a_directory_that_is_missing_is_named_and_one_put_in_the_place_of_another_stays_closed() {
    let name = "a_directory_that_is_missing_is_named_and_one_put_in_the_place_of_another_stays_closed";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        let place = place();
        if !landlock_is_there() {
            return;
        }
        let gone = place.other.join("gone");
        let mut reach = reach(&place);
        reach.writable.push(gone.clone());
        let away = place.other.join("away");
        // One thread is confined, and meets what one that is not does to its directories.
        let step = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let confined = confine(&reach);
                let missing = confined.missing.as_slice();
                let before = open_error(&place.key.join("file"));
                step.wait();
                step.wait();
                assert_eq!((missing, before), (std::slice::from_ref(&gone), 0));
                for path in [place.key.join("file"), gone.join("file")] {
                    assert_eq!(open_error(&path), libc::EACCES, "{}", path.display());
                }
                assert_eq!(open_error(&away.join("file")), 0, "the one that the rule is on");
                // The process's own lies open to it for as long as the handle is held.
                assert_eq!(open_error(Path::new("/proc/self/status")), 0);
            });
            step.wait();
            fs::rename(&place.key, &away).unwrap();
            for path in [&place.key, &gone] {
                fs::create_dir(path).unwrap();
                fs::write(path.join("file"), b"another").unwrap();
                assert_eq!(open_error(&path.join("file")), 0, "the control");
            }
            step.wait();
        });
    });
}

#[test]
fn a_kernel_that_refuses_is_told_of_with_its_reason() {
    let name = "a_kernel_that_refuses_is_told_of_with_its_reason";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        assert_eq!(calls::restrict(&OWNERS), Enforcement::Whole);
        // Behind the first filter the kernel answers as one without either.
        let Enforcement::Refused(why) = calls::restrict(&OWNERS) else { panic!("a second filter was put on") };
        assert!(why.starts_with("the kernel refuses the filter: ") && why.contains("os error"), "{why}");
        let confined = confine(&Reach::default());
        assert_eq!(confined.enforcement, Enforcement::Refused(UNANSWERED.to_owned()));
        assert_eq!((confined.abi, confined.missing.len()), (0, 0));
    });
}

#[test]
fn what_an_older_kernel_leaves_open_is_named_from_the_version_that_closes_it() {
    let whole = "truncating files, TCP (which the other half of the sandbox closes), control of devices, signals to other \
                 processes, abstract sockets of other processes";
    assert_eq!(unknown_to(2), format!("this kernel's Landlock (version 2) leaves open: {whole}"));
    let last = "signals to other processes, abstract sockets of other processes";
    assert_eq!(unknown_to(5), format!("this kernel's Landlock (version 5) leaves open: {last}"));
}

#[test]
fn no_system_call_is_listed_twice() {
    let mut listed = BTreeSet::new();
    let by_argument: Vec<_> = calls::by_argument(&OWNERS).iter().map(|one| one.call).collect();
    for (list, calls) in [("allowed", ALLOWED), ("forbidden", FORBIDDEN), ("by argument", &by_argument)] {
        for call in calls {
            // The filters take one rule a call: the second would silently replace the first.
            assert!(listed.insert(*call), "system call {call} is listed as {list}, and before");
        }
    }
}
