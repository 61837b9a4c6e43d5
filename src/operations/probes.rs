//! When a store that fails is tried again: soon at first, then at longer and longer intervals, and never while it is well.
//!
//! Must never let one that fails and recovers in turn be tried at the pace of the first time.
//! Called by the writer.

use std::time::{Duration, Instant};

/// The times after which what could not be done is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// A step of a rotation.
    pub(super) step: Duration,
    /// A failing store, the first time; twice as long each time.
    pub(super) probe: Duration,
    /// And at most so long.
    pub(super) longest: Duration,
    /// Between two looks whether the files are still where they were.
    pub(super) look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { step: seconds(60), probe: seconds(1), longest: seconds(30), look: seconds(5) }
    }
}

/// The next probe.
pub(super) struct Probes {
    pace: Pace,
    /// How long the next one is waited for.
    wait: Duration,
    at: Option<Instant>,
    /// Since when nothing fails.
    well: Option<Instant>,
}

impl Probes {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, wait: pace.probe, at: None, well: None }
    }

    /// When the next one is due; `None` while nothing fails.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// One is made now: the next is waited for twice as long.
    pub(super) fn made(&mut self) {
        self.at = None;
        self.wait = self.wait.saturating_mul(2).min(self.pace.longest);
    }

    /// Whether something fails, after whatever was done.
    pub(super) fn follow(&mut self, fails: bool) {
        self.follow_at(fails, Instant::now());
    }

    fn follow_at(&mut self, fails: bool, now: Instant) {
        if !fails {
            self.at = None;
            self.well.get_or_insert(now);
            return;
        }
        let was_well = self.well.take().map(|since| now.saturating_duration_since(since));
        if was_well.is_some_and(|time| time >= self.pace.longest) {
            self.wait = self.pace.probe;
        }
        if self.at.is_none() {
            self.at = Some(now + self.wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(probes: &mut Probes, now: Instant) -> Duration {
        probes.follow_at(true, now);
        let wait = probes.at().unwrap() - now;
        probes.made();
        wait
    }

    #[test]
    fn the_waits_double_up_to_the_longest_and_nothing_is_waited_for_while_all_is_well() {
        let (mut probes, now) = (Probes::new(Pace::default()), Instant::now());
        probes.follow_at(false, now);
        assert_eq!(probes.at(), None);
        let waited: Vec<u64> = (0..7).map(|_| waits(&mut probes, now).as_secs()).collect();
        assert_eq!(waited, [1, 2, 4, 8, 16, 30, 30]);
        probes.follow_at(false, now);
        assert_eq!(probes.at(), None);
    }

    #[test]
    fn a_job_between_two_probes_does_not_put_the_next_one_off() {
        let (mut probes, now) = (Probes::new(Pace::default()), Instant::now());
        probes.follow_at(true, now);
        probes.follow_at(true, now + SECOND / 2);
        assert_eq!(probes.at(), Some(now + SECOND));
    }

    #[test]
    fn one_that_was_well_for_long_is_tried_soon_and_one_that_fails_in_turn_is_not() {
        let (mut probes, mut now) = (Probes::new(Pace::default()), Instant::now());
        for expected in [1, 2, 4, 8] {
            assert_eq!(waits(&mut probes, now), SECOND * expected);
            probes.follow_at(false, now);
            now += SECOND;
        }
        now += Pace::default().longest;
        assert_eq!(waits(&mut probes, now), SECOND);
    }
}
