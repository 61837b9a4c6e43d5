//! How locked memory is protected, and why none is to be had.
//!
//! Must never name a weaker protection for a stronger one, and never a byte of what is held.
//! Named by `region`, which asks the kernel, and by whoever tells the operator.

/// How the kernel protects the memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// memfd_secret(2): out of the kernel's own map; not even root reads it by /proc, ptrace or a core.
    MemfdSecret,
    /// mlock(2), left out of cores and of forks: root can still read it.
    Mlock,
}

/// No locked memory is to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockedMemoryError {
    /// The limit on locked memory is too low.
    #[error(
        "{wanted} bytes of memory cannot be locked: RLIMIT_MEMLOCK is {limit}; \
         set LimitMEMLOCK=8M in the unit (docker: --ulimit memlock=8388608; a shell: ulimit -l 8192)"
    )]
    LimitReached {
        /// Bytes that were to be locked.
        wanted: usize,
        /// The present soft limit, "unlimited" or in bytes.
        limit: String,
    },
    /// A system call failed for another reason.
    #[error("{call} of {wanted} bytes of locked memory failed")]
    Refused {
        /// The system call.
        call: &'static str,
        /// Bytes that were to be locked.
        wanted: usize,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The kernel gives no memfd_secret, and nothing less will do.
    #[error(
        "memfd_secret is required, and not to be had ({reason}): the kernel must be 5.14 or newer, one before 6.5 booted \
         with secretmem.enable=1, and a filter of system calls must allow memfd_secret"
    )]
    SecretMemoryRefused {
        /// The system call, and what the kernel said.
        reason: String,
    },
    /// A size no process can have.
    #[error("a locked buffer of {0} bytes is impossible")]
    TooLarge(usize),
    /// [`super::LockedMemory::wipe_all`] has run: the process is about to end.
    #[error("the locked memory has been wiped for the stop")]
    Wiped,
}
