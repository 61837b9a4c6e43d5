//! System calls made by the threads of a running daemon, as root has them made: what each of them is refused.
//!
//! Must never leave a thread other than it found it. Run by `cargo test`; what is not root cannot.

use crate::harness::{
    Held, Installation, KEYD, NOBODY, Restricted, Thread, block_on, eventually, has_landlock, is_root, name, not_run,
    threads,
};
use nix::errno::Errno::{EACCES, ENOSYS, EPERM};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};

/// What a process that was taken over would try first, from this thread.
fn probe(held: &Held, what: &str, landlock: bool, own: &str) {
    // The control: it does make the calls.
    assert!(held.call(libc::SYS_getpid, [0; 4]).is_ok(), "{what}");
    let (family, kind) = (libc::AF_INET as u64, libc::SOCK_STREAM as u64);
    for (call, arguments, expected) in [
        (libc::SYS_execve, [0; 4], EPERM),
        (libc::SYS_execveat, [u64::MAX, 0, 0, 0], EPERM),
        (libc::SYS_ptrace, [0; 4], EPERM),
        (libc::SYS_process_vm_readv, [1, 0, 0, 0], EPERM),
        (libc::SYS_pidfd_getfd, [u64::MAX, 0, 0, 0], EPERM),
        (libc::SYS_socket, [family, kind, 0, 0], EPERM),
        (libc::SYS_bpf, [0; 4], EPERM),
        (libc::SYS_keyctl, [0; 4], EPERM),
        (libc::SYS_io_uring_setup, [0; 4], EPERM),
        (libc::SYS_fork, [0; 4], EPERM),
        (libc::SYS_mmap, [0, 4096, libc::PROT_EXEC as u64, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64], EPERM),
        (libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 1, 0, 0], EPERM),
        (libc::SYS_kill, [u64::from(std::process::id()), 0, 0, 0], EPERM),
        (libc::SYS_fchmodat, [libc::AT_FDCWD as u64, 0, 0o4755, 0], EPERM),
        (libc::SYS_chmod, [0, 0o4755, 0, 0], EPERM),
        (libc::SYS_fchown, [0, u64::from(NOBODY), u64::from(NOBODY), 0], EPERM),
        (libc::SYS_openat, [libc::AT_FDCWD as u64, 0, libc::O_CREAT as u64, 0o4700], EPERM),
        (libc::SYS_setpriority, [0, u64::from(std::process::id()), 19, 0], EPERM),
        (libc::SYS_fcntl, [0, libc::F_SETOWN as u64, u64::from(std::process::id()), 0], EPERM),
        (libc::SYS_clone3, [0; 4], ENOSYS),
    ] {
        let met = held.call(call, arguments);
        assert_eq!(met, Err(expected), "{what}: system call {call}");
    }
    assert_eq!(held.open(own, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC), Ok(()), "{what}: the control");
    if landlock {
        for (path, flags) in [
            ("/etc/shadow", libc::O_RDONLY),
            ("/proc/1/environ", libc::O_RDONLY),
            ("/tmp", libc::O_RDONLY),
            ("/dev/shm/servos-keyd-probe", libc::O_WRONLY | libc::O_CREAT),
            ("/bin/sh", libc::O_RDONLY),
        ] {
            assert_eq!(held.open(path, flags), Err(EACCES), "{what}: {path}");
        }
    }
}

/// How many descriptors of a process lead to a place.
fn handles_on(process: u32, place: &str) -> usize {
    let handles = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = handles.filter_map(|handle| std::fs::read_link(handle.unwrap().path()).ok());
    links.filter(|link| link == std::path::Path::new(place)).count()
}

#[test]
fn every_thread_of_the_daemon_is_refused_what_it_has_no_need_of() {
    if !is_root() {
        return not_run("it takes root to have another process make a system call");
    }
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let process = daemon.id();
    let own = installation.directory().to_str().unwrap();
    let landlock = has_landlock();
    // Each takes its name when it first runs.
    let names = || threads(process).into_iter().map(|thread| thread.name).collect::<BTreeSet<_>>();
    eventually("all threads run", || names().iter().eq(["look", "servos-keyd", "tokio-rt-worker", "writer"]));
    let (mut probed, mut instruction) = (BTreeSet::new(), None);
    let before = handles_on(process, own);
    for Thread { id, name, .. } in threads(process) {
        let held = Held::stop(id, instruction).unwrap_or_else(|| panic!("{name} cannot be stopped"));
        instruction.get_or_insert(held.instruction);
        probe(&held, &name, landlock, own);
        probed.insert(name);
    }
    // One that comes with each backup, and goes.
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            eventually("a thread in the background", || {
                let found = threads(process).into_iter().find(|thread| thread.name == "background");
                let Some(held) = found.and_then(|thread| Held::stop(thread.id, instruction)) else { return false };
                probe(&held, "background", landlock, own);
                true
            });
        });
        while !calls.is_finished() {
            block_on(async { daemon.admin().rotate_key(&name("default")).await.unwrap() });
        }
        calls.join().unwrap();
    });
    assert_eq!(probed.into_iter().collect::<Vec<_>>(), ["look", "servos-keyd", "tokio-rt-worker", "writer"]);
    // None the worse for it; what the last backup had open is closed behind the answer.
    eventually("it has open what it had", || handles_on(process, own) == before);
    block_on(async { daemon.admin().back_up().await.unwrap() });
    daemon.stop().expect(0);
    if !landlock {
        not_run("the kernel has no Landlock: only the system calls were probed");
    }
}

