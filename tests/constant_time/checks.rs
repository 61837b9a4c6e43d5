//! The four checks, each with a field that is wrong at one end or the other, and the time that a call takes.
//!
//! Must never branch on the kind of input, nor touch other memory for one kind than for the other. Called by the program.

use crate::welch;
use servos_keyd::custody::client_canary;
use servos_keyd::custody::context::Context;
use servos_keyd::custody::digests::Digests;
use servos_keyd::custody::id::StoreId;
use servos_keyd::custody::keys::{IdentityKey, LockedMemory, RootKey, VersionKey};
use servos_keyd::custody::random::RandomUnavailable;
use servos_keyd::custody::{message, snapshot};
use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

/// Calls before those that count.
const WARM_UP: usize = 5_000;

/// Which two kinds of wrong input are told apart.
#[derive(Clone, Copy)]
pub enum Wrong {
    EarlyOrLate,
    FixedOrRandom,
}

impl Wrong {
    pub fn name(self) -> &'static str {
        match self {
            Self::EarlyOrLate => "early or late",
            Self::FixedOrRandom => "fixed or random",
        }
    }
}

/// A call with a wrong input, which says whether it was refused.
type Call = Box<dyn Fn(&[u8]) -> bool>;

/// A check: what it is given, the field in it that is compared, and the call, which says whether it was refused.
pub struct Check {
    pub name: &'static str,
    right: Vec<u8>,
    field: Range<usize>,
    refuses: Call,
}

/// What a run found: each crop's t, of the check and of its leaky twin, and what half of the check's calls took.
pub struct Run {
    pub t: [[f64; welch::CROPS]; 2],
    pub nanoseconds: f64,
}

/// The kernel's randomness.
pub fn random(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    servos_keyd::sys::random::fill(bytes).map_err(|_| RandomUnavailable)
}

/// Every check of what a caller, a store or a file brings: who could try again and again learns nothing by the time it takes.
pub fn all() -> Vec<Check> {
    let memory = LockedMemory::new().unwrap();
    vec![of_message("commitment", &memory), of_message("tag", &memory), of_snapshot(&memory), of_canary(&memory)]
}

fn of_message(name: &'static str, memory: &LockedMemory) -> Check {
    let version = VersionKey::generate(memory, &random).unwrap();
    let context = Context::new([("table", "servers"), ("row", "42")]).unwrap();
    let right = message::seal(&version, &context, b"postgres://servos", &random).unwrap();
    assert!(message::open(&version, &context, &right).is_ok());
    let (field, reason) = match name {
        "tag" => (right.len() - 16..right.len(), message::Rejected::Body),
        _ => (44..76, message::Rejected::Commitment),
    };
    let refuses = move |given: &[u8]| message::open(&version, &context, given) == Err(reason);
    Check { name, right, field, refuses: Box::new(refuses) }
}

fn of_snapshot(memory: &LockedMemory) -> Check {
    let root = RootKey::generate(memory, &random).unwrap();
    let store = StoreId::from_bytes(*b"the store itself");
    let digests: Digests = ["identity", "master", "meta"]
        .map(|name| (name.to_owned(), snapshot::digest(name.as_bytes())))
        .into_iter()
        .collect();
    let right = snapshot::mac(&root, &store, 7, &digests).to_vec();
    assert!(snapshot::verify(&root, &store, 7, &digests, &right));
    let refuses = move |given: &[u8]| !snapshot::verify(&root, &store, 7, &digests, given);
    Check { name: "snapshot MAC", right, field: 0..32, refuses: Box::new(refuses) }
}

fn of_canary(memory: &LockedMemory) -> Check {
    let identity = IdentityKey::generate(memory, &random).unwrap();
    let store = StoreId::from_bytes(*b"the store itself");
    let right = client_canary::issue(&identity, &store, 41, 2);
    assert!(client_canary::verify(&identity, &store, &right).is_ok());
    let refuses = move |given: &[u8]| {
        given.try_into().is_ok_and(|given| client_canary::verify(&identity, &store, given).is_err())
    };
    Check { name: "client's canary MAC", right: right.to_vec(), field: 32..64, refuses: Box::new(refuses) }
}

impl Check {
    /// One run of the check and of its twin, in turns.
    pub fn measure(&self, wrong: Wrong, samples: usize) -> Run {
        let mut draw = Draw::new();
        let mut given = self.right.clone();
        let mut taken: [Vec<(usize, u32)>; 2] = [Vec::with_capacity(samples * 2), Vec::with_capacity(samples * 2)];
        for call in 0..samples * 2 + WARM_UP {
            for (twin, taken) in taken.iter_mut().enumerate() {
                let kind = usize::from(draw.next() & 1 == 1);
                self.make(&mut given, wrong, kind, &mut draw);
                let begun = Instant::now();
                let refused = (self.refuses)(black_box(&given));
                // No other path for one twin than for the other: the check alone compares nothing, byte by byte.
                let compared = self.field.start..self.field.start + self.field.len() * twin;
                let equal = leaky_equal(&self.right[compared.clone()], &given[compared]);
                let took = begun.elapsed();
                assert!(refused && black_box(equal) == (twin == 0), "what is wrong was not refused");
                if call >= WARM_UP {
                    taken.push((kind, u32::try_from(took.as_nanos()).unwrap_or(u32::MAX)));
                }
            }
        }
        let t = [welch::t(&taken[0]), welch::t(&taken[1])];
        let mut times: Vec<u32> = taken[0].iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        Run { t, nanoseconds: f64::from(times[times.len() / 2]) }
    }

    /// Makes the input wrong in its field, by the same steps for both kinds.
    fn make(&self, given: &mut [u8], wrong: Wrong, kind: usize, draw: &mut Draw) {
        given.copy_from_slice(&self.right);
        let (field, last) = (&mut given[self.field.clone()], self.field.len() - 1);
        // All ones for the late and the random kind, and zero for the early and the fixed one.
        let mask = 0_u8.wrapping_sub(u8::try_from(kind).unwrap_or_default());
        match wrong {
            Wrong::EarlyOrLate => {
                let bit = 1 << (draw.next() % 8);
                // Both bytes are written for either kind.
                field[0] ^= bit & !mask;
                field[last] ^= bit & mask;
            }
            Wrong::FixedOrRandom => {
                field[last] ^= 1;
                for byte in field.iter_mut() {
                    *byte ^= draw.next().to_le_bytes()[3] & mask;
                }
                // Whatever was drawn, the field is wrong; equal to the right one it is once in 2^120 calls.
            }
        }
    }
}

/// What must be caught: it ends at the first byte that differs.
#[inline(never)]
fn leaky_equal(one: &[u8], other: &[u8]) -> bool {
    for (one, other) in one.iter().zip(other) {
        if black_box(*one) != black_box(*other) {
            return false;
        }
    }
    true
}

/// Which kind comes next: xorshift64*, seeded by the kernel. Marsaglia 2003, Vigna 2016.
struct Draw(u64);

impl Draw {
    fn new() -> Self {
        let mut seed = [0; 8];
        random(&mut seed).unwrap();
        Self(u64::from_le_bytes(seed) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        // Of its bits the upper ones are the good ones.
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }
}
