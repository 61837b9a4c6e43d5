//! Whether a check shows by its time where the first wrong byte stands, and whether a salt ever comes twice.
//! `tests/constant_time/run`, which the gate calls; `[--samples N] [--salts N]` measures more.
//!
//! Must never judge an unoptimised build, nor a check whose leaky twin it did not catch: that fails too.
//!
//! Each check is called through the function that the daemon calls: a message that is opened with a wrong commitment, with a
//! wrong tag, a snapshot's MAC and a client's canary that are verified. Two kinds of wrong input, drawn at random call by call:
//! - *early or late*: one wrong bit, in the first or in the last byte;
//! - *fixed or random*: one wrong bit in the last byte, always the same, or a field of random bytes.
//!
//! A run measures 210,000 calls of each kind, and takes Welch's t between them for each of eleven crops: of all calls,
//! and of those under each of ten percentiles, at least 100,000 of each kind, as dudect crops what an interrupt made
//! slow (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017). Beside each call, in turns, its
//! leaky twin is measured: the same call and behind it a comparison of the same bytes that ends at the first that
//! differs.
//!
//! Each crop has the median of its t in five such runs, with their signs; the median furthest from 0 is judged: under
//! 4.5 for the check, over 4.5 for its twin. What leaks, leaks in each run and at the same crop in the same direction;
//! at another crop it may be the other direction, so the t of different crops are never mixed. A median is over 4.5
//! exactly if at least three runs are, on the same side: one that strays, as on a machine that changes its pace or is
//! used by others, decides nothing.
//!
//! By chance, where t is distributed normally as it is for so many calls, it is over 4.5 on a given side once in
//! 290,000 times, and in three of five runs once in 2.5 x 10^15. There are two sides, 11 crops and 8 rows: however
//! much these depend on each other, a false alarm comes less than once in 10^13 times that this program runs. What
//! leaks so little that the median stays under 4.5 at every crop passes: `--samples` sees more.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints its results")]
#![allow(clippy::cast_precision_loss, reason = "statistics are in floating point")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where something is not as it must be")]

mod checks;
mod salts;
mod welch;

use checks::{Run, Wrong};
use std::process::ExitCode;

/// What |t| must stay under; a leak is over it.
const BOUND: f64 = 4.5;
const RUNS: usize = 5;
/// Calls of each kind in a run: so many that the crop which leaves half of them leaves 100,000 of each.
const SAMPLES: usize = 210_000;

fn main() -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!("constant-time: NOT RUN: the build is not optimised, and its times say nothing of a release");
        return ExitCode::from(77);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_known = |pair: &[String]| matches!(pair, [name, number] if ["--samples", "--salts"].contains(&name.as_str()) && number.parse::<usize>().is_ok());
    if !words.chunks(2).all(is_known) {
        eprintln!("usage: tests/constant_time/run [--samples N] [--salts N], each no fewer than without");
        return ExitCode::from(64);
    }
    let constant = no_check_shows_where_the_first_wrong_byte_stands();
    let distinct = salts::no_salt_of_ten_million_comes_twice();
    if constant && distinct { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The number behind `name` on the command line; never less than it must be.
fn at_least(least: usize, name: &str) -> usize {
    let given = std::env::args().skip_while(|argument| argument != name).nth(1);
    given.and_then(|number| number.parse().ok()).unwrap_or(least).max(least)
}

fn no_check_shows_where_the_first_wrong_byte_stands() -> bool {
    let samples = at_least(SAMPLES, "--samples");
    println!(
        "{:<22}{:<18}{:>9}{:>12}{:>8}   t at that crop in {RUNS} runs of 2 x {samples} calls",
        "check", "wrong", "t", "twin's t", "ns"
    );
    let mut all = true;
    let mut rows = Vec::new();
    for check in checks::all() {
        for wrong in [Wrong::EarlyOrLate, Wrong::FixedOrRandom] {
            let runs: Vec<_> = (0..RUNS).map(|_| check.measure(wrong, samples)).collect();
            let [(t, each), (twins, of_twin)] = [0, 1].map(|twin| worst_crop(&runs, twin));
            let nanoseconds = median(runs.iter().map(|run| run.nanoseconds).collect());
            let verdict = match (t.abs() < BOUND, twins.abs() > BOUND) {
                (true, true) => "",
                (false, _) => "  LEAKS",
                (true, false) => "  NOTHING PROVED: the leaky twin was not caught",
            };
            all &= verdict.is_empty();
            let shown: Vec<String> = each.iter().map(|t| format!("{t:.1}")).collect();
            let shown = shown.join(" ");
            println!(
                "{:<22}{:<18}{t:>9.2}{twins:>12.1}{nanoseconds:>8.0}   {shown}{verdict}",
                check.name,
                wrong.name()
            );
            rows.push(serde_json::json!({
                "check": check.name, "wrong": wrong.name(), "t": t, "twin_t": twins, "runs": each, "twin_runs": of_twin,
                "samples_each": samples, "ok": verdict.is_empty(),
            }));
        }
    }
    println!("{}", serde_json::json!({ "constant_time": rows, "bound": BOUND, "ok": all }));
    all
}

/// The median furthest from 0 among those of the crops, and each run's t at that crop.
fn worst_crop(runs: &[Run], twin: usize) -> (f64, Vec<f64>) {
    let crops = (0..welch::CROPS).map(|crop| runs.iter().map(|run| run.t[twin][crop]).collect::<Vec<f64>>());
    crops.map(|each| (median(each.clone()), each)).max_by(|one, other| one.0.abs().total_cmp(&other.0.abs())).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
