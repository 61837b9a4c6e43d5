//! The self-check of a daemon that serves: the store as the disk has it, and its newest backup, in small steps between
//! the writer's jobs.
//!
//! Must never keep a job waiting longer than a step takes, nor hold anything between two checks.
//! Called by the writer when a step is due.

use super::super::engine::Engine;
use super::super::ledger::Ledger;
use super::super::start_failure::StartFailure;
use super::backups;
use super::examination::Examination;
use super::finding::Check;
use super::round::Round;
use super::state::{Outcome, SelfCheckState};
use crate::store::port::StoreError;
use crate::telemetry::chain::chain;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after a start the first one comes: the daemon has other things to do then.
const FIRST: Duration = Duration::from_secs(5 * 60);

/// When a check is tried again that could not begin.
const LATER: Duration = Duration::from_secs(60);

/// Most records that one step looks at, and the time after which it stops before that.
const STEP_RECORDS: usize = 200;
const STEP_TIME: Duration = Duration::from_millis(2);

/// A step is followed by a pause of so many times what it took: about a tenth of one processor is used.
const PAUSE: u32 = 9;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The self-check: when it is due, and how far it is.
pub struct SelfCheck {
    every: Duration,
    due: Instant,
    stage: Stage,
    /// Gives memory back that was needed.
    release: fn(),
}

enum Stage {
    /// Nothing is under way, and nothing is held.
    Waiting,
    /// The store's records are gone through.
    Store(Box<Examination>, Round),
    /// Those of the newest backup.
    Backup(Newest, Round),
}

/// The newest backup, gone through.
struct Newest {
    examination: Box<Examination>,
    path: PathBuf,
    /// Generation of the last backup that this process had written when it was the newest.
    written: u64,
    /// When it was made: Unix seconds.
    made: i64,
}

impl SelfCheck {
    /// One that comes `every` so often, and some minutes from now for the first time; `release` gives free memory back to
    /// the system.
    #[must_use]
    pub fn new(every: Duration, release: fn(), engine: &Engine) -> Self {
        let first = FIRST.min(every);
        let check = Self { every, due: Instant::now() + first, stage: Stage::Waiting, release };
        let state = SelfCheckState { next: check.next(engine), ..engine.progress.self_check() };
        engine.progress.self_checked(state);
        check
    }

    /// When the next step is to be done.
    #[must_use]
    pub fn next_due(&self) -> Instant {
        self.due
    }

    /// The same by the daemon's clock.
    fn next(&self, engine: &Engine) -> i64 {
        let wait = self.due.saturating_duration_since(Instant::now()).as_secs();
        (engine.clock)().saturating_add(i64::try_from(wait).unwrap_or(i64::MAX))
    }

    /// Does the next step.
    pub fn step(&mut self, ledger: &mut Ledger) {
        let begun = Instant::now();
        self.stage = match std::mem::replace(&mut self.stage, Stage::Waiting) {
            // What became of a change, or whether the disk is well, must be known first.
            _ if postponed(ledger) => Stage::Waiting,
            Stage::Waiting => behind_calls(ledger, Self::begin),
            Stage::Store(examination, round) => Self::go_through_store(ledger, examination, round),
            Stage::Backup(newest, round) => Self::go_through_backup(ledger, newest, round),
        };
        match self.stage {
            Stage::Waiting => {
                // What was not checked now is tried again before long.
                self.wait(if postponed(ledger) { LATER.min(self.every) } else { self.every }, &ledger.engine);
            }
            _ => self.due = Instant::now() + (begun.elapsed() * PAUSE).max(SHORTEST_PAUSE),
        }
    }

    /// Begins now, if none is under way: a call met what may be damage.
    pub fn hasten(&mut self) {
        if matches!(self.stage, Stage::Waiting) {
            self.due = self.due.min(Instant::now());
        }
    }

    /// A step panicked: what it held is gone, and the next check begins anew.
    pub fn broke_off(&mut self, engine: &Engine) {
        self.stage = Stage::Waiting;
        self.wait(self.every, engine);
    }

    /// Does every step that is left of a check, or all of the next one.
    #[cfg(test)]
    pub(in crate::operations) fn whole(&mut self, ledger: &mut Ledger) -> SelfCheckState {
        loop {
            self.step(ledger);
            if matches!(self.stage, Stage::Waiting) {
                return ledger.engine.progress.self_check();
            }
        }
    }

    fn wait(&mut self, time: Duration, engine: &Engine) {
        (self.release)();
        self.due = Instant::now() + time;
        let mut state = SelfCheckState { next: self.next(engine), ..engine.progress.self_check() };
        if engine.health.now().damage_found && state.outcome != Outcome::Damaged {
            // A check that was given up behind its finding: it stops changes, whose refusals name status.
            let problem = "the store: a check that could not go on to its end had found damage, and is made again. To \
                           mend: see to the disk; `servos-keyd fsck`, with the daemon stopped, tells what it is";
            (state.outcome, state.problems) = (Outcome::Damaged, vec![problem.to_owned()]);
        }
        engine.progress.self_checked(state);
    }

