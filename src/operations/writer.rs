//! The writer: one thread that owns the ledger and does the jobs it is given, one after the other.
//!
//! Must never be waited for by Encrypt or Decrypt.
//! Called by `rpc`, which hands in jobs and awaits their answers; started and stopped by `cli`.

use super::check::online::SelfCheck;
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
    /// Starts the thread, without a self-check.
    ///
    /// # Errors
    /// What the operating system says if it gives no thread.
    pub fn start(ledger: Ledger) -> std::io::Result<(Self, JoinHandle<()>)> {
        Self::start_with(ledger, Pace::default(), None)
    }

    /// Starts the thread, with a self-check between its jobs.
    ///
    /// # Errors
    /// As [`Writer::start`].
    pub fn start_checking(ledger: Ledger, check: SelfCheck) -> std::io::Result<(Self, JoinHandle<()>)> {
        Self::start_with(ledger, Pace::default(), Some(check))
    }

    /// Like [`Writer::start`], with the times after which what could not be done is tried again.
    #[cfg(test)]
    pub(super) fn start_paced(ledger: Ledger, pace: Pace) -> std::io::Result<(Self, JoinHandle<()>)> {
        Self::start_with(ledger, pace, None)
    }

    fn start_with(ledger: Ledger, pace: Pace, check: Option<SelfCheck>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(QUEUE);
        let work = move || run(ledger, &queue, pace, check);
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(work)?;
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

    /// Hands in a job of the daemon's own that changes nothing: it needs no place among those that components ask for, and takes,
    /// so, none from an operator either but its own.
    ///
    /// # Errors
    /// As [`Writer::submit`].
    pub fn submit_own_look(&self, job: Job) -> Result<(), Refusal> {
        self.send(job)
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
    Look,
    Check,
}

fn run(mut ledger: Ledger, queue: &Receiver<Job>, pace: Pace, mut check: Option<SelfCheck>) {
    let mut rest = Rest::Step;
    let mut probes = Probes::new(pace);
    let mut look = Instant::now();
    // Jobs and steps take turns, so that neither keeps the other waiting. A self-check goes behind both.
    while let Some(turn) = next(queue, rest, probes.at(), look, check.as_ref().map(SelfCheck::next_due)) {
        let mut asked = match turn {
            // The caller sees its channel closed and answers INTERNAL.
            Turn::Job(job) => guarded(&mut ledger, job).is_none() || ledger.rotation_asked(),
            Turn::Step => true,
            Turn::Probe => {
                probes.made();
                guarded(&mut ledger, Ledger::probe);
                false
            }
            Turn::Look => {
                look = Instant::now() + pace.look;
                guarded(&mut ledger, Ledger::look_at_files);
                false
            }
            Turn::Check => {
                check_some(&mut ledger, check.as_mut());
                probes.follow(ledger.is_failing());
                continue;
            }
        };
        if std::mem::take(&mut ledger.in_doubt)
            && let Some(check) = &mut check
        {
            check.hasten();
        }
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

/// Whose turn is next; `None` if there will be no more jobs. A probe or look that is due goes before a queue that is never
/// empty.
fn next(
    queue: &Receiver<Job>,
    rest: Rest,
    probe: Option<Instant>,
    look: Instant,
    check: Option<Instant>,
) -> Option<Turn> {
    let now = Instant::now();
    if probe.is_some_and(|time| time <= now) {
        return Some(Turn::Probe);
    }
    if look <= now {
        return Some(Turn::Look);
    }
    let step = match rest {
        Rest::Step => {
            return match queue.try_recv() {
                Ok(job) => Some(Turn::Job(job)),
                Err(TryRecvError::Empty) => Some(Turn::Step),
                Err(TryRecvError::Disconnected) => None,
            };
        }
        Rest::Until(time) => Some(time),
        Rest::Jobs => None,
    };
    // The first that is due; of two at once, the one that stands first here.
    let due = [(probe, Turn::Probe), (step, Turn::Step), (Some(look), Turn::Look), (check, Turn::Check)];
    let first = due.into_iter().filter_map(|(time, turn)| Some((time?, turn))).min_by_key(|(time, _)| *time);
    let (time, turn) = first?;
    match queue.recv_timeout(time.saturating_duration_since(now)) {
        Ok(job) => Some(Turn::Job(job)),
        Err(RecvTimeoutError::Timeout) => Some(turn),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

fn check_some(ledger: &mut Ledger, check: Option<&mut SelfCheck>) {
    let Some(check) = check else { return };
    if guarded(ledger, |ledger| check.step(ledger)).is_none() {
        check.broke_off(&ledger.engine);
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
