//! The writer's thread: a panic costs its own job where nothing is half done, and a full queue is said to be full.
//!
//! Must never wait without an end.
//! Run by `cargo test`.

use super::{Job, LOOKS, QUEUE, Writer};
use crate::auth::operation::{CreateKey, RotateKey};
use crate::auth::permit::Permit;
use crate::operations::check::online::SelfCheck;
use crate::operations::check::state::Outcome;
use crate::operations::create_key::create_key;
use crate::operations::fake_store::{Fault, locked};
use crate::operations::ledger::{Change, Ledger};
use crate::operations::refusal::Refusal;
use crate::operations::rotate_key::rotate_key;
use crate::operations::test_rig::Rig;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// Hands in a job and waits for its answer; none if it broke off.
fn ask<T: Send + 'static>(writer: &Writer, work: impl FnOnce(&mut Ledger) -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = channel();
    let job: Job = Box::new(move |ledger| drop(sender.send(work(ledger))));
    writer.submit(job).unwrap();
    match receiver.recv_timeout(LONG) {
        Ok(answer) => Some(answer),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no answer"),
    }
}

type Permitting<Op> = Box<dyn Fn(&str) -> Permit<Op>>;

/// Starts the writer on a rig whose medium and engine stay at hand.
struct Running {
    writer: Writer,
    thread: std::thread::JoinHandle<()>,
    medium: std::sync::Arc<std::sync::Mutex<crate::operations::fake_store::Medium>>,
    engine: std::sync::Arc<crate::operations::engine::Engine>,
    rotate: Permitting<RotateKey>,
    create: Permitting<CreateKey>,
    _directory: tempfile::TempDir,
}

fn running() -> Running {
    let Rig { medium, directory, policy, ledger, engine, .. } = Rig::new();
    let (writer, thread) = Writer::start(ledger).unwrap();
    let again = policy.clone();
    let peer = crate::operations::test_rig::peer();
    let name = crate::operations::test_rig::name;
    Running {
        writer,
        thread,
        medium,
        engine,
        rotate: Box::new(move |key| policy.admit(peer).unwrap().for_key(&name(key)).unwrap()),
        create: Box::new(move |key| again.admit(peer).unwrap().for_key(&name(key)).unwrap()),
        _directory: directory,
    }
}

impl Running {
    fn rotate(&self) -> Option<Result<u32, Refusal>> {
        let permit = (self.rotate)("default");
        ask(&self.writer, move |ledger| rotate_key(&permit, ledger, None).map(|rotated| rotated.version))
    }

    fn stop(self) {
        drop(self.writer);
        self.thread.join().unwrap();
    }
}

#[test]
fn a_job_that_panics_costs_itself_alone_where_nothing_was_begun() {
    let running = running();
    assert!(ask(&running.writer, |_| panic!("planted")).is_none_or(|()| false));
    assert_eq!(running.rotate().unwrap().unwrap(), 2);
    running.stop();
}

#[test]
fn a_commit_that_panics_before_it_wrote_costs_itself_alone_and_the_mac_still_fits() {
    let running = running();
    locked(&running.medium).faults.push_back(Fault::Panics { written: false });
    let permit = (running.create)("mine");
    assert!(ask(&running.writer, move |ledger| create_key(&permit, ledger, None).is_ok()).is_none());
    assert_eq!(running.rotate().unwrap().unwrap(), 2);
    let permit = (running.create)("mine");
    assert_eq!(ask(&running.writer, move |ledger| create_key(&permit, ledger, None).is_ok()), Some(true));
    // What the panicking commit had reckoned with is not in the MAC of the next: the store loads.
    let rig = Rig::new();
    let (snapshot, memory) = (locked(&running.medium).snapshot.clone(), &rig.memory);
    let master = crate::operations::test_rig::MASTER_KEY.as_bytes();
    let master = crate::custody::keys::MasterKey::parse(master, memory).unwrap();
    assert!(super::super::load::authenticate(snapshot, master, memory).is_ok());
    running.stop();
}

#[test]
fn a_panic_between_a_commit_and_its_publication_suspends_changes_alone() {
    type Breaks = fn(&mut Ledger) -> Result<(), Refusal>;
    let publication: Breaks = |ledger| ledger.commit(Change::default(), |_| panic!("planted"));
    let running = running();
    assert!(ask(&running.writer, publication).is_none());
    assert!(matches!(running.rotate(), Some(Err(Refusal::Suspended))));
    assert_eq!(running.engine.keyring().generation, 1, "calls go on with the keyring they had");
    running.stop();

    let running = self::running();
    locked(&running.medium).faults.push_back(Fault::Panics { written: true });
    assert!(running.rotate().is_none());
    assert!(matches!(running.rotate(), Some(Err(Refusal::Suspended))));
    running.stop();
}

