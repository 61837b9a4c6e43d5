//! The writer: one thread that owns the ledger and does the jobs it is given, one after the other.
//!
//! Must never be waited for by Encrypt or Decrypt.
//! Called by `rpc`, which hands in jobs and awaits their answers; started and stopped by `cli`.

use super::ledger::Ledger;
use super::recovery::recover;
use super::refusal::Refusal;
use crate::telemetry::events;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

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
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || run(ledger, &queue))?;
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

fn run(mut ledger: Ledger, queue: &Receiver<Job>) {
    for job in queue {
        // The caller sees its channel closed and answers INTERNAL; the ledger cannot tell how far the job came.
        if catch_unwind(AssertUnwindSafe(|| job(&mut ledger))).is_err() && !recovered(&mut ledger) {
            ledger.suspend();
            tracing::error!(
                event = events::STORE_SUSPENDED,
                "a change broke off: no further change until the daemon is restarted; Encrypt and Decrypt go on"
            );
        }
    }
}

/// A panic costs its own job alone, if the store tells that it did not come between a commit and its publication.
fn recovered(ledger: &mut Ledger) -> bool {
    catch_unwind(AssertUnwindSafe(|| recover(ledger))).unwrap_or(false)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
