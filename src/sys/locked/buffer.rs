//! A buffer of locked memory for the text of a key source, or for a key on its way out.
//!
//! Must never read or keep a byte of its contents outside the locked memory.
//! Called by `config` to read sources, by `custody` to parse and write keys, by `cli` to print one on request.
#![allow(unsafe_code, reason = "the buffer is a mapping that is known by its address only")]

use std::{
    fmt,
    io::{self, Read},
    ops::Range,
    sync::Arc,
};

use super::region::Region;

/// A growable-to-capacity run of bytes in a region of its own; wiped and unmapped on drop.
pub struct LockedBuffer {
    region: Arc<Region>,
    capacity: usize,
    len: usize,
}

impl LockedBuffer {
    /// One byte more than the capacity, so that [`Self::read_from`] can tell a source that is too long without
    /// reading a byte of it elsewhere.
    pub(super) fn region_bytes(capacity: usize) -> Option<usize> {
        capacity.checked_add(1)
    }

    pub(super) fn new(region: Arc<Region>, capacity: usize) -> Self {
        Self { region, capacity, len: 0 }
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is in it, where it lies.
    pub fn expose_bytes(&self) -> &[u8] {
        self.expose_all().get(..self.len).unwrap_or_default()
    }

    /// The room behind the contents, to be filled; [`Self::advance`] then says how much was.
    pub fn expose_spare_mut(&mut self) -> &mut [u8] {
        let (from, to) = (self.len, self.capacity);
        self.expose_all_mut().get_mut(from..to).unwrap_or_default()
    }

    /// Takes the next `count` bytes of the room behind the contents as contents, at most up to the capacity.
    pub fn advance(&mut self, count: usize) {
        self.len = self.len.saturating_add(count).min(self.capacity);
    }

    /// Moves the bytes of `range` to the front and wipes all others. What of `range` lies beyond the contents is left out.
    pub fn keep(&mut self, range: Range<usize>) {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        self.expose_all_mut().copy_within(start..end, 0);
        self.len = end - start;
        self.region.wipe(self.len, self.region.len());
    }

    /// Appends `bytes`. False if they did not all fit: what did is kept.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let room = self.expose_spare_mut();
        let count = bytes.len().min(room.len());
        for (place, byte) in room.iter_mut().zip(bytes) {
            *place = *byte;
        }
        self.advance(count);
        count == bytes.len()
    }

    /// Appends all of `source`, up to its end. False if it did not fit: what did is kept.
    ///
    /// # Errors
    /// What `source` says; what was read until then is kept.
    ///
    /// # Security
    /// A source with a buffer of its own (`BufReader`, `Stdin`) keeps a copy there: give a `File`.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<bool> {
        loop {
            let (from, capacity) = (self.len, self.capacity);
            let room = self.expose_all_mut().get_mut(from..=capacity).unwrap_or_default();
            match source.read(room) {
                Ok(0) => return Ok(true),
                Ok(count) if count > capacity - from => {
                    self.len = capacity;
                    self.region.wipe(capacity, 1);
                    return Ok(false);
                }
                Ok(count) => self.len += count,
                Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
                Err(failed) => return Err(failed),
            }
        }
    }

    pub(super) fn expose_all(&self) -> &[u8] {
        // JUSTIFICATION: the memory has no Rust object of its own to borrow from.
        // SAFETY: the whole region, initialised when it was mapped and kept mapped by `region`; only this buffer has it, and
        // writing takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.region.start().as_ptr(), self.region.len()) }
    }

    fn expose_all_mut(&mut self) -> &mut [u8] {
        // JUSTIFICATION: as above.
        // SAFETY: as above, and `&mut self` excludes every other reference.
        unsafe { std::slice::from_raw_parts_mut(self.region.start().as_ptr(), self.region.len()) }
    }
}

impl fmt::Debug for LockedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedBuffer").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
