//! A rotation that is broken off or fails at every point it has, and what the starts and calls after it make of it.
//!
//! Must never count a point as survived that was not reached: each table says how many there are.
//! Run by `cargo test`.

use super::Step;
use super::report::Report;
use super::stage::{Begin, Ending, NEW, OLD, Value};
use super::steps::Advance;
use crate::operations::fake_store::{Fault, locked, unavailable};
use crate::operations::fault::tests::{die_at, live_on};
use crate::operations::recovery::recover;
use crate::operations::refusal::Refusal;
use crate::operations::resume::resume;
use crate::operations::test_rig::{Rig, id};
use crate::store::port::StoreError;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is being done when it goes wrong.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// A begin, if it is not the end of a pending one.
    ending: Option<Ending>,
    keep_data_keys: bool,
    legacy: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for legacy in [false, true] {
        for keep_data_keys in [false, true] {
            for ending in [None, Some(Ending::Finish), Some(Ending::Abort { new_data_keys: keep_data_keys })] {
                cases.push(Case { ending, keep_data_keys, legacy });
            }
        }
    }
    cases
}

impl Case {
    /// Whether data keys get new versions, as the answer says.
    fn new_data_keys(self) -> bool {
        match self.ending {
            Some(Ending::Abort { new_data_keys }) => new_data_keys,
            _ => !self.keep_data_keys,
        }
    }

    /// How often each fault point is passed, from the call to the last step.
    fn points(self) -> [(&'static str, u32); 3] {
        // The root changed, seals made anew, the root before dropped, the file rewritten, the last one; and the versions.
        let commits = if self.ending.is_none() { 1 } else { 5 + u32::from(self.new_data_keys()) };
        [("commit", commits), ("mark", commits), ("backup", 1)]
    }
}

struct Scene {
    case: Case,
    rig: Rig,
    /// Everything that was sealed so far.
    values: Vec<Value>,
    /// The generation before the call.
    before: u64,
}

impl Scene {
    fn set(case: Case) -> Self {
        let mut rig = if case.legacy { Rig::with_legacy() } else { Rig::new() };
        let mut values = vec![Value::sealed(&rig, "default", "default"), Value::sealed(&rig, "env-vars", "env")];
        if case.legacy {
            values.push(Value::legacy(OLD, "legacy"));
        }
        if let Some(ending) = case.ending {
            rig.begin_as(NEW, Begin { keep_data_keys: case.keep_data_keys, ..Begin::default() }).unwrap();
            rig.hold_key(ending.keys().0);
        }
        let before = rig.snapshot().generation;
        Self { case, rig, values, before }
    }

    /// The call, under the same id each time.
    fn call(&mut self) -> Result<Report, Refusal> {
        let keep_data_keys = self.case.keep_data_keys;
        match self.case.ending {
            None => self.rig.begin_as(NEW, Begin { keep_data_keys, id: id(1), ..Begin::default() }),
            Some(ending) => self.rig.end(ending, NEW, false, id(1)),
        }
    }

    /// The call, and every step behind it, with something sealed before each.
    fn perform(&mut self) -> Result<(), String> {
        self.seal();
        let report = self.call().map_err(|refusal| format!("{refusal:?}"))?;
        let (told, rig) = (&report.rotation, &self.rig);
        assert!(told.old == rig.fingerprint(OLD) && told.new == rig.fingerprint(NEW), "{:?}", self.case);
        assert_eq!(told.aborting, matches!(self.case.ending, Some(Ending::Abort { .. })), "{:?}", self.case);
        assert_eq!(told.new_data_keys, self.case.new_data_keys(), "{:?}", self.case);
        while self.rig.step().is_some_and(|step| step != Step::Waiting) {
            self.seal();
            match self.rig.advance() {
                Advance::More | Advance::Idle if !self.rig.ledger.suspended => {}
                _ => return Err(self.rig.problem()),
            }
        }
        Ok(())
    }

    fn seal(&mut self) {
        self.values.push(Value::sealed(&self.rig, "default", "meanwhile"));
    }

    /// The keys that open the store now, by what is promised: the first commit of each call decides.
    fn promised(&self) -> Vec<&'static str> {
        let decided = self.rig.snapshot().generation > self.before;
        match (self.case.ending, decided) {
            (None, false) => vec![OLD],
            (None, true) | (Some(_), false) => vec![OLD, NEW],
            (Some(ending), true) => vec![ending.keys().0],
        }
    }

    /// Exactly the promised keys open the store, and everything that was sealed.
    #[track_caller]
    fn look(&self) {
        let promised = self.promised();
        self.rig.opens_with(&promised);
        for key in promised {
            let engine = self.rig.engine_of(key).unwrap();
            for value in &self.values {
                assert!(value.open(&self.rig, &engine).is_ok(), "{:?}", self.case);
            }
        }
        assert!(self.values.iter().all(|value| value.opens(&self.rig)), "{:?}", self.case);
    }

    /// A start, with what the daemon does before its first call.
    fn restarted(self) -> Self {
        let generation = self.rig.snapshot().generation;
        let mut rig = self.rig.restarted();
        resume(&mut rig.ledger);
        assert!(rig.keyring().generation >= generation);
        rig.check();
        Self { rig, ..self }
    }

    /// Whatever happened: starts with each key that is promised, then the same call again, to the last step.
    #[track_caller]
    fn goes_on_after_a_start(mut self) {
        self.look();
        for key in self.promised() {
            self.rig.hold_in_environment(key);
            self = self.restarted();
            self.seal();
            self.look();
        }
        self.rig.hold_key(self.case.ending.map_or(OLD, |ending| ending.keys().0));
        self.restarted().goes_on();
    }

