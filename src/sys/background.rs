//! Work on a thread that gives way to those that serve calls.
//!
//! Must never return before the work is done, nor change the priority of the thread that asks for it.
//! Called by `cli`, which hands it to `operations` for what takes long on a large store.
#![allow(unsafe_code, reason = "neither std nor nix sets the priority of one thread")]

use super::allocator::release_free_memory;
use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// How far it gives way: a thirtieth of a share of the processor where others want it, all that is left where none does.
/// Further, and what waits for it would starve on a busy machine.
const NICE: libc::c_int = 15;

/// Does `work` on a thread of its own, and waits for it; on this one where the system gives no thread. A panic of it is
/// one here.
pub fn run(work: &mut (dyn FnMut() + Send)) {
    let done = scope(|scope| {
        let thread = Builder::new().name("background".to_owned()).spawn_scoped(scope, || {
            give_way();
            work();
            // It took far more than the daemon needs otherwise.
            release_free_memory();
        });
        thread.map(std::thread::ScopedJoinHandle::join)
    });
    match done {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => work(),
    }
}

fn give_way() {
    // JUSTIFICATION: on Linux a priority belongs to a thread; std and nix have no call for it.
    // SAFETY: takes integers; 0 is the calling thread. A refusal changes nothing, and the work is done all the same.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn nice() -> libc::c_int {
        // JUSTIFICATION: what the tests are about.
        // SAFETY: takes integers; 0 is the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn the_work_is_done_when_it_returns_on_a_thread_that_gives_way_while_this_one_does_not() {
        let (before, this, mut met) = (nice(), std::thread::current().id(), None);
        run(&mut || met = Some((nice(), std::thread::current().id())));
        let (there, other) = met.unwrap();
        assert!(there == (before + NICE).min(19) || there == NICE.max(before), "{there}");
        assert_ne!(other, this);
        assert_eq!(nice(), before);
    }

    #[test]
    fn a_panic_of_the_work_is_one_of_whoever_asked_for_it() {
        let panicked = catch_unwind(AssertUnwindSafe(|| run(&mut || panic!("planted"))));
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"planted"));
    }
}
