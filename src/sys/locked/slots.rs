//! Secrets of 32 bytes, side by side in one region.
//!
//! Must never keep its accounts in the locked memory, nor hand out a slot that is not zeroed.
//! Called by `LockedMemory`; `Secret` is what `custody` holds.
#![allow(unsafe_code, reason = "slots are parts of a mapping that is known by its address only")]

use std::{
    fmt,
    ptr::NonNull,
    sync::{Arc, Mutex},
};

use super::region::{Region, hold};

/// The size of a secret.
pub const SECRET_BYTES: usize = 32;

/// A region cut into slots, and the list of those that are free.
pub(super) struct Slab {
    region: Region,
    free: Mutex<Vec<usize>>,
}

impl Slab {
    pub(super) fn new(region: Region) -> Self {
        let free = (0..region.len() / SECRET_BYTES).rev().collect();
        Self { region, free: Mutex::new(free) }
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// A zeroed slot, if one is free.
    pub(super) fn take(slab: &Arc<Self>) -> Option<Secret> {
        let slot = hold(&slab.free).pop()?;
        Some(Secret { slab: Arc::clone(slab), slot })
    }
}

/// 32 bytes of locked memory that nobody else holds. Dropping it wipes them and gives the slot back.
pub struct Secret {
    pub(super) slab: Arc<Slab>,
    slot: usize,
}

impl Secret {
    /// The bytes, where they lie.
    ///
    /// # Security
    /// Do not copy them; what is derived from them goes into locked memory or into a [`crate::sys::wipe::Wiped`].
    pub fn expose_bytes(&self) -> &[u8; SECRET_BYTES] {
        // JUSTIFICATION: the memory has no Rust object of its own to borrow from.
        // SAFETY: inside the region, initialised (zeroed when mapped and when freed), and kept mapped by `slab`. Only this
        // secret has the slot; writing takes `&mut self`.
        unsafe { self.bytes().as_ref() }
    }

    /// For filling a slot that was just taken.
    pub(super) fn expose_bytes_mut(&mut self) -> &mut [u8; SECRET_BYTES] {
        // JUSTIFICATION: as above.
        // SAFETY: as above, and `&mut self` excludes every other reference.
        unsafe { self.bytes().as_mut() }
    }

    fn bytes(&self) -> NonNull<[u8; SECRET_BYTES]> {
        // JUSTIFICATION: pointer arithmetic within one mapping.
        // SAFETY: `slot` is below the number of slots that fit the region, so this stays inside it.
        unsafe { self.slab.region.start().add(self.slot * SECRET_BYTES).cast() }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.slab.region.wipe(self.slot * SECRET_BYTES, SECRET_BYTES);
        hold(&self.slab.free).push(self.slot);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
