//! One try of an operation on a daemon in which a fault may be planted, while a component goes on sealing.
//!
//! Must never say that a daemon lives on before its last step is behind it. Used by the tests of deaths.

use crate::calls::{Answer, Call, status};
use crate::harness::{DEADLINE, Daemon, Installation, block_on, cell, is_root, name};
use crate::stage::{KEY, Operation, Stage, Value, served};
use servos_keyd::client::key_service::Client;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a process ends with that aborts.
const ABORTED: i32 = 6;

/// What came of it.
pub struct Attempt {
    pub died: bool,
    /// What the call answered, if it did.
    pub answer: Option<Answer>,
    /// Sealed meanwhile.
    pub values: Vec<Value>,
}

/// Starts a daemon that dies at a point, and lets it do what the stage is about.
pub fn attempt(stage: &Stage, installation: &Installation, point: &str, request_id: &str) -> Attempt {
    let operation = stage.case.operation;
    if operation == Operation::FinishAtStart {
        installation.write_key(stage.new);
    }
    let invocation = served(installation).variable("SERVOS_KEYD_DIE_AT", point);
    let mut daemon = match Daemon::try_start(&invocation, installation) {
        Ok(daemon) => daemon,
        Err(outcome) => {
            assert_eq!(outcome.signal, Some(ABORTED), "{point}: {outcome:#?}");
            return Attempt { died: true, answer: None, values: Vec::new() };
        }
    };
    if !is_root() {
        daemon.admin_socket.clone_from(&daemon.component_socket);
    }
    if operation == Operation::Finish {
        installation.write_key(stage.new);
    }
    let sealer = Sealer::start(daemon.component_socket.clone());
    let answer = match operation {
        // One that began died at the latest with its mark: a call again tells.
        Operation::FinishAtStart => None,
        _ => block_on(Call::of(stage, request_id).send(&daemon)).ok(),
    };
    let died = has_died(stage, &mut daemon, point);
    Attempt { died, answer, values: sealer.stop() }
}

/// Waits until it is dead, or through with everything.
fn has_died(stage: &Stage, daemon: &mut Daemon, point: &str) -> bool {
    let started = Instant::now();
    loop {
        if let Some(outcome) = daemon.ended() {
            assert_eq!(outcome.signal, Some(ABORTED), "{point}: {outcome:#?}");
            return true;
        }
        assert!(started.elapsed() < DEADLINE, "{point}: neither dead nor through");
        let through = block_on(async {
            let Ok(now) = status(daemon).await else { return false };
            let still = now.rotation.is_some();
            let operation = stage.case.operation;
            if still != (operation == Operation::Begin) {
                return false;
            }
            // The writer does this behind the last step, and behind what may kill it there.
            Call { dry_run: true, ..Call::of(stage, "") }.send(daemon).await.is_ok()
        });
        if through {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A component that seals as long as there is a daemon.
struct Sealer {
    stopped: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Value>>,
}

impl Sealer {
    fn start(socket: PathBuf) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            let client = Client::new(&socket).with_wait_for_daemon(Duration::ZERO).with_deadline(DEADLINE);
            let mut values = Vec::new();
            block_on(async {
                while !told.load(Ordering::SeqCst) {
                    let plaintext = format!("meanwhile, {}", values.len()).into_bytes();
                    let Ok(sealed) = client.encrypt(&name(KEY), &plaintext, &cell("1")).await else { return };
                    values.push(Value { ciphertext: sealed.ciphertext, plaintext });
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
            });
            values
        });
        Self { stopped, thread }
    }

    fn stop(self) -> Vec<Value> {
        self.stopped.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}
