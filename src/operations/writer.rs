//! The writer: one thread that owns the ledger and does the jobs it is given, one after the other.
//!
//! Must never be waited for by Encrypt or Decrypt.
//! Called by `rpc`, which hands in jobs and awaits their answers; started and stopped by `cli`.

use super::ledger::Ledger;
use super::probes::{Pace, Probes};
use super::recovery::recover;
use super::refusal::Refusal;
use super::resume::resume;
use super::rotation::steps::{Advance, advance};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// Jobs that may wait at once.
const QUEUE: usize = 64;

/// Of these, jobs that only look: components ask for them, and must not keep an operator's changes out.
const LOOKS: usize = QUEUE / 2;

/// Something to do with the ledger. It answers through a channel of its own.
pub type Job = Box<dyn FnOnce(&mut Ledger) + Send>;

/// The way to the writer's thread. Cheap to clone; the thread ends when the last one is dropped.
#[derive(Clone)]
pub struct Writer {
    jobs: SyncSender<Job>,
    looks: Arc<AtomicUsize>,
}

/// A place among the jobs that only look, given back when the job is done or dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the operating system says if it gives no thread.
    pub fn start(ledger: Ledger) -> std::io::Result<(Self, JoinHandle<()>)> {
        Self::start_paced(ledger, Pace::default())
    }

    /// The same, with the times after which what could not be done is tried again.
    pub(super) fn start_paced(ledger: Ledger, pace: Pace) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || run(ledger, &queue, pace))?;
        Ok((Self { jobs, looks: Arc::default() }, thread))
    }

    /// Hands in a job that changes nothing.
    ///
    /// # Errors
    /// As [`Writer::submit`]; [`Refusal::Busy`] if too many of these wait already.
    pub fn submit_look(&self, job: Job) -> Result<(), Refusal> {
        let waiting = self.looks.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(&self.looks));
        if waiting >= LOOKS {
            return Err(Refusal::Busy);
        }
        self.send(Box::new(move |ledger| {
            let _place = place;
            job(ledger);
        }))
    }

    /// Hands in a job that may change something. If the outcome of the change before it is not known, that is found out
    /// first, if it can be.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too many wait already, [`Refusal::Suspended`] if the thread is gone.
    pub fn submit(&self, job: Job) -> Result<(), Refusal> {
        self.send(Box::new(move |ledger| {
            ledger.settle_first();
            job(ledger);
        }))
    }

    fn send(&self, job: Job) -> Result<(), Refusal> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy,
            TrySendError::Disconnected(_) => Refusal::Suspended,
        })
    }
}

/// What the writer does when it has done its job.
#[derive(Clone, Copy)]
enum Rest {
    /// The next step of a rotation, unless a job waits.
    Step,
    /// Waits for a job; at this time, tries the step again that could not be done.
    Until(Instant),
    /// Waits for a job.
    Jobs,
}

/// Whose turn it is.
enum Turn {
    Job(Job),
    Step,
    Probe,
}

fn run(mut ledger: Ledger, queue: &Receiver<Job>, pace: Pace) {
    let mut rest = Rest::Step;
    let mut probes = Probes::new(pace);
    // Jobs and steps take turns, so that neither keeps the other waiting.
    while let Some(turn) = next(queue, rest, probes.at()) {
        let mut asked = match turn {
            // The caller sees its channel closed and answers INTERNAL.
            Turn::Job(job) => guarded(&mut ledger, job).is_none() || ledger.rotation_asked(),
            Turn::Step => true,
            Turn::Probe => {
                probes.made();
                guarded(&mut ledger, Ledger::probe);
                false
            }
        };
        if ledger.has_recovered() {
            guarded(&mut ledger, resume);
            asked = true;
        }
        // A queue that is never empty does not put the time off.
        if asked || !matches!(rest, Rest::Until(time) if Instant::now() < time) {
            rest = match guarded(&mut ledger, advance) {
                Some(Advance::More) => Rest::Step,
                // A step that panicked is one that could not be done.
                Some(Advance::Later) | None => Rest::Until(Instant::now() + pace.step),
                Some(Advance::Idle) => Rest::Jobs,
            };
        }
        probes.follow(ledger.is_failing());
    }
}

/// Whose turn is next; `None` if there will be no more. A probe that is due goes before a queue that is never empty.
fn next(queue: &Receiver<Job>, rest: Rest, probe: Option<Instant>) -> Option<Turn> {
    let now = Instant::now();
    if probe.is_some_and(|time| time <= now) {
        return Some(Turn::Probe);
    }
    let (time, then) = match (rest, probe) {
        (Rest::Step, _) => {
            return match queue.try_recv() {
                Ok(job) => Some(Turn::Job(job)),
                Err(TryRecvError::Empty) => Some(Turn::Step),
                Err(TryRecvError::Disconnected) => None,
            };
        }
        (Rest::Jobs, None) => return queue.recv().ok().map(Turn::Job),
        (Rest::Until(step), Some(probe)) if probe < step => (probe, Turn::Probe),
        (Rest::Until(step), _) => (step, Turn::Step),
        (Rest::Jobs, Some(probe)) => (probe, Turn::Probe),
    };
    match queue.recv_timeout(time.saturating_duration_since(now)) {
        Ok(job) => Some(Turn::Job(job)),
        Err(RecvTimeoutError::Timeout) => Some(then),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// Does something with the ledger. A panic costs the job it comes from alone, where the ledger can tell how far it came.
fn guarded<T>(ledger: &mut Ledger, work: impl FnOnce(&mut Ledger) -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| work(&mut *ledger))).ok();
    if done.is_none() && catch_unwind(AssertUnwindSafe(|| recover(ledger))).is_err() {
        ledger.fails_on_panic();
    }
    done
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
