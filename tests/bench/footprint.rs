//! The daemon's footprint: memory, start, processor time for each call beside a bare tonic echo. `tests/bench/run`.
//!
//! Must never use the daemon's allocator: the echo, which is this program too, stands for tonic as it comes.
//! Called by people; nothing fails by a time, since machines differ and ratios swing. The gate calls it for
//! `rotations 1000 --check`, which fails by the size of a file and by what opens.
//!
//! What the rows say:
//! - *resident, idle*: `VmRSS` of the daemon a second after its first answer, on the store of a new installation and on
//!   one with 1,000 versions. Bound: 8 MiB.
//! - *resident, 30 s after the load*: the same 30 s after the last of 200,000 Encrypt calls. Bound: 14 MiB.
//! - *start to first answer*: from the start of the process to the first answered Encrypt, on an existing, cleanly
//!   closed store with 1,000 versions: of 8 keys, and of 1,000 keys (each key in use is tested at a start). Bound: 40 ms.
//! - *CPU for each Encrypt*: processor time of the server's threads, 1 KiB, 64 calls in flight over 8 connections.
//!   Rounds of daemon and echo follow each other; the ratio is that of each pair. Bound: a median of 1.35.
//! - *calls a second, latency*: the same rounds as the client sees them; client and server share the machine.
//!
//! Only where they are asked for:
//! - `rotation`: a master rotation on a store of 100,000 versions of 100 keys, on files on the disk. *begin* is the call
//!   with its backup: 500 ms. *finish* and *abort* are the calls, to the commit that decides: 100 ms. *the rest* is what
//!   follows to the last step, new versions of every data key included: 15 s. First in this process, step by step, then
//!   through the daemon, with what such a store takes to start and in memory (no bound).
//! - `traffic`: what Encrypt and Decrypt wait meanwhile, with 10,000 versions and 2,000 calls a second over 8 connections:
//!   99 % are answered within 5 ms. The same flat out, and without a rotation, stands beside; and how late a thread wakes
//!   up that does nothing else, which is what the machine itself adds.
//! - `rotations N`: the store after so many rotations that keep the data keys, each with its backup, older ones pruned, and
//!   a request id for each call. Bounds: 16 MiB, opened within 50 ms.
//! - `recovery`: from the start of the process to the first answered Encrypt, on a store of 100,000 versions whose daemon
//!   was killed (SIGKILL) in the middle of changes, so that the database must repair its file: 1 s. Beside it the same
//!   store closed cleanly, and what the parts of a start take in this process.
//! - `backup`: the call on 100,000 versions, with a file in the daemon's directory and with contents: 500 ms. Then rounds
//!   of Encrypt, alone and beside backups one after the other, in turns: half of the calls, and at full load the time for
//!   each call, are at most 10 % more, by the median of the pairs' ratios.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints its results")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "results are rounded for people")]

mod admin;
mod backups;
mod echo;
mod installation;
mod load;
mod many_versions;
mod master_keys;
mod measure;
mod process;
mod recovery;
mod rotating;
mod rotation;
mod rotations;
mod server;
mod table;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;

/// What can go wrong ends the benchmark.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is measured.
pub struct Settings {
    /// The daemon's binary.
    pub daemon: PathBuf,
    /// Versions in the large stores.
    pub versions: usize,
    /// Starts for each store.
    pub starts: usize,
    /// Calls of the load that memory is measured after.
    pub load_calls: usize,
    /// Seconds from that load to the measurement.
    pub rest_seconds: u64,
    /// Pairs of rounds of daemon and echo.
    pub rounds: usize,
    /// Calls of a round.
    pub round_calls: usize,
    /// Versions in the store whose master key is rotated, and in the one that is recovered and backed up.
    pub rotated_versions: usize,
    /// The same under traffic.
    pub traffic_versions: usize,
    /// Keys that those versions are of.
    pub keys: usize,
    /// How often each kind of rotation is measured.
    pub repeats: usize,
    /// Rotations, one after the other, that the store is looked at after.
    pub rotations: usize,
    /// A store that is too large after them is an error.
    pub check: bool,
    /// Measure only these: `memory`, `start`, `cpu`; only where they are asked for: `rotation`, `traffic`, `rotations`,
    /// `recovery`, `backup`.
    pub only: Vec<String>,
}

const HELP: &str = "tests/bench/run [memory] [start] [cpu] [rotation] [traffic] [rotations [N] [--check]] [recovery] \
     [backup] [--versions N] [--starts N] [--load-calls N] [--rest SECONDS] [--rounds N] [--round-calls N] [--rotated N] [--repeats N] \
     [--daemon FILE]";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == "--echo").is_some() {
        return end(echo::serve(&PathBuf::from(arguments.next().unwrap_or_default())));
    }
    let arguments: Option<Vec<String>> = arguments.map(|argument| argument.into_string().ok()).collect();
    match arguments.and_then(|arguments| settings(&arguments)) {
        None => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(settings) => end(measure::all(&settings)),
    }
}

fn end(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("footprint: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `None` asks for help. Without `--bench`, which cargo gives to benchmarks that are to run, nothing is measured.
fn settings(arguments: &[String]) -> Option<Settings> {
    let mut settings = Settings {
        daemon: PathBuf::from(env!("CARGO_BIN_EXE_servos-keyd")),
        versions: 1_000,
        starts: 15,
        load_calls: 200_000,
        rest_seconds: 30,
        rounds: 7,
        round_calls: 100_000,
        rotated_versions: 100_000,
        traffic_versions: 10_000,
        keys: 100,
        repeats: 5,
        rotations: 10_000,
        check: false,
        only: Vec::new(),
    };
    let mut asked = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => asked = true,
            "--daemon" => settings.daemon = arguments.next()?.into(),
            "--versions" => settings.versions = arguments.next()?.parse().ok()?,
            "--starts" => settings.starts = arguments.next()?.parse().ok()?,
            "--load-calls" => settings.load_calls = arguments.next()?.parse().ok()?,
            "--rest" => settings.rest_seconds = arguments.next()?.parse().ok()?,
            "--rounds" => settings.rounds = arguments.next()?.parse().ok()?,
            "--round-calls" => settings.round_calls = arguments.next()?.parse().ok()?,
            "--rotated" => settings.rotated_versions = arguments.next()?.parse().ok()?,
            "--repeats" => settings.repeats = arguments.next()?.parse().ok()?,
            "--check" => settings.check = true,
            "memory" | "start" | "cpu" | "rotation" | "traffic" | "rotations" | "recovery" | "backup" => {
                settings.only.push(argument.clone());
            }
            number if settings.only.last().is_some_and(|last| last == "rotations") => {
                settings.rotations = number.parse().ok()?;
            }
            _ => return None,
        }
    }
    asked.then_some(settings)
}
