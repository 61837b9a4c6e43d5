//! Numbers that a seed brings back: SplitMix64, one row of numbers for each purpose.
//!
//! Must never be fed by a clock: what is drawn is a function of the seed alone. Used by every module of this binary.

/// A row of numbers.
#[derive(Clone)]
pub struct Draw(u64);

impl Draw {
    /// The row for a purpose: the seed, and what tells this row from the others of the run.
    pub fn of(purpose: &[u64]) -> Self {
        let mut row = Self(0);
        for part in purpose {
            row.0 ^= *part;
            row.0 = row.next();
        }
        row
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `count`, from 0.
    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// A time of up to so many milliseconds, to the microsecond.
    pub fn within(&mut self, milliseconds: u64) -> std::time::Duration {
        std::time::Duration::from_micros(self.next() % (milliseconds * 1000 + 1))
    }

    /// One of these.
    pub fn pick<'p, T>(&mut self, from: &'p [T]) -> Option<&'p T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }

    /// A request id.
    pub fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes((u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes())
            .into_uuid()
            .to_string()
    }
}
