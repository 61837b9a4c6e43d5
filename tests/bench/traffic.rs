//! What calls wait while the master key is rotated: Encrypt and Decrypt over 8 connections, phase by phase.
//!
//! Must never leave out a call that failed, nor one that waited: at a modest rate calls begin when it is their time,
//! answered or not the one before.
//! Called by `measure`.

use super::admin::Admin;
use super::installation::{Contents, Installation};
use super::load::{self, Client, connect_all};
use super::server::Server;
use super::{Outcome, Settings, table};
use servos_keyd::proto::v1::{DecryptRequest, EncryptRequest};
use servos_keyd::sys::locked::LockedMemory;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const P99_MS: f64 = 5.0;
/// Of a modest rate: when a connection's next call begins. 8 connections make 2,000 calls a second.
const PERIOD: Duration = Duration::from_millis(4);
/// How often the thread is due whose wake-ups are measured.
const WAKING: Duration = Duration::from_millis(1);
/// Without a rotation, before each.
const QUIET: Duration = Duration::from_secs(1);

/// From when to when something was under way.
#[derive(Clone, Copy)]
struct Span {
    begun: Instant,
    ended: Instant,
}

impl Span {
    fn since(begun: Instant) -> Self {
        Self { begun, ended: Instant::now() }
    }

    fn overlaps(self, other: Self) -> bool {
        self.begun <= other.ended && other.begun <= self.ended
    }
}

/// What the calls met, from the first to the last.
#[derive(Default)]
struct Calls {
    answered: Mutex<Vec<Span>>,
    failed: Mutex<Vec<String>>,
    /// Wake-ups of a thread that does nothing else, from when each was due: what the machine itself adds.
    woken: Mutex<Vec<Span>>,
    over: AtomicBool,
}

impl Calls {
    fn count(&self, begun: Instant, outcome: Result<(), tonic::Status>) {
        match outcome {
            Ok(()) => hold(&self.answered).push(Span::since(begun)),
            Err(status) => hold(&self.failed).push(status.to_string()),
        }
    }

