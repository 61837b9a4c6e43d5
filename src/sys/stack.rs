//! Clearing the part of the stack that calls just made have used and left.
//!
//! Must never touch the caller's own frame, so what the caller still holds stays, secrets included.
//! Called by `custody` after every call into ring that handled a key.
#![allow(unsafe_code, reason = "uninitialised stack memory is overwritten")]

use std::mem::MaybeUninit;

use super::wipe;

/// How much is cleared: more than deriving and sealing with ring uses, which a test measures.
/// Optimised that is 3 KiB, otherwise 19.
const SCRUBBED_BYTES: usize = if cfg!(optimised) { 16 * 1024 } else { 32 * 1024 };

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
    use super::*;

    const MARKED_BYTES: usize = 8 * 1024;

    #[inline(never)]
    fn leave_a_marker() -> usize {
        let mut frame = [0xC3_u8; MARKED_BYTES];
        std::hint::black_box(&mut frame);
        frame.as_ptr().expose_provenance()
    }

    /// Looks at stack below its caller; its own frames destroy the top of it, which is why a few hundred bytes may be missing.
    #[inline(never)]
    fn marked_bytes_from(address: usize) -> usize {
        let start = std::ptr::with_exposed_provenance::<u8>(address);
        let mut found = 0;
        let mut at = 0;
        while at < MARKED_BYTES / 2 {
            // JUSTIFICATION: the test proves what a memory scan would find in a dead frame.
            // SAFETY: the address lies in this thread's mapped stack; the read is volatile and only of bytes.
            if unsafe { start.wrapping_add(at).read_volatile() } == 0xC3 {
                found += 1;
            }
            at += 1;
        }
        found
    }

    #[test]
    fn a_marker_in_a_dead_frame_is_gone_after_scrub_and_there_without() {
        let left = leave_a_marker();
        let without = marked_bytes_from(left);
        let left = leave_a_marker();
        scrub();
        let with = marked_bytes_from(left);
        assert_eq!((without, with), (MARKED_BYTES / 2, 0));
    }

    const PAINTED_BYTES: usize = 4 * SCRUBBED_BYTES;

    #[inline(never)]
    fn paint() -> usize {
        let mut frame = [0xC3_u8; PAINTED_BYTES];
        std::hint::black_box(&mut frame);
        frame.as_ptr().expose_provenance()
    }

    /// How many bytes at the far end of the paint are as they were.
    #[inline(never)]
    fn untouched_from(address: usize) -> usize {
        let start = std::ptr::with_exposed_provenance::<u8>(address);
        let mut at = 0;
        // JUSTIFICATION: as above.
        // SAFETY: as above.
        while at < PAINTED_BYTES && unsafe { start.wrapping_add(at).read_volatile() } == 0xC3 {
            at += 1;
        }
        at
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
        let painted = paint();
        derive_and_seal();
        let used = PAINTED_BYTES - untouched_from(painted);
        assert!((1_000..=SCRUBBED_BYTES).contains(&used), "{used} bytes");
    }
}
