//! Clearing the part of the stack that calls just made have used and left.
//!
//! Must never touch the caller's own frame, so what the caller still holds stays, secrets included.
//! Called by `custody` after every call into ring that handled a key.
#![allow(unsafe_code, reason = "uninitialised stack memory is overwritten")]

use std::mem::MaybeUninit;

use super::wipe;

/// How much is cleared: more than deriving and sealing with ring uses, which a test measures.
/// Optimised that is 3 KiB, otherwise 19.
pub(super) const SCRUBBED_BYTES: usize = if cfg!(optimised) { 16 * 1024 } else { 32 * 1024 };

/// Zeroes 16 KiB (32 where the code is not optimised) of stack below the caller, where the frames of the functions it called have been.
///
/// # Security
/// Moving a key object out of its constructor leaves copies in dead frames, from which an AES key can be had.
/// Call this in the function that called into ring, after the last such call, and do not let that function be inlined
/// into one with a frame of its own between.
#[inline(never)]
pub fn scrub() {
    let mut dead = MaybeUninit::<[u8; SCRUBBED_BYTES]>::uninit();
    // JUSTIFICATION: the area is only ever overwritten; initialising it first would do the work twice.
    // SAFETY: the memory is this frame's own and exactly so long.
    unsafe { wipe::zero(dead.as_mut_ptr().cast(), SCRUBBED_BYTES) }
}

#[cfg(test)]
mod tests {
    use super::super::dead_stack::{BEYOND_REACH, WITHIN_REACH, leave_marks};
    use super::*;

    #[test]
    fn a_marker_in_a_dead_frame_is_gone_after_scrub_and_there_without() {
        let left = leave_marks::<WITHIN_REACH>();
        let without = left.left_in_the_deeper_half();
        let left = leave_marks::<WITHIN_REACH>();
        scrub();
        let with = left.left_in_the_deeper_half();
        assert_eq!((without, with), (WITHIN_REACH / 2, 0));
    }

    #[inline(never)]
    fn derive_and_seal() {
        use ring::{aead, hkdf, hmac};
        let derived = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &[1; 32]);
        let mut key = [0; 32];
        derived.expand(&[b"label"], hkdf::HKDF_SHA256).unwrap().fill(&mut key).unwrap();
        let sealing = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &key).unwrap());
        let nonce = aead::Nonce::assume_unique_for_key([2; 12]);
        let mut body = vec![3; 70_000];
        sealing.seal_in_place_append_tag(nonce, aead::Aad::from([4; 76]), &mut body).unwrap();
        std::hint::black_box(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &body));
    }

    #[test]
    fn deriving_sealing_and_signing_use_no_more_stack_than_is_scrubbed() {
        // Whatever runs only once (the detection of the processor's features) has run.
        derive_and_seal();
        let painted = leave_marks::<BEYOND_REACH>();
        derive_and_seal();
        let used = painted.bytes_used_since();
        assert!((1_000..=SCRUBBED_BYTES).contains(&used), "{used} bytes");
    }
}