    /// The same call again, to the last step.
    #[track_caller]
    fn goes_on(mut self) {
        self.perform().unwrap();
        self.look();
        self.rig.check();
        self.rig.every_seal_is_under_the_root_in_use();
        assert_eq!(self.rig.step(), self.case.ending.is_none().then_some(Step::Waiting));
        let commits = self.rig.commits().len();
        self.perform().unwrap();
        assert_eq!(self.rig.commits().len(), commits, "once more changes nothing");
        if self.case.ending.is_some() {
            self.rig.rotate("default", None).unwrap();
        }
        self.restarted().look();
    }
}

#[test]
fn whoever_dies_at_any_point_is_found_whole_by_the_next_start_and_gone_on_with() {
    for case in cases() {
        for (point, times) in case.points() {
            for n in 1.. {
                let mut scene = Scene::set(case);
                die_at(point, n);
                let died = catch_unwind(AssertUnwindSafe(|| scene.perform().unwrap())).is_err();
                assert_eq!(died, !live_on());
                if !died {
                    assert_eq!(n - 1, times, "{case:?}: {point}");
                    break;
                }
                scene.goes_on_after_a_start();
            }
        }
    }
}

/// Lets the `n`th commit from now go wrong as the faults say, one after the other.
fn break_nth(rig: &Rig, n: u32, faults: Vec<Fault>) {
    (1..n).for_each(|_| rig.break_next(Fault::None));
    faults.into_iter().for_each(|fault| rig.break_next(fault));
}

/// Takes back what was planted; answers whether some of it was not reached.
fn mended(rig: &Rig) -> bool {
    let mut medium = locked(&rig.medium);
    medium.unreadable = false;
    let left = !medium.faults.is_empty();
    medium.faults.clear();
    left
}

#[test]
fn a_disk_that_is_full_from_any_commit_on_holds_it_up_and_what_was_done_stands() {
    let full = || Fault::Fails(StoreError::Full { path: "fake".into() });
    for case in cases() {
        let commits = case.points()[0].1;
        for n in 1..=commits {
            let mut scene = Scene::set(case);
            break_nth(&scene.rig, n, (0..9).map(|_| full()).collect());
            for _ in 0..3 {
                assert!(scene.perform().is_err(), "{case:?}: {n}");
                scene.rig.check();
                scene.look();
            }
            assert!(mended(&scene.rig));
            scene.goes_on();
        }
        let mut scene = Scene::set(case);
        break_nth(&scene.rig, commits + 1, vec![full()]);
        scene.perform().unwrap();
        assert!(mended(&scene.rig), "{case:?}: there is no further commit");
    }
}

#[test]
fn a_commit_that_says_it_failed_counts_once_it_is_written_anew_and_else_a_start_tells() {
    for case in cases() {
        for n in 1..=case.points()[0].1 {
            let mut scene = Scene::set(case);
            break_nth(&scene.rig, n, vec![Fault::WrittenButSaysSo(unavailable())]);
            scene.perform().unwrap();
            assert!(!mended(&scene.rig), "{case:?}: {n}");
            scene.look();
            scene.goes_on();

            let mut scene = Scene::set(case);
            break_nth(&scene.rig, n, vec![Fault::WrittenButSaysSo(unavailable()), Fault::Fails(unavailable())]);
            assert!(scene.perform().is_err(), "{case:?}: {n}");
            assert!(scene.rig.ledger.suspended && !mended(&scene.rig));
            scene.goes_on_after_a_start();
        }
    }
}

#[test]
fn a_panic_in_any_commit_costs_no_key_and_no_value() {
    for case in cases() {
        for n in 1..=case.points()[0].1 {
            for written in [false, true] {
                let mut scene = Scene::set(case);
                break_nth(&scene.rig, n, vec![Fault::Panics { written }]);
                assert!(catch_unwind(AssertUnwindSafe(|| scene.perform())).is_err(), "{case:?}: {n}");
                // As the writer does it.
                assert_eq!(recover(&mut scene.rig.ledger), !written, "{case:?}: {n}");
                scene.look();
                if written {
                    scene.rig.ledger.suspend();
                    assert!(scene.perform().is_err(), "{case:?}: {n}");
                    scene.goes_on_after_a_start();
                } else {
                    scene.goes_on();
                }
            }
        }
    }
}

#[test]
fn a_store_that_cannot_be_read_holds_it_up_wherever_that_begins() {
    for case in cases() {
        let mut held_up = 0;
        for steps in 0..6 {
            let mut scene = Scene::set(case);
            if steps > 0 {
                scene.call().unwrap();
                (1..steps).for_each(|_| drop(scene.rig.advance()));
            }
            locked(&scene.rig.medium).unreadable = true;
            held_up += u32::from(scene.perform().is_err());
            scene.look();
            mended(&scene.rig);
            scene.rig.check();
            scene.goes_on();
        }
        assert!(held_up > 0, "{case:?}");
    }
}

#[test]
fn backups_that_cannot_be_written_hold_up_a_begin_and_the_last_step_of_an_end() {
    for case in cases() {
        let mut scene = Scene::set(case);
        scene.rig.break_backups();
        for _ in 0..2 {
            assert!(scene.perform().is_err(), "{case:?}");
            assert_eq!(scene.rig.step(), case.ending.map(|_| Step::Backup), "{case:?}");
            scene.look();
            scene.rig.check();
        }
        scene = scene.restarted();
        scene.rig.mend_backups();
        scene.goes_on();
    }
}
