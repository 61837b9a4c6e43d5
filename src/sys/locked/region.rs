//! One mapping of locked memory between two guard pages.
//!
//! Must never leave a descriptor of its memory open, nor unmap what it has not wiped.
//! Called by the other files of `locked` only.
#![allow(unsafe_code, reason = "memory is mapped, locked and unmapped by system calls")]

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::protection::{LockedMemoryError, Protection};
use crate::sys::wipe;

/// The one call that no limit on locked memory can refuse.
const RESERVATION: &str = "mmap(reservation)";

/// The call that makes secret memory.
const SECRET_MEMORY: &str = "memfd_secret";

/// The call that locks ordinary memory.
const LOCK: &str = "mlock";

/// A mapping: guard page, `len` bytes of locked memory, guard page.
pub(super) struct Region {
    memory: NonNull<u8>,
    len: usize,
    guard: usize,
    access: Mutex<Access>,
}

/// Who may touch a region.
enum Access {
    /// Whoever holds a part of it.
    Open,
    /// Nobody, not even to wipe: it is being made, or was wiped.
    Closed,
    /// The same; and what it held was wiped at this other address, where it now lies.
    Moved(NonNull<u8>),
}

// JUSTIFICATION: secrets are used on every thread of the daemon.
// SAFETY: the mapping belongs to the process, not to a thread; whoever writes holds `&mut` on the owner of that part,
// or the lock `access`.
unsafe impl Send for Region {}
// JUSTIFICATION: as above.
// SAFETY: as above.
unsafe impl Sync for Region {}

/// A system call that did not give what was asked.
pub(super) struct Refusal {
    call: &'static str,
    source: io::Error,
}

impl Refusal {
    fn last(call: &'static str) -> Self {
        Self { call, source: io::Error::last_os_error() }
    }

    /// One line for people: the call and what the kernel said.
    pub(super) fn reason(&self) -> String {
        format!("{}: {}", self.call, self.source)
    }

    /// Whether the kernel has no secret memory for anyone: an old one, its command line, or a filter says so. A want of
    /// descriptors or of memory says nothing of the kind.
    pub(super) fn is_of_the_kernel(&self) -> bool {
        self.call == SECRET_MEMORY
            && matches!(self.source.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES))
    }

    /// The error for the caller, which names the limit if that was the cause.
    pub(super) fn into_error(self, wanted: usize) -> LockedMemoryError {
        match self.source.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOMEM) if self.call != RESERVATION => {
                LockedMemoryError::LimitReached { wanted, limit: lock_limit() }
            }
            // A limit of nothing, for one without CAP_IPC_LOCK. Else, and of any other call, a filter says so.
            Some(libc::EPERM) if self.call == LOCK && nothing_may_be_locked() => {
                LockedMemoryError::LimitReached { wanted, limit: lock_limit() }
            }
            _ => LockedMemoryError::Refused { call: self.call, wanted, source: self.source },
        }
    }
}

impl Region {
    /// Maps `len` bytes, rounded up to whole pages, zeroed and present.
    pub(super) fn map(protection: Protection, len: usize) -> Result<Self, Refusal> {
        let guard = page_bytes();
        let too_large = || Refusal { call: "mmap", source: io::Error::from_raw_os_error(libc::EOVERFLOW) };
        let len = len.max(1).checked_next_multiple_of(guard).ok_or_else(too_large)?;
        let reserved = guard.checked_mul(2).and_then(|guards| guards.checked_add(len)).ok_or_else(too_large)?;
        let start = reserve(reserved)?;
        // From here on, dropping the region unmaps the whole reservation.
        // JUSTIFICATION: the address of the part between the guards.
        // SAFETY: `reserved` is at least `guard` long.
        let memory = unsafe { start.add(guard) };
        let region = Self { memory, len, guard, access: Mutex::new(Access::Closed) };
        match protection {
            Protection::MemfdSecret => region.back_with_secret_memory()?,
            Protection::Mlock => region.back_with_locked_memory()?,
        }
        region.advise(libc::MADV_DONTFORK, "madvise(MADV_DONTFORK)")?;
        *hold(&region.access) = Access::Open;
        // Makes every page present now: a lack of memory stops the start, not a request.
        region.wipe(0, len);
        Ok(region)
    }

