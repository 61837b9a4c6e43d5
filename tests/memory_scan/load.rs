//! The load: calls of every kind over eight connections, with plaintexts that are known again.
//!
//! Must never count a call that was not answered as it must be. Called by `moments` and the other lives.

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
/// Calls at once on each connection.
const AT_ONCE: usize = 6;
/// Messages whose keys are looked for: the last ones, and a part of all.
const LAST: usize = 256;
const ONE_OF: usize = 500;
const LEGACY_BYTES: usize = 200;
/// What of a message tells its key.
const HEADER_BYTES: usize = 76;
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
    key: KeyName,
    pub sealed: Vec<u8>,
    length: usize,
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
        let left = Arc::new(AtomicUsize::new(calls));
        let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..KINDS.len()).map(|_| AtomicUsize::new(0)).collect());
        let mut callers = Vec::new();
        for number in 0..CONNECTIONS * AT_ONCE {
            let caller = Caller {
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
            };
            callers.push(tokio::spawn(caller.work(Arc::clone(&left), Arc::clone(&counts))));
        }
        for caller in callers {
            caller.await??;
        }
        Ok(KINDS.iter().zip(counts.iter()).map(|(kind, count)| (kind.0, count.load(Ordering::Relaxed))).collect())
    }

    /// So many Encrypts and as many Decrypts over all connections, of which the last half must break off by a bug; gives how
    /// many did.
    pub async fn break_off(&self, calls: usize) -> Outcome<usize> {
        let plaintext = filled(&self.markers.load, 1_000);
        let mut broken = 0;
        for number in 0..calls {
            let (client, older) = (&self.clients[number % CONNECTIONS], &self.older[number % self.older.len()]);
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

    /// Looks for the key of this message too.
    pub fn note(&self, sealed: &[u8]) {
        if let Ok(mut sampled) = self.sampled.lock() {
            sampled.push(sealed[..HEADER_BYTES].to_vec());
        }
    }
}

/// Each kind of call, of a hundred.
const KINDS: [(&str, u64); 10] = [
    ("Encrypt", 36),
    ("Decrypt", 26),
    ("ReEncrypt", 14),
    ("VerifyCanary", 5),
    ("IssueCanary", 4),
    ("legacy Decrypt", 3),
    ("legacy ReEncrypt", 2),
    ("WhoAmI", 3),
    ("ExportKeyring", 1),
    ("Decrypt of older", 6),
];

/// One caller, which waits for each answer.
struct Caller {
    client: Client,
    key: KeyName,
    draw: u64,
    markers: Markers,
    legacy: Vec<u8>,
    older: Arc<Vec<Older>>,
    broken: Option<Arc<AtomicUsize>>,
    sealed: Vec<(Vec<u8>, usize, [u8; 16])>,
    canary: Vec<u8>,
    messages: Arc<Mutex<VecDeque<Vec<u8>>>>,
    sampled: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Caller {
    async fn work(mut self, left: Arc<AtomicUsize>, counts: Arc<Vec<AtomicUsize>>) -> Outcome<()> {
        let one_less = |left: usize| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            let kind = self.kind();
            match (self.call(kind).await, &self.broken) {
                (Ok(()), _) => counts[kind].fetch_add(1, Ordering::Relaxed),
                (Err(error), Some(broken)) if is_bug(&*error) => broken.fetch_add(1, Ordering::Relaxed),
                (Err(error), _) => return Err(format!("{}: {error}", KINDS[kind].0).into()),
            };
        }
        Ok(())
    }

    /// What is asked next; what has nothing to work on yet is an Encrypt.
    fn kind(&mut self) -> usize {
        let mut drawn = self.below(100);
        for (kind, (_, of_hundred)) in KINDS.iter().enumerate() {
            if drawn < *of_hundred {
                let lacking = matches!(kind, 1 | 2) && self.sealed.is_empty()
                    || kind == 3 && self.canary.is_empty()
                    || kind == 9 && self.older.is_empty();
                return if lacking { 0 } else { kind };
            }
            drawn -= of_hundred;
        }
        0
    }

    async fn call(&mut self, kind: usize) -> Outcome<()> {
        let context = context();
        match kind {
            0 => {
                let length = self.length();
                let plaintext = filled(&self.markers.load, length);
                let sealed = self.client.encrypt(&self.key, &plaintext, &context).await?.ciphertext;
                self.keep(sealed, length, self.markers.load);
            }
            1 => {
                let at = self.below(self.sealed.len() as u64) as usize;
                let (sealed, length, marker) = &self.sealed[at];
                let opened = self.client.decrypt(&self.key, sealed, &context).await?;
                if *opened.plaintext != filled(marker, *length) {
                    return Err("it opens to something else".into());
                }
            }
            2 => {
                let at = self.below(self.sealed.len() as u64) as usize;
                let (sealed, length, marker) = self.sealed.swap_remove(at);
                let moved = self.client.reencrypt(&self.key, &sealed, &context).await?.sealed.ciphertext;
                self.keep(moved, length, marker);
            }
            3 => drop(self.client.verify_canary(&self.canary).await?),
            4 => self.canary = self.client.issue_canary().await?,
            5 => drop(self.client.danger_decrypt_legacy(&self.key, &self.legacy, &context).await?),
            6 => {
                let (key, client) = (&self.key, &self.client);
                let moved = client.danger_reencrypt_legacy(key, &self.legacy, &context, key, &context).await?;
                self.keep(moved.sealed.ciphertext, LEGACY_BYTES, self.markers.legacy);
            }
            7 => drop(self.client.who_am_i().await?),
            8 => drop(self.client.export_keyring().await?),
            _ => self.open_older().await?,
        }
        Ok(())
    }

    async fn open_older(&mut self) -> Outcome<()> {
        let at = self.below(self.older.len() as u64) as usize;
        let Older { key, sealed, length } = &self.older[at];
        let opened = self.client.decrypt(key, sealed, &context()).await?;
        if *opened.plaintext == filled(&self.markers.load, *length) {
            Ok(())
        } else {
            Err("it opens to something else".into())
        }
    }

    fn keep(&mut self, sealed: Vec<u8>, length: usize, marker: [u8; 16]) {
        let header = sealed[..HEADER_BYTES].to_vec();
        if self.below(ONE_OF as u64) == 0
            && let Ok(mut sampled) = self.sampled.lock()
        {
            sampled.push(header.clone());
        }
        if let Ok(mut messages) = self.messages.lock() {
            messages.push_back(header);
            if messages.len() > LAST {
                messages.pop_front();
            }
        }
        if self.sealed.len() >= 16 {
            self.sealed.remove(0);
        }
        self.sealed.push((sealed, length, marker));
    }

    /// The length of a secret: mostly short, now and then a megabyte.
    fn length(&mut self) -> usize {
        match self.below(2_000) {
            0 => 1 << 20,
            1..=20 => 65_536,
            21..=100 => 16_384,
            _ => usize::try_from(32 + self.below(2_000)).unwrap_or(32),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw ^= self.draw << 13;
        self.draw ^= self.draw >> 7;
        self.draw ^= self.draw << 17;
        self.draw % bound
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
