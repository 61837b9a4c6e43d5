//! The end of a start that failed on sockets of the service manager: whoever waits in them is answered, and not left there.
//!
//! Must never touch a key: all are wiped before; nor take long, as the service manager waits, and starts anew for who is
//! left.
//! Filled by `serve`, called by `run`.

use super::sockets::is_admin;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::settings::Config;
use crate::rpc::turned_away::TurnedAway;
use crate::server::limits::Limits;
use crate::server::notify::{Notification, tell_manager};
use crate::server::serve::{Endpoint, serve};
use crate::sys::peer::PeerCredentials;
use crate::sys::sockets::inherited::{Inherited, path_of};
use crate::telemetry::events;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long. Clients that try again and again start the daemon so often a second at most.
const LINGER: Duration = Duration::from_millis(500);

/// How long an answer may take to leave.
const LAST_WORD: Duration = Duration::from_millis(100);

/// The sockets that were handed over, held for the case that the start fails.
pub struct Waiting(Vec<Door>);

struct Door {
    listener: UnixListener,
    name: String,
    /// Whether root may be told here what is wrong.
    tells_root: bool,
}

impl Waiting {
    /// Holds them open a second time. One that cannot be is left to the service manager.
    pub fn hold(handed_over: &[Inherited]) -> Self {
        let held = handed_over.iter().filter_map(|one| {
            Some(Door { listener: one.listener.try_clone().ok()?, name: one.name.clone(), tells_root: false })
        });
        let mut waiting = Self(held.collect());
        // Until the configuration is read, and where it cannot be.
        waiting.know(&Config::default());
        waiting
    }

    /// The configuration, by which the operators' socket is known.
    pub fn know(&mut self, config: &Config) {
        for door in &mut self.0 {
            door.tells_root = is_admin(&door.name, path_of(&door.listener).as_deref(), config);
        }
    }

    /// Answers every call with UNAVAILABLE for a moment, if there are sockets: a start that failed is not begun anew at once
    /// by the very call that it did not answer. Ends early at a signal.
    pub fn turn_away(self, failure: &Failure) {
        // Another daemon has the store or the socket, or no thread was to be had: the next start comes by itself, soon.
        if self.0.is_empty() || failure.exit == exit::TRY_AGAIN {
            return;
        }
        tell_manager(&[Notification::Status(&failure.message)]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(answer(self.0, &failure.message)));
        if let Err(error) = served {
            tracing::warn!(event = events::WAITING_NOT_ANSWERED, %error, "who waits for the daemon was not answered");
        }
    }
}

async fn answer(doors: Vec<Door>, cause: &str) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cause: Arc<str> = cause.into();
    let endpoints = doors.into_iter().map(|Door { listener, tells_root, .. }| {
        let cause = Arc::clone(&cause);
        let connection = move |peer: Option<PeerCredentials>| match peer {
            Some(PeerCredentials { uid: 0, .. }) if tells_root => TurnedAway::operator(&cause),
            _ => TurnedAway::component(),
        };
        Endpoint { name: "turned away", listener, connection }
    });
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
            () = tokio::time::sleep(LINGER) => (),
        }
    };
    serve(endpoints.collect(), limits(), Arc::default(), stop).await.map(drop)
}

fn limits() -> Limits {
    Limits {
        connections: 1024,
        connections_per_user: 1024,
        // More than the heads of a call on every connection take, if they are all one user's.
        call_bytes: 64 << 20,
        streams: 128,
        request_timeout: LINGER,
        idle_connection: LINGER,
        drain: LAST_WORD,
    }
}