    /// Reads the store as the disk has it. One read, so that a commit in between tears nothing.
    fn begin(ledger: &mut Ledger) -> Stage {
        let mut round = Round::begin(ledger.generation);
        let snapshot = match ledger.store.load_from_medium() {
            Ok(snapshot) if snapshot.generation == ledger.generation => snapshot,
            Ok(snapshot) => {
                let (found, known) = (snapshot.generation, ledger.generation);
                round.fault(Check::File, format!("the file is at generation {found}, and the daemon at {known}"));
                return Self::begin_backup(ledger, round);
            }
            Err(error @ (StoreError::Empty { .. } | StoreError::Foreign { .. } | StoreError::Damaged { .. })) => {
                round.fault(Check::File, chain(&error));
                return Self::begin_backup(ledger, round);
            }
            Err(error) => {
                round.unread(ledger, &chain(&error).to_string());
                return Self::begin_backup(ledger, round);
            }
        };
        match Examination::begin(snapshot, &ledger.master, &ledger.memory) {
            Ok(examination) => Stage::Store(Box::new(examination), round),
            Err(StartFailure::Damaged(detail)) => {
                round.fault(Check::Root, detail);
                Self::begin_backup(ledger, round)
            }
            Err(failure) => {
                round.fault(Check::Root, format!("the key in use does not open the file: {failure}"));
                Self::begin_backup(ledger, round)
            }
        }
    }

    fn go_through_store(ledger: &mut Ledger, mut examination: Box<Examination>, mut round: Round) -> Stage {
        if examination.root_id() != ledger.root.id() && examination.generation() < ledger.generation {
            // The end of a rotation came between: what was read is no longer what counts.
            return behind_calls(ledger, Self::begin);
        }
        if part_of(&mut examination, ledger) {
            return Stage::Store(examination, round);
        }
        let is_its_own = examination.root_id() == ledger.root.id();
        let examined = examination.end();
        round.seals += examined.seals;
        if !is_its_own {
            round.fault(Check::Root, "the file is under another root than the daemon".to_owned());
        }
        for flaw in examined.flaws {
            round.fault(flaw.check, flaw.text);
        }
        round.check_mark(ledger);
        behind_calls(ledger, |ledger| Self::begin_backup(ledger, round))
    }

    fn begin_backup(ledger: &mut Ledger, round: Round) -> Stage {
        round.stop_changes(ledger);
        let store_id = ledger.store_id;
        let newest = match backups::newest_first(&ledger.places.backups, Some(&store_id)) {
            Ok(found) => found.into_iter().next(),
            Err(error) => {
                round.end_with(ledger, None, Some(chain(&error)));
                return Stage::Waiting;
            }
        };
        let Some(path) = newest else {
            let problem = format!("there is no backup in {}", ledger.places.backups.display());
            round.end_with(ledger, None, Some(problem));
            return Stage::Waiting;
        };
        match backups::open(&path, Some(&store_id), &ledger.master, &ledger.memory) {
            Ok(opening) => {
                let made = opening.made;
                let written = ledger.engine.progress.backup().0;
                Stage::Backup(Newest { examination: Box::new(opening.examination), path, written, made }, round)
            }
            Err(problem) => {
                let problem = format!("{} {problem}", path.display());
                round.end_with(ledger, Some(&path), Some(problem));
                Stage::Waiting
            }
        }
    }

    fn go_through_backup(ledger: &mut Ledger, newest: Newest, mut round: Round) -> Stage {
        let Newest { mut examination, path, written, made } = newest;
        if ledger.engine.progress.backup().0 != written {
            // A newer one was written meanwhile: that one counts.
            return behind_calls(ledger, |ledger| Self::begin_backup(ledger, round));
        }
        if part_of(&mut examination, ledger) {
            return Stage::Backup(Newest { examination, path, written, made }, round);
        }
        let generation = examination.generation();
        let examined = examination.end();
        round.seals += examined.seals;
        let problem = match backups::judge(&examined) {
            Err(problem) => Some(format!("{} {problem}", path.display())),
            Ok(()) => backups::uncovered(&ledger.versions_in_use(), &ledger.legacy_in_use(), &examined),
        };
        if problem.is_none() {
            ledger.engine.progress.found_backup(generation, made);
        }
        round.end_with(ledger, Some(&path), problem);
        Stage::Waiting
    }
}

/// Does what cannot be done in small steps: to read a file whole.
fn behind_calls(ledger: &mut Ledger, stage: impl FnOnce(&mut Ledger) -> Stage + Send) -> Stage {
    let engine = Arc::clone(&ledger.engine);
    engine.in_background(|_| stage(ledger)).unwrap_or(Stage::Waiting)
}

/// Whether the store cannot be judged now.
fn postponed(ledger: &Ledger) -> bool {
    ledger.suspended || ledger.is_failing()
}

/// Looks at the records that one step may; answers whether some are left.
fn part_of(examination: &mut Examination, ledger: &Ledger) -> bool {
    let begun = Instant::now();
    for _ in 0..STEP_RECORDS {
        if !examination.step(&ledger.memory) {
            return false;
        }
        if begun.elapsed() >= STEP_TIME {
            break;
        }
    }
    true
}

#[cfg(test)]
#[path = "online_tests.rs"]
mod tests;
