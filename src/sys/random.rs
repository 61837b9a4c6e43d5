//! The kernel's random numbers, by getrandom(2).
//!
//! Must never fall back to another source, nor return with a buffer filled in part, nor draw from a generator in the process.
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
        // JUSTIFICATION: ring's generator is sealed and cannot be asked to fill a given buffer without its own fallback. The C
        // library's function is not asked either: from glibc 2.41 on it draws from a state of its own in memory that root can
        // read, with the numbers to come in it (vgetrandom; Linux 6.11).
        // SAFETY: the pointer and length are those of a live, exclusively borrowed slice.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, rest.as_mut_ptr(), rest.len(), 0) };
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
pub(crate) mod tests {
    use super::*;
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    /// Runs `work` on a thread to which the kernel answers every getrandom(2) with EIO.
    pub(crate) fn without_getrandom<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                refuse_getrandom();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// By a filter, which is the calling thread's alone.
    fn refuse_getrandom() {
        let rules = [(libc::SYS_getrandom, Vec::new())].into();
        let refused = SeccompAction::Errno(libc::EIO.unsigned_abs());
        let machine = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    }

    #[test]
    fn a_kernel_that_refuses_is_an_error_and_leaves_zeros() {
        without_getrandom(|| {
            let mut bytes = [0xA5; 32];
            let refused = fill(&mut bytes).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("the kernel's random number generator gave nothing (getrandom: errno {})", libc::EIO)
            );
            assert_eq!(bytes, [0; 32]);
        });
        fill(&mut [0; 32]).unwrap();
    }

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
