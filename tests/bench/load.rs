//! The load: Encrypt calls of 1 KiB, 64 in flight over 8 connections, with the time that each of them took.
//!
//! Must never count a call that was not answered. Called by the measurements.

use super::Outcome;
use hyper_util::rt::TokioIo;
use servos_keyd::proto::v1::EncryptRequest;
use servos_keyd::proto::v1::key_service_client::KeyServiceClient;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Connections of a load.
pub const CONNECTIONS: usize = 8;
/// Calls in flight of a load, all connections together.
pub const IN_FLIGHT: usize = 64;
/// Plaintext of a call.
pub const PLAINTEXT_BYTES: usize = 1024;

pub type Client = KeyServiceClient<Channel>;

/// What a load met.
pub struct Load {
    /// From the first call to the last answer.
    pub took: Duration,
    /// What the calls took, in ascending order.
    pub latencies: Vec<Duration>,
}

impl Load {
    /// The time within which `percent` of the calls were answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }

    /// Calls answered in a second.
    pub fn calls_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

/// The message that every call sends.
pub fn message() -> EncryptRequest {
    EncryptRequest {
        key: "default".to_owned(),
        plaintext: (0..PLAINTEXT_BYTES).map(|at| at as u8).collect(),
        context: [("table".to_owned(), "bench".to_owned()), ("row".to_owned(), "1".to_owned())].into(),
        allow_nested: false,
    }
}

/// A connection to `socket`, made at once.
pub async fn channel(socket: &Path) -> Outcome<Channel> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Ok(Endpoint::from_static("http://localhost").connect_with_connector(connector).await?)
}

/// A client with a connection of its own.
pub async fn connect(socket: &Path) -> Outcome<Client> {
    Ok(KeyServiceClient::new(channel(socket).await?))
}

/// As many connections as a load has.
pub async fn connect_all(socket: &Path) -> Outcome<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(connect(socket).await?);
    }
    Ok(clients)
}

/// Makes `calls` calls over `clients`.
pub async fn run(clients: &[Client], calls: usize) -> Outcome<Load> {
    let left = Arc::new(AtomicUsize::new(calls));
    let started = Instant::now();
    let callers: Vec<_> = (0..IN_FLIGHT)
        .filter_map(|number| clients.get(number % clients.len()))
        .map(|client| tokio::spawn(caller(client.clone(), Arc::clone(&left))))
        .collect();
    let mut latencies = Vec::with_capacity(calls);
    for caller in callers {
        latencies.append(&mut caller.await??);
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    Ok(Load { took, latencies })
}

async fn caller(mut client: Client, left: Arc<AtomicUsize>) -> Result<Vec<Duration>, tonic::Status> {
    let mut latencies = Vec::new();
    let one_less = |left: usize| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        let begun = Instant::now();
        client.encrypt(message()).await?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}
