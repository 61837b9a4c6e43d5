//! All operations with all their cuts, on as many threads as are worth it.
//!
//! Must never count a disk twice that two cuts leave alike.
//! Called by `main`.

use super::arguments::{Arguments, Only};
use super::disk::Survives;
use super::operations::{OPERATIONS, Operation};
use super::random::{Seeded, seed_of};
use super::room::Room;
use super::trial::{Cut, Recorded, Run, prepare, record, trial};
use super::walk::walk;
use servos_keyd::custody::keys::LockedMemory;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const THREADS: usize = 2;

/// More failures than these tell nothing more.
pub const MOST_FAILURES: usize = 5;

/// How much is done.
struct Depth {
    /// Cuts of which a part survives, on each side of a sync.
    torn: u64,
    /// Cuts away from every sync, in 100 operations of the disk.
    between: u64,
    /// Repairs that are cut again, in 100.
    repairs: u64,
    /// Cuts of one such repair, at its syncs.
    in_repair: usize,
}

const FULL: Depth = Depth { torn: 3, between: 25, repairs: 100, in_repair: usize::MAX };
const SAMPLE: Depth = Depth { torn: 1, between: 0, repairs: 25, in_repair: 3 };

/// What was counted for one operation.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub syncs: usize,
    pub cuts: usize,
    pub second_cuts: usize,
    pub faults: usize,
    pub starts: usize,
    pub values: usize,
}

impl Counts {
    pub fn add(&mut self, more: &Self) {
        self.syncs += more.syncs;
        self.cuts += more.cuts;
        self.second_cuts += more.second_cuts;
        self.faults += more.faults;
        self.starts += more.starts;
        self.values += more.values;
    }
}

/// All of it.
#[derive(Default)]
pub struct Report {
    pub rows: Vec<(&'static str, Counts)>,
    /// The case, and what does not hold.
    pub failures: Vec<(String, String)>,
    pub took: Duration,
}

impl Report {
    pub fn cuts(&self) -> usize {
        self.rows.iter().map(|(_, counts)| counts.cuts + counts.second_cuts).sum()
    }

    /// Whether as many cuts were made as are promised.
    pub fn is_whole(&self, arguments: &Arguments) -> bool {
        arguments.only.is_some() || self.cuts() >= Self::promised(arguments)
    }

    pub fn promised(arguments: &Arguments) -> usize {
        if arguments.full { 10_000 } else { 500 }
    }
}

/// One operation under way.
struct Work<'w> {
    operation: &'w Operation,
    arguments: &'w Arguments,
    depth: &'w Depth,
    run: &'w Run,
    cuts: Vec<Cut>,
    next: AtomicUsize,
    seen: Mutex<HashSet<(u64, usize, usize, bool)>>,
    counts: Mutex<Counts>,
    failures: Mutex<Vec<(String, String)>>,
}

/// Runs what the arguments ask for.
pub fn run(arguments: &Arguments) -> Report {
    let began = Instant::now();
    let memory = LockedMemory::new().unwrap();
    let rooms: Vec<Room> = (0..THREADS).map(|_| Room::new(&memory)).collect();
    let mut report = Report::default();
    let is_asked = |known: &&Operation| arguments.only.as_ref().is_none_or(|only| only.operation == known.name);
    for operation in OPERATIONS.iter().filter(is_asked) {
        let seed = seed_of(arguments.seed, operation.name);
        let began = Instant::now();
        let recorded = guarded(|| {
            let scene = prepare(&rooms[0], operation, seed)?;
            let recorded = record(&rooms[0], operation, &scene, seed, None)?;
            recorded.answer.clone().map(|()| (scene, recorded))
        });
        match recorded {
            Ok((mut scene, Recorded { run, live, kinds, .. })) => {
                drop(live);
                let (mut counts, mut failures) = cut_all(operation, arguments, &run, &rooms);
                scene.foresee(&run);
                let (faults, more) = walk(operation, arguments, &scene, &kinds, &rooms);
                counts.add(&faults);
                failures.extend(more);
                report.rows.push((operation.name, counts));
                report.failures.extend(failures);
            }
            Err(why) => report.failures.push((operation.name.to_owned(), format!("uncut: {why}"))),
        }
        let Counts { cuts, second_cuts, faults, .. } =
            report.rows.last().map(|(_, counts)| *counts).unwrap_or_default();
        let took = began.elapsed().as_secs_f64();
        eprintln!("{}: {cuts} + {second_cuts} cuts, {faults} faults, {took:.1} s", operation.name);
        if report.failures.len() >= MOST_FAILURES {
            break;
        }
    }
    report.took = began.elapsed();
    report
}

/// Notes a failure, and says it at once: the whole run takes its time.
pub fn fail(failures: &Mutex<Vec<(String, String)>>, case: String, why: String) {
    eprintln!("FAILED {case}: {why}");
    failures.lock().unwrap().push((case, why));
}

/// A panic is a failure of the case.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

