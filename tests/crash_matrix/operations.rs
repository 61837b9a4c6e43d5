//! The operations that the power is cut in: what each begins with, and what it does.
//!
//! Must never prepare anything that the daemon itself could not have left.
//! Used by the matrix; each operation is replayed by its name.

use super::promise::Value;
use super::random::source;
use super::room::{FORMER, Live, NEW, OLD, Room, permit, whole};
use servos_keyd::operations::accept::accept;
use servos_keyd::operations::adopt_legacy_key::adopt_legacy_key;
use servos_keyd::operations::create::{Creation, create};
use servos_keyd::operations::create_key::create_key;
use servos_keyd::operations::delete_key::delete_key;
use servos_keyd::operations::drill::DrillKind;
use servos_keyd::operations::record_drill::record_drill;
use servos_keyd::operations::restore::known::survey;
use servos_keyd::operations::restore::proof::{prove, read_backup};
use servos_keyd::operations::restore::restore;
use servos_keyd::operations::retire_legacy_key::retire_legacy_key;
use servos_keyd::operations::rotate_key::rotate_key;
use servos_keyd::operations::rotation::Step;
use servos_keyd::operations::rotation::abort_rotation::abort_rotation;
use servos_keyd::operations::rotation::finish_rotation::{Request as EndRequest, finish_rotation};
use servos_keyd::operations::rotation::rotate::{Request, rotate};
use servos_keyd::operations::rotation::steps::advance;
use servos_keyd::operations::{backup, load};
use servos_keyd::store::backup_file;
use servos_keyd::store::redb_adapter::{RedbStore, view};
use std::fmt::Display;
use std::fs;

/// A call on a running daemon.
type Call = fn(&Room, &mut Live) -> Result<(), String>;

/// What an operation is done to.
#[derive(Clone, Copy)]
pub enum Act {
    /// Makes a store where none is.
    Init,
    /// Restores the newest backup where no store is.
    Restore,
    /// Takes a store without a mark.
    Accept,
    /// A start alone, with what goes on behind it.
    Start,
    /// The end of a daemon.
    Stop,
    /// A call.
    Call(Call),
}

/// An operation that the power is cut in.
pub struct Operation {
    /// As the table and the replay name it.
    pub name: &'static str,
    /// The key that the key file holds when the daemon is started for it.
    pub before: &'static str,
    /// The key that the key file holds from the operation on.
    pub key: &'static str,
    /// Brings a new store to where the operation begins.
    pub prepare: Call,
    /// Values that callers hold from before the daemon.
    pub legacy: fn(&Room) -> Vec<Value>,
    pub act: Act,
    /// What it acknowledges is a backup.
    pub is_backup: bool,
}

/// All of them.
pub const OPERATIONS: [Operation; 17] = [
    operation("init", OLD, nothing, Act::Init),
    operation(
        "create-key",
        OLD,
        nothing,
        Act::Call(|_, live| said(create_key(&permit("made"), &mut live.ledger, id(1)))),
    ),
    operation("rotate-key", OLD, nothing, Act::Call(rotate_changing)),
    operation("delete-key", OLD, rotate_changing, Act::Call(delete_changing)),
    operation("begin", OLD, nothing, Act::Call(begin)),
    Operation { before: OLD, ..operation("finish", NEW, begin, Act::Call(finish)) },
    operation("finish-at-start", NEW, begin, Act::Start),
    operation("abort", OLD, begin, Act::Call(abort)),
    Operation { before: OLD, ..operation("finish-legacy", NEW, begin_with_legacy, Act::Call(finish)) },
    Operation { legacy: former, ..operation("adopt-legacy", OLD, nothing, Act::Call(adopt)) },
    Operation { legacy: former, ..operation("retire-legacy", OLD, adopt, Act::Call(retire)) },
    operation("record-drill", OLD, nothing, Act::Call(drill)),
    operation("rewrite", NEW, up_to_the_rewrite, Act::Call(|_, live| live.advance())),
    Operation {
        is_backup: true,
        ..operation("backup", OLD, rotate_changing, Act::Call(|_, live| said(backup::write(&mut live.ledger))))
    },
    operation("restore", OLD, lose_the_store, Act::Restore),
    operation("accept", OLD, nothing, Act::Accept),
    operation("stop", OLD, nothing, Act::Stop),
];

const fn operation(name: &'static str, key: &'static str, prepare: Call, act: Act) -> Operation {
    Operation { name, before: key, key, prepare, legacy: |_| Vec::new(), act, is_backup: false }
}

fn said<T, E: Display>(answer: Result<T, E>) -> Result<(), String> {
    answer.map(drop).map_err(|error| error.to_string())
}

/// The id of a request, so that the same call can be made again.
#[expect(clippy::unnecessary_wraps, reason = "operations take it so")]
fn id(n: u32) -> Option<String> {
    Some(format!("00000000-0000-4000-8000-{n:012}"))
}

fn nothing(_: &Room, _: &mut Live) -> Result<(), String> {
    Ok(())
}

fn rotate_changing(_: &Room, live: &mut Live) -> Result<(), String> {
    said(rotate_key(&permit("changing"), &mut live.ledger, id(2)))
}

fn delete_changing(_: &Room, live: &mut Live) -> Result<(), String> {
    said(delete_key(&permit("changing"), &mut live.ledger, id(3)))
}

