//! Deadlines: a client's own, in the `grpc-timeout` header, and the moment at which a wait is over.
//!
//! Must never panic or overflow, whatever the header holds, nor make a deadline longer than the server's.
//! Called by `call` for each request, and by `connection` and `serve`.

use std::time::Duration;

use hyper::HeaderMap;
use tokio::time::Instant;

const HEADER: &str = "grpc-timeout";
/// Source: gRPC over HTTP/2, "Timeout": TimeoutValue is a positive integer of at most 8 digits.
const MAX_DIGITS: usize = 8;

/// The time a call has: the client's, if it names one that is shorter than `limit`. A malformed header is taken as
/// none: the limit still holds, so it costs nothing to be lenient.
pub(super) fn time_allowed(headers: &HeaderMap, limit: Duration) -> Duration {
    headers.get(HEADER).and_then(|value| parse(value.as_bytes())).map_or(limit, |timeout| timeout.min(limit))
}

/// Source: gRPC over HTTP/2, "Timeout": digits, then one of `H M S m u n`.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Eight digits of hours are 3.6e11 s: far from overflow.
    let number = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// `start + wait`, or a day later if that cannot be said: no configured duration may make the clock panic.
pub(super) fn later(start: Instant, wait: Duration) -> Instant {
    start.checked_add(wait).unwrap_or(start + Duration::from_secs(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn well_formed_timeouts_are_read_in_their_unit() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("00000001S", Duration::from_secs(1)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn malformed_timeouts_are_refused() {
        for text in ["", "S", "1", "10", "-1S", "+1S", "1.5S", " 1S", "1S ", "1s", "1h", "1ms", "123456789S", "1\u{e9}"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(&[0xff, 0xff]), None);
    }

    #[test]
    fn the_shorter_of_both_deadlines_holds() {
        let limit = Duration::from_secs(30);
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
            time_allowed(&headers, limit)
        };
        assert_eq!(with(b"1S"), Duration::from_secs(1));
        assert_eq!(with(b"99999999H"), limit);
        assert_eq!(with(b"nonsense"), limit);
        assert_eq!(with(&[0xfa, b'S']), limit);
        assert_eq!(time_allowed(&HeaderMap::new(), limit), limit);
    }
}