/// What a start does that matters for the order of its steps.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A part of the sandbox is put on, by a process with so many threads.
    Closes(usize),
    /// One of these is read.
    Reads(&'static str),
}

const JUDGED: [&str; 3] = ["keyd.redb", "keyd.redb.mark", "master.key"];

/// A start whose system calls are followed one by one.
struct Followed {
    process: Pid,
    /// What is being opened by the call that was entered last.
    opening: Option<&'static str>,
    /// The descriptors of the judged files.
    open: BTreeMap<u64, &'static str>,
    steps: Vec<Step>,
}

impl Followed {
    fn enters(&mut self, made: &libc::user_regs_struct) {
        self.opening = None;
        match made.orig_rax.cast_signed() {
            libc::SYS_seccomp | libc::SYS_landlock_restrict_self => {
                let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process)).unwrap();
                self.steps.push(Step::Closes(tasks.count()));
            }
            libc::SYS_openat => self.opening = self.judged_name(made.rsi),
            libc::SYS_open => self.opening = self.judged_name(made.rdi),
            libc::SYS_close => drop(self.open.remove(&made.rdi)),
            libc::SYS_read | libc::SYS_pread64 | libc::SYS_readv | libc::SYS_preadv | libc::SYS_sendfile => {
                self.steps.extend(self.open.get(&made.rdi).map(|name| Step::Reads(name)));
            }
            libc::SYS_mmap => self.steps.extend(self.open.get(&made.r8).map(|name| Step::Reads(name))),
            _ => {}
        }
    }

    fn leaves(&mut self, result: u64) {
        // Negative numbers are errors.
        if let Some(name) = self.opening.take().filter(|_| result.cast_signed() >= 0) {
            self.open.insert(result, name);
        }
    }

    /// Which of the judged files a path in its memory names.
    fn judged_name(&self, address: u64) -> Option<&'static str> {
        let words = (address..).step_by(8).map_while(|at| ptrace::read(self.process, at as *mut _).ok());
        let bytes = words.flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect::<Vec<u8>>();
        let path = std::path::PathBuf::from(String::from_utf8_lossy(&bytes).into_owned());
        JUDGED.into_iter().find(|judged| path.file_name().is_some_and(|name| name == *judged))
    }
}

#[test]
fn the_sandbox_is_entered_by_the_only_thread_before_the_store_the_mark_or_a_key_file_is_read() {
    if !is_root() {
        return not_run("only root may look at the calls of a start that is not dumpable");
    }
    let installation = Installation::made();
    let words = tempfile::tempdir().unwrap();
    let halted = Restricted { halted: true, ..Restricted::default() };
    let mut child = installation.command("serve", &[]).restricted(halted).spawn(KEYD, words.path());
    let process = Pid::from_raw(child.id().try_into().unwrap());
    assert_eq!(waitpid(process, Some(WaitPidFlag::WUNTRACED)).unwrap(), WaitStatus::Stopped(process, Signal::SIGSTOP));
    ptrace::seize(process, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
    kill(process, Signal::SIGCONT).unwrap();
    let mut start = Followed { process, opening: None, open: BTreeMap::new(), steps: Vec::new() };
    while !JUDGED.iter().all(|judged| start.steps.contains(&Step::Reads(judged))) {
        let signal = match waitpid(process, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::PtraceSyscall(_) => {
                let made = ptrace::getregs(process).unwrap();
                if made.rax.cast_signed() == -i64::from(libc::ENOSYS) {
                    start.enters(&made);
                } else {
                    start.leaves(made.rax);
                }
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            WaitStatus::PtraceEvent(..) => None,
            other => panic!("{other:?}, and not all was read: {:?}", start.steps),
        };
        ptrace::syscall(process, signal).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Seccomp's two lists, and Landlock where the kernel has it.
    let first_read = start.steps.iter().position(|step| matches!(step, Step::Reads(_))).unwrap();
    let (before, after) = start.steps.split_at(first_read);
    assert!((2..=3).contains(&before.len()), "{before:?}");
    assert!(before.iter().all(|step| *step == Step::Closes(1)), "{before:?}");
    assert!(after.iter().all(|step| matches!(step, Step::Reads(_))), "{after:?}");
}
