//! Points at which a test lets the daemon die or wait, so that what a start finds after each of them can be looked at.
//!
//! Must never do anything in a release: without the feature `fault-injection`, and outside of tests, it is empty.
//! Called by `store` and `operations`, where something has just reached the disk.

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("the feature fault-injection is for tests: a release must not have it");

/// A point is reached, by its name: nothing happens, but where a test planted something.
#[inline]
pub fn point(name: &str) {
    #[cfg(feature = "fault-injection")]
    planted::point(name);
    #[cfg(test)]
    tests::point(name);
    let _ = name;
}

#[cfg(feature = "fault-injection")]
mod planted {
    use std::collections::BTreeMap;
    use std::hint::black_box;
    use std::path::Path;
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    /// The variable that names the point to die at: `NAME#N` is the `N`th time that it is reached, from 1.
    const DIE_AT: &str = "SERVOS_KEYD_DIE_AT";

    /// The variable that names a point to wait at, `NAME#N:FILE`: the file is made there, and once it is gone the daemon
    /// goes on.
    const WAIT_AT: &str = "SERVOS_KEYD_WAIT_AT";

    /// The variable that names a file which gets a line for each point that is reached, `NAME#N`: those to die at.
    const POINTS_TO: &str = "SERVOS_KEYD_POINTS_TO";

    /// How often each point was reached.
    static REACHED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

    pub(super) fn point(name: &str) {
        // The gate looks for the names in the binaries: so they stand there in one piece, whatever is optimised.
        let read = |variable| std::env::var(black_box(variable)).unwrap_or_default();
        let (die_at, wait_at, points_to) = (read(DIE_AT), read(WAIT_AT), read(POINTS_TO));
        if die_at.is_empty() && wait_at.is_empty() && points_to.is_empty() {
            return;
        }
        let here = format!("{name}#{}", count(name));
        if !points_to.is_empty() {
            note(Path::new(&points_to), &here);
        }
        if die_at == here {
            // As by a crash: nothing is closed, wiped or told.
            std::process::abort();
        }
        if let Some(file) = wait_at.strip_prefix(&here).and_then(|rest| rest.strip_prefix(':')) {
            wait(Path::new(file));
        }
    }

    fn count(name: &str) -> u32 {
        let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
        let times = reached.entry(name.to_owned()).or_default();
        *times = times.saturating_add(1);
        *times
    }

    /// Where it cannot be written, the test finds no points, and says so.
    fn note(file: &Path, here: &str) {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        let _ = file.and_then(|mut file| writeln!(file, "{here}"));
    }

    /// Until somebody removes the file.
    fn wait(file: &Path) {
        // Where it cannot be made, the test waits for it in vain, and says so.
        let _ = std::fs::write(file, b"");
        while file.exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    thread_local! {
        static DIES_AT: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
    }

    /// What a planted death unwinds with.
    pub(crate) struct Died;

    /// Lets this thread unwind with [`Died`] when a point is reached for the `n`th time from now, from 1.
    pub(crate) fn die_at(name: &str, n: u32) {
        DIES_AT.set(Some((name.to_owned(), n)));
    }

    /// Takes back what was planted; answers whether it was still there.
    pub(crate) fn live_on() -> bool {
        DIES_AT.take().is_some()
    }

    pub(super) fn point(name: &str) {
        let dies = DIES_AT.with_borrow_mut(|planted| match planted {
            Some((at, n)) if at == name => {
                *n -= 1;
                *n == 0
            }
            _ => false,
        });
        if dies {
            DIES_AT.set(None);
            std::panic::resume_unwind(Box::new(Died));
        }
    }

    #[test]
    fn a_planted_death_comes_once_at_its_turn_and_at_no_other_point() {
        let died = |name| catch_unwind(AssertUnwindSafe(|| super::point(name))).is_err_and(|why| why.is::<Died>());
        die_at("here", 2);
        assert_eq!(["there", "here", "there", "here", "here"].map(died), [false, false, false, true, false]);
        assert!(!live_on());
        die_at("here", 1);
        assert!(live_on());
        assert!(!died("here"));
    }
}
