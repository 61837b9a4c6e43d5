//! Threads of another process, led instruction by instruction.
//!
//! Must never lose a signal that was meant for the process. Called by `instructions`.

use super::Outcome;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(300);

/// A process of which some threads are stopped at each instruction.
pub struct Stepped {
    /// Where each thread stood last.
    last: HashMap<Pid, u64>,
    total: Counted,
}

/// What was executed.
#[derive(Clone, Copy, Default)]
pub struct Counted {
    /// Instructions, each REP once.
    pub instructions: u64,
    /// The same with each repetition of a REP.
    pub steps: u64,
}

impl Stepped {
    /// Takes over the threads of a process that have this name, and those that they start from now on. That takes root: the
    /// daemon is closed to others of its user.
    pub fn seize(pid: u32, name: &str) -> Outcome<Self> {
        let mut seized = 0;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            if std::fs::read_to_string(task.path().join("comm"))?.trim_end() != name {
                continue;
            }
            seized += 1;
            let thread = Pid::from_raw(task.file_name().to_string_lossy().parse()?);
            let refused = |errno| format!("ptrace: {errno}; this takes root");
            ptrace::seize(thread, ptrace::Options::PTRACE_O_TRACECLONE).map_err(refused)?;
            ptrace::interrupt(thread)?;
        }
        if seized == 0 {
            return Err(format!("the daemon has no thread of the name {name}").into());
        }
        Ok(Self { last: HashMap::new(), total: Counted::default() })
    }

    /// What is executed from the last answer, if it has only just come, to the one `calls` later.
    pub fn count(&mut self, answered: &AtomicUsize, calls: usize) -> Outcome<Counted> {
        let then = self.total;
        self.step_until(answered, answered.load(Ordering::Relaxed) + calls)?;
        let Counted { instructions, steps } = self.total;
        Ok(Counted { instructions: instructions - then.instructions, steps: steps - then.steps })
    }

    /// Kills the process. Its threads are reaped here: whoever waits for the process alone waits for ever.
    pub fn end(self, pid: u32) -> Outcome<()> {
        nix::sys::signal::kill(Pid::from_raw(pid.try_into()?), nix::sys::signal::Signal::SIGKILL)?;
        while waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL)).is_ok() {}
        Ok(())
    }

    fn step_until(&mut self, answered: &AtomicUsize, wanted: usize) -> Outcome<()> {
        let begun = Instant::now();
        while answered.load(Ordering::Relaxed) < wanted {
            if begun.elapsed() > PATIENCE {
                return Err("the calls are not answered".into());
            }
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Outcome<()> {
        // Never waits here: threads that all wait for a client that has ended would not come back.
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => std::thread::yield_now(),
            WaitStatus::Stopped(thread, nix::sys::signal::Signal::SIGTRAP) => {
                let at = place(thread)?;
                self.total.steps += 1;
                // Where it stood before: a repetition.
                if self.last.insert(thread, at) != Some(at) {
                    self.total.instructions += 1;
                }
                ptrace::step(thread, None)?;
            }
            WaitStatus::Stopped(thread, signal) => ptrace::step(thread, signal)?,
            WaitStatus::PtraceEvent(thread, ..) | WaitStatus::PtraceSyscall(thread) => ptrace::step(thread, None)?,
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {}
            other => return Err(format!("a thread is {other:?}").into()),
        }
        Ok(())
    }
}

/// The address of the instruction that comes next.
fn place(thread: Pid) -> nix::Result<u64> {
    Ok(ptrace::getregs(thread)?.rip)
}