fn cut_all(operation: &Operation, arguments: &Arguments, run: &Run, rooms: &[Room]) -> (Counts, Vec<(String, String)>) {
    let depth = if arguments.full { &FULL } else { &SAMPLE };
    let seed = seed_of(arguments.seed, operation.name);
    let work = Work {
        operation,
        arguments,
        depth,
        run,
        cuts: cuts_of(run, depth, seed),
        next: AtomicUsize::new(0),
        seen: Mutex::default(),
        counts: Mutex::new(Counts {
            syncs: run.done.iter().filter(|done| done.is_sync()).count(),
            ..Counts::default()
        }),
        failures: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for room in rooms {
            scope.spawn(|| work.go(room));
        }
    });
    (work.counts.into_inner().unwrap(), work.failures.into_inner().unwrap())
}

/// Before and behind every sync; behind the last operation; in full, between them too.
fn cuts_of(run: &Run, depth: &Depth, seed: u64) -> Vec<Cut> {
    let mut moments = Vec::new();
    let mut numbers = Seeded::new(seed_of(seed, "between"));
    for (n, done) in run.done.iter().enumerate() {
        if done.is_sync() {
            moments.extend([n, n + 1]);
        } else if numbers.percent(depth.between) {
            moments.push(n + 1);
        }
    }
    moments.push(run.done.len());
    moments.sort_unstable();
    moments.dedup();
    let mut cuts = Vec::new();
    for at in moments {
        cuts.push(Cut { at, survives: Survives::Nothing });
        if !run.disk(at).is_settled() {
            cuts.push(Cut { at, survives: Survives::Everything });
            let torn = (0..depth.torn).map(|n| Survives::Some(seed_of(seed, (at, n))));
            cuts.extend(torn.map(|survives| Cut { at, survives }));
        }
    }
    cuts
}

/// At each sync some, before and behind it, of which what survives is chosen too.
fn some_at_each_sync(run: &Run, numbers: &mut Seeded) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for (n, _) in run.done.iter().enumerate().filter(|(_, done)| done.is_sync()) {
        // What is synced already is the same behind the sync whatever survives.
        cuts.push(Cut { at: n, survives: [Survives::Nothing, Survives::Everything][numbers.below(2)] });
        cuts.push(Cut { at: n, survives: Survives::Some(numbers.number()) });
        cuts.push(Cut { at: n + 1, survives: Survives::Some(numbers.number()) });
    }
    cuts
}

impl Work<'_> {
    fn go(&self, room: &Room) {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(cut) = self.cuts.get(n) else { return };
            if self.failures.lock().unwrap().len() >= MOST_FAILURES {
                return;
            }
            if self.asked(n) && self.is_new(self.run, *cut, "") {
                self.first(room, n, *cut);
            }
        }
    }

    fn asked(&self, n: usize) -> bool {
        let only = |only: &Only| only.fault.is_none() && only.cut.is_none_or(|cut| cut == n);
        self.arguments.only.as_ref().is_none_or(only)
    }

    fn is_new(&self, run: &Run, cut: Cut, after: &str) -> bool {
        let (digest, states, values, is_done) = run.identity(cut, &run.image(cut));
        self.seen.lock().unwrap().insert((seed_of(digest, after), states, values, is_done))
    }

    fn first(&self, room: &Room, n: usize, cut: Cut) {
        let case = format!("{}/{n}", self.operation.name);
        let Some(repair) = self.one(room, &case, self.run, cut, false) else { return };
        let seed = seed_of(self.arguments.seed, &case);
        let mut numbers = Seeded::new(seed);
        let only = self.arguments.only.as_ref().and_then(|only| only.second);
        // Drawn in a replay too: what is drawn behind it is the same then.
        let is_chosen = numbers.percent(self.depth.repairs);
        if only.is_none() && !is_chosen {
            return;
        }
        let cuts = some_at_each_sync(&repair, &mut numbers);
        let mut chosen: Vec<usize> = (0..cuts.len()).collect();
        while chosen.len() > self.depth.in_repair {
            chosen.swap_remove(numbers.below(chosen.len()));
        }
        if let Some(only) = only {
            chosen = vec![only];
        }
        for second in chosen {
            let Some(cut) = cuts.get(second) else { continue };
            if self.is_new(&repair, *cut, "repair") {
                self.one(room, &format!("{case}/{second}"), &repair, *cut, true);
            }
        }
    }

    /// One trial; the run of its repair, if all of it holds.
    fn one(&self, room: &Room, case: &str, run: &Run, cut: Cut, is_second: bool) -> Option<Run> {
        let seed = seed_of(self.arguments.seed, case);
        match guarded(|| trial(room, self.operation, run, cut, seed)) {
            Ok(outcome) => {
                let mut counts = self.counts.lock().unwrap();
                counts.cuts += usize::from(!is_second);
                counts.second_cuts += usize::from(is_second);
                counts.starts += outcome.starts;
                counts.values += outcome.values;
                Some(outcome.repair)
            }
            Err(why) => {
                let around = run.describe(cut);
                fail(&self.failures, case.to_owned(), format!("{why}\n{around}"));
                None
            }
        }
    }
}
