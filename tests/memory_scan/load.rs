//! The load: calls of every kind over eight connections, with plaintexts that are known again, and calls that are refused.
//!
//! Must never count a call that was not answered as it must be. Called by `moments`.

use crate::keys::Outcome;
use hyper_util::rt::TokioIo;
use servos_keyd::client::context::Context;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_admin::AdminClient;
use servos_keyd::client::key_name::KeyName;
use servos_keyd::client::key_service::Client;
use servos_keyd::operations::create::FIRST_KEYS;
use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
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
const DEADLINE: Duration = Duration::from_secs(60);
/// What every message is bound to.
pub const CONTEXT: [(&str, &str); 2] = [("column", "memory_scan"), ("table", "servers")];

/// What plaintexts are made of, by what is done with them.
#[derive(Clone, Copy)]
pub struct Markers {
    pub load: [u8; 16],
    pub refused: [u8; 16],
    pub legacy: [u8; 16],
}

/// Eight connections to a daemon.
pub struct Load {
    socket: PathBuf,
    clients: Vec<Client>,
    markers: Markers,
    /// A value of before there was a daemon.
    legacy: Vec<u8>,
    messages: Arc<Mutex<VecDeque<Vec<u8>>>>,
    sampled: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Load {
    pub fn new(socket: &Path, markers: Markers, legacy_key: &[u8; 32]) -> Self {
        let clients = (0..CONNECTIONS).map(|_| Client::new(socket).with_deadline(DEADLINE)).collect();
        let legacy = legacy_value(legacy_key, &filled(&markers.legacy, LEGACY_BYTES));
        Self { socket: socket.to_owned(), clients, markers, legacy, messages: Arc::default(), sampled: Arc::default() }
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

    /// Messages of which the keys are looked for.
    pub fn sample(&self) -> Vec<Vec<u8>> {
        let last = self.messages.lock().map(|last| last.iter().cloned().collect()).unwrap_or_default();
        [last, self.sampled.lock().map(|some| some.clone()).unwrap_or_default()].concat()
    }

    /// Has one kind of call refused, many times over every connection.
    pub async fn refuse(&self, kind: RefusedCall, times: usize) -> Outcome<()> {
        let plaintext = filled(&self.markers.refused, 2_000);
        let key = KeyName::new("default")?;
        let sealed = self.clients[0].encrypt(&key, &plaintext, &context()).await?.ciphertext;
        for turn in 0..times {
            let all = self.clients.iter().map(|client| self.refuse_once(client, kind, turn, &key, &plaintext, &sealed));
            for one in all {
                one.await?;
            }
        }
        Ok(())
    }

    async fn refuse_once(
        &self,
        client: &Client,
        kind: RefusedCall,
        turn: usize,
        key: &KeyName,
        plaintext: &[u8],
        sealed: &[u8],
    ) -> Outcome<()> {
        let expected = |refused: bool, told: &dyn std::fmt::Debug| {
            if refused { Ok(()) } else { Err(format!("{kind:?} was answered otherwise: {told:?}")) }
        };
        match kind {
            RefusedCall::Damaged => {
                let mut damaged = sealed.to_vec();
                // The commitment, the body and the tag in turn.
                let at = [50, 100, sealed.len() - 1][turn % 3];
                damaged[at] ^= 1;
                let told = client.decrypt(key, &damaged, &context()).await.map(drop);
                expected(matches!(told, Err(Error::Rejected)), &told)?;
                let told = client.reencrypt(key, &damaged, &context()).await.map(drop);
                expected(matches!(told, Err(Error::Rejected)), &told)?;
            }
            RefusedCall::UnknownKey => {
                let name = KeyName::new("no-such-key")?;
                let told = client.encrypt(&name, plaintext, &context()).await.map(drop);
                expected(matches!(told, Err(Error::UnknownKey { .. })), &told)?;
                // Which of a value's faults it is, only the log says.
                let told = client.decrypt(&name, sealed, &context()).await.map(drop);
                expected(matches!(told, Err(Error::Rejected)), &told)?;
                let mut foreign = sealed.to_vec();
                foreign[4..12].copy_from_slice(&[7; 8]);
                let told = client.decrypt(key, &foreign, &context()).await.map(drop);
                expected(told.is_err(), &told)?;
            }
            RefusedCall::WrongContext => {
                let told = client.decrypt(key, sealed, &Context::new("table", "users")).await.map(drop);
                expected(matches!(told, Err(Error::Rejected)), &told)?;
            }
            RefusedCall::TooLarge => {
                let much = filled(&self.markers.refused, if turn.is_multiple_of(4) { 5 << 20 } else { (1 << 20) + 1 });
                let told = client.encrypt(key, &much, &context()).await.map(drop);
                expected(matches!(told, Err(Error::Invalid { .. } | Error::TooLarge { .. })), &told)?;
            }
            RefusedCall::Malformed => {
                let wrong = Wrong { key: "default".to_owned(), plaintext: plaintext.to_vec(), context: 7 };
                let told = malformed(&self.socket, wrong).await;
                expected(told.as_ref().is_err_and(|status| status.code() == tonic::Code::InvalidArgument), &told)?;
                let told = client.verify_canary(&plaintext[..64]).await.map(drop);
                expected(told.is_err(), &told)?;
                let mut socket = UnixStream::connect(&self.socket)?;
                // The daemon may end the connection before all of it is written.
                let _ = socket.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", plaintext].concat());
            }
        }
        Ok(())
    }
}

/// A kind of call that is refused.
#[derive(Clone, Copy, Debug)]
pub enum RefusedCall {
    Damaged,
    UnknownKey,
    WrongContext,
    TooLarge,
    Malformed,
}

/// Encrypt's request, with a number where the context belongs.
#[derive(Clone, PartialEq, prost::Message)]
struct Wrong {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", tag = "2")]
    plaintext: Vec<u8>,
    #[prost(uint64, tag = "3")]
    context: u64,
}

async fn malformed(socket: &Path, message: Wrong) -> Result<(), tonic::Status> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    let channel =
        endpoint.connect_with_connector(connector).await.map_err(|error| tonic::Status::from_error(error.into()))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/servos.keyd.v1.KeyService/Encrypt");
    let codec = tonic_prost::ProstCodec::<Wrong, Wrong>::default();
    client.unary(tonic::Request::new(message), path, codec).await.map(drop)
}

/// Each kind of call, of a hundred.
const KINDS: [(&str, u64); 9] = [
    ("Encrypt", 38),
    ("Decrypt", 30),
    ("ReEncrypt", 14),
    ("VerifyCanary", 5),
    ("IssueCanary", 4),
    ("legacy Decrypt", 3),
    ("legacy ReEncrypt", 2),
    ("WhoAmI", 3),
    ("ExportKeyring", 1),
];

/// One caller, which waits for each answer.
struct Caller {
    client: Client,
    key: KeyName,
    draw: u64,
    markers: Markers,
    legacy: Vec<u8>,
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
            self.call(kind).await.map_err(|error| format!("{}: {error}", KINDS[kind].0))?;
            counts[kind].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What is asked next; what has nothing to work on yet is an Encrypt.
    fn kind(&mut self) -> usize {
        let mut drawn = self.below(100);
        for (kind, (_, of_hundred)) in KINDS.iter().enumerate() {
            if drawn < *of_hundred {
                let lacking = matches!(kind, 1 | 2) && self.sealed.is_empty() || kind == 3 && self.canary.is_empty();
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
            _ => drop(self.client.export_keyring().await?),
        }
        Ok(())
    }

    fn keep(&mut self, sealed: Vec<u8>, length: usize, marker: [u8; 16]) {
        let header = sealed[..76].to_vec();
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

fn context() -> Context {
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
