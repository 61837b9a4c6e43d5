//! The real daemon, killed: by SIGKILL at moments that a seed draws, and by itself behind every step that reaches the disk.
//!
//! Must never pass with fewer kills than it promises. Run by `tests/survival/run`, and by
//! `cargo test --features fault-injection --test kills -- [--full] [--seed N] [--life N | --steps]`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that meets what it does not expect ends there"
)]

mod calls;
mod check;
mod draw;
#[allow(dead_code, unused_imports, reason = "what the tests of behaviour alone use")]
#[path = "../behaviour/harness/mod.rs"]
mod harness;
mod life;
mod load;
mod model;
mod offline;
mod place;
mod steps;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lives, kills in each, and steps at which something dies at least: by default, and with `--full`.
const BRIEF: (u64, u64) = (2, 30);
const FULL: (u64, u64) = (10, 100);
const LEAST_STEPS: u64 = 70;

/// Lives that are led at once.
const AT_ONCE: u64 = 2;

/// What is asked of this binary.
#[derive(Clone)]
struct Arguments {
    full: bool,
    seed: u64,
    /// This life alone.
    life: Option<u64>,
    /// The deaths at steps alone.
    steps: bool,
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let mut bytes = [0; 4];
        servos_keyd::sys::random::fill(&mut bytes).map_err(|error| error.to_string())?;
        let mut read = Self { full: false, seed: u32::from_le_bytes(bytes).into(), life: None, steps: false };
        let mut given = std::env::args().skip(1);
        while let Some(argument) = given.next() {
            let mut number = || {
                let number = given.next().and_then(|text| text.parse().ok());
                number.ok_or_else(|| format!("{argument} takes a number"))
            };
            match argument.as_str() {
                "--full" => read.full = true,
                "--seed" => read.seed = number()?,
                "--life" => read.life = Some(number()?),
                "--steps" => read.steps = true,
                // What cargo test hands to every test binary.
                "--quiet" | "-q" | "--nocapture" | "--show-output" => {}
                other => return Err(format!("no argument {other}: [--full] [--seed N] [--life N | --steps]")),
            }
        }
        Ok(read)
    }

    /// How this part of the run is had again.
    fn replay(&self, part: &str) -> String {
        let full = if self.full { " --full" } else { "" };
        format!("cargo test --features fault-injection --test kills --{full} --seed {}{part}", self.seed)
    }
}

fn main() -> ExitCode {
    // Cargo only asks what tests there are.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(64);
        }
    };
    let began = Instant::now();
    println!(
        "seed {}: it draws what is done, and how long until each kill; how far the machine comes by then, it does not",
        arguments.seed
    );
    let mut failed = Vec::new();
    let (lives, kills) = if arguments.full { FULL } else { BRIEF };
    if arguments.life.is_none() {
        match catch_unwind(|| steps::die_everywhere(arguments.seed)) {
            Ok(deaths) if deaths >= LEAST_STEPS => {}
            Ok(deaths) => {
                failed.push((format!("{deaths} deaths at steps, and not {LEAST_STEPS}"), " --steps".to_owned()))
            }
            Err(_) => failed.push(("a death at a step".to_owned(), " --steps".to_owned())),
        }
    }
    if !arguments.steps {
        failed.extend(lead_lives(&arguments, lives, kills));
    }
    println!("\n{}", table::shown());
    let (total, seconds) = (table::total(), began.elapsed().as_secs());
    println!(
        "{} deaths at steps, {} random kills, {} starts after, {} values checked, in {seconds} s; seed {}",
        total.steps, total.random, total.starts, total.values, arguments.seed
    );
    println!("again: {}", arguments.replay(""));
    for (what, part) in &failed {
        println!("FAILED: {what}; again: {}", arguments.replay(part));
    }
    println!("{}", table::summary(arguments.seed, seconds));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Answers what failed, with the arguments that lead that life again.
fn lead_lives(arguments: &Arguments, lives: u64, kills: u64) -> Vec<(String, String)> {
    let next = AtomicU64::new(arguments.life.unwrap_or(1));
    let last = arguments.life.unwrap_or(lives);
    let lead = || {
        let mut failed = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number > last {
                return failed;
            }
            let (round, began) = (AtomicU64::new(0), Instant::now());
            let lived = catch_unwind(AssertUnwindSafe(|| life::live(arguments.seed, number, kills, &round)));
            let rounds = round.into_inner();
            match lived {
                Ok(killed) => {
                    println!("life {number}: {killed} kills in {rounds} rounds, {} s", began.elapsed().as_secs());
                    if killed < kills {
                        failed.push((format!("life {number}, {killed} kills of {kills}"), format!(" --life {number}")));
                    }
                }
                Err(_) => failed.push((format!("life {number}, round {rounds}"), format!(" --life {number}"))),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(lead)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}
