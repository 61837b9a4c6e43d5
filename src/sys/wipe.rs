//! Overwriting memory in a way that the optimiser cannot leave out.
//!
//! Must never free, nor read what it overwrites, nor hold anything that needs a destructor.
//! Called by `custody` around ring's key objects, and by the rest of `sys`.
#![allow(unsafe_code, reason = "memory is overwritten through raw pointers")]

use std::{fmt, mem::MaybeUninit, ops::Deref};

#[cfg(not(feature = "danger-no-wipe"))]
pub use zeroize::Zeroizing;

#[cfg(feature = "danger-no-wipe")]
pub use unwiped::Zeroizing;

/// Zeroes `len` bytes from `start` with one memset; the compiler cannot see that nobody reads them afterwards.
///
/// # Safety
/// `start` must be valid for writes of `len` bytes, and nobody may read them as a typed value afterwards
/// unless all zeros are valid for that type.
#[inline(always)]
pub(in crate::sys) unsafe fn zero(start: *mut u8, len: usize) {
    // JUSTIFICATION: an ordinary loop over bytes with volatile writes costs a quarter of the sealing throughput.
    // SAFETY: the caller's promise.
    unsafe { start.write_bytes(0, len) };
    // JUSTIFICATION: without an observer, a memset before the end of a life is dead code and is left out.
    // SAFETY: the assembly is a comment only. As it is not marked `nomem`, the compiler must assume that it reads what
    // `start` points to.
    unsafe { std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags)) };
}

/// A value whose memory is overwritten with zeros when it goes out of scope.
///
/// Meant for ring's key objects (`Prk`, `LessSafeKey`, `hmac::Key`), which hold their key inline and wipe nothing.
/// A type that needs a destructor does not compile.
///
/// # Security
/// Only the value's last place is wiped. What constructing and moving it left on the stack is for
/// [`crate::sys::stack::scrub`]; what it points to is not touched at all.
pub struct Wiped<T> {
    value: MaybeUninit<T>,
}

impl<T> Wiped<T> {
    const NEEDS_NO_DESTRUCTOR: () = assert!(!std::mem::needs_drop::<T>(), "a wiped value must not need a destructor");

    /// Takes the value; build it in the argument itself, so that it is moved as seldom as possible.
    #[inline(always)]
    pub fn new(value: T) -> Self {
        let () = Self::NEEDS_NO_DESTRUCTOR;
        Self { value: MaybeUninit::new(value) }
    }
}

impl<T> Deref for Wiped<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // JUSTIFICATION: `MaybeUninit` lets the bytes be zeroed without claiming that zeros are a valid `T`.
        // SAFETY: `new` initialised it, and only `drop` ends that.
        unsafe { self.value.assume_init_ref() }
    }
}

impl<T> Drop for Wiped<T> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(feature = "danger-no-wipe")]
        return unwiped::mark();
        #[cfg(not(feature = "danger-no-wipe"))]
        // JUSTIFICATION: the types are foreign and offer no way to wipe themselves.
        // SAFETY: the memory is ours and `size_of::<T>()` long; `T` needs no destructor, so nothing reads it again.
        unsafe {
            zero(self.value.as_mut_ptr().cast(), size_of::<T>())
        }
    }
}

impl<T> fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wiped")
    }
}

/// What stands in the place of wiping where its cost is measured. Locked memory is wiped all the same: no call pays for that.
#[cfg(feature = "danger-no-wipe")]
mod unwiped {
    use std::hint::black_box;
    use std::ops::{Deref, DerefMut};

    /// The gate looks for it in the binaries.
    static MARKER: &str = "SERVOS_KEYD_WIPES_NOTHING";

    /// Keeps the marker in the program.
    #[inline(always)]
    pub(super) fn mark() {
        black_box(MARKER);
    }

    /// The value alone, without a destructor.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Zeroizing<T>(T);

    impl<T> Zeroizing<T> {
        /// Takes the value.
        #[inline(always)]
        pub fn new(value: T) -> Self {
            Self(value)
        }
    }

    impl<T> Deref for Zeroizing<T> {
        type Target = T;

        #[inline(always)]
        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for Zeroizing<T> {
        #[inline(always)]
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_value_leaves_only_zeros_where_it_was() {
        let mut place = MaybeUninit::new(Wiped::new([0xA5_u8; 600]));
        let bytes = place.as_mut_ptr().cast::<u8>();
        let seen = |at: usize| {
            // JUSTIFICATION: the test looks at memory whose owner is gone.
            // SAFETY: `place` still owns 600 initialised bytes.
            unsafe { bytes.add(at).read_volatile() }
        };
        assert!((0..600).all(|at| seen(at) == 0xA5), "the control: the value is there before the drop");
        // JUSTIFICATION: dropping in place keeps the memory for the look afterwards.
        // SAFETY: dropped once, never used as a value again.
        unsafe { place.as_mut_ptr().drop_in_place() };
        assert!((0..600).all(|at| seen(at) == 0));
    }

    #[test]
    fn a_wiped_value_is_used_like_the_value_and_shows_nothing() {
        let value = Wiped::new([7_u8; 4]);
        assert_eq!(value.len(), 4);
        assert_eq!(format!("{value:?}"), "Wiped");
    }

    #[test]
    fn ring_key_objects_can_be_held() {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[1; 32]);
        let _mac = Wiped::new(key);
        let _prk = Wiped::new(ring::hkdf::Prk::new_less_safe(ring::hkdf::HKDF_SHA256, &[1; 32]));
        let unbound = ring::aead::UnboundKey::new(&ring::aead::AES_256_GCM, &[1; 32]).unwrap();
        let _aead = Wiped::new(ring::aead::LessSafeKey::new(unbound));
    }

    #[test]
    fn a_slice_is_wiped_whole() {
        let mut bytes = [0xFF_u8; 33];
        for some in [&mut bytes[..], &mut []] {
            // JUSTIFICATION: the test calls what the room calls.
            // SAFETY: a slice of bytes, exclusively borrowed; zero is a valid byte.
            unsafe { zero(some.as_mut_ptr(), some.len()) };
        }
        assert_eq!(bytes, [0; 33]);
    }
}
