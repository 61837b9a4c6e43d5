//! The writer: one thread that owns the ledger and does the jobs it is given, one after the other.
//!
//! Must never be waited for by Encrypt or Decrypt.
//! Called by `rpc`, which hands in jobs and awaits their answers; started and stopped by `cli`.

use super::ledger::Ledger;
use super::recovery::recover;
use super::refusal::Refusal;
use super::rotation::steps::{Advance, advance};
use crate::telemetry::events;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Jobs that may wait at once.
const QUEUE: usize = 64;

/// Of these, jobs that only look: components ask for them, and must not keep an operator's changes out.
const LOOKS: usize = QUEUE / 2;

/// When a step of a rotation that could not be done is tried again.
const RETRY: Duration = Duration::from_secs(60);

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
        Self::start_retrying(ledger, RETRY)
    }

    /// The same, with the time after which a step is tried again.
    pub(super) fn start_retrying(ledger: Ledger, retry: Duration) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || run(ledger, &queue, retry))?;
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
        self.submit(Box::new(move |ledger| {
            let _place = place;
            job(ledger);
        }))
    }

    /// Hands in a job that may change something.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if too many wait already, [`Refusal::Suspended`] if the thread is gone.
    pub fn submit(&self, job: Job) -> Result<(), Refusal> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy,
            TrySendError::Disconnected(_) => Refusal::Suspended,
        })
    }
}

fn run(mut ledger: Ledger, queue: &Receiver<Job>, retry: Duration) {
    let (mut rest, mut stopped) = (Advance::More, Instant::now());
    loop {
        // A rotation's steps come between the jobs, so that neither keeps the other waiting.
        let job = match rest {
            Advance::More => match queue.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            },
            Advance::Later => match queue.recv_timeout(retry.saturating_sub(stopped.elapsed())) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            },
            Advance::Idle => match queue.recv() {
                Ok(job) => Some(job),
                Err(_) => return,
            },
        };
        if let Some(job) = job {
            // The caller sees its channel closed and answers INTERNAL.
            guarded(&mut ledger, job);
        }
        // Jobs that only look give no reason to try again what could not be done, and do not put it off either.
        if rest != Advance::Later || stopped.elapsed() >= retry || ledger.rotation_may_go_on() {
            rest = guarded(&mut ledger, advance).unwrap_or(Advance::Later);
            stopped = Instant::now();
        }
    }
}

/// Does something with the ledger. A panic costs the job it comes from alone, where the ledger can tell how far it came.
fn guarded<T>(ledger: &mut Ledger, work: impl FnOnce(&mut Ledger) -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| work(&mut *ledger))).ok();
    if done.is_none() && !recovered(ledger) {
        ledger.suspend();
        tracing::error!(
            event = events::STORE_SUSPENDED,
            "a change broke off: no further change until the daemon is restarted; Encrypt and Decrypt go on"
        );
    }
    done
}

/// A panic costs its own job alone, if the store tells that it did not come between a commit and its publication.
fn recovered(ledger: &mut Ledger) -> bool {
    catch_unwind(AssertUnwindSafe(|| recover(ledger))).unwrap_or(false)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
