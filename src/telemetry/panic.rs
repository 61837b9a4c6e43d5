//! Says where code of ours panicked, and keeps the place for the answer to the call it happened in.
//!
//! Must never show a panic's message: it may be made of what was being sealed.
//! Installed once by `cli`; `rpc` asks for the place after it caught a panic.

use std::cell::RefCell;
use std::fmt;
use std::panic::{self, Location, PanicHookInfo};

use super::events;

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicLocation {
    /// The file, as the compiler was given it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for PanicLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl From<&Location<'_>> for PanicLocation {
    fn from(location: &Location<'_>) -> Self {
        Self { file: location.file().to_owned(), line: location.line() }
    }
}

thread_local! {
    static LAST: RefCell<Option<PanicLocation>> = const { RefCell::new(None) };
}

/// Where this thread panicked last, if it did since [`install_panic_hook`].
#[must_use]
pub fn last_panic_location() -> Option<PanicLocation> {
    LAST.with(|last| last.try_borrow().ok().and_then(|place| place.clone()))
}

/// Replaces the process's panic hook, which would print the message, by one that logs only the place.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(on_panic));
}

fn on_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(PanicLocation::from);
    // A thread that is ending has no such variable any more, and a second panic in here would abort.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            last.clone_from(&place);
        }
    });
    let place = place.map_or_else(|| "an unknown place".to_owned(), |place| place.to_string());
    tracing::error!(event = events::PANICKED, place, "panicked: a bug in servos-keyd");
}

#[cfg(test)]
mod tests {
    use super::*;

    // The hook belongs to the whole process, and other tests panic too: it is put back at once.
    #[test]
    fn a_panic_leaves_its_place_and_no_message() {
        let before = panic::take_hook();
        install_panic_hook();
        let line = line!() + 1;
        let caught = panic::catch_unwind(|| panic!("{}", "a secret"));
        panic::set_hook(before);
        assert!(caught.is_err());
        let place = last_panic_location().unwrap();
        assert!(place.file.ends_with("panic.rs"), "{place}");
        assert_eq!(place.line, line);
        assert!(!format!("{place:?}").contains("secret"));
    }

    #[test]
    fn a_thread_that_never_panicked_has_no_place() {
        let place = std::thread::spawn(last_panic_location).join().unwrap();
        assert_eq!(place, None);
    }
}
