//! What a rotation of the master key takes on a large store, in this process and through the daemon.
//!
//! Must never count a rotation that did not go to its last step.
//! Called by `measure`.

use super::admin::Admin;
use super::installation::{Contents, Installation};
use super::process::{locked_kib, resident_kib};
use super::rotating::{Rotating, rest};
use super::server::Server;
use super::{Outcome, Settings, table};
use servos_keyd::operations::rotation::Step;
use servos_keyd::sys::locked::LockedMemory;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const BEGIN_MS: f64 = 500.0;
const DECIDE_MS: f64 = 100.0;
const REST_MS: f64 = 15_000.0;

/// What the parts of rotations took, by name, in order of their first coming.
#[derive(Default)]
struct Parts(Vec<(String, Option<f64>, Vec<f64>)>);

impl Parts {
    fn add(&mut self, name: String, took: Duration, bound: Option<f64>) {
        let ms = took.as_secs_f64() * 1e3;
        match self.0.iter_mut().find(|(of, ..)| *of == name) {
            Some((_, _, all)) => all.push(ms),
            None => self.0.push((name, bound, vec![ms])),
        }
    }

    fn show(&self) {
        for (name, bound, ms) in &self.0 {
            table::row(name, ms, "ms", 0, *bound);
        }
    }
}

/// Measures rotations, finished and aborted, and the start of a daemon, on a store of many versions.
pub fn measure(settings: &Settings) -> Outcome<()> {
    let (keys, versions) = (settings.keys, settings.rotated_versions);
    println!("a store of {versions} versions of {keys} keys; seal, rewrite and versions are parts of the rest");
    let installation = Installation::make(Contents::Spread { keys, versions })?;
    in_process(&installation, settings.repeats)?.show();
    through_the_daemon(&installation, settings)?.show();
    Ok(())
}

fn in_process(installation: &Installation, repeats: usize) -> Outcome<Parts> {
    let mut parts = Parts::default();
    let memory = LockedMemory::new()?;
    let begun = Instant::now();
    let mut ledger = installation.open(&memory)?;
    parts.add("opened, in process".to_owned(), begun.elapsed(), None);
    let mut rotating = Rotating::new(installation.key_file(&memory));
    for _ in 0..repeats {
        for end in ["finish", "abort"] {
            let (key, took) = rotating.begin(&mut ledger, false)?;
            parts.add("begin, in process".to_owned(), took, Some(BEGIN_MS));
            let decide = if end == "finish" { Rotating::finish } else { Rotating::abort };
            let took = decide(&mut rotating, &mut ledger, key)?;
            parts.add(format!("{end}, in process"), took, Some(DECIDE_MS));
            let steps = rest(&mut ledger)?;
            for (step, took) in &steps {
                parts.add(format!("{end}, {}, in process", name(*step)), *took, None);
            }
            let all = steps.iter().map(|(_, took)| *took).sum();
            parts.add(format!("{end}, the rest, in process"), all, Some(REST_MS));
        }
    }
    Ok(parts)
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Resealing => "seal",
        Step::Rewriting => "rewrite",
        Step::NewVersions => "versions",
        Step::Backup => "backup",
        Step::Waiting | Step::Done => "end",
    }
}

fn through_the_daemon(installation: &Installation, settings: &Settings) -> Outcome<Parts> {
    let mut parts = Parts::default();
    let memory = LockedMemory::new()?;
    let key_file = installation.key_file(&memory);
    let runtime = Runtime::new()?;
    let begun = Instant::now();
    let daemon = Server::daemon(&settings.daemon, installation)?;
    drop(runtime.block_on(daemon.first_answer())?);
    parts.add("start to first answer".to_owned(), begun.elapsed(), None);
    table::row("resident, after the start", &[resident_kib(daemon.pid())? as f64], "KiB", 0, None);
    table::row("locked, after the start", &[locked_kib(daemon.pid())? as f64], "KiB", 0, None);
    let admin = Admin::new(installation.admin_socket());
    for _ in 0..settings.repeats {
        for end in ["finish", "abort"] {
            let key = key_file.make_next()?;
            let begun = Instant::now();
            runtime.block_on(admin.begin(key))?;
            parts.add("begin, by the daemon".to_owned(), begun.elapsed(), Some(BEGIN_MS));
            let begun = if end == "finish" {
                key_file.take_next()?;
                let begun = Instant::now();
                runtime.block_on(admin.finish(key))?;
                begun
            } else {
                let begun = Instant::now();
                runtime.block_on(admin.abort(key))?;
                begun
            };
            parts.add(format!("{end}, by the daemon"), begun.elapsed(), Some(DECIDE_MS));
            let begun = Instant::now();
            runtime.block_on(admin.rest())?;
            parts.add(format!("{end}, the rest, by the daemon"), begun.elapsed(), Some(REST_MS));
        }
    }
    table::row("resident, after the rotations", &[resident_kib(daemon.pid())? as f64], "KiB", 0, None);
    table::row("locked, after the rotations", &[locked_kib(daemon.pid())? as f64], "KiB", 0, None);
    daemon.stop()?;
    Ok(parts)
}
