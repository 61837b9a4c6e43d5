//! Points at which a test lets the daemon die, so that what a start finds after each of them can be looked at.
//!
//! Must never do anything in a release: without the feature `fault-injection`, and outside of tests, it is empty.
//! Called where a change has just reached the disk.

/// The variable that names the point to die at: `NAME#N` is the `N`th time that it is reached, from 1.
#[cfg(feature = "fault-injection")]
const VARIABLE: &str = "SERVOS_KEYD_DIE_AT";

/// A point by its name.
#[cfg(feature = "fault-injection")]
pub(super) fn point(name: &str) {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};
    static REACHED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let Ok(wanted) = std::env::var(VARIABLE) else { return };
    let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    let times = reached.entry(name.to_owned()).or_default();
    *times = times.saturating_add(1);
    if wanted == format!("{name}#{times}") {
        tracing::error!("{VARIABLE}={wanted}: dying here");
        // As by a crash: nothing is closed, wiped or told.
        std::process::abort();
    }
}

/// A point by its name.
#[cfg(all(test, not(feature = "fault-injection")))]
pub(super) fn point(name: &str) {
    tests::point(name);
}

/// A point by its name.
#[cfg(not(any(test, feature = "fault-injection")))]
pub(super) fn point(_name: &str) {}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;

    thread_local! {
        static DIES_AT: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
    }

    /// What a planted death unwinds with.
    pub(in crate::operations) struct Died;

    /// Lets this thread unwind with [`Died`] when a point is reached for the `n`th time from now, from 1.
    pub(in crate::operations) fn die_at(name: &str, n: u32) {
        DIES_AT.set(Some((name.to_owned(), n)));
    }

    /// Takes back what was planted; answers whether it was still there.
    pub(in crate::operations) fn live_on() -> bool {
        DIES_AT.take().is_some()
    }

    #[cfg(not(feature = "fault-injection"))]
    pub(in crate::operations) fn point(name: &str) {
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
}
