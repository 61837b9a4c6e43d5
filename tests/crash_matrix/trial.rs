//! One trial: an operation that is recorded, and what a start makes of the disk that a cut left.
//!
//! Must never call a disk good that was not started on, nor forgive a start that the operator did not break himself.
//! Used by the matrix, on each of its threads.

use super::disk::{Disk, Image, Survives};
use super::faults::{Fault, Kind};
use super::operations::{Act, Operation, init};
use super::promise::{Promise, State};
use super::random::seed_of;
use super::record::{Done, Record, Recorder};
use super::room::{Live, NEW, OLD, Room, permit};
use servos_keyd::operations::create_key::create_key;
use servos_keyd::operations::engine::{Engine, Facts};
use servos_keyd::operations::load;
use servos_keyd::store::backup_file;
use servos_keyd::store::port::Snapshot;
use servos_keyd::store::redb_adapter::view;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What was done from a disk on, and what was promised meanwhile.
pub struct Run {
    base: Image,
    inodes: BTreeMap<PathBuf, u64>,
    pub done: Vec<Done>,
    pub promise: Promise,
    /// What the operation is for was acknowledged before this run began.
    settled: bool,
    /// It was acknowledged at the end of this run.
    acknowledged: bool,
    /// What the disk gets where a sync fails.
    pub failing: Survives,
}

/// A moment at which the power is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// So many operations are done.
    pub at: usize,
    pub survives: Survives,
}

/// What a trial counted, and the run of its repair.
pub struct Outcome {
    pub repair: Run,
    pub values: usize,
    pub starts: usize,
}

impl Run {
    /// The disk after a cut.
    pub fn image(&self, cut: Cut) -> Image {
        self.disk(cut.at).cut(cut.survives)
    }

    /// The disk under way.
    pub fn disk(&self, at: usize) -> Disk {
        let mut disk = Disk::of(&self.base, &self.inodes).failing(self.failing);
        self.done[..at].iter().for_each(|done| disk.apply(done));
        disk
    }

    /// The operations around a cut, in words.
    pub fn describe(&self, cut: Cut) -> String {
        let range = cut.at.saturating_sub(6)..(cut.at + 2).min(self.done.len());
        let mark = |n| if n == cut.at { "cut before: " } else { "" };
        let lines: Vec<_> = range.map(|n| format!("    {n:>4} {}{:?}", mark(n), self.done[n])).collect();
        let states: Vec<_> = self.promise.states.iter().map(|state| (state.at, state.generation)).collect();
        format!("{cut:?} of {}; generations (from, generation) {states:?}\n{}", self.done.len(), lines.join("\n"))
    }

    /// What tells two cuts apart: the disk they leave, and what is promised of it.
    pub fn identity(&self, cut: Cut, image: &Image) -> (u64, usize, usize, bool) {
        let promised = self.promise.until(cut.at);
        (image.digest(), promised.states.len(), promised.values.len(), cut.at == self.done.len())
    }
}

/// Where an operation begins.
pub struct Scene {
    image: Image,
    promise: Promise,
}

impl Scene {
    /// What may open a store that the operation leaves half done.
    pub fn foresee(&mut self, run: &Run) {
        self.promise.foreseen = run.promise.states.iter().map(|state| state.opens.clone()).collect();
    }
}

/// An operation that was done, or not.
pub struct Recorded {
    pub run: Run,
    /// What the caller got.
    pub answer: Result<(), String>,
    /// The daemon that goes on; none where none ran, or it did not start.
    pub live: Option<Live>,
    /// How often the fault was met.
    pub met: usize,
    /// How many operations of each kind the disk was asked for.
    pub kinds: BTreeMap<Kind, usize>,
}

/// Does an operation with the recorder on, and a fault on the way.
///
/// # Errors
/// What kept it from being begun.
pub fn record(
    room: &Room,
    operation: &Operation,
    scene: &Scene,
    seed: u64,
    fault: Option<Fault>,
) -> Result<Recorded, String> {
    room.lay(&scene.image);
    room.hold(operation.before);
    let mut live = match operation.act {
        Act::Call(_) | Act::Stop => Some(room.start(seed_of(seed, "start"))?),
        _ => None,
    };
    // What the start itself did is not what is looked at.
    let (base, inodes) = room.capture();
    let recorder = Recorder::begin(room, scene.promise.clone()).with(fault);
    let answer = match (operation.act, &mut live) {
        (Act::Call(act), Some(live)) => {
            recorder.follow(&live.engine);
            act(room, live)
        }
        (Act::Stop, _) => {
            drop(live.take());
            Ok(())
        }
        (Act::Start, _) => room.start(seed_of(seed, "act")).and_then(|started| {
            recorder.follow(&started.engine);
            live.insert(started).settle()
        }),
        _ => operation.act_offline(room, seed_of(seed, "act")),
    };
    let Record { done, mut promise, met, kinds } = recorder.end();
    if operation.is_offline() && answer.is_ok() {
        let keyring = loaded(room, look(room)?, operation.key)?.keyring;
        promise.states.push(State::of(&keyring, done.len()));
    }
    let acknowledged = answer.is_ok();
    let run = Run { base, inodes, done, promise, settled: false, acknowledged, failing: Survives::Nothing };
    Ok(Recorded { run, answer, live, met, kinds })
}

