//! OpenMetrics text: families of samples, as monitoring reads them.
//!
//! Must never be given a text that a caller chose: nothing is escaped in it.
//! Called by `rpc` for the socket of the metrics and for `servos-keyctl metrics`.

use super::metrics::Metric;
use std::fmt::{self, Write as _};

/// The media type of the text. Source: OpenMetrics 1.0, "Protocol negotiation".
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric with its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// The metric.
    pub metric: Metric,
    /// Its samples; those of one histogram stand together.
    pub samples: Vec<Sample>,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What its name ends with, behind the metric's.
    pub suffix: &'static str,
    /// Its labels.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub number: Number,
}

/// A number as the text has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A whole one; a time or a difference may be below 0.
    Signed(i64),
    /// A whole one.
    Unsigned(u64),
    /// Microseconds, written as seconds.
    Microseconds(u64),
    /// More than any.
    Infinite,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Microseconds(number) => f.write_str(&seconds(*number)),
            Self::Infinite => f.write_str("+Inf"),
        }
    }
}

/// Microseconds in seconds, as a bucket's label must have it to be the same label everywhere. Source: OpenMetrics 1.0,
/// "Considerations: canonical numbers".
#[must_use]
pub fn seconds(microseconds: u64) -> String {
    match microseconds {
        1..100 if microseconds.is_multiple_of(10) => format!("{}e-05", microseconds / 10),
        _ => {
            let decimals = format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000);
            let short = decimals.trim_end_matches('0');
            if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
        }
    }
}

/// All of it. Source: OpenMetrics 1.0, "Text format".
#[must_use]
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { metric: Metric { kind, name, unit, help }, samples } in families {
        let _ = writeln!(text, "# TYPE {name} {}", kind.as_str());
        if !unit.is_empty() {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(text, "# HELP {name} {help}");
        for Sample { suffix, labels, number } in samples {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
            let _ = match labels.is_empty() {
                true => writeln!(text, "{name}{suffix} {number}"),
                false => writeln!(text, "{name}{suffix}{{{}}} {number}", labels.join(",")),
            };
        }
    }
    text.push_str("# EOF\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::calls::BOUNDS_US;

    #[test]
    fn seconds_are_written_as_everybody_writes_them() {
        for (microseconds, text) in [
            (0, "0.0"),
            (7, "0.000007"),
            (10, "1e-05"),
            (50, "5e-05"),
            (100, "0.0001"),
            (2_500_000, "2.5"),
            (10_000_000, "10.0"),
        ] {
            assert_eq!(seconds(microseconds), text);
        }
        for bound in BOUNDS_US {
            let read: f64 = seconds(bound).parse().unwrap();
            assert!((read * 1e6 - bound as f64).abs() < 0.01, "{bound}");
        }
    }
}
