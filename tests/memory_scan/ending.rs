//! A traced process, up to the moment in which it ends.
//!
//! Must never let it go further: its memory is to be looked at. Shared by the memory scan and by the behaviour tests of memory.

use nix::sys::ptrace::{self, Event};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Lets a process that was seized with PTRACE_O_TRACEEXIT run up to the moment in which it ends: all of its memory is still
/// there.
///
/// # Errors
/// It does not end, or is not traced by this thread.
pub fn run_to_its_end(traced: Pid) -> io::Result<()> {
    let (began, end) = (Instant::now(), Event::PTRACE_EVENT_EXIT as i32);
    loop {
        match waitpid(traced, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))? {
            WaitStatus::PtraceEvent(_, _, event) if event == end => return Ok(()),
            WaitStatus::PtraceEvent(..) => ptrace::cont(traced, None)?,
            WaitStatus::Stopped(_, signal) => ptrace::cont(traced, signal)?,
            WaitStatus::StillAlive if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
            other => return Err(io::Error::other(format!("it does not end: {other:?}"))),
        }
    }
}