    /// How many bytes there are between the guards.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The first byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.memory
    }

    /// Zeroes `count` bytes from `offset`, cut off at the end; nothing if the region is closed.
    pub(super) fn wipe(&self, offset: usize, count: usize) {
        let access = hold(&self.access);
        if matches!(*access, Access::Open) && offset < self.len {
            let count = count.min(self.len - offset);
            // JUSTIFICATION: the writes must survive the optimiser, and the memory is known by its address only.
            // SAFETY: inside the mapping, which is writable while it is open. The owner of that part calls this.
            unsafe { wipe::zero(self.memory.as_ptr().add(offset), count) }
        }
    }

    /// Takes all access away, and then zeroes everything. A thread that reads it from now on is stopped by SIGSEGV: one
    /// that read zeros would seal under a key that everybody knows.
    pub(super) fn close(&self) {
        let mut access = hold(&self.access);
        if !matches!(*access, Access::Open) {
            return;
        }
        *access = Access::Closed;
        let here = self.memory;
        // First, so that there is no moment at which a key reads as zeros.
        if !self.protect(here, libc::PROT_NONE) {
            // The kernel clears what a process leaves behind.
            std::process::abort();
        }
        if let Some(there) = self.moved_away() {
            *access = Access::Moved(there);
            self.zero_at(there);
        } else {
            // A kernel before 5.13 cannot move it: then zeros can be read for a moment.
            self.zero_at(here);
            if !self.protect(here, libc::PROT_NONE) {
                std::process::abort();
            }
        }
    }

    /// Where what it held lies since it was wiped, if elsewhere.
    #[cfg(test)]
    pub(super) fn moved_to(&self) -> Option<usize> {
        match *hold(&self.access) {
            Access::Moved(there) => Some(there.addr().get()),
            Access::Open | Access::Closed => None,
        }
    }

    /// Moves the pages to where no reference points; the old place stays taken, without pages and without access.
    fn moved_away(&self) -> Option<NonNull<u8>> {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
        // JUSTIFICATION: what nobody may read can only be wiped through another address.
        // SAFETY: exactly this region's own mapping, to which all access was taken away. References into it may still
        // live: touching them is a defined end of the process, before and after.
        let there = unsafe { libc::mremap(self.memory.as_ptr().cast(), self.len, self.len, flags) };
        if there == libc::MAP_FAILED { None } else { NonNull::new(there.cast()) }
    }

    /// Zeroes the pages, which lie at `place`, and gives access to do so.
    fn zero_at(&self, place: NonNull<u8>) {
        if self.protect(place, libc::PROT_READ | libc::PROT_WRITE) {
            // JUSTIFICATION: the memory is known by its address only.
            // SAFETY: a mapping of this length, writable now, of which only this function knows or which others read
            // through references that end with the process (`close`).
            unsafe { wipe::zero(place.as_ptr(), self.len) }
        }
    }

    /// Whether it could be done.
    fn protect(&self, place: NonNull<u8>, access: libc::c_int) -> bool {
        // JUSTIFICATION: access to pages is changed by this call alone.
        // SAFETY: exactly this region's own mapping, at its first or its second place.
        unsafe { libc::mprotect(place.as_ptr().cast(), self.len, access) == 0 }
    }

    /// memfd_secret(2). The descriptor is closed at once: while open, a privileged process could take it by pidfd_getfd(2).
    fn back_with_secret_memory(&self) -> Result<(), Refusal> {
        // JUSTIFICATION: neither libc nor nix wraps this system call.
        // SAFETY: it takes one integer and touches no memory of ours.
        let made = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let made = RawFd::try_from(made).ok().filter(|made| *made >= 0).ok_or_else(|| Refusal::last(SECRET_MEMORY))?;
        // JUSTIFICATION: the descriptor is closed on every way out of here.
        // SAFETY: just made, and owned by nobody else.
        let file = unsafe { OwnedFd::from_raw_fd(made) };
        let size = libc::off_t::try_from(self.len).unwrap_or(libc::off_t::MAX);
        // JUSTIFICATION: a new secret file is empty.
        // SAFETY: an open descriptor and an integer.
        if unsafe { libc::ftruncate(file.as_raw_fd(), size) } != 0 {
            return Err(Refusal::last("ftruncate(memfd_secret)"));
        }
        self.place(libc::MAP_SHARED, file.as_raw_fd(), "mmap(memfd_secret)")
    }

    /// Anonymous memory, locked, and left out of cores.
    fn back_with_locked_memory(&self) -> Result<(), Refusal> {
        self.place(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, "mmap")?;
        self.advise(libc::MADV_DONTDUMP, "madvise(MADV_DONTDUMP)")?;
        // JUSTIFICATION: swap outlives the process.
        // SAFETY: exactly this region's own mapping.
        if unsafe { libc::mlock(self.memory.as_ptr().cast(), self.len) } != 0 {
            return Err(Refusal::last(LOCK));
        }
        Ok(())
    }

    /// Puts a mapping between the guards.
    fn place(&self, flags: libc::c_int, file: RawFd, call: &'static str) -> Result<(), Refusal> {
        let (address, access) = (self.memory.as_ptr().cast(), libc::PROT_READ | libc::PROT_WRITE);
        // JUSTIFICATION: the guards can only be had by mapping into a reservation.
        // SAFETY: MAP_FIXED replaces a part of this region's own reservation, to which no reference exists yet.
        let mapped = unsafe { libc::mmap(address, self.len, access, flags | libc::MAP_FIXED, file, 0) };
        if mapped == libc::MAP_FAILED { Err(Refusal::last(call)) } else { Ok(()) }
    }

    fn advise(&self, advice: libc::c_int, call: &'static str) -> Result<(), Refusal> {
        // JUSTIFICATION: forked children and cores must not hold the memory.
        // SAFETY: exactly this region's own mapping; the advice given does not change its contents in this process.
        let answer = unsafe { libc::madvise(self.memory.as_ptr().cast(), self.len, advice) };
        if answer == 0 { Ok(()) } else { Err(Refusal::last(call)) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.wipe(0, self.len);
        // JUSTIFICATION: the mapping was made by hand and has no other owner.
        // SAFETY: the whole reservation of this region; its last owner is gone, so no reference into it lives.
        unsafe {
            let start = self.memory.as_ptr().sub(self.guard);
            libc::munmap(start.cast(), self.len + 2 * self.guard);
            if let Access::Moved(there) = *hold(&self.access) {
                libc::munmap(there.as_ptr().cast(), self.len);
            }
        }
    }
}