/// A store with some keys, brought to where the operation begins.
///
/// # Errors
/// What kept it from being brought there.
pub fn prepare(room: &Room, operation: &Operation, seed: u64) -> Result<Scene, String> {
    room.lay(&Image::default());
    room.hold(OLD);
    if matches!(operation.act, Act::Init) {
        return Ok(Scene { image: Image::default(), promise: Promise::default() });
    }
    init(room, seed_of(seed, "init"))?;
    let mut live = room.start(seed_of(seed, "prepare"))?;
    let recorder = Recorder::begin(room, Promise::default());
    recorder.follow(&live.engine);
    create_key(&permit("changing"), &mut live.ledger, None).map_err(|refusal| refusal.to_string())?;
    (operation.prepare)(room, &mut live)?;
    let mut promise = recorder.end().promise;
    drop(live);
    room.hold(operation.key);
    operation.arrange(room);
    promise.values.extend((operation.legacy)(room));
    Ok(Scene { image: room.capture().0, promise: promise.before() })
}

/// Holds what a cut left to what was promised then, starts on it, and holds that to the same.
///
/// # Errors
/// What does not hold.
pub fn trial(room: &Room, operation: &Operation, run: &Run, cut: Cut, seed: u64) -> Result<Outcome, String> {
    room.lay(&run.image(cut));
    room.hold(operation.key);
    let (base, inodes) = room.capture();
    let is_done = run.settled || run.acknowledged && cut.at == run.done.len();
    let mut promised = run.promise.until(cut.at);
    let is_there = room.places().store.exists();
    if is_there {
        let found = run.promise.check_store(room, &look(room)?, cut.at)?;
        promised.states.extend(found);
        check_backup(room, operation, &promised, is_done)?;
    } else if is_done || !operation.makes_a_store() {
        return Err("the store is gone".to_owned());
    }
    let recorder = Recorder::begin(room, promised.before());
    let mut live = repair(room, operation, is_done, seed)?;
    recorder.follow(&live.engine);
    live.settle()?;
    let Record { done, promise, .. } = recorder.end();
    let mut values = promise.check_values(&live.engine)?;
    let mut starts = 1;
    // The store takes changes, and the mark the next start.
    if seed.is_multiple_of(4) {
        let made = create_key(&permit("after"), &mut live.ledger, None);
        made.map(drop)
            .map_err(|refusal| format!("no change is taken after the start: {refusal}"))
            .or_else(|why| if promise_waits(&live) { Ok(()) } else { Err(why) })?;
        drop(live);
        let again = room.start(seed_of(seed, "again")).map_err(|why| format!("the second start: {why}"))?;
        values += promise.check_values(&again.engine)?;
        starts += 1;
    }
    let repair = Run {
        base,
        inodes,
        done,
        promise,
        settled: is_done,
        acknowledged: is_done || operation.is_offline(),
        failing: Survives::Nothing,
    };
    Ok(Outcome { repair, values, starts })
}

/// While a rotation is pending, no key is made.
fn promise_waits(live: &Live) -> bool {
    live.engine.keyring().rotation.is_some()
}

/// What an operator does after a power cut: starts the daemon; where the operation was one without a daemon and is not
/// done, does it again first.
pub fn repair(room: &Room, operation: &Operation, is_done: bool, seed: u64) -> Result<Live, String> {
    if operation.makes_a_store() && !room.places().store.exists() {
        operation.act_offline(room, seed_of(seed, "again"))?;
    }
    match room.start(seed_of(seed, "repair")) {
        Err(_) if matches!(operation.act, Act::Accept) && !is_done => {
            operation.act_offline(room, seed_of(seed, "again"))?;
            room.start(seed_of(seed, "repair"))
        }
        started => started,
    }
    .map_err(|why| format!("the start is refused: {why}"))
}

fn look(room: &Room) -> Result<Snapshot, String> {
    view(&room.places().store).map_err(|error| format!("the store: {error}"))
}

fn loaded(room: &Room, snapshot: Snapshot, key: &str) -> Result<load::Loaded, String> {
    let authentic = load::authenticate(snapshot, room.key(key), &room.memory).map_err(|failure| failure.to_string())?;
    load::open(authentic, &room.memory).map_err(|failure| failure.to_string())
}

/// Nothing is sealed under a version that is in no backup: the newest good one opens what was sealed. One that was
/// acknowledged is there.
fn check_backup(room: &Room, operation: &Operation, promised: &Promise, is_done: bool) -> Result<(), String> {
    let backups = backup_file::list(&room.places().backups).map_err(|error| error.to_string())?;
    let Some(backup) = backups.iter().rev().find_map(|path| backup_file::read(path).ok()) else {
        let is_missed = is_done || !promised.values.is_empty();
        return if is_missed { Err("there is no good backup".to_owned()) } else { Ok(()) };
    };
    let generation = backup.generation;
    if is_done && operation.is_backup && generation < promised.floor() {
        return Err(format!("the newest backup is of generation {generation}"));
    }
    let snapshot = Snapshot { generation, records: backup.records };
    let opened = [OLD, NEW].into_iter().find_map(|key| loaded(room, snapshot.clone(), key).ok());
    let loaded = opened.ok_or("neither key opens the newest backup")?;
    let engine = Engine::new(loaded.keyring, super::random::source(0), Box::new(|| 0), Facts::default());
    promised.check_backup(&engine).map_err(|why| format!("the backup of generation {generation}: {why}"))
}
