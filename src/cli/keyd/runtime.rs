//! The running daemon: the writer's thread, the async runtime, the served sockets, and the way out.
//!
//! Must never touch a key: everything it runs was made ready before the first thread that stays.
//! Called by `serve`.

use super::reload::Reload;
use super::sockets::Listening;
use super::{dev, watchdog};
use crate::auth::peer::Socket;
use crate::auth::policy::Policy;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::operations::check::online::SelfCheck;
use crate::operations::engine::Engine;
use crate::operations::health::Health;
use crate::operations::ledger::Ledger;
use crate::operations::resume::resume;
use crate::operations::writer::Writer;
use crate::rpc::connection::{Connection, Services};
use crate::rpc::key_admin::KeyAdminHandler;
use crate::rpc::key_service::KeyServiceHandler;
use crate::rpc::metrics::MetricsHandler;
use crate::server::limits::Limits;
use crate::server::metrics::serve_metrics;
use crate::server::notify::{Notification, tell_manager};
use crate::server::serve::{Endpoint, serve};
use crate::sys::allocator::release_free_memory;
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

/// The most threads that serve calls: sealing is microseconds, and each thread costs memory.
const MAX_WORKERS: usize = 4;

/// The services whose health is told, and the whole.
const HEALTH_NAMES: [&str; 3] = ["", "servos.keyd.v1.KeyService", ADMIN];

/// The one whose health falls while changes are refused. The others go on: what they serve needs memory alone, and a
/// supervisor that restarts the daemon for its disk would take even that away.
const ADMIN: &str = "servos.keyd.v1.KeyAdmin";

/// What the service manager shows while nothing is wrong.
const SERVING: &str = "serving";

/// Everything that is made ready before the first thread that stays.
pub struct Daemon {
    /// What calls need.
    pub engine: Arc<Engine>,
    /// What the writer needs; none under salvage.
    pub ledger: Option<Ledger>,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// The sockets.
    pub sockets: Vec<Listening>,
    /// How often the store and its newest backup are checked.
    pub self_check: Duration,
    /// How many threads serve calls.
    pub workers: usize,
    /// The bounds of the server.
    pub limits: Limits,
    /// The one socket of `--dev`, whose examples are printed.
    pub dev_socket: Option<PathBuf>,
    /// When the program began.
    pub began: Instant,
    /// The configuration in force; none under `--dev`, which has no file.
    pub reload: Option<Reload>,
}

/// How many threads will serve calls: asks for the control group's share, which a sandbox hides.
#[must_use]
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_WORKERS))
}

/// Serves until a signal; returns how many calls were cut at the end. However it ends, no thread of its own is left that
/// could use a key.
///
/// # Errors
/// 75 if the system gives the writer no thread, 70 if the runtime does not start.
pub fn run(daemon: Daemon) -> Result<usize, Failure> {
    let mut joined_at_the_end = JoinedAtTheEnd(None);
    let writer = match daemon.ledger {
        None => None,
        Some(ledger) => {
            let check = SelfCheck::new(daemon.self_check, release_free_memory, ledger.engine());
            let (writer, thread) = Writer::start_checking(ledger, check).map_err(|error| no_thread(&error))?;
            joined_at_the_end.0 = Some(thread);
            Some(writer)
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(daemon.workers)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::BUG, &error))?;
    let shell = Shell {
        engine: daemon.engine,
        policy: daemon.policy,
        writer,
        limits: daemon.limits,
        began: daemon.began,
        dev_socket: daemon.dev_socket,
    };
    runtime.block_on(shell.serve(daemon.sockets, daemon.reload))
}

/// The writer's thread. It ends after the change it is at, once every sender is gone: what is dropped before this.
struct JoinedAtTheEnd(Option<std::thread::JoinHandle<()>>);

