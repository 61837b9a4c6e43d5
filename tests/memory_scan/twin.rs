//! The release's twin, which is built with fault points: calls that panic while key objects stand on the stack, and a start
//! that a panic ends.
//!
//! Must never be taken for the binary that is released: each of its moments says what it is. Called by `program`.

use crate::ending::run_to_its_end;
use crate::installation::{Installation, Start};
use crate::keys::{Keys, Outcome};
use crate::known::Known;
use crate::load::{Load, Markers};
use crate::scan::scan;
use crate::table;
use crate::watch::{Kept, Moment, Seens, Watch, answered, key, marker};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_name::KeyName;
use servos_keyd::store::redb_adapter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const WHAT: &str = "in the release built with fault points";
/// The variable that plants panics, and where: once the daemon serves, in each primitive, wherever a key object stands.
const VARIABLE: &str = "SERVOS_KEYD_PANIC_AT";
const IN_CALLS: &str = "sealing-SKD1#100/53,opening#500/59,expanding-servos-keyd/SKD1#300/101,authenticating#50/13,\
                        sealing-SKR1#1/3";
/// Every call but the first ones: nothing that comes after on the same thread clears what a panic leaves.
const IN_ALL_CALLS: &str = "sealing-SKD1#40/1,opening-SKD1#40/1,sealing-SKR1#1/1";
/// On the thread that serves later on: the root is open then, and so are some versions.
const AT_A_START: &str = "opening-SKR1#6";
const CALLS: std::ops::RangeInclusive<usize> = 2_000..=20_000;
const CHANGES: usize = 12;
/// Calls of each kind where all panic, and messages under each key that are sealed before for them.
const LAST_CALLS: usize = 400;
const OLDER: usize = 8;
/// How a program ends whose main thread panicked.
const PANICKED: i32 = 101;

pub async fn life(binary: &Path, kept: Kept, calls: usize) -> Outcome<Seens> {
    let calls = calls.clamp(*CALLS.start(), *CALLS.end());
    let (master, legacy, marker) = (key()?, key()?, marker()?);
    let (mut keys, mut known) = (Keys::default(), Known::default());
    keys.add_master("master key", master, &mut known);
    known.add_key("legacy key", &legacy);
    known.add_marker("plaintext of the load", &marker);
    let installation = Installation::make(binary, &master)?;
    let environment = vec![(VARIABLE, IN_CALLS.to_owned())];
    let daemon = installation.serve(&Start { environment, ..Start::default() })?;
    let mut watch = Watch::new(installation, daemon, kept, keys, known)?;
    let broken = Arc::new(AtomicUsize::new(0));
    changes(&watch, &broken, &legacy).await?;
    let markers = Markers { load: marker, refused: marker, legacy: marker };
    let load = Load::new(&watch.installation.path("keyd.sock"), markers, &legacy, Vec::new()).that_may_break(&broken);
    let counts = load.run(calls).await?;
    watch.seens.count(counts);
    watch.learn(&load).await?;
    // What panicked is what was answered so, and a call between two of them was answered right.
    let (said, broken) = (watch.daemon.said(), broken.load(Ordering::Relaxed));
    let panicked = said.lines().filter(|line| line.contains("daemon.panicked")).count();
    if panicked != broken || broken < calls / 100 || broken > calls / 4 {
        return Err(format!("{panicked} panics in the log, and {broken} of {calls} calls broke off").into());
    }
    watch.seens.panics = broken;
    watch.idle(&format!("after {broken} panics inside calls, {WHAT}")).await?;
    drop(load);
    watch.end()
}

