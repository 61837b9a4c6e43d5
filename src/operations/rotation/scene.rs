//! A call of a rotation that is to go wrong, with everything that was sealed before and during it, and what must hold
//! whatever went wrong.
//!
//! Must never ask the daemon which keys are promised: it is reckoned from the call and from whether its first commit is there.
//! Called by `fault_tests`.

use super::Step;
use super::report::Report;
use super::sealed_value::Value;
use super::stage::{Begin, EVERY_KEY, Ending, NEW, OLD};
use super::steps::Advance;
use crate::operations::refusal::Refusal;
use crate::operations::resume::resume;
use crate::operations::start_failure::StartFailure;
use crate::operations::test_rig::{Rig, id};
use crate::store::record;

/// What is being done when it goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// A begin, if it is not the end of a pending one.
    pub(super) ending: Option<Ending>,
    keep_data_keys: bool,
    pub(super) legacy: bool,
}

/// Begins, finishes and aborts, with and without new versions, with and without legacy values open.
pub(super) fn cases() -> Vec<Case> {
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
    pub(super) fn points(self) -> [(&'static str, u32); 3] {
        // The root changed, seals made anew, the root before dropped, the file rewritten, the last one; and the versions.
        let commits = if self.ending.is_none() { 1 } else { 5 + u32::from(self.new_data_keys()) };
        [("commit", commits), ("mark", commits), ("backup", 1)]
    }
}

/// A call and what it was made on.
pub(super) struct Scene {
    case: Case,
    pub(super) rig: Rig,
    /// Everything that was sealed so far.
    values: Vec<Value>,
    /// The record of the roots before the call, as stored.
    before: Vec<u8>,
}

impl Scene {
    pub(super) fn set(case: Case) -> Self {
        Self::on(if case.legacy { Rig::with_legacy() } else { Rig::new() }, case)
    }

    /// A finish on so many keys and versions that each step takes several commits.
    pub(super) fn grown() -> Self {
        let mut rig = Rig::new();
        rig.grow("grown", 100, 2);
        Self::on(rig, Case { ending: Some(Ending::Finish), keep_data_keys: false, legacy: false })
    }

    fn on(mut rig: Rig, case: Case) -> Self {
        let mut values = vec![Value::sealed(&rig, "default", "default"), Value::sealed(&rig, "env-vars", "env")];
        if case.legacy {
            values.push(Value::legacy(OLD, "legacy"));
        }
        if let Some(ending) = case.ending {
            rig.begin_as(NEW, Begin { keep_data_keys: case.keep_data_keys, ..Begin::default() }).unwrap();
            rig.hold_key(ending.keys().0);
        }
        let before = rig.snapshot().records.remove(record::MASTER).unwrap();
        Self { case, rig, values, before }
    }

    /// The call, under the same id each time.
    pub(super) fn call(&mut self) -> Result<Report, Refusal> {
        let keep_data_keys = self.case.keep_data_keys;
        match self.case.ending {
            None => self.rig.begin_as(NEW, Begin { keep_data_keys, id: id(1), ..Begin::default() }),
            Some(ending) => self.rig.end(ending, NEW, false, id(1)),
        }
    }

    /// The call, and every step behind it, with something sealed before each.
    pub(super) fn perform(&mut self) -> Result<(), String> {
        self.seal();
        let report = self.call().map_err(|refusal| format!("{refusal:?}"))?;
        let (told, rig) = (&report.rotation, &self.rig);
        assert!(told.old == rig.fingerprint(OLD) && told.new == rig.fingerprint(NEW), "{:?}", self.case);
        assert_eq!(told.aborting, matches!(self.case.ending, Some(Ending::Abort { .. })), "{:?}", self.case);
        assert_eq!(told.new_data_keys, self.case.new_data_keys(), "{:?}", self.case);
        if self.rig.ledger.changes_possible().is_ok() {
            self.rig.check();
        }
        while self.rig.step().is_some_and(|step| step != Step::Waiting) {
            self.seal();
            match self.rig.advance() {
                Advance::More | Advance::Idle if self.rig.ledger.changes_possible().is_ok() => self.rig.check(),
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
        let decided = self.rig.snapshot().records.get(record::MASTER) != Some(&self.before);
        match (self.case.ending, decided) {
            (None, false) => vec![OLD],
            (None, true) | (Some(_), false) => vec![OLD, NEW],
            (Some(ending), true) => vec![ending.keys().0],
        }
    }

    /// Exactly the promised keys open the store, and everything that was sealed.
    #[track_caller]
    pub(super) fn look(&self) {
        let promised = self.promised();
        for key in EVERY_KEY {
            match self.rig.engine_of(key) {
                Ok(engine) => {
                    assert!(promised.contains(&key), "{:?}: {key} opens the store", self.case);
                    for value in &self.values {
                        assert!(value.open(&self.rig, &engine).is_ok(), "{:?}", self.case);
                    }
                }
                Err(StartFailure::WrongKey { .. }) => assert!(!promised.contains(&key), "{:?}: {key}", self.case),
                Err(failure) => panic!("{:?}: {key}: {failure}", self.case),
            }
        }
        assert!(self.values.iter().all(|value| value.opens(&self.rig)), "{:?}", self.case);
    }

    /// A start, with what the daemon does before its first call.
    pub(super) fn restarted(self) -> Self {
        let generation = self.rig.snapshot().generation;
        let mut rig = self.rig.restarted();
        resume(&mut rig.ledger);
        assert!(rig.keyring().generation >= generation);
        rig.check();
        Self { rig, ..self }
    }

    /// Whatever happened: starts with each key that is promised, then the same call again, to the last step.
    #[track_caller]
    pub(super) fn goes_on_after_a_start(mut self) {
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
    pub(super) fn goes_on(mut self) {
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
