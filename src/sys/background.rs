//! Work on a thread that gives way to those that serve calls.
//!
//! Must never return before the work is done, nor change the priority of the thread that asks for it.
//! Called by `cli`, which hands it to `operations` for what takes long on a large store.
#![allow(unsafe_code, reason = "neither std nor nix sets the priority of one thread")]

use super::allocator::release_free_memory;
use nix::time::{ClockId, clock_gettime};
use std::panic::resume_unwind;
use std::thread::{Builder, scope, sleep};
use std::time::Duration;

/// How far it gives way: a thirtieth of a share of the processor where others want it, all that is left where none does.
/// Further, and what waits for it would starve on a busy machine.
const NICE: libc::c_int = 15;

/// Lets the thread rest.
pub type Rest<'a> = dyn FnMut() + 'a;

/// How long it rests for what it took of the processor: priorities rule over one processor, but what runs beside calls
/// on another slows them too, by a third on a small machine.
const REST: u32 = 3;

/// How long it rests in all, whatever it took: somebody waits for it.
const MOST_REST: Duration = Duration::from_millis(250);

/// Does `work` on a thread of its own, and waits for it; on this one where the system gives no thread. What it calls
/// between its parts lets it rest. A panic of it is one here.
pub fn run(work: &mut (dyn FnMut(&mut Rest) + Send)) {
    let done = scope(|scope| {
        let thread = Builder::new().name("background".to_owned()).spawn_scoped(scope, || {
            give_way();
            let mut rests = Rests { taken: processor_time(), left: MOST_REST };
            work(&mut || {
                sleep(rests.next(processor_time()));
                rests.taken = processor_time();
            });
            // It took far more than the daemon needs otherwise.
            release_free_memory();
        });
        thread.map(std::thread::ScopedJoinHandle::join)
    });
    match done {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => work(&mut || ()),
    }
}

struct Rests {
    /// What the thread had taken of the processor when it rested last.
    taken: Duration,
    left: Duration,
}

impl Rests {
    /// How long to rest, now that it has taken so much.
    fn next(&mut self, taken: Duration) -> Duration {
        let rest = taken.saturating_sub(self.taken).saturating_mul(REST).min(self.left);
        self.left = self.left.saturating_sub(rest);
        rest
    }
}

/// What this thread took of the processor; nothing where the kernel does not tell.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

fn give_way() {
    // JUSTIFICATION: on Linux a priority belongs to a thread; std and nix have no call for it.
    // SAFETY: both take integers; 0 is the calling thread. A refusal changes nothing, and the work is done all the same.
    unsafe {
        // A daemon that was started to give way further is not taken back.
        let before = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE.max(before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Instant;

    fn nice() -> libc::c_int {
        // JUSTIFICATION: what the tests are about.
        // SAFETY: takes integers; 0 is the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn the_work_is_done_when_it_returns_on_a_thread_that_gives_way_while_this_one_does_not() {
        let (before, this, mut met) = (nice(), std::thread::current().id(), None);
        run(&mut |_| met = Some((nice(), std::thread::current().id())));
        let (there, other) = met.unwrap();
        assert_eq!(there, NICE.max(before));
        assert_ne!(other, this);
        assert_eq!(nice(), before);
    }

    #[test]
    fn it_rests_for_what_it_took_of_the_processor_and_not_for_ever() {
        let ms = Duration::from_millis;
        let mut rests = Rests { taken: ms(100), left: ms(250) };
        assert_eq!(rests.next(ms(150)), ms(150));
        rests.taken = ms(151);
        assert_eq!(rests.next(ms(151)), ms(0));
        assert_eq!(rests.next(ms(1151)), ms(100), "all that is left");
        assert_eq!(rests.next(ms(9000)), ms(0));
    }

    #[test]
    fn the_rest_is_one_of_the_thread_that_works() {
        run(&mut |rest| {
            let (begun, before) = (Instant::now(), processor_time());
            while processor_time() - before < Duration::from_millis(10) {}
            let (worked, before) = (begun.elapsed(), processor_time());
            rest();
            assert!(begun.elapsed() - worked >= Duration::from_millis(10) * REST);
            assert!(processor_time() - before < Duration::from_millis(10), "it sleeps");
        });
    }

    #[test]
    fn a_panic_of_the_work_is_one_of_whoever_asked_for_it() {
        let panicked = catch_unwind(AssertUnwindSafe(|| run(&mut |_| panic!("planted"))));
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"planted"));
    }
}