/// A life in which at last every call panics that seals or opens: on each thread it is the last that handled a key.
pub async fn life_that_only_panics(binary: &Path, kept: Kept) -> Outcome<Seens> {
    let (master, legacy, marker) = (key()?, key()?, marker()?);
    let (mut keys, mut known) = (Keys::default(), Known::default());
    keys.add_master("master key", master, &mut known);
    known.add_marker("plaintext of the load", &marker);
    let markers = Markers { load: marker, refused: marker, legacy: marker };
    let installation = Installation::make(binary, &master)?;
    let before = installation.serve(&Start::default())?;
    let load = Load::new(&installation.path("keyd.sock"), markers, &legacy, Vec::new());
    let older = load.seal_some(OLDER).await?;
    drop((load, before));
    let environment = vec![(VARIABLE, IN_ALL_CALLS.to_owned())];
    let daemon = installation.serve(&Start { environment, ..Start::default() })?;
    let mut watch = Watch::new(installation, daemon, kept, keys, known)?;
    for message in &older {
        watch.learn_message("key of a message that is only opened", &message.sealed)?;
    }
    let load = Load::new(&watch.installation.path("keyd.sock"), markers, &legacy, older);
    let broken = load.break_off(LAST_CALLS).await?;
    for _ in 0..CHANGES {
        if answered(watch.operator().rotate_key(&KeyName::new("default")?).await)?.is_some() {
            return Err("a change did not break off".into());
        }
    }
    let name = format!("right after {} calls, of which the last all panicked, {WHAT}", 2 * LAST_CALLS);
    watch.look(&name, false)?;
    // It still answers.
    load.clients[0].who_am_i().await?;
    watch.idle(&format!("after calls of which the last all panicked, {WHAT}")).await?;
    watch.seens.panics = broken + CHANGES;
    drop(load);
    watch.end()
}

/// Keys are made and rotated, and one is adopted; some of it breaks off, and is repeated.
async fn changes(watch: &Watch, broken: &AtomicUsize, legacy: &[u8; 32]) -> Outcome<()> {
    let operator = watch.operator();
    let before = broken.load(Ordering::Relaxed);
    let count = || broken.fetch_add(1, Ordering::Relaxed);
    for number in 0..CHANGES {
        let name = KeyName::new(&format!("made-{number}"))?;
        loop {
            let told = operator.create_key(&name).await;
            // One that broke off behind its commit is there.
            if matches!(told, Err(Error::AlreadyExists { .. })) || answered(told)?.is_some() {
                break;
            }
            count();
        }
        while answered(operator.rotate_key(&name).await)?.is_none() {
            count();
        }
    }
    let text = base16ct::lower::encode_string(legacy);
    while answered(operator.adopt_legacy_key(text.as_bytes()).await)?.is_none() {
        count();
    }
    if broken.load(Ordering::Relaxed) < before + CHANGES / 2 {
        return Err("hardly a change broke off".into());
    }
    Ok(())
}

/// A start that ends in a panic, where memfd_secret is refused; looked at in the moment in which the process ends.
pub fn ended_start(binary: &Path) -> Outcome<Seens> {
    let master = key()?;
    let (mut keys, mut known) = (Keys::default(), Known::default());
    keys.add_master("master key", master, &mut known);
    let installation = Installation::make(binary, &master)?;
    keys.add_all(&redb_adapter::view(&installation.path("keyd.redb"))?.records, &mut known)?;
    let environment = vec![(VARIABLE, AT_A_START.to_owned())];
    let mut daemon =
        installation.spawn(&Start { environment, without_memfd_secret: true, halted: true, ..Start::default() })?;
    let process = Pid::from_raw(daemon.id().try_into()?);
    waitpid(process, Some(WaitPidFlag::WUNTRACED))?;
    ptrace::seize(process, Options::PTRACE_O_TRACEEXIT)?;
    kill(process, Signal::SIGCONT)?;
    run_to_its_end(process)?;
    let scan = scan(daemon.id(), &known)?;
    ptrace::cont(process, None)?;
    let code = daemon.code()?;
    let said = daemon.said();
    if code != Some(PANICKED) || !said.contains("daemon.panicked") {
        return Err(format!("it did not end by a panic, but with {code:?}: {said}").into());
    }
    let name = format!("as a panic ends a start, {WHAT}");
    let moment = Moment { name, idle: true, connections: 0, kept: Kept::Nowhere, owed: Vec::new(), scan };
    table::findings(&moment);
    Ok(Seens { moments: vec![moment], ..Seens::default() })
}
