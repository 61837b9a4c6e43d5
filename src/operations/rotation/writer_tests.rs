//! A rotation on the writer's thread: one at a time, its steps between the jobs, and what waits is tried again.
//!
//! Must never wait without an end.
//! Run by `cargo test`.

use super::abort_rotation::abort_rotation;
use super::finish_rotation::{Request as EndRequest, finish_rotation};
use super::refusal::RotationRefusal;
use super::rotate::{Request, rotate};
use super::stage::{NEW, NEXT, OLD};
use crate::custody::id::Fingerprint;
use crate::operations::encrypt;
use crate::operations::engine::Engine;
use crate::operations::fake_store::{Fault, Medium, full, locked};
use crate::operations::ledger::Ledger;
use crate::operations::probes::Pace;
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::{Rig, context, name, peer};
use crate::operations::writer::Writer;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(50);

/// The writer on a rig's ledger, and what stays at hand of the rig.
struct Running {
    writer: Writer,
    thread: std::thread::JoinHandle<()>,
    engine: Arc<Engine>,
    medium: Arc<Mutex<Medium>>,
    policy: crate::auth::policy::Policy,
    keys: [Fingerprint; 2],
    _directory: tempfile::TempDir,
}

impl Running {
    fn start(rig: Rig, retry: Duration) -> Self {
        let keys = [NEW, NEXT].map(|key| rig.fingerprint(key));
        let Rig { medium, directory, policy, ledger, engine, .. } = rig;
        let pace = Pace { step: retry, probe: SOON, longest: SOON, ..Pace::default() };
        let (writer, thread) = Writer::start_paced(ledger, pace).unwrap();
        Self { writer, thread, engine, medium, policy, keys, _directory: directory }
    }

    /// Hands in a job and waits for its answer.
    fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Ledger) -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        self.writer.submit(Box::new(move |ledger| drop(sender.send(work(ledger))))).unwrap();
        receiver.recv_timeout(LONG).unwrap()
    }

    fn begin(&self, which: usize) -> Result<(), Refusal> {
        let (permit, fingerprint) = (self.policy.admit(peer()).unwrap().permit(), self.keys[which]);
        let new_key = [NEW, NEXT][which].as_bytes();
        let request = Request { fingerprint, new_key, keep_data_keys: false, dry_run: false, id: None };
        self.ask(move |ledger| rotate(&permit, ledger, request).map(drop))
    }

    fn end(&self, abort: bool) -> Result<(), Refusal> {
        let (finishes, aborts) =
            (self.policy.admit(peer()).unwrap().permit(), self.policy.admit(peer()).unwrap().permit());
        let request = EndRequest { fingerprint: self.keys[0], dry_run: false, id: None };
        self.ask(move |ledger| match abort {
            false => finish_rotation(&finishes, ledger, request).map(drop),
            true => abort_rotation(&aborts, ledger, request, true).map(drop),
        })
    }

    /// Does something until it is over.
    fn until_over(&self, mut meanwhile: impl FnMut()) {
        let started = Instant::now();
        while self.engine.keyring().rotation.is_some() {
            assert!(started.elapsed() < LONG, "it does not end: {:?}", self.engine.progress.rotation());
            meanwhile();
        }
    }

    fn until_it_waits(&self) {
        let started = Instant::now();
        while self.engine.progress.rotation().2.is_empty() {
            assert!(started.elapsed() < LONG);
            std::thread::yield_now();
        }
    }

    fn seal(&self) -> u32 {
        let (key, context) = (name("default"), context("1"));
        let request = encrypt::Request { key: &key, plaintext: b"x", context: &context, allow_nested: false };
        encrypt::encrypt(&self.policy.admit(peer()).unwrap(), &self.engine, &request).unwrap().version
    }

    fn stop(self) {
        drop(self.writer);
        self.thread.join().unwrap();
    }
}

