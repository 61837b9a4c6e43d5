//! Memory for keys that is never swapped, dumped, forked or, where the kernel can, read by root.
//!
//! Must never copy a secret out of itself: what is exposed is a borrow of the locked bytes.
//! Called by `custody` for every key, by `config` for key sources, and by `cli`, which makes the one instance.

mod buffer;
mod protection;
mod region;
mod slots;

use std::{
    fmt,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

pub use buffer::LockedBuffer;
pub use protection::{LockedMemoryError, Protection};
use region::{Region, hold};
use slots::Slab;
pub use slots::{SECRET_BYTES, Secret};

/// How much the second and every later region of secrets takes: 2,048 keys.
const GROWTH_BYTES: usize = 64 * 1024;

/// The process's locked memory. Clones share the same regions.
///
/// Every region lies between two guard pages, and is unmapped when the last secret in it and the last clone are gone.
/// 10,000 secrets take less than 1 MiB of locked memory.
#[derive(Clone)]
pub struct LockedMemory {
    shared: Arc<Shared>,
}

struct Shared {
    protection: Protection,
    fallback_reason: Option<String>,
    slabs: Mutex<Vec<Arc<Slab>>>,
    buffers: Mutex<Vec<Weak<Region>>>,
    wiped: AtomicBool,
}

impl LockedMemory {
    /// Maps the first region, one page, and so finds out which protection the kernel grants.
    ///
    /// That stays: later regions are protected in the same way or refused, so that a passing shortage
    /// (of descriptors, say) never silently weakens what was promised at the start.
    ///
    /// # Errors
    /// [`LockedMemoryError::LimitReached`] or [`LockedMemoryError::Refused`] if neither protection is to be had.
    pub fn new() -> Result<Self, LockedMemoryError> {
        let page = region::page_bytes();
        let (region, protection, fallback_reason) = match Region::map(Protection::MemfdSecret, page) {
            Ok(region) => (region, Protection::MemfdSecret, None),
            Err(refusal) => {
                let region = Region::map(Protection::Mlock, page).map_err(|refusal| refusal.into_error(page))?;
                (region, Protection::Mlock, Some(refusal.reason()))
            }
        };
        Ok(Self::of(region, protection, fallback_reason))
    }

    /// As [`Self::new`], but takes memfd_secret or nothing.
    ///
    /// # Errors
    /// [`LockedMemoryError::SecretMemoryRefused`] if the kernel gives none, [`LockedMemoryError::LimitReached`] if the
    /// limit is all that is in the way.
    pub fn without_fallback() -> Result<Self, LockedMemoryError> {
        let page = region::page_bytes();
        let region =
            Region::map(Protection::MemfdSecret, page).map_err(|refusal| match refusal.is_of_the_kernel() {
                true => LockedMemoryError::SecretMemoryRefused { reason: refusal.reason() },
                false => refusal.into_error(page),
            })?;
        Ok(Self::of(region, Protection::MemfdSecret, None))
    }

    fn of(region: Region, protection: Protection, fallback_reason: Option<String>) -> Self {
        let slabs = Mutex::new(vec![Arc::new(Slab::new(region))]);
        let shared =
            Shared { protection, fallback_reason, slabs, buffers: Mutex::default(), wiped: AtomicBool::new(false) };
        Self { shared: Arc::new(shared) }
    }

    /// How the kernel protects this memory, all of it.
    pub fn protection(&self) -> Protection {
        self.shared.protection
    }

    /// Why memfd_secret was not to be had; none if it was.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.shared.fallback_reason.as_deref()
    }

    /// How many bytes are locked now, guard pages not among them.
    pub fn locked_bytes(&self) -> usize {
        let (slabs, buffers) = (hold(&self.shared.slabs), hold(&self.shared.buffers));
        let secrets: usize = slabs.iter().map(|slab| slab.region().len()).sum();
        secrets + buffers.iter().filter_map(Weak::upgrade).map(|region| region.len()).sum::<usize>()
    }

    /// How many bytes the process may lock; none for any number. Whoever has CAP_IPC_LOCK may lock more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn limit_bytes(&self) -> std::io::Result<Option<u64>> {
        region::lock_limit_bytes()
    }

    /// A new secret of 32 bytes, zeroed and then filled in place by `fill`.
    ///
    /// # Errors
    /// What `fill` says, after which the slot is wiped and free again; or a [`LockedMemoryError`] if no slot is free
    /// and no more memory can be locked.
    pub fn secret<E: From<LockedMemoryError>>(
        &self,
        fill: impl FnOnce(&mut [u8; SECRET_BYTES]) -> Result<(), E>,
    ) -> Result<Secret, E> {
        let mut secret = self.free_slot()?;
        // An error or a panic in `fill` drops the secret, which wipes and frees its slot.
        fill(secret.expose_bytes_mut())?;
        Ok(secret)
    }

    /// An empty buffer of `capacity` bytes in a region of its own.
    ///
    /// # Errors
    /// A [`LockedMemoryError`] if so much memory cannot be locked.
    pub fn buffer(&self, capacity: usize) -> Result<LockedBuffer, LockedMemoryError> {
        let mut buffers = hold(&self.shared.buffers);
        self.refuse_if_wiped()?;
        let bytes = LockedBuffer::region_bytes(capacity).ok_or(LockedMemoryError::TooLarge(capacity))?;
        let region = Region::map(self.shared.protection, bytes).map_err(|refusal| refusal.into_error(bytes))?;
        let region = Arc::new(region);
        buffers.retain(|buffer| buffer.strong_count() > 0);
        buffers.push(Arc::downgrade(&region));
        Ok(LockedBuffer::new(region, capacity))
    }

    /// Zeroes every region and takes all access away: the last act before the process ends.
    ///
    /// # Security
    /// A thread that still reads a secret afterwards is stopped by the kernel with SIGSEGV. Reading zeros instead would let
    /// it seal a value under a key that everybody knows, and answer that all went well.
    pub fn wipe_all(&self) {
        let (slabs, buffers) = (hold(&self.shared.slabs), hold(&self.shared.buffers));
        self.shared.wiped.store(true, Ordering::SeqCst);
        slabs.iter().for_each(|slab| slab.region().close());
        buffers.iter().filter_map(Weak::upgrade).for_each(|region| region.close());
    }

    /// Calls [`Self::wipe_all`] when it is dropped: at the end of a scope, however that ends.
    #[must_use]
    pub fn wiped_at_the_end(&self) -> WipedAtTheEnd {
        WipedAtTheEnd(self.clone())
    }

    fn free_slot(&self) -> Result<Secret, LockedMemoryError> {
        let mut slabs = hold(&self.shared.slabs);
        self.refuse_if_wiped()?;
        if let Some(secret) = slabs.iter().rev().find_map(Slab::take) {
            return Ok(secret);
        }
        let slab = Arc::new(Slab::new(self.grow()?));
        let secret = Slab::take(&slab).ok_or(LockedMemoryError::TooLarge(SECRET_BYTES))?;
        slabs.push(slab);
        Ok(secret)
    }

    /// One more region for secrets; a single page where the limit allows no more.
    fn grow(&self) -> Result<Region, LockedMemoryError> {
        let page = region::page_bytes();
        Region::map(self.shared.protection, GROWTH_BYTES.max(page))
            .or_else(|_| Region::map(self.shared.protection, page))
            .map_err(|refusal| refusal.into_error(page))
    }

    fn refuse_if_wiped(&self) -> Result<(), LockedMemoryError> {
        if self.shared.wiped.load(Ordering::SeqCst) { Err(LockedMemoryError::Wiped) } else { Ok(()) }
    }
}

impl fmt::Debug for LockedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedMemory").field("protection", &self.shared.protection).finish_non_exhaustive()
    }
}

/// Held by the scope at whose end nothing may be left: see [`LockedMemory::wiped_at_the_end`].
#[derive(Debug)]
pub struct WipedAtTheEnd(LockedMemory);

impl Drop for WipedAtTheEnd {
    fn drop(&mut self) {
        self.0.wipe_all();
    }
}

#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod tests;