    /// Wakes up again and again, each time when it is due or as soon after as the machine lets it.
    fn wake(&self) {
        let mut due = Instant::now();
        while !self.is_over() {
            due += WAKING;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            hold(&self.woken).push(Span::since(due));
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures both loads, each on an installation of its own.
pub fn measure(settings: &Settings) -> Outcome<()> {
    let (keys, versions) = (settings.keys, settings.traffic_versions);
    let connections = load::CONNECTIONS;
    for (name, modest) in [("2,000 calls a second", true), ("flat out", false)] {
        println!("a store of {versions} versions of {keys} keys, {connections} connections, {name}");
        table::head_of_latencies();
        let installation = Installation::make(Contents::Spread { keys, versions })?;
        let runtime = Runtime::new()?;
        let daemon = Server::daemon(&settings.daemon, &installation)?;
        let calls = Arc::new(Calls::default());
        let phases = runtime.block_on(async {
            drop(daemon.first_answer().await?);
            let waking = Arc::clone(&calls);
            let waking = std::thread::spawn(move || waking.wake());
            let mut callers = JoinSet::new();
            for client in connect_all(daemon.socket()).await? {
                let calls = Arc::clone(&calls);
                callers.spawn(async move {
                    if modest { paced(client, calls).await } else { flat_out(client, calls).await }
                });
            }
            let phases = rotate(&installation, settings.repeats).await;
            calls.over.store(true, Ordering::Relaxed);
            while callers.join_next().await.is_some() {}
            let _ = waking.join();
            phases
        })?;
        daemon.stop()?;
        show(&calls, &phases, modest)?;
    }
    Ok(())
}

type Phases = Vec<(&'static str, Vec<Span>)>;

fn note(phases: &mut Phases, name: &'static str, begun: Instant) {
    let span = Span::since(begun);
    match phases.iter_mut().find(|(of, _)| *of == name) {
        Some((_, spans)) => spans.push(span),
        None => phases.push((name, vec![span])),
    }
}

async fn rotate(installation: &Installation, repeats: usize) -> Outcome<Phases> {
    let memory = LockedMemory::new()?;
    let key_file = installation.key_file(&memory);
    let admin = Admin::new(installation.admin_socket());
    let mut phases = Phases::new();
    for _ in 0..repeats {
        for finishes in [true, false] {
            let begun = Instant::now();
            tokio::time::sleep(QUIET).await;
            note(&mut phases, "no rotation", begun);
            let key = key_file.make_next()?;
            let begun = Instant::now();
            let first = begun;
            admin.begin(key).await?;
            note(&mut phases, "begin", begun);
            if finishes {
                key_file.take_next()?;
            }
            let begun = Instant::now();
            if finishes {
                admin.finish(key).await?
            } else {
                admin.abort(key).await?
            }
            note(&mut phases, if finishes { "finish" } else { "abort" }, begun);
            let begun = Instant::now();
            admin.rest().await?;
            note(&mut phases, if finishes { "the rest of finish" } else { "the rest of abort" }, begun);
            note(&mut phases, "all of these", first);
        }
    }
    Ok(phases)
}

fn show(calls: &Calls, phases: &Phases, modest: bool) -> Outcome<()> {
    let (answered, woken) = (hold(&calls.answered), hold(&calls.woken));
    for (name, spans) in phases {
        table::latencies(name, &mut during(&answered, spans), modest.then_some(P99_MS));
        table::latencies("  a thread that only wakes up", &mut during(&woken, spans), None);
    }
    let failed = hold(&calls.failed);
    println!("{} calls answered, {} failed", answered.len(), failed.len());
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} calls failed, the first: {first}", failed.len()).into()),
    }
}

/// How many milliseconds each took that was under way within one of `phases`.
fn during(all: &[Span], phases: &[Span]) -> Vec<f64> {
    let within = all.iter().filter(|one| phases.iter().any(|phase| phase.overlaps(**one)));
    within.map(|one| (one.ended - one.begun).as_secs_f64() * 1e3).collect()
}

/// Begins a call in every period, whatever became of those before.
async fn paced(client: Client, calls: Arc<Calls>) {
    let mut ticks = tokio::time::interval(PERIOD);
    let mut under_way = JoinSet::new();
    let mut ciphertext = None;
    while !calls.is_over() {
        ticks.tick().await;
        let (mut client, calls) = (client.clone(), Arc::clone(&calls));
        let taken = ciphertext.take();
        under_way.spawn(async move { call(&mut client, taken, &calls).await });
        while let Some(done) = under_way.try_join_next() {
            ciphertext = ciphertext.or(done.ok().flatten());
        }
    }
    while under_way.join_next().await.is_some() {}
}

async fn flat_out(mut client: Client, calls: Arc<Calls>) {
    let mut ciphertext = None;
    while !calls.is_over() {
        ciphertext = call(&mut client, ciphertext, &calls).await;
    }
}

/// Opens what is given and counts the call; or seals, and answers what then is to be opened.
async fn call(client: &mut Client, ciphertext: Option<Vec<u8>>, calls: &Calls) -> Option<Vec<u8>> {
    let EncryptRequest { key, plaintext, context, .. } = load::message();
    let begun = Instant::now();
    match ciphertext {
        None => {
            let answer = client.encrypt(EncryptRequest { key, plaintext, context, allow_nested: false }).await;
            let (ciphertext, outcome) = answer
                .map(|answer| answer.into_inner().ciphertext)
                .map_or_else(|status| (None, Err(status)), |ciphertext| (Some(ciphertext), Ok(())));
            calls.count(begun, outcome);
            ciphertext
        }
        Some(ciphertext) => {
            let asked = DecryptRequest { key, ciphertext, context, allow_legacy: false };
            let opened = client.decrypt(asked).await.map(|answer| answer.into_inner().plaintext);
            let right = |opened: Vec<u8>| {
                if opened == plaintext { Ok(()) } else { Err(tonic::Status::data_loss("wrong plaintext")) }
            };
            calls.count(begun, opened.and_then(right));
            None
        }
    }
}