#[test]
fn of_two_begins_at_once_one_is_begun_and_the_other_hears_of_it() {
    let running = Running::start(Rig::new(), LONG);
    let said = std::thread::scope(|scope| {
        let asked = [0, 1].map(|which| {
            let running = &running;
            scope.spawn(move || running.begin(which))
        });
        asked.map(|thread| thread.join().unwrap())
    });
    assert_eq!(said.iter().filter(|said| said.is_ok()).count(), 1);
    let refused = |said: &Result<(), Refusal>| matches!(said, Err(Refusal::Rotation(RotationRefusal::UnderWay { .. })));
    assert_eq!(said.iter().filter(|said| refused(said)).count(), 1);
    running.stop();
}

#[test]
fn the_steps_are_done_behind_the_answer_while_calls_go_on() {
    for (abort, key) in [(false, NEW), (true, OLD)] {
        let mut rig = Rig::new();
        rig.grow("grown", 100, 3);
        rig.begin(NEW, None).unwrap();
        rig.hold_key(key);
        let running = Running::start(rig, LONG);
        assert_eq!(running.seal(), 1);
        std::thread::scope(|scope| {
            let calls = scope.spawn(|| running.until_over(|| assert!((1..=2).contains(&running.seal()))));
            running.end(abort).unwrap();
            running.until_over(|| running.ask(|_| ()));
            calls.join().unwrap();
        });
        assert_eq!(running.seal(), 2);
        running.stop();
    }
}

#[test]
fn a_step_that_waits_is_tried_again_however_many_jobs_come_between() {
    let mut rig = Rig::new();
    rig.begin(NEW, None).unwrap();
    rig.hold_key(NEW);
    rig.break_backups();
    let backups = rig.backups();
    let running = Running::start(rig, SOON);
    running.end(false).unwrap();
    running.until_it_waits();
    std::fs::remove_file(backups).unwrap();
    running.until_over(|| running.ask(|_| ()));
    assert_eq!(running.seal(), 2);
    running.stop();
}

#[test]
fn a_step_that_waits_goes_on_at_once_when_the_end_is_asked_for_again() {
    let mut rig = Rig::new();
    rig.begin(NEW, None).unwrap();
    rig.hold_key(NEW);
    rig.break_backups();
    let backups = rig.backups();
    let running = Running::start(rig, Duration::from_secs(3600));
    running.end(false).unwrap();
    running.until_it_waits();
    std::fs::remove_file(backups).unwrap();
    for _ in 0..10 {
        running.ask(|_| ());
    }
    assert!(running.engine.keyring().rotation.is_some(), "a look is no reason");
    running.end(false).unwrap();
    running.until_over(std::thread::yield_now);
    running.stop();
}

#[test]
fn a_step_that_panics_is_tried_again_with_no_job_to_wake_the_writer() {
    let mut rig = Rig::new();
    rig.begin(NEW, None).unwrap();
    rig.hold_key(NEW);
    let running = Running::start(rig, SOON);
    for fault in [Fault::None, Fault::None, Fault::Panics { written: false }] {
        locked(&running.medium).faults.push_back(fault);
    }
    running.end(false).unwrap();
    running.until_over(std::thread::yield_now);
    assert!(locked(&running.medium).faults.is_empty());
    running.stop();
}

#[test]
fn a_rotation_that_a_full_disk_stopped_goes_on_at_once_when_there_is_room_with_no_call() {
    for rewrites_alone in [false, true] {
        let mut rig = Rig::new();
        rig.begin(NEW, None).unwrap();
        rig.hold_key(NEW);
        let running = Running::start(rig, Duration::from_secs(3600));
        {
            let mut medium = locked(&running.medium);
            medium.faults.push_back(Fault::None);
            let refuses = if rewrites_alone { &mut medium.refuses_rewrites } else { &mut medium.refuses };
            *refuses = Some(full);
        }
        running.end(false).unwrap();
        running.until_it_waits();
        assert!(!running.engine.health.now().is_well());
        {
            let mut medium = locked(&running.medium);
            (medium.refuses, medium.refuses_rewrites) = (None, None);
        }
        running.until_over(std::thread::yield_now);
        assert_eq!(running.seal(), 2);
        running.stop();
    }
}
