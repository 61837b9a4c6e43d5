//! How many instructions the daemon executes for an Encrypt of 1 KiB, on all the threads that serve. `tests/bench/wiping`, which
//! the gate calls.
//!
//! Must never count what the kernel does, what the client does, nor what its writer does by the clock. Called by
//! `tests/bench/wiping`, twice: built as it is, and with the feature `danger-no-wipe`.
//!
//! The daemon runs in a process of its own, which is this program too: with the allocator of the binaries, and with a store,
//! sockets and threads as always. While one client makes one call after the other, the threads that serve are single-stepped
//! (ptrace), so nothing is sampled and no counter of the processor is needed. Counted is from an answer to the answer some calls
//! later, so that the start and the connection count for nothing: reading and parsing the request, Encrypt, and writing the
//! answer. The writer has no part in that. It looks at its files every few seconds, and a call that is single-stepped takes as long:
//! counted too, that would be a tenth of all, and hide a part of what wiping costs.
//!
//! Long memory the C library fills with one instruction, REP STOSB, which stops after each byte. Counted once, as the
//! processor's own counter has it, it would be nearly free; counted by the byte, it would be dearer than any loop. So both
//! daemons are told to fill and copy by ordinary stores of 16 or 32 bytes, each of which is an instruction (glibc's tunables);
//! beside that stands what they execute as they are, with REP once.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints its results")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "results are rounded for people")]
#![allow(dead_code, reason = "of the modules shared with footprint, not all is used")]

mod installation;
mod load;
mod many_versions;
mod master_keys;
mod process;
mod server;
mod stepping;

use installation::{Contents, Installation};
use server::Server;
use servos_keyd::sys::allocator::ZeroizingAllocator;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What can go wrong ends the benchmark.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[global_allocator]
static ALLOCATOR: ZeroizingAllocator = ZeroizingAllocator;

/// Calls before the threads are stopped for the first time, so that all that happens once has happened.
const WARM_UP_CALLS: usize = 2_000;
/// Calls of one measurement.
const CALLS: usize = 2;
const MEASUREMENTS: usize = 5;
/// The name that tokio gives each thread on which it runs what serves, and what would block.
const SERVES: &str = "tokio-rt-worker";

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == "serve") {
        return ExitCode::from(servos_keyd::cli::keyd::run(std::env::args_os()));
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The C library fills and copies with ordinary instructions, however long the memory.
const WITHOUT_REP: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.cpu.x86_rep_stosb_threshold=1073741824:glibc.cpu.x86_rep_movsb_threshold=1073741824");

/// Prints one line of JSON.
fn measure() -> Outcome<()> {
    let (plain, as_it_is) = (executed(&[WITHOUT_REP])?, executed(&[])?);
    println!(
        "{}",
        serde_json::json!({
            "wipes": cfg!(not(feature = "danger-no-wipe")),
            "plain": plain, "as_it_is": as_it_is,
            "calls": CALLS * MEASUREMENTS, "plaintext_bytes": load::PLAINTEXT_BYTES,
        })
    );
    Ok(())
}

/// What a daemon with this environment executes for each call: the median, the least and the most of the measurements, and
/// the median with each repetition of a REP by itself.
fn executed(environment: &[(&str, &str)]) -> Outcome<serde_json::Value> {
    let installation = Installation::make(Contents::FirstKeys)?;
    let daemon = Server::daemon_with(&std::env::current_exe()?, &installation, environment)?;
    let (answered, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let client = call_without_end(&daemon, Arc::clone(&answered), Arc::clone(&over))?;
    while answered.load(Ordering::Relaxed) < WARM_UP_CALLS {
        if client.is_finished() {
            return Err("the client stopped".into());
        }
        std::thread::yield_now();
    }
    let mut stepped = stepping::Stepped::seize(daemon.pid(), SERVES)?;
    let mut found = Vec::new();
    // The first goes for whatever being stopped brings along.
    for measurement in 0..=MEASUREMENTS {
        let counted = stepped.count(&answered, CALLS)?;
        if measurement > 0 {
            found.push(counted);
        }
    }
    over.store(true, Ordering::Relaxed);
    stepped.end(daemon.pid())?;
    let each = |value: fn(&stepping::Counted) -> u64| {
        let mut values: Vec<f64> = found.iter().map(|counted| value(counted) as f64 / CALLS as f64).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let (instructions, steps) = (each(|counted| counted.instructions), each(|counted| counted.steps));
    let middle = MEASUREMENTS / 2;
    Ok(serde_json::json!({
        "instructions": instructions.get(middle), "least": instructions.first(), "most": instructions.last(),
        "steps": steps.get(middle),
    }))
}

/// One client, one connection, one call at a time.
fn call_without_end(
    daemon: &Server,
    answered: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) -> Outcome<std::thread::JoinHandle<Result<(), tonic::Status>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut client = runtime.block_on(daemon.first_answer())?;
    Ok(std::thread::spawn(move || {
        runtime.block_on(async {
            while !over.load(Ordering::Relaxed) {
                client.encrypt(load::message()).await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    }))
}
