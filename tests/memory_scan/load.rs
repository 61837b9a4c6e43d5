//! The load: calls of every kind over eight connections, with plaintexts that are known again.
//!
//! Must never forget a message whose key is to be looked for. Called by `moments` and the other lives.

use crate::caller::{Caller, HEADER_BYTES, Kind, work};
use crate::keys::Outcome;
use servos_keyd::client::context::Context;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_admin::AdminClient;
use servos_keyd::client::key_name::KeyName;
use servos_keyd::client::key_service::Client;
use servos_keyd::operations::create::FIRST_KEYS;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const CONNECTIONS: usize = 8;
/// Calls at once on each connection: together no more than may wait for the writer, if that is whom all of them ask.
const AT_ONCE: usize = 3;
pub const LEGACY_BYTES: usize = 200;
pub const DEADLINE: Duration = Duration::from_secs(60);
/// What every message is bound to.
pub const CONTEXT: [(&str, &str); 2] = [("column", "memory_scan"), ("table", "servers")];

/// What plaintexts are made of, by what is done with them.
#[derive(Clone, Copy)]
pub struct Markers {
    pub load: [u8; 16],
    pub refused: [u8; 16],
    pub legacy: [u8; 16],
}

/// A message of another life of the daemon.
pub struct Older {
    pub key: KeyName,
    pub sealed: Vec<u8>,
    pub length: usize,
}

/// Eight connections to a daemon.
pub struct Load {
    pub socket: PathBuf,
    pub clients: Vec<Client>,
    pub markers: Markers,
    /// A value of before there was a daemon.
    pub legacy: Vec<u8>,
    /// Messages of another life of the daemon, which this one only opens.
    older: Arc<Vec<Older>>,
    /// Calls that break off by a bug of the daemon's are counted here, where they are planned; else none may.
    broken: Option<Arc<AtomicUsize>>,
    messages: Arc<Mutex<VecDeque<Vec<u8>>>>,
    sampled: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Load {
    pub fn new(socket: &Path, markers: Markers, legacy_key: &[u8; 32], older: Vec<Older>) -> Self {
        let clients = (0..CONNECTIONS).map(|_| Client::new(socket).with_deadline(DEADLINE)).collect();
        let legacy = legacy_value(legacy_key, &filled(&markers.legacy, LEGACY_BYTES));
        Self {
            socket: socket.to_owned(),
            clients,
            markers,
            legacy,
            older: Arc::new(older),
            broken: None,
            messages: Arc::default(),
            sampled: Arc::default(),
        }
    }

    /// The same with calls that may break off, each of which is counted.
    pub fn that_may_break(self, broken: &Arc<AtomicUsize>) -> Self {
        Self { broken: Some(Arc::clone(broken)), ..self }
    }

    /// Whether a call that broke off may; if so it is counted.
    pub fn may_break(&self) -> bool {
        self.broken.as_ref().map(|broken| broken.fetch_add(1, Ordering::Relaxed)).is_some()
    }

    /// Messages under each of the first keys, for another life to open.
    pub async fn seal_some(&self, each: usize) -> Outcome<Vec<Older>> {
        let mut some = Vec::new();
        for name in FIRST_KEYS.iter().cycle().take(each * FIRST_KEYS.len()) {
            let (key, length) = (KeyName::new(name)?, 100 + some.len());
            let plaintext = filled(&self.markers.load, length);
            let sealed = self.clients[0].encrypt(&key, &plaintext, &context()).await?.ciphertext;
            some.push(Older { key, sealed, length });
        }
        Ok(some)
    }

    /// Makes so many calls; gives how many of each kind were answered.
    pub async fn run(&self, calls: usize) -> Outcome<Vec<(&'static str, usize)>> {
        work(self.callers()?, None, calls).await
    }

    /// Makes so many calls of one kind over all connections, behind those that give them something to work on; gives
    /// how many were answered.
    pub async fn run_alone(&self, kind: Kind, calls: usize) -> Outcome<Vec<(&'static str, usize)>> {
        let mut callers = self.callers()?;
        for caller in &mut callers {
            caller.prepare(kind).await?;
        }
        work(callers, Some(kind), calls).await
    }

    /// So many callers on each connection.
    fn callers(&self) -> Outcome<Vec<Caller>> {
        let one = |number: usize| {
            Ok(Caller {
                client: self.clients[number % CONNECTIONS].clone(),
                key: KeyName::new(FIRST_KEYS[number % FIRST_KEYS.len()])?,
                draw: (u64::try_from(number)? + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                markers: self.markers,
                legacy: self.legacy.clone(),
                older: Arc::clone(&self.older),
                broken: self.broken.clone(),
                sealed: Vec::new(),
                canary: Vec::new(),
                messages: Arc::clone(&self.messages),
                sampled: Arc::clone(&self.sampled),
            })
        };
        (0..CONNECTIONS * AT_ONCE).map(one).collect()
    }

    /// So many Encrypts and as many Decrypts over all connections, of which the last half must break off by a bug; gives how
    /// many did.
    pub async fn break_off(&self, calls: usize) -> Outcome<usize> {
        let plaintext = filled(&self.markers.load, 1_000);
        let mut broken = 0;
        for number in 0..calls {
            let (client, older) = (&self.clients[number % CONNECTIONS], self.older(number));
            let context = context();
            let (sealing, opening) = tokio::join!(
                client.encrypt(&older.key, &plaintext, &context),
                client.decrypt(&older.key, &older.sealed, &context)
            );
            for told in [sealing.map(drop), opening.map(drop)] {
                match told {
                    Err(error) if is_bug(&error) => broken += 1,
                    Ok(()) if number < calls / 2 => {}
                    other => return Err(format!("call {number} did not break off: {other:?}").into()),
                }
            }
        }
        Ok(broken)
    }

    /// Messages of which the keys are looked for.
    pub fn sample(&self) -> Vec<Vec<u8>> {
        let last = self.messages.lock().map(|last| last.iter().cloned().collect()).unwrap_or_default();
        [last, self.sampled.lock().map(|some| some.clone()).unwrap_or_default()].concat()
    }

    /// One of the messages of another life, in turn.
    pub fn older(&self, turn: usize) -> &Older {
        &self.older[turn % self.older.len()]
    }

    /// Looks for the key of this message too.
    pub fn note(&self, sealed: &[u8]) {
        if let Ok(mut sampled) = self.sampled.lock() {
            sampled.push(sealed[..HEADER_BYTES].to_vec());
        }
    }
}

/// An operator on the other socket.
pub fn admin(socket: &Path) -> AdminClient {
    AdminClient::new(&Client::new(socket).with_deadline(DEADLINE))
}

/// Whether a call broke off by a bug in the daemon.
pub fn is_bug(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::Bug { .. }))
}

pub fn context() -> Context {
    CONTEXT.iter().fold(Context::danger_none(), |context, (key, value)| context.with(*key, *value))
}

/// A plaintext of which any 31 bytes hold the marker whole.
pub fn filled(marker: &[u8; 16], length: usize) -> Vec<u8> {
    marker.iter().copied().cycle().take(length).collect()
}

/// A value as ServOS sealed it before there was a daemon.
fn legacy_value(key: &[u8; 32], plaintext: &[u8]) -> Vec<u8> {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let nonce = [0xa7; 12];
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"));
    let mut sealed = plaintext.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).expect("short");
    [&nonce[..], &sealed].concat()
}
