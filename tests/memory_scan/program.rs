//! The memory scan: all of the memory of the live release daemon is searched for keys, key schedules and plaintexts.
//!
//! Must never pass where it did not run, nor ask the daemon for a way in: it reads as root. Run by `tests/memory_scan/run`, with
//! `--daemon FILE --twin FILE --kernel FILE`.
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

mod aes;
mod caller;
mod confined;
mod control;
mod ending;
mod forms;
mod installation;
mod kernel;
mod keys;
mod known;
mod load;
mod locked_pages;
mod mapping;
mod moments;
mod process;
mod refusals;
mod refused_admin;
mod refusing;
mod salvage;
mod scan;
mod sha256;
mod table;
mod twin;
mod watch;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: tests/memory_scan/run [--calls N]";

/// Neither passed nor failed: it did not run.
const NOT_RUN: u8 = 77;

struct Arguments {
    daemon: Option<PathBuf>,
    /// The release built with fault points.
    twin: Option<PathBuf>,
    /// The program that asks the kernel for memfd_secret.
    kernel: Option<PathBuf>,
    calls: usize,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == control::HOLD) {
        return end(control::hold().map(|()| ExitCode::SUCCESS));
    }
    if let Some(outcome) = confined::become_asked_for(&words) {
        return end(outcome.map(|()| ExitCode::FAILURE));
    }
    match arguments(&words) {
        Ok(arguments) => run(&arguments),
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn arguments(words: &[String]) -> Result<Arguments, String> {
    let mut arguments = Arguments { daemon: None, twin: None, kernel: None, calls: 100_000 };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--daemon" => arguments.daemon = Some(value()?.into()),
            "--twin" => arguments.twin = Some(value()?.into()),
            "--kernel" => arguments.kernel = Some(value()?.into()),
            "--calls" => arguments.calls = value()?.parse().map_err(|_| "no number of calls".to_owned())?,
            other => return Err(format!("{other}: not known")),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> ExitCode {
    let (Some(daemon), Some(twin), Some(kernel)) = (&arguments.daemon, &arguments.twin, &arguments.kernel) else {
        eprintln!(
            "memory_scan: it looks at a released daemon and its twin, which tests/memory_scan/run builds\n{USAGE}"
        );
        return ExitCode::from(64);
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: memory_scan: only root may read the memory of a daemon that is not dumpable");
        return ExitCode::from(NOT_RUN);
    }
    let began = Instant::now();
    let looked = control::control().and_then(|control| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        // Traced by the thread that starts it, and before there are others.
        let ended = twin::ended_start(twin)?;
        let kept = kernel::best_place(kernel)?;
        let mut seens = runtime.block_on(lives(daemon, twin, kept, arguments.calls))?;
        seens.add(ended);
        Ok((control, seens))
    });
    end(looked.map(|(control, seens)| {
        let problems = table::show(&control, &seens, began.elapsed().as_secs());
        problems.iter().for_each(|problem| println!("FAILED: {problem}"));
        if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }))
}

/// The release, the release that only opens, the release where memfd_secret is refused, and its twin.
async fn lives(daemon: &Path, twin: &Path, kept: watch::Kept, calls: usize) -> keys::Outcome<watch::Seens> {
    let mut seens = moments::all(daemon, kept, calls).await?;
    seens.add(salvage::life(daemon, kept).await?);
    seens.add(locked_pages::life(daemon, calls).await?);
    seens.add(twin::life(twin, kept, calls).await?);
    seens.add(twin::life_that_only_panics(twin, kept).await?);
    Ok(seens)
}

fn end(outcome: keys::Outcome<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("memory_scan: {error}");
        ExitCode::FAILURE
    })
}