/// The size of a page, in bytes.
pub(super) fn page_bytes() -> usize {
    // JUSTIFICATION: a page is 4, 16 or 64 KiB, depending on the machine.
    // SAFETY: takes an integer and touches no memory of ours.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|page| *page > 0).unwrap_or(4096)
}

/// Address space without access; costs no memory.
fn reserve(bytes: usize) -> Result<NonNull<u8>, Refusal> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // JUSTIFICATION: guard pages on both sides catch a read or write past the end.
    // SAFETY: a new mapping wherever the kernel likes; it replaces nothing.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(Refusal::last(RESERVATION));
    }
    NonNull::new(start.cast()).ok_or_else(|| Refusal::last(RESERVATION))
}

fn nothing_may_be_locked() -> bool {
    getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == 0)
}

/// How many bytes the process may lock; none for any number.
pub(super) fn lock_limit_bytes() -> io::Result<Option<u64>> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    Ok((soft != RLIM_INFINITY).then_some(soft))
}

fn lock_limit() -> String {
    match lock_limit_bytes() {
        Ok(None) => "unlimited".to_owned(),
        Ok(Some(limit)) => format!("{limit} bytes"),
        Err(_) => "unknown".to_owned(),
    }
}

/// Takes a lock that survives a panic elsewhere: what these locks guard is whole between any two statements.
pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
