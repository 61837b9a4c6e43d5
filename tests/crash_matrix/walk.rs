//! All faults of one operation: each kind of call of the disk, turn by turn, until a run passes without meeting one.
//!
//! Must never end a walk before a run has passed, but where it only samples.
//! Called by the matrix.

use super::arguments::Arguments;
use super::faults::{Fault, KINDS, Kind, endure};
use super::matrix::{Counts, MOST_FAILURES, fail, guarded};
use super::operations::Operation;
use super::random::{Seeded, seed_of};
use super::room::Room;
use super::trial::Scene;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Turns of each kind that a sample takes.
const SAMPLED: usize = 3;

/// One fault, or a walk from it on.
struct Walk {
    first: Fault,
    goes_on: bool,
}

struct Work<'w> {
    operation: &'w Operation,
    arguments: &'w Arguments,
    scene: &'w Scene,
    walks: Vec<Walk>,
    next: AtomicUsize,
    counts: Mutex<Counts>,
    failures: Mutex<Vec<(String, String)>>,
}

/// Walks, or takes samples of, all faults of an operation that asks the disk for so many operations of each kind.
pub fn walk(
    operation: &Operation,
    arguments: &Arguments,
    scene: &Scene,
    kinds: &BTreeMap<Kind, usize>,
    rooms: &[Room],
) -> (Counts, Vec<(String, String)>) {
    let walks = match arguments.only.as_ref() {
        Some(only) if only.cut.is_some() => Vec::new(),
        Some(only) if only.fault.is_some() => {
            only.fault.iter().map(|fault| Walk { first: *fault, goes_on: false }).collect()
        }
        _ if arguments.full => whole(),
        _ => sampled(kinds, seed_of(arguments.seed, (operation.name, "faults"))),
    };
    let next = AtomicUsize::new(0);
    let work = Work { operation, arguments, scene, walks, next, counts: Mutex::default(), failures: Mutex::default() };
    std::thread::scope(|scope| {
        for room in rooms {
            scope.spawn(|| work.go(room));
        }
    });
    (work.counts.into_inner().unwrap(), work.failures.into_inner().unwrap())
}

fn whole() -> Vec<Walk> {
    let mut walks = Vec::new();
    for kind in KINDS {
        for error in kind.errors() {
            for lasting in [false, true] {
                walks.push(Walk { first: Fault { kind, turn: 1, error: *error, lasting }, goes_on: true });
            }
        }
    }
    walks
}

fn sampled(kinds: &BTreeMap<Kind, usize>, seed: u64) -> Vec<Walk> {
    let mut numbers = Seeded::new(seed);
    let mut walks = Vec::new();
    for (kind, count) in kinds {
        let mut turns: Vec<usize> = (1..=*count).collect();
        while turns.len() > SAMPLED {
            turns.swap_remove(numbers.below(turns.len()));
        }
        for turn in turns {
            let error = kind.errors()[numbers.below(kind.errors().len())];
            let first = Fault { kind: *kind, turn, error, lasting: numbers.percent(50) };
            walks.push(Walk { first, goes_on: false });
        }
    }
    walks
}

impl Work<'_> {
    fn go(&self, room: &Room) {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(walk) = self.walks.get(n) else { return };
            let mut fault = walk.first;
            while self.one(room, fault) && walk.goes_on && self.failures.lock().unwrap().len() < MOST_FAILURES {
                fault.turn += 1;
            }
        }
    }

    /// Whether the fault was met.
    fn one(&self, room: &Room, fault: Fault) -> bool {
        // The same for every fault: the operation is the same until it meets it.
        let seed = seed_of(self.arguments.seed, self.operation.name);
        match guarded(|| endure(room, self.operation, self.scene, fault, seed)) {
            Ok(endured) => {
                let mut counts = self.counts.lock().unwrap();
                counts.faults += usize::from(endured.met);
                counts.starts += endured.starts;
                counts.values += endured.values;
                endured.met
            }
            Err(why) => {
                fail(&self.failures, format!("{}/{fault}", self.operation.name), why);
                true
            }
        }
    }
}