fn begin(room: &Room, live: &mut Live) -> Result<(), String> {
    let fingerprint = room.key(NEW).fingerprint();
    let request = Request { fingerprint, new_key: NEW.as_bytes(), keep_data_keys: false, dry_run: false, id: id(4) };
    said(rotate(&whole(), &mut live.ledger, request))
}

fn begin_with_legacy(room: &Room, live: &mut Live) -> Result<(), String> {
    adopt(room, live)?;
    begin(room, live)
}

fn finish(room: &Room, live: &mut Live) -> Result<(), String> {
    room.hold(NEW);
    decide(room, live)?;
    live.advance()
}

fn decide(room: &Room, live: &mut Live) -> Result<(), String> {
    let request = EndRequest { fingerprint: room.key(NEW).fingerprint(), dry_run: false, id: id(5) };
    said(finish_rotation(&whole(), &mut live.ledger, request))
}

fn abort(room: &Room, live: &mut Live) -> Result<(), String> {
    let request = EndRequest { fingerprint: room.key(NEW).fingerprint(), dry_run: false, id: id(6) };
    said(abort_rotation(&whole(), &mut live.ledger, request, true))?;
    live.advance()
}

/// A rotation that has come to the file's rewrite.
fn up_to_the_rewrite(room: &Room, live: &mut Live) -> Result<(), String> {
    begin(room, live)?;
    room.hold(NEW);
    decide(room, live)?;
    while live.engine.keyring().rotation.as_ref().is_some_and(|rotation| rotation.step == Step::Resealing) {
        advance(&mut live.ledger);
    }
    match live.engine.keyring().rotation.as_ref().map(|rotation| rotation.step) {
        Some(Step::Rewriting) => Ok(()),
        step => Err(format!("the rotation is at {step:?}")),
    }
}

fn former(room: &Room) -> Vec<Value> {
    vec![Value::legacy(FORMER, &room.key(FORMER).fingerprint().to_string())]
}

fn adopt(_: &Room, live: &mut Live) -> Result<(), String> {
    said(adopt_legacy_key(&whole(), &mut live.ledger, FORMER.as_bytes(), id(7)))
}

fn retire(room: &Room, live: &mut Live) -> Result<(), String> {
    said(retire_legacy_key(&whole(), &mut live.ledger, room.key(FORMER).fingerprint(), id(8)))
}

fn drill(room: &Room, live: &mut Live) -> Result<(), String> {
    said(record_drill(&whole(), &mut live.ledger, DrillKind::Key, room.key(OLD).fingerprint(), id(9)))
}

fn lose_the_store(_: &Room, live: &mut Live) -> Result<(), String> {
    said(backup::write(&mut live.ledger))
}

impl Operation {
    /// What is left undone of the preparation while a daemon runs.
    pub fn arrange(&self, room: &Room) {
        let places = room.places();
        match self.act {
            Act::Restore => fs::remove_file(places.store).unwrap(),
            Act::Accept => fs::remove_file(places.mark).unwrap(),
            _ => {}
        }
    }

    /// Whether no daemon runs while it is done.
    pub fn is_offline(&self) -> bool {
        matches!(self.act, Act::Init | Act::Restore | Act::Accept)
    }

    /// Whether there may be no store before it is done.
    pub fn makes_a_store(&self) -> bool {
        matches!(self.act, Act::Init | Act::Restore)
    }

    /// Does what an operator does without a daemon, or does it again.
    ///
    /// # Errors
    /// What the command would say.
    pub fn act_offline(&self, room: &Room, seed: u64) -> Result<(), String> {
        match self.act {
            Act::Init => init(room, seed),
            Act::Restore => restore_newest(room, self.key),
            Act::Accept => accept_it(room, self.key),
            _ => Ok(()),
        }
    }
}

/// As `servos-keyd init` makes a store.
pub fn init(room: &Room, seed: u64) -> Result<(), String> {
    let (places, master, random) = (room.places(), room.key(OLD), source(seed));
    said(create(&Creation {
        places: &places,
        master: &master,
        shared: false,
        adopt_legacy: false,
        memory: &room.memory,
        random: &*random,
        now: room.now(),
    }))
}

fn restore_newest(room: &Room, key: &str) -> Result<(), String> {
    let places = room.places();
    let backups = backup_file::list(&places.backups).map_err(|error| error.to_string())?;
    let newest = backups.last().ok_or("there is no backup")?;
    let backup = read_backup(newest, "FILE".to_owned()).map_err(|failure| failure.to_string())?;
    let proven = prove(backup, room.key(key), &room.memory).map_err(|failure| failure.to_string())?;
    let known = survey(&places, &proven, vec![room.key(key)], &room.memory).map_err(|failure| failure.to_string())?;
    said(restore(&places, proven, &known, None, room.key(key), &room.memory, room.now()))
}

fn accept_it(room: &Room, key: &str) -> Result<(), String> {
    let places = room.places();
    let snapshot = view(&places.store).map_err(|error| error.to_string())?;
    let generation = snapshot.generation;
    let authentic = load::authenticate(snapshot, room.key(key), &room.memory).map_err(|failure| failure.to_string())?;
    let mut store = RedbStore::open(&places.store).map_err(|error| error.to_string())?;
    said(accept(&places, &authentic, &mut store, generation))
}
