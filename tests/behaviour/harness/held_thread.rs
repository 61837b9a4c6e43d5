//! A thread of another process that stands still, and makes the system calls that it is told to, as root has it do.
//!
//! Must never leave a thread other than it found it.
//! Used by the tests of the sandbox, and by what tests/systemd/run has done within the machine that it boots.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A thread that stands still until this is dropped.
pub struct Held {
    /// The thread.
    pub thread: Pid,
    found: libc::user_regs_struct,
    /// Where the daemon's code has the instruction that makes a system call.
    pub instruction: u64,
}

impl Held {
    /// Stops a thread; none if it has ended. One that waits has just made a system call.
    pub fn stop(thread: i32, instruction: Option<u64>) -> Option<Self> {
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
    pub fn call(&self, call: i64, arguments: [u64; 4]) -> Result<u64, Errno> {
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
    pub fn open(&self, path: &str, flags: i32) -> Result<(), Errno> {
        let mut bytes = path.as_bytes().to_vec();
        bytes.resize((path.len() / 8 + 1) * 8, 0);
        let place = (self.found.rsp - 2048) & !7;
        for (offset, word) in (0..).step_by(8).zip(bytes.chunks(8)) {
            let word = i64::from_ne_bytes(word.try_into().unwrap());
            ptrace::write(self.thread, (place + offset) as *mut _, word).unwrap();
        }
        let opened = self.call(
            libc::SYS_openat,
            [i64::from(libc::AT_FDCWD).cast_unsigned(), place, flags.cast_unsigned().into(), 0o600],
        )?;
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
