//! Points at which a test lets the key core panic, while key objects stand on the stack.
//!
//! Must never do anything in a release: without the feature `fault-injection` it is empty. Must never show what it is given.
//! Called by `custody`, in each primitive that holds a key object.

/// A point is reached: nothing happens, but where a test planted a panic. `header` begins with what tells one use of the
/// place from another: the magic of a format, or a label.
#[inline(always)]
pub fn reach(place: &str, header: &[u8]) {
    #[cfg(feature = "fault-injection")]
    planted::reach(place, header);
    let _ = (place, header);
}

#[cfg(feature = "fault-injection")]
mod planted {
    use std::hint::black_box;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The variable that names the points to panic at, with commas between: `PLACE-HEADER#N` is the `N`th time that the place
    /// is reached with such a header, from 1; `PLACE-HEADER#N/K` that and every `K`th time from there on. Without a header,
    /// each counts.
    const PANIC_AT: &str = "SERVOS_KEYD_PANIC_AT";

    /// Where, and when.
    pub(super) struct Plan {
        point: String,
        first: u64,
        every: Option<u64>,
        reached: AtomicU64,
    }

    static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();

    /// A frame of its own: the caller's is as it is in a release.
    #[inline(never)]
    pub(super) fn reach(place: &str, header: &[u8]) {
        // The gate looks for the name in the binaries: so it stands there in one piece, whatever is optimised.
        let plans = PLANS.get_or_init(|| parse(&std::env::var(black_box(PANIC_AT)).unwrap_or_default()));
        // All are counted, also where one comes true.
        if plans.iter().filter(|plan| plan.comes_true(place, header)).count() > 0 {
            planted_panic();
        }
    }

    #[allow(clippy::panic, reason = "it is what was asked for, and no release has it")]
    fn planted_panic() -> ! {
        panic!("planted");
    }

    /// What is none is left away: then nothing panics, and the test says so.
    pub(super) fn parse(text: &str) -> Vec<Plan> {
        let plan = |words: &str| {
            let (point, times) = words.rsplit_once('#')?;
            let (first, every) = times.split_once('/').map_or((times, None), |(first, every)| (first, Some(every)));
            let every = every.map(str::parse).transpose().ok()?;
            Some(Plan { point: point.to_owned(), first: first.parse().ok()?, every, reached: AtomicU64::new(0) })
        };
        text.split(',').filter_map(plan).collect()
    }

    impl Plan {
        pub(super) fn comes_true(&self, place: &str, header: &[u8]) -> bool {
            let Some(rest) = self.point.strip_prefix(place) else { return false };
            if !(rest.is_empty() || rest.strip_prefix('-').is_some_and(|wanted| header.starts_with(wanted.as_bytes())))
            {
                return false;
            }
            let times = self.reached.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            let Some(since) = times.checked_sub(self.first) else { return false };
            since == 0 || self.every.is_some_and(|every| since.is_multiple_of(every))
        }
    }
}

#[cfg(all(test, feature = "fault-injection"))]
mod tests {
    use super::planted::parse;

    #[test]
    fn a_planned_panic_comes_at_its_turns_and_with_its_header_alone() {
        let plans = parse("opening-SKD1#2,opening#1/3,nothing,opening#x");
        assert_eq!(plans.len(), 2);
        let turns = |plan: usize, place, header: &[u8]| {
            (0..5).map(|_| plans[plan].comes_true(place, header)).collect::<Vec<_>>()
        };
        assert_eq!(turns(0, "sealing", b"SKD1..."), [false; 5]);
        assert_eq!(turns(0, "opening", b"SKR1..."), [false; 5]);
        assert_eq!(turns(0, "opening", b"SKD1..."), [false, true, false, false, false]);
        assert_eq!(turns(1, "opening", b""), [true, false, false, true, false]);
    }
}
