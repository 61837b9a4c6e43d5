//! Two deaths in a row: the daemon that takes up what a dead one left dies too. All pairs would be too many: some are drawn.
//!
//! Must never draw without saying the seed, with which the same are drawn again. Run by `cargo test`.

use crate::attempt::{Attempt, attempt};
use crate::death::{ALL, REQUEST, STEPS, check_rest, promised};
use crate::stage::{Case, Operation, Stage};
use std::io::Write as _;

/// Pairs that are drawn for each operation.
const PAIRS: usize = 6;

/// The variable that gives a seed: 64 bits in decimal.
const SEED: &str = "ROTATION_FAULTS_SEED";

/// SplitMix64: numbers that a seed brings back.
struct Draw(u64);

impl Draw {
    fn seeded(operation: Operation) -> Self {
        let seed = std::env::var(SEED).map_or_else(
            |_| {
                let mut bytes = [0; 8];
                servos_keyd::sys::random::fill(&mut bytes).unwrap();
                u64::from_le_bytes(bytes)
            },
            |seed| seed.parse().expect("a seed is a number of 64 bits"),
        );
        let _ = writeln!(std::io::stderr(), "{operation:?}, two deaths in a row: {SEED}={seed}");
        Self(seed)
    }

    /// One of `count`, from 0.
    fn below(&mut self, count: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % u64::from(count)) as u32
    }
}

/// Draws pairs. `often` is how often a rotation passes each of [`ALL`].
fn die_twice(operation: Operation, often: [u32; 5]) {
    let stage = Stage::set(Case { operation, new_data_keys: true, legacy: true });
    let mut draw = Draw::seeded(operation);
    let mut second_deaths = 0;
    for _ in 0..PAIRS {
        let at = draw.below(ALL.len() as u32) as usize;
        let first = (ALL[at], 1 + draw.below(often[at]));
        // Of a begin it is known behind these alone whether it took place before.
        let points: &[&str] = if operation == Operation::Begin { &STEPS } else { &ALL };
        let second = (points[draw.below(points.len() as u32) as usize], 1 + draw.below(3));
        eprintln!("{first:?}, then {second:?}");
        let installation = stage.copy();
        let [(died, before), (again, after)] = [first, second].map(|(point, n)| {
            let Attempt { died, answer, values } = attempt(&stage, &installation, &format!("{point}#{n}"), REQUEST);
            (died, (answer, values))
        });
        assert!(died, "{first:?}");
        second_deaths += u32::from(again);
        let values = [before.1, after.1].concat();
        // What one left cannot be taken back by the next.
        let mut opens = promised(&stage, first.0, first.1);
        if again && operation == Operation::Begin && opens.len() == 1 {
            opens = promised(&stage, second.0, second.1);
        }
        if again {
            stage.check_keys(&installation, &opens, &values);
        }
        check_rest(&stage, &installation, before.0.or(after.0).as_ref(), &values, false);
    }
    let _ =
        writeln!(std::io::stderr(), "{operation:?}: of {PAIRS} that went on after a death, {second_deaths} died too");
}

#[test]
fn a_begin_may_die_twice() {
    die_twice(Operation::Begin, [1, 1, 1, 2, 2]);
}

#[test]
fn a_finish_may_die_twice() {
    die_twice(Operation::Finish, [6, 6, 1, 8, 8]);
}

#[test]
fn a_start_may_die_twice_in_its_finish() {
    die_twice(Operation::FinishAtStart, [6, 6, 1, 8, 8]);
}

#[test]
fn an_abort_may_die_twice() {
    die_twice(Operation::Abort, [6, 6, 1, 8, 8]);
}