#[test]
fn a_panic_after_which_the_store_cannot_be_looked_at_suspends_changes() {
    let running = running();
    locked(&running.medium).unreadable = true;
    assert!(ask(&running.writer, |_| panic!("planted")).is_none_or(|()| false));
    // The look comes after the caller has heard, and before the next job.
    ask(&running.writer, |_| ()).unwrap();
    locked(&running.medium).unreadable = false;
    assert!(matches!(running.rotate(), Some(Err(Refusal::Suspended))));
    running.stop();
}

#[test]
fn a_self_check_goes_on_between_jobs_again_and_again() {
    let Rig { medium, directory, ledger, engine, .. } = Rig::new();
    let check = SelfCheck::new(Duration::from_millis(1), || (), &engine);
    let (writer, thread) = Writer::start_checking(ledger, check).unwrap();
    let started = std::time::Instant::now();
    let mut seen = 0;
    while seen < 3 {
        assert!(started.elapsed() < LONG, "{:?}", engine.progress.self_check());
        // A job is done at once, whatever the check is at.
        ask(&writer, |ledger| ledger.commit(Change::default(), |_| ())).unwrap().unwrap();
        let loads = locked(&medium).loads;
        while locked(&medium).loads == loads {
            assert!(started.elapsed() < LONG, "no check begins");
            std::thread::yield_now();
        }
        seen += 1;
    }
    while engine.progress.self_check().outcome != Outcome::Sound {
        assert!(started.elapsed() < LONG, "{:?}", engine.progress.self_check());
        std::thread::yield_now();
    }
    drop(writer);
    thread.join().unwrap();
    drop(directory);
}

/// Has the writer at a job, which ends when it is told to.
fn busy(writer: &Writer) -> Sender<()> {
    let (go, wait) = channel();
    let (begun, has_begun) = channel();
    let blocker: Job = Box::new(move |_| {
        begun.send(()).unwrap();
        wait.recv_timeout(LONG).unwrap();
    });
    writer.submit(blocker).unwrap();
    has_begun.recv_timeout(LONG).unwrap();
    go
}

#[test]
fn a_full_queue_is_busy_and_takes_jobs_again_when_it_has_room() {
    let running = running();
    let go = busy(&running.writer);
    for _ in 0..QUEUE {
        running.writer.submit(Box::new(|_| ())).unwrap();
    }
    assert!(matches!(running.writer.submit(Box::new(|_| ())), Err(Refusal::Busy)));
    go.send(()).unwrap();
    let started = std::time::Instant::now();
    while running.writer.submit(Box::new(|_| ())).is_err() {
        assert!(started.elapsed() < LONG);
        std::thread::yield_now();
    }
    assert_eq!(running.rotate().unwrap().unwrap(), 2);
    running.stop();
}

#[test]
fn looks_that_wait_leave_room_for_changes() {
    let running = running();
    let go = busy(&running.writer);
    for _ in 0..LOOKS {
        running.writer.submit_look(Box::new(|_| ())).unwrap();
    }
    for _ in 0..3 {
        assert!(matches!(running.writer.submit_look(Box::new(|_| ())), Err(Refusal::Busy)));
    }
    for _ in LOOKS..QUEUE {
        running.writer.submit(Box::new(|_| ())).unwrap();
    }
    go.send(()).unwrap();
    // Every place is given back, that of a look which panics too.
    for _ in 0..2 * QUEUE {
        let (sender, receiver) = channel::<()>();
        let broken: Job = Box::new(move |_| {
            let _sender = sender;
            panic!("planted");
        });
        let mut waiting = Some(broken);
        let started = std::time::Instant::now();
        while let Some(job) = waiting.take() {
            if running.writer.looks.load(std::sync::atomic::Ordering::Acquire) < LOOKS {
                running.writer.submit_look(job).unwrap();
            } else {
                assert!(started.elapsed() < LONG);
                std::thread::yield_now();
                waiting = Some(job);
            }
        }
        assert!(receiver.recv_timeout(LONG).is_err());
    }
    assert_eq!(running.rotate().unwrap().unwrap(), 2);
    running.stop();
}
