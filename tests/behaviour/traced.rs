//! System calls made by the threads of a running daemon, as root has them made: what each of them is refused.
//!
//! Must never leave a thread other than it found it. Run by `cargo test`; what is not root cannot.

use crate::harness::{
    Installation, Thread, block_on, eventually, has_landlock, is_root, name, not_run, sandbox, threads,
};
use nix::errno::Errno;
use nix::errno::Errno::{EACCES, ENOSYS, EPERM};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;

/// A thread that stands still until this is dropped.
struct Held {
    thread: Pid,
    found: libc::user_regs_struct,
    /// Where the daemon's code has the instruction that makes a system call.
    instruction: u64,
}

impl Held {
    /// Stops a thread; none if it has ended. One that waits has just made a system call.
    fn stop(thread: i32, instruction: Option<u64>) -> Option<Self> {
        let thread = Pid::from_raw(thread);
        ptrace::seize(thread, ptrace::Options::empty()).ok()?;
        ptrace::interrupt(thread).ok()?;
        waitpid(thread, Some(WaitPidFlag::__WALL)).ok()?;
        let found = ptrace::getregs(thread).ok()?;
        let instruction = instruction.unwrap_or(found.rip - 2);
        let there = ptrace::read(thread, instruction as *mut _).unwrap().to_ne_bytes();
        assert_eq!(there[..2], [0x0f, 0x05], "the thread did not wait in a system call");
        Some(Self { thread, found, instruction })
    }

    /// Makes it make a system call; what that gives.
    fn call(&self, call: i64, arguments: [u64; 4]) -> Result<u64, Errno> {
        let [rdi, rsi, rdx, r10] = arguments;
        let mut made = self.found;
        (made.rip, made.rax, made.orig_rax) = (self.instruction, call.cast_unsigned(), u64::MAX);
        (made.rdi, made.rsi, made.rdx, made.r10, made.r8, made.r9) = (rdi, rsi, rdx, r10, 0, 0);
        ptrace::setregs(self.thread, made).unwrap();
        ptrace::step(self.thread, None).unwrap();
        waitpid(self.thread, Some(WaitPidFlag::__WALL)).unwrap();
        let result = ptrace::getregs(self.thread).unwrap();
        assert_eq!(result.rip, self.instruction + 2);
        match result.rax.cast_signed() {
            error @ -4095..0 => Err(Errno::from_raw(i32::try_from(-error).unwrap())),
            _ => Ok(result.rax),
        }
    }

    /// Opens a file, and closes it again. The path lies where the thread's stack will only grow to later.
    fn open(&self, path: &str, flags: i32) -> Result<(), Errno> {
        let mut bytes = path.as_bytes().to_vec();
        bytes.resize((path.len() / 8 + 1) * 8, 0);
        let place = (self.found.rsp - 2048) & !7;
        for (offset, word) in (0..).step_by(8).zip(bytes.chunks(8)) {
            let word = i64::from_ne_bytes(word.try_into().unwrap());
            ptrace::write(self.thread, (place + offset) as *mut _, word).unwrap();
        }
        let opened = self.call(libc::SYS_openat, [libc::AT_FDCWD as u64, place, flags as u64, 0o600])?;
        self.call(libc::SYS_close, [opened, 0, 0, 0]).map(drop)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It goes on where it was; a call it waited in is made again.
        let _ = ptrace::setregs(self.thread, self.found);
        let _ = ptrace::detach(self.thread, None);
    }
}

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
    let landlock = has_landlock(&sandbox(&daemon).0);
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
    assert_eq!(probed.into_iter().collect::<Vec<_>>(), ["servos-keyd", "tokio-rt-worker", "writer"]);
    // None the worse for it.
    assert_eq!(handles_on(process, own), before);
    block_on(async { daemon.admin().back_up().await.unwrap() });
    daemon.stop().expect(0);
    if !landlock {
        not_run("the kernel has no Landlock: only the system calls were probed");
    }
}
