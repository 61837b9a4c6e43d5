//! Marks in a frame that is left, and what of them is there later: what a look at dead stack would find.
//!
//! Must never be part of the program: compiled for tests alone.
//! Called by the tests of what clears the stack, here and in `custody`.
#![allow(unsafe_code, reason = "the tests look at stack that nobody owns any more")]

use super::stack::SCRUBBED_BYTES;

/// No address, length or instruction: nothing but a mark is taken for one.
const MARK: u64 = 0x9E37_C3A5_5A3C_79B9;
const MARK_BYTES: usize = size_of::<u64>();

/// As many marks as lie, with the frames above them, within what is cleared.
pub(crate) const WITHIN_REACH: usize = SCRUBBED_BYTES / 2 / MARK_BYTES;

/// As many marks as reach far past what is cleared.
pub(crate) const BEYOND_REACH: usize = 4 * SCRUBBED_BYTES / MARK_BYTES;

/// Marks in a dead frame of this thread: as a pointer is in it, it can be given to no other.
pub(crate) struct Marks<const COUNT: usize>(*const u64);

/// Leaves marks below the caller's frame. They begin where the stack is deepest.
#[inline(never)]
pub(crate) fn leave_marks<const COUNT: usize>() -> Marks<COUNT> {
    let mut frame = [MARK; COUNT];
    std::hint::black_box(&mut frame);
    Marks(std::ptr::with_exposed_provenance(frame.as_ptr().expose_provenance()))
}

impl<const COUNT: usize> Marks<COUNT> {
    /// How many are left of the deeper half. The other is where frames of whoever looks lie too.
    #[inline(never)]
    pub(crate) fn left_in_the_deeper_half(&self) -> usize {
        let (mut at, mut left) = (0, 0);
        while at < COUNT / 2 {
            left += usize::from(self.is_left(at));
            at += 1;
        }
        left
    }

    /// How many bytes lie above the deepest place that was written to since, with it.
    #[inline(never)]
    pub(crate) fn bytes_used_since(&self) -> usize {
        let mut at = 0;
        while at < COUNT && self.is_left(at) {
            at += 1;
        }
        (COUNT - at) * MARK_BYTES
    }

    #[inline(always)]
    fn is_left(&self, at: usize) -> bool {
        // JUSTIFICATION: the tests prove what a memory scan would find in a dead frame.
        // SAFETY: the address lies in this thread's stack, which stays mapped; the read is volatile and of an integer.
        unsafe { self.0.wrapping_add(at).read_volatile() == MARK }
    }
}
