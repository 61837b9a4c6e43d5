//! The one table that the matrix prints, with its totals and the line that replays it.
//!
//! Must never hide a failure behind a total.
//! Printed by `main`.

use super::arguments::Arguments;
use super::matrix::{Counts, Report};
use std::fmt::Write as _;

const HEAD: [&str; 7] =
    ["operation", "syncs", "cuts", "second cuts", "faults injected", "starts after", "values checked"];

pub fn of(report: &Report, arguments: &Arguments) -> String {
    let mut out = String::new();
    let mut total = Counts::default();
    let mut line = |first: &str, rest: [String; 6]| {
        let _ = write!(out, "{first:<16}");
        for (text, head) in rest.iter().zip(&HEAD[1..]) {
            let _ = write!(out, "  {text:>width$}", width = head.len());
        }
        out.push('\n');
    };
    line(HEAD[0], std::array::from_fn(|n| HEAD[n + 1].to_owned()));
    for (name, counts) in &report.rows {
        line(name, cells(counts));
        total.add(counts);
    }
    line("total", cells(&total));
    let (cuts, promised) = (report.cuts(), Report::promised(arguments));
    let _ = writeln!(out, "\n{cuts} power cuts, {} faults, in {:.0} s", total.faults, report.took.as_secs_f64());
    if !report.is_whole(arguments) && report.failures.is_empty() {
        let _ = writeln!(out, "FAILED: that is fewer than the {promised} cuts that are promised");
    }
    for (case, why) in &report.failures {
        let _ = writeln!(out, "\nFAILED {case}: {why}\nreplay with: {}", arguments.replay(Some(case)));
    }
    let _ = writeln!(out, "{}", machine_readable(report, arguments, &total));
    let _ = writeln!(out, "seed {}; replay with: {}", arguments.seed, arguments.replay(None));
    out
}

/// What `tests/survival/run` sums up.
fn machine_readable(report: &Report, arguments: &Arguments, total: &Counts) -> String {
    let cuts: Vec<String> =
        report.rows.iter().map(|(name, counts)| format!(r#""{name}":{}"#, counts.cuts + counts.second_cuts)).collect();
    let Counts { second_cuts, faults, starts, values, .. } = total;
    format!(
        r#"survival: {{"harness":"crash_matrix","seed":{},"cuts":{{{}}},"second_cuts":{second_cuts},"faults":{faults},"starts":{starts},"values":{values},"seconds":{:.0}}}"#,
        arguments.seed,
        cuts.join(","),
        report.took.as_secs_f64()
    )
}

fn cells(counts: &Counts) -> [String; 6] {
    let Counts { syncs, cuts, second_cuts, faults, starts, values } = counts;
    [syncs, cuts, second_cuts, faults, starts, values].map(ToString::to_string)
}
