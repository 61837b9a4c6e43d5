//! What a start takes on a large store after a crash: killed in the middle of changes, and beside it closed cleanly.
//!
//! Must never take a store for one after a crash that the database need not repair.
//! Called by `measure`.

use super::admin::Admin;
use super::installation::{Contents, Installation};
use super::process::cpu_nanoseconds;
use super::server::Server;
use super::{Outcome, Settings, table};
use servos_keyd::operations::load;
use servos_keyd::store::redb_adapter::{RedbStore, view};
use servos_keyd::sys::locked::LockedMemory;
use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const START_MS: f64 = 1000.0;
/// How long changes go on before the kill: from the first of these, each time by one more.
const FIRST_KILL: Duration = Duration::from_millis(40);
/// Of the file's header: the byte of its state, and the bit in it that asks for a repair. Source: redb's design.md.
const STATE_AT: usize = 9;
const REPAIR: u8 = 2;

/// Measures starts after a kill and after a clean end, in turns.
pub fn measure(settings: &Settings) -> Outcome<()> {
    let (keys, versions) = (settings.keys, settings.rotated_versions);
    println!("a store of {versions} versions of {keys} keys");
    let installation = Installation::make(Contents::Spread { keys, versions })?;
    let (mut after_kill, mut after_end, mut repaired) = (Vec::new(), Vec::new(), 0);
    let runtime = Runtime::new()?;
    for number in 1..=settings.repeats {
        let at = FIRST_KILL * u32::try_from(number)?;
        repaired += usize::from(kill(&runtime, settings, &installation, at)?);
        after_kill.push(start(&runtime, settings, &installation)?);
        after_end.push(start(&runtime, settings, &installation)?);
    }
    for (name, started) in [("killed", &after_kill), ("ended", &after_end)] {
        let column = |value: fn(&Started) -> f64| started.iter().map(value).collect::<Vec<f64>>();
        table::row(&format!("start to first answer, {name} before"), &column(|s| s.took_ms), "ms", 0, Some(START_MS));
        // On a machine that does other work too, this is what can be compared.
        table::row("  of it processor time", &column(|s| s.cpu_ms), "ms", 0, None);
    }
    println!("{repaired} of {} stores had to be repaired", settings.repeats);
    for (name, was_killed) in [("killed", true), ("ended", false)] {
        let mut parts = Parts::default();
        for number in 1..=settings.repeats {
            if was_killed {
                kill(&runtime, settings, &installation, FIRST_KILL * u32::try_from(number)?)?;
            }
            parts.take(&installation)?;
        }
        parts.show(name);
    }
    if repaired == 0 { Err("no store had to be repaired: nothing was measured".into()) } else { Ok(()) }
}

/// Has the daemon change the store, and kills it after a while; answers whether the file asks for a repair.
fn kill(runtime: &Runtime, settings: &Settings, installation: &Installation, at: Duration) -> Outcome<bool> {
    let daemon = Server::daemon(&settings.daemon, installation)?;
    runtime.block_on(async {
        drop(daemon.first_answer().await?);
        let admin = Admin::new(installation.admin_socket());
        // It is cut off in the middle of a change, wherever that is.
        let _ = tokio::time::timeout(at, admin.change_without_end()).await;
        Outcome::Ok(())
    })?;
    // SIGKILL.
    drop(daemon);
    let mut header = [0; STATE_AT + 1];
    File::open(installation.store())?.read_exact(&mut header)?;
    Ok(header[STATE_AT] & REPAIR != 0)
}

/// From the start of the process to the first answered Encrypt.
struct Started {
    took_ms: f64,
    cpu_ms: f64,
}

/// Starts the daemon, and ends it cleanly.
fn start(runtime: &Runtime, settings: &Settings, installation: &Installation) -> Outcome<Started> {
    let begun = Instant::now();
    let daemon = Server::daemon(&settings.daemon, installation)?;
    drop(runtime.block_on(daemon.first_answer())?);
    let took = begun.elapsed();
    let cpu = cpu_nanoseconds(daemon.pid())?;
    daemon.stop()?;
    Ok(Started { took_ms: took.as_secs_f64() * 1e3, cpu_ms: cpu as f64 / 1e6 })
}

/// What a start does, part by part, in this process.
#[derive(Default)]
struct Parts {
    looked: Vec<f64>,
    believed: Vec<f64>,
    opened: Vec<f64>,
    for_writing: Vec<f64>,
}

impl Parts {
    fn take(&mut self, installation: &Installation) -> Outcome<()> {
        let memory = LockedMemory::new()?;
        let key = installation.key_file(&memory).key()?;
        let mut begun = Instant::now();
        let mut lap = |into: &mut Vec<f64>| {
            into.push(begun.elapsed().as_secs_f64() * 1e3);
            begun = Instant::now();
        };
        let snapshot = view(&installation.store())?;
        lap(&mut self.looked);
        let authentic = load::authenticate(snapshot, key, &memory)?;
        lap(&mut self.believed);
        let loaded = load::open(authentic, &memory)?;
        lap(&mut self.opened);
        let store = RedbStore::open(&installation.store())?;
        lap(&mut self.for_writing);
        drop((loaded, store));
        Ok(())
    }

    fn show(&self, name: &str) {
        for (part, times) in [
            ("looked at without a change", &self.looked),
            ("root and MAC", &self.believed),
            ("every seal", &self.opened),
            ("opened for writing", &self.for_writing),
        ] {
            table::row(&format!("  {name}: {part}, in process"), times, "ms", 0, None);
        }
    }
}
