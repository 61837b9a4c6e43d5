//! Signals that would end the process while something must be put back first.
//!
//! Must never lose one: it comes, and does what it always does, once what holds it back is gone.
//! Called by `cli`, for a terminal without its echo and for a scratch place.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

/// Keeps back what ends a process, for this thread: meant for a process that has no other.
pub struct Held {
    before: SigSet,
    pending: SignalFd,
}

impl Held {
    /// # Errors
    /// What the kernel says.
    pub fn begin() -> io::Result<Self> {
        let ending: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM].into_iter().collect();
        let pending = SignalFd::with_flags(&ending, SfdFlags::SFD_CLOEXEC)?;
        let before = ending.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before, pending })
    }

    /// Waits for bytes on `input`, or its end; false if a signal was there first.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait_for(&self, input: BorrowedFd<'_>) -> io::Result<bool> {
        let mut waited = [input, self.pending.as_fd()].map(|file| PollFd::new(file, PollFlags::POLLIN));
        poll(&mut waited, PollTimeout::NONE)?;
        let [_, pending] = waited;
        // The signal is left where it is.
        Ok(!pending.any().unwrap_or(true))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn bytes_are_waited_for_and_a_signal_comes_before_them_and_is_not_lost() {
        let (reads, mut writes) = io::pipe().unwrap();
        let held = Held::begin().unwrap();
        writes.write_all(b"x").unwrap();
        assert!(held.wait_for(reads.as_fd()).unwrap());
        nix::sys::pthread::pthread_kill(nix::sys::pthread::pthread_self(), Signal::SIGTERM).unwrap();
        for _ in 0..2 {
            assert!(!held.wait_for(reads.as_fd()).unwrap(), "it goes on waiting to be delivered");
        }
        // Taken away, or it would end the tests.
        assert_eq!(held.pending.read_signal().unwrap().unwrap().ssi_signo, Signal::SIGTERM as u32);
        assert!(held.wait_for(reads.as_fd()).unwrap());
    }
}
