//! Changes, faults, probes and starts in any order: what was acknowledged is kept, and what was not can be repeated.
//!
//! Must never differ from one run to the next: each storm is made of its seed, which every failure names.
//! Run by `cargo test`.

use super::fake_store::{Fault, full, locked, unavailable};
use super::health::StoreState;
use super::recovery::recover;
use super::refusal::Refusal;
use super::resume::resume;
use super::test_rig::{Rig, id};
use crate::store::redb_adapter::{self, RedbStore};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Numbers that follow from a seed alone: xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn fault(&mut self) -> Fault {
        match self.below(8) {
            0 | 1 => Fault::Fails(unavailable()),
            2 => Fault::Fails(full()),
            3 | 4 => Fault::WrittenButSaysSo(unavailable()),
            5 => Fault::Panics { written: true },
            6 => Fault::Panics { written: false },
            _ => Fault::None,
        }
    }
}

/// What is asked for, under an id of its own.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Create(u32),
    Rotate(u32),
    Delete(u32),
}

struct Storm {
    rig: Rig,
    dice: Dice,
    asked: u32,
    /// Asked for and refused, by the number of the request.
    refused: BTreeMap<u32, Asked>,
    /// Asked for and answered: with what.
    answered: BTreeMap<u32, (Asked, String)>,
    sealed: Vec<Vec<u8>>,
}

fn key(n: u32) -> String {
    format!("key-{n}")
}

impl Storm {
    fn new(seed: u64, on_disk: bool) -> Self {
        let rig = Rig::new();
        if on_disk {
            let path = rig.directory.path().join("keyd.redb");
            redb_adapter::create(&path, &rig.snapshot()).unwrap();
            locked(&rig.medium).file = Some(RedbStore::open(&path).unwrap());
        }
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self { rig, dice, asked: 0, refused: BTreeMap::new(), answered: BTreeMap::new(), sealed: Vec::new() }
    }

    /// Asks, as the writer does it: a panic costs the answer, and the ledger is put in order.
    fn ask(&mut self, number: u32, asked: Asked) -> Result<String, Option<Refusal>> {
        let rig = &mut self.rig;
        let answer = catch_unwind(AssertUnwindSafe(|| match asked {
            Asked::Create(n) => rig.create(&key(n), id(number)).map(|made| made.key.id.to_string()),
            Asked::Rotate(n) => rig.rotate(&key(n), id(number)).map(|made| made.version.to_string()),
            Asked::Delete(n) => rig.delete(&key(n), id(number)).map(|gone| gone.id.to_string()),
        }));
        self.go_on(answer.is_err());
        answer.map_err(|_| None)?.map_err(Some)
    }

    /// What the writer does after each job.
    fn go_on(&mut self, panicked: bool) {
        let mut broke_off = panicked;
        while broke_off || self.rig.ledger.has_recovered() {
            if broke_off && catch_unwind(AssertUnwindSafe(|| recover(&mut self.rig.ledger))).is_err() {
                self.rig.ledger.fails_on_panic();
            }
            broke_off = catch_unwind(AssertUnwindSafe(|| resume(&mut self.rig.ledger))).is_err();
        }
    }

    fn step(&mut self) {
        match self.dice.below(10) {
            0 | 1 => {
                let faults: Vec<Fault> = (0..self.dice.below(5)).map(|_| self.dice.fault()).collect();
                locked(&self.rig.medium).faults.extend(faults);
            }
            2 => {
                let unreadable = self.dice.below(2) == 0;
                locked(&self.rig.medium).unreadable = unreadable;
            }
            3 => {
                let panicked = catch_unwind(AssertUnwindSafe(|| self.rig.ledger.probe())).is_err();
                self.go_on(panicked);
            }
            4 => {
                let sealed = self.rig.encrypt("default", b"x").unwrap();
                self.sealed.push(sealed.ciphertext);
            }
            5 => self.repeat_some(),
            _ => {
                self.asked += 1;
                let n = u32::try_from(self.dice.below(4)).unwrap();
                let asked = [Asked::Create(n), Asked::Rotate(n), Asked::Delete(n)]
                    [usize::try_from(self.dice.below(3)).unwrap()];
                self.note(self.asked, asked);
            }
        }
        for sealed in &self.sealed {
            assert_eq!(self.rig.decrypt(sealed).unwrap().plaintext.as_slice(), b"x");
        }
        assert!(!self.rig.ledger.suspended, "nothing here needs a start");
        let state = self.rig.store_state().0;
        assert_eq!(state == StoreState::Failing, self.rig.ledger.is_failing());
    }

    /// Asks, and keeps what came of it. What can never be done is no matter of the store's.
    fn note(&mut self, number: u32, asked: Asked) {
        match self.ask(number, asked) {
            Ok(answer) => {
                self.refused.remove(&number);
                if let Some((_, before)) = self.answered.insert(number, (asked, answer.clone())) {
                    assert_eq!(before, answer, "request {number}");
                }
            }
            Err(Some(Refusal::NoSuchKey | Refusal::KeyExists)) => {
                self.refused.remove(&number);
                assert!(!matches!(self.answered.get(&number), Some((Asked::Delete(_), _))), "request {number}");
            }
            Err(Some(Refusal::Store(_) | Refusal::Unsettled { .. }) | None) => {
                if !self.answered.contains_key(&number) {
                    self.refused.insert(number, asked);
                }
            }
            Err(Some(other)) => panic!("{other:?}"),
        }
    }

    fn repeat_some(&mut self) {
        let all: Vec<(u32, Asked)> = self
            .refused
            .iter()
            .map(|(number, asked)| (*number, *asked))
            .chain(self.answered.iter().map(|(number, (asked, _))| (*number, *asked)))
            .collect();
        if !all.is_empty() {
            let (number, asked) = all[usize::try_from(self.dice.below(all.len() as u64)).unwrap()];
            self.note(number, asked);
        }
    }

    /// The disk is well again: so is the store, without a start.
    fn end(mut self) {
        {
            let mut medium = locked(&self.rig.medium);
            medium.unreadable = false;
            medium.faults.clear();
        }
        self.rig.ledger.probe();
        self.go_on(false);
        self.rig.ledger.probe();
        assert_eq!(self.rig.store_state(), (StoreState::Healthy, String::new()));
        self.rig.check();
        for (number, asked) in std::mem::take(&mut self.refused) {
            self.note(number, asked);
        }
        assert!(self.refused.is_empty(), "{:?}", self.refused);
        self.rig.check();
        self.rig.create("at-the-end", None).unwrap();
        let mut medium = locked(&self.rig.medium);
        if let Some(file) = medium.file.take() {
            drop(file);
            let found = redb_adapter::view(&self.rig.directory.path().join("keyd.redb")).unwrap();
            assert!(found == medium.snapshot);
        }
        drop(medium);
        let rig = self.rig.restarted();
        rig.check();
        assert!(self.sealed.iter().all(|sealed| rig.decrypt(sealed).is_ok()));
    }
}

fn storms(seeds: std::ops::Range<u64>, on_disk: bool) {
    for seed in seeds {
        let weathered = catch_unwind(AssertUnwindSafe(|| {
            let mut storm = Storm::new(seed, on_disk);
            (0..60).for_each(|_| storm.step());
            storm.end();
        }));
        if let Err(panic) = weathered {
            eprintln!("the storm of seed {seed}, on disk: {on_disk}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn whatever_goes_wrong_in_whatever_order_nothing_acknowledged_is_lost_and_nothing_needs_a_start() {
    storms(0..60, false);
}

#[test]
fn the_same_over_a_real_file() {
    storms(1000..1010, true);
}
