//! Randomness that a number gives: the same number, the same cuts, keys and salts.
//!
//! Must never seal anything but a test's: whoever knows the seed knows the keys.
//! Used by every part of the matrix.

use servos_keyd::custody::random::Random;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

/// A sequence of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Seeded(u64);

/// A seed for one thing of many.
pub fn seed_of(seed: u64, thing: impl Hash) -> u64 {
    // The hasher's keys are fixed.
    let mut hasher = DefaultHasher::new();
    (seed, thing).hash(&mut hasher);
    hasher.finish()
}

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, and without, `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    /// Yes, in so many of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.number() % 100 < percent
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let number = self.number().to_le_bytes();
            piece.copy_from_slice(&number[..piece.len()]);
        }
    }
}

/// What the daemon takes for the kernel's.
pub fn source(seed: u64) -> Box<Random> {
    let numbers = Mutex::new(Seeded::new(seed));
    Box::new(move |bytes| {
        numbers.lock().unwrap().fill(bytes);
        Ok(())
    })
}
