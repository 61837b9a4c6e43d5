//! Durations as people write them in the configuration: one number and one unit.
//!
//! Must never guess a unit: a bare number is refused with words that say so.
//! Called by `config::file` (reading) and `config::settings` (showing).

use std::time::Duration;

/// The units, longest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationFault {
    /// A number without a unit.
    #[error(
        "a bare number has no unit: write \"{number}s\" for seconds, \"{number}d\" for days (units are ms, s, m, h, d)"
    )]
    NoUnit {
        /// The number as written.
        number: String,
    },
    /// A unit that is not one of ours.
    #[error("the unit is unknown (units are ms, s, m, h, d)")]
    UnknownUnit,
    /// No whole number at the beginning.
    #[error("a duration is one whole number and one unit, such as \"30s\" or \"500ms\"")]
    NoNumber,
    /// More milliseconds than 64 bits hold.
    #[error("the number is too large")]
    TooLarge,
}

/// Reads one whole number and one unit (`ms`, `s`, `m`, `h`, `d`), without a space between them.
///
/// # Errors
/// [`DurationFault`], by what is wrong.
pub fn parse(text: &str) -> Result<Duration, DurationFault> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() || unit.starts_with(['.', ',']) {
        return Err(DurationFault::NoNumber);
    }
    if unit.is_empty() {
        return Err(DurationFault::NoUnit { number: number.to_owned() });
    }
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationFault::UnknownUnit)?;
    let count: u64 = number.parse().map_err(|_| DurationFault::TooLarge)?;
    count.checked_mul(*milliseconds).map(Duration::from_millis).ok_or(DurationFault::TooLarge)
}

/// Writes a duration so that [`parse`] reads it back; what is below a millisecond is dropped.
#[must_use]
pub fn format(duration: Duration) -> String {
    let total = duration.as_millis();
    if total == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(_, milliseconds)| total.is_multiple_of(u128::from(*milliseconds)))
        .map_or_else(|| format!("{total}ms"), |(name, length)| format!("{}{name}", total / u128::from(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_written_back() {
        for (text, milliseconds) in
            [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("5h", 18_000_000), ("90d", 7_776_000_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
            assert_eq!(format(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn a_duration_is_shown_in_the_largest_unit_that_is_exact() {
        assert_eq!(format(Duration::from_millis(60_000)), "1m");
        assert_eq!(format(Duration::from_millis(61_000)), "61s");
        assert_eq!(format(Duration::from_millis(1_001)), "1001ms");
        assert_eq!(format(Duration::from_secs(86_400 * 2)), "2d");
    }

    #[test]
    fn a_bare_number_is_refused_with_the_unit_that_is_missing() {
        assert_eq!(parse("30"), Err(DurationFault::NoUnit { number: "30".to_owned() }));
        assert!(parse("30").unwrap_err().to_string().contains("\"30s\""));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for (text, fault) in [
            ("", DurationFault::NoNumber),
            ("s", DurationFault::NoNumber),
            ("-5s", DurationFault::NoNumber),
            ("+5s", DurationFault::NoNumber),
            ("1.5s", DurationFault::NoNumber),
            ("1,5s", DurationFault::NoNumber),
            (" 5s", DurationFault::NoNumber),
            ("5 s", DurationFault::UnknownUnit),
            ("5S", DurationFault::UnknownUnit),
            ("1h30m", DurationFault::UnknownUnit),
            ("5s ", DurationFault::UnknownUnit),
            ("5µs", DurationFault::UnknownUnit),
            ("99999999999999999999s", DurationFault::TooLarge),
            ("18446744073709551615d", DurationFault::TooLarge),
        ] {
            assert_eq!(parse(text), Err(fault), "{text:?}");
        }
    }
}
