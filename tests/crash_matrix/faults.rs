//! Faults of the disk on the way of an operation: the n-th read, write, sync and so on fails, once or from then on.
//!
//! Must never take a run in which no fault was met for one that withstood it.
//! Called by the matrix, for each operation, behind its cuts.

use super::disk::Survives;
use super::operations::{Act, Operation};
use super::promise::{State, Value};
use super::random::seed_of;
use super::room::Room;
use super::trial::{Cut, Recorded, Scene, record, repair, trial};
use servos_keyd::store::disk;
use std::fmt;
use std::str::FromStr;

/// What the disk is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Create,
    Read,
    Write,
    SetLength,
    Sync,
    Rename,
    Remove,
    SyncDirectory,
}

pub const KINDS: [Kind; 8] = [
    Kind::Create,
    Kind::Read,
    Kind::Write,
    Kind::SetLength,
    Kind::Sync,
    Kind::Rename,
    Kind::Remove,
    Kind::SyncDirectory,
];

impl Kind {
    pub fn of(operation: disk::Operation<'_>) -> Self {
        use disk::Operation as O;
        match operation {
            O::Create(_) | O::MakeDirectory(_) => Self::Create,
            O::Read(_) => Self::Read,
            O::Write(..) => Self::Write,
            O::SetLength(..) => Self::SetLength,
            O::Sync(_) => Self::Sync,
            O::Rename(..) | O::Link(..) => Self::Rename,
            O::Remove(_) => Self::Remove,
            O::SyncDirectory(_) => Self::SyncDirectory,
        }
    }

    /// What such an operation can fail with.
    pub fn errors(self) -> &'static [i32] {
        match self {
            Self::Read | Self::Remove => &[libc::EIO],
            _ => &[libc::ENOSPC, libc::EIO],
        }
    }
}

/// A fault: when it comes, and how long it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    pub kind: Kind,
    /// From 1.
    pub turn: usize,
    pub error: i32,
    pub lasting: bool,
}

impl fmt::Display for Fault {
    /// As the replay names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = if self.error == libc::ENOSPC { "ENOSPC" } else { "EIO" };
        write!(f, "{:?}.{}.{error}.{}", self.kind, self.turn, if self.lasting { "lasting" } else { "once" })
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text} is no fault");
        let [kind, turn, error, lasting] = text.split('.').collect::<Vec<_>>()[..] else { return Err(unknown()) };
        Ok(Self {
            kind: KINDS.into_iter().find(|known| format!("{known:?}") == kind).ok_or_else(unknown)?,
            turn: turn.parse().map_err(|_| unknown())?,
            error: if error == "ENOSPC" { libc::ENOSPC } else { libc::EIO },
            lasting: lasting == "lasting",
        })
    }
}

/// What one fault counted.
#[derive(Clone, Copy, Default)]
pub struct Endured {
    /// Whether it was met at all.
    pub met: bool,
    pub starts: usize,
    pub values: usize,
}

/// Does an operation with a fault on the way; then, the fault gone, again; then starts anew, and on what a power cut
/// right behind the fault would have left.
///
/// # Errors
/// What does not hold.
pub fn endure(room: &Room, operation: &Operation, scene: &Scene, fault: Fault, seed: u64) -> Result<Endured, String> {
    let Recorded { mut run, answer, live, met, .. } = record(room, operation, scene, seed, Some(fault))?;
    if met == 0 {
        return answer.map(|()| Endured::default()).map_err(|why| format!("without a fault: {why}"));
    }
    let mut endured = Endured { met: true, starts: 1, values: 0 };
    let mut promise = run.promise.clone();
    if let Some(mut live) = live {
        let sealed = Value::seal_some(&live.engine, 0);
        if sealed.is_empty() {
            return Err("nothing seals behind the fault".to_owned());
        }
        promise.values.extend(sealed);
        endured.values += promise.check_values(&live.engine).map_err(|why| format!("in memory: {why}"))?;
        if let (Err(first), Act::Call(act)) = (&answer, operation.act) {
            // As the writer does before each job.
            live.ledger.settle_first();
            act(room, &mut live).map_err(|why| format!("answered {first}; then, the fault gone: {why}"))?;
        }
        promise.states.push(State::of(&live.engine.keyring(), 0));
        promise.values.extend(Value::seal_some(&live.engine, 0));
    }
    room.hold(operation.key);
    let mut live = repair(room, operation, answer.is_ok(), seed_of(seed, "behind"))?;
    let floor = promise.states.iter().map(|state| state.generation).max().unwrap_or(0);
    let generation = live.engine.keyring().generation;
    if generation < floor {
        return Err(format!("the start is at generation {generation}, and {floor} was acknowledged"));
    }
    live.settle()?;
    endured.values += promise.check_values(&live.engine)?;
    drop(live);
    // The power fails where the fault left the disk.
    let at = run.done.len();
    let part = Survives::Some(seed_of(seed, fault));
    let survive = match fault.kind {
        // Here it counts most: what the kernel takes for written.
        Kind::Sync => vec![Survives::Nothing, part],
        _ => vec![part],
    };
    for (n, survives) in survive.into_iter().enumerate() {
        run.failing = survives;
        let outcome = trial(room, operation, &run, Cut { at, survives }, seed_of(seed, n)).map_err(|why| {
            format!("{answer:?}, then the power fails: {why}\n{}", run.describe(Cut { at, survives }))
        })?;
        endured.starts += outcome.starts;
        endured.values += outcome.values;
    }
    Ok(endured)
}