impl Drop for JoinedAtTheEnd {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// Starts as many threads at once as the daemon will have, and ends them. The runtime, refused one, would panic and then
/// wait for ever for those that it was given.
///
/// # Errors
/// 75 with what limits them.
pub fn threads_are_to_be_had(workers: usize) -> Result<(), Failure> {
    // Those that serve calls, the writer, one that writes backups, and one that looks at files beside the store.
    let count = workers + 3;
    let held = Mutex::new(());
    std::thread::scope(|scope| {
        let _all_wait = held.lock();
        for _ in 0..count {
            let waits = || drop(held.lock());
            std::thread::Builder::new().spawn_scoped(scope, waits).map_err(|error| no_thread(&error))?;
        }
        Ok(())
    })
}

fn no_thread(error: &std::io::Error) -> Failure {
    let limits = "see TasksMax= of the unit, pids.max of the container, and ulimit -u of the daemon's user";
    Failure::say(exit::TRY_AGAIN, format!("the system gives the daemon no thread: {error}; {limits}"))
}

struct Shell {
    engine: Arc<Engine>,
    policy: Arc<Policy>,
    writer: Option<Writer>,
    limits: Limits,
    began: Instant,
    dev_socket: Option<PathBuf>,
}

impl Shell {
    async fn serve(self, sockets: Vec<Listening>, reload: Option<Reload>) -> Result<usize, Failure> {
        // Before READY: from then on the service manager may send it.
        let hangup = signal(SignalKind::hangup()).map_err(|error| Failure::new(exit::BUG, &error))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::new(exit::BUG, &error))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failure::new(exit::BUG, &error))?;
        let health = HealthReporter::new();
        for name in HEALTH_NAMES {
            health.set_service_status(name, ServingStatus::Serving).await;
        }
        // Socket files go before their listeners do: while those are open, no other file can have the same inode.
        let mut files = Vec::new();
        let (mut endpoints, mut metrics) = (Vec::new(), Vec::new());
        for Listening { socket, listener, file } in sockets {
            files.extend(file);
            if socket == Socket::Metrics {
                metrics.push(self.serve_metrics(listener));
                continue;
            }
            let services = Arc::new(self.services(socket, &health));
            let connection = move |credentials| Connection::new(Arc::clone(&services), credentials);
            endpoints.push(Endpoint { name: socket.name(), listener, connection });
        }
        self.resume();
        self.announce();
        let told = self.tell_of_health(&health);
        let watched = watchdog::feed(Arc::clone(&self.engine), self.writer.clone());
        let reloads = tokio::spawn(at_each(hangup, reload, Arc::clone(&self.engine), self.writer.clone()));
        let stop = async {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(event = events::DAEMON_STOPPING, signal = name, "stopping");
            told.abort();
            reloads.abort();
            // The drain has a deadline of its own.
            watched.inspect(JoinHandle::abort);
            metrics.iter().for_each(JoinHandle::abort);
            for name in HEALTH_NAMES {
                health.set_service_status(name, ServingStatus::NotServing).await;
            }
            tell_manager(&[Notification::Stopping]);
            drop(files);
        };
        let drained = serve(endpoints, self.limits, Arc::clone(&self.engine.traffic), stop)
            .await
            .map_err(|error| Failure::new(exit::BUG, &error))?;
        Ok(drained.calls_cut)
    }

    fn serve_metrics(&self, listener: UnixListener) -> JoinHandle<()> {
        let handler = MetricsHandler { policy: Arc::clone(&self.policy), engine: Arc::clone(&self.engine) };
        let traffic = Arc::clone(&self.engine.traffic);
        tokio::spawn(async move {
            let text = move |credentials| handler.text(credentials);
            let Err(error) = serve_metrics(listener, text, traffic).await;
            tracing::warn!(event = events::ACCEPT_FAILED, %error, "the metrics cannot be served");
        })
    }

    fn services(&self, socket: Socket, health: &HealthReporter) -> Services {
        let (policy, engine, writer) = (Arc::clone(&self.policy), Arc::clone(&self.engine), self.writer.clone());
        let service = KeyServiceHandler { policy, engine, writer };
        let (policy, engine, writer) = (Arc::clone(&self.policy), Arc::clone(&self.engine), self.writer.clone());
        let admin = (socket != Socket::Component).then_some(KeyAdminHandler { policy, engine, writer });
        Services::new(socket, service, admin, HealthService::from_health_reporter(health.clone()))
    }

    /// Passes on what the daemon knows to be wrong with itself, whenever it changes.
    fn tell_of_health(&self, reporter: &HealthReporter) -> JoinHandle<()> {
        let (sender, mut told) = watch::channel(Health::default());
        self.engine.health.observe(Box::new(move |health| {
            sender.send_if_modified(|before| {
                let differs = before != health;
                before.clone_from(health);
                differs
            });
        }));
        let (reporter, engine) = (reporter.clone(), Arc::clone(&self.engine));
        tokio::spawn(async move {
            while told.changed().await.is_ok() {
                let health = told.borrow_and_update().clone();
                let status = if health.is_well() { ServingStatus::Serving } else { ServingStatus::NotServing };
                reporter.set_service_status(ADMIN, status).await;
                tell_manager(&[Notification::Status(&said(&health, engine.reload_refused().as_deref()))]);
            }
        })
    }

    /// Hands the writer what broke off before the start.
    fn resume(&self) {
        let Some(writer) = &self.writer else { return };
        if let Err(refusal) = writer.submit(Box::new(resume)) {
            tracing::warn!(event = events::RESUME_FAILED, error = %chain(&refusal), "nothing was resumed");
        }
    }

    fn announce(&self) {
        let took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(event = events::DAEMON_READY, version = env!("CARGO_PKG_VERSION"), took_ms, "ready");
        tell_manager(&[Notification::Ready, Notification::Status(SERVING)]);
        if let Some(socket) = &self.dev_socket {
            dev::print_examples(socket, &self.engine, &self.policy);
        }
    }
}

/// Reads the configuration again at each signal. Without a file there is nothing to read, and the signal is no end.
async fn at_each(mut hangup: Signal, mut reload: Option<Reload>, engine: Arc<Engine>, writer: Option<Writer>) {
    while hangup.recv().await.is_some() {
        tell_manager(&[Notification::Reloading(since_boot())]);
        let again = reload.as_mut().and_then(|reload| reload.again(writer.as_ref()));
        let refused = reload.as_ref().and_then(Reload::refused);
        engine.reloaded(refused);
        let status =
            [Some(said(&engine.health.now(), refused)), again].into_iter().flatten().collect::<Vec<_>>().join("; ");
        tell_manager(&[Notification::Ready, Notification::Status(&status)]);
    }
}

fn since_boot() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// One line for the service manager.
fn said(health: &Health, reload_refused: Option<&str>) -> String {
    let mut said = SERVING.to_owned();
    if !health.store_problem.is_empty() {
        said.push_str("; changes wait: ");
        said.push_str(&health.store_problem);
    }
    if health.damage_found {
        said.push_str("; the self-check found damage");
    }
    if let Some(problem) = reload_refused {
        said.push_str("; the configuration was not taken, the one before stays in force: ");
        said.push_str(problem);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::health::StoreState;

    #[test]
    fn the_manager_hears_of_each_condition_and_of_nothing_else_while_all_is_well() {
        assert_eq!(said(&Health::default(), None), "serving");
        let failing = Health { store: StoreState::Failing, store_problem: "no space".into(), damage_found: true };
        assert_eq!(said(&failing, None), "serving; changes wait: no space; the self-check found damage");
        let refused = said(&Health::default(), Some("line 3"));
        assert_eq!(refused, "serving; the configuration was not taken, the one before stays in force: line 3");
    }
}
