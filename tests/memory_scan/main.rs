//! The memory scan: all of the memory of the live release daemon is searched for keys, key schedules and plaintexts.
//!
//! Must never pass where it did not run, nor ask the daemon for a way in: it reads as root. Run by `tests/memory_scan/run`;
//! without `--daemon FILE`, as `cargo test` runs it, it says that the daemon was not looked at.
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
mod control;
mod forms;
mod installation;
mod keys;
mod known;
mod load;
mod moments;
mod process;
mod scan;
mod sha256;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: tests/memory_scan/run [--calls N]";

/// Neither passed nor failed: it did not run.
const NOT_RUN: u8 = 77;

/// What this scan does not look at, and why.
const NOT_LOOKED_AT: [(&str, &str); 1] = [(
    "after a panic inside a call",
    "nothing that a client can send makes a released daemon panic, and it has no switch for it",
)];

struct Arguments {
    daemon: Option<PathBuf>,
    calls: usize,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == control::HOLD) {
        return end(control::hold().map(|()| ExitCode::SUCCESS));
    }
    // Cargo only asks what tests there are.
    if words.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
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
    let mut arguments = Arguments { daemon: None, calls: 100_000 };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--daemon" => arguments.daemon = Some(value()?.into()),
            "--calls" => arguments.calls = value()?.parse().map_err(|_| "no number of calls".to_owned())?,
            // What cargo test and its like hand to every test binary.
            "--quiet" | "-q" | "--nocapture" | "--show-output" => {}
            other => return Err(format!("{other}: not known")),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> ExitCode {
    let Some(daemon) = &arguments.daemon else {
        eprintln!("NOT RUN: memory_scan: it looks at a released daemon, which tests/memory_scan/run builds");
        return ExitCode::SUCCESS;
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: memory_scan: only root may read the memory of a daemon that is not dumpable");
        return ExitCode::from(NOT_RUN);
    }
    let began = Instant::now();
    let looked = control::control().and_then(|control| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok((control, runtime.block_on(moments::all(daemon, arguments.calls))?))
    });
    end(looked.map(|(control, seens)| {
        let problems = table::show(&control, &seens, &NOT_LOOKED_AT, began.elapsed().as_secs());
        problems.iter().for_each(|problem| println!("FAILED: {problem}"));
        if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }))
}

fn end(outcome: keys::Outcome<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("memory_scan: {error}");
        ExitCode::FAILURE
    })
}
