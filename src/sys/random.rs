//! The kernel's random numbers, by getrandom(2).
//!
//! Must never fall back to another source, nor return with a buffer filled in part.
//! Called by `cli`, which hands it to `custody` and `operations` as their source of randomness.
#![allow(unsafe_code, reason = "getrandom(2) writes through a raw pointer")]

/// The kernel gave no random bytes; the buffer's contents must not be used.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's random number generator gave nothing (getrandom: errno {errno})")]
pub struct RandomUnavailable {
    errno: i32,
}

/// Fills `bytes` from the kernel's generator; waits, early in the boot, until that is seeded.
///
/// Works on locked memory in place, so that a key never lies anywhere else.
///
/// # Errors
/// [`RandomUnavailable`] if the kernel refuses; what was filled until then is zeroed.
pub fn fill(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    let mut rest = &mut *bytes;
    while !rest.is_empty() {
        // JUSTIFICATION: ring's generator is sealed and cannot be asked to fill a given buffer without its own fallback.
        // SAFETY: the pointer and length are those of a live, exclusively borrowed slice.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) if got > 0 => rest = rest.get_mut(got..).unwrap_or_default(),
            _ => {
                let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
                if errno != libc::EINTR {
                    bytes.fill(0);
                    return Err(RandomUnavailable { errno });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_long_buffer_is_filled() {
        let mut bytes = vec![0_u8; 1 << 20];
        fill(&mut bytes).unwrap();
        // 64 zero bytes in a row by chance: less than 2^-480.
        assert!(bytes.chunks(64).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    }

    #[test]
    fn two_fills_differ_and_an_empty_one_is_no_error() {
        let (mut one, mut two) = ([0_u8; 32], [0_u8; 32]);
        fill(&mut one).unwrap();
        fill(&mut two).unwrap();
        fill(&mut []).unwrap();
        assert_ne!(one, two);
    }
}
