//! What thousands of rotations of the master key leave behind: the size of the store, and the time it takes to open.
//!
//! Must never pass a store that does not open with exactly the last key.
//! Called by `measure`, and by CI with `--check`.

use super::installation::{Contents, Installation};
use super::rotating::{Rotating, rest};
use super::{Outcome, Settings, table};
use servos_keyd::operations::load;
use servos_keyd::store::redb_adapter::{RedbStore, view};
use servos_keyd::sys::locked::LockedMemory;
use std::time::Instant;

const STORE_MIB: f64 = 16.0;
const OPEN_MS: f64 = 50.0;
const OPENINGS: usize = 11;
const PROGRESS: usize = 1000;

/// Rotates again and again, keeping the data keys, and looks at what is left.
pub fn measure(settings: &Settings) -> Outcome<()> {
    let rotations = settings.rotations;
    let installation = Installation::make(Contents::FirstKeys)?;
    let memory = LockedMemory::new()?;
    let first = installation.key_file(&memory).key()?;
    rotate(&installation, &memory, rotations)?;

    let mib = std::fs::metadata(installation.store())?.len() as f64 / f64::from(1 << 20);
    table::row(&format!("store after {rotations} rotations"), &[mib], "MiB", 2, Some(STORE_MIB));
    let mut times = Vec::new();
    for _ in 0..OPENINGS {
        times.push(open(&installation, rotations)?);
    }
    table::row(&format!("opened after {rotations} rotations"), &times, "ms", 1, Some(OPEN_MS));
    if load::authenticate(view(&installation.store())?, first, &memory).is_ok() {
        return Err("the first key still opens the store".into());
    }
    if settings.check && mib > STORE_MIB {
        return Err(format!("the store is larger than {STORE_MIB} MiB").into());
    }
    Ok(())
}

fn rotate(installation: &Installation, memory: &LockedMemory, rotations: usize) -> Outcome<()> {
    let mut ledger = installation.open(memory)?;
    let mut rotating = Rotating::new(installation.key_file(memory));
    let begun = Instant::now();
    for number in 1..=rotations {
        let (key, _) = rotating.begin(&mut ledger, true)?;
        rotating.finish(&mut ledger, key)?;
        rest(&mut ledger)?;
        if number % PROGRESS == 0 {
            eprintln!("{number} rotations in {} s", begun.elapsed().as_secs());
        }
    }
    let each = begun.elapsed().as_secs_f64() * 1e3 / rotations.max(1) as f64;
    table::row("a rotation, on average", &[each], "ms", 1, None);
    Ok(())
}

/// As a start does: looked at, believed, read, and opened for writing. Answers milliseconds.
fn open(installation: &Installation, rotations: usize) -> Outcome<f64> {
    let memory = LockedMemory::new()?;
    let key = installation.key_file(&memory).key()?;
    let begun = Instant::now();
    let authentic = load::authenticate(view(&installation.store())?, key, &memory)?;
    let loaded = load::open(authentic, &memory)?;
    let store = RedbStore::open(&installation.store())?;
    let took = begun.elapsed();
    drop(store);
    if usize::try_from(loaded.keyring.rotations) != Ok(rotations) {
        return Err(format!("the store tells of {} rotations", loaded.keyring.rotations).into());
    }
    Ok(took.as_secs_f64() * 1e3)
}
