//! A daemon for tests: it answers by rule, seals nothing, and can be stopped, killed and made to say GOAWAY.
//!
//! Must never be compiled into anything but tests.
//! Called by the tests of `client` and of `servos-keyctl`.

use super::fake_rotation::RotationRules;
use crate::proto::v1::key_admin_server::{KeyAdmin, KeyAdminServer};
use crate::proto::v1::key_service_server::{KeyService, KeyServiceServer};
use crate::proto::v1::*;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tonic::codegen::Service as _;
use tonic::{Code, Request, Response, Status, async_trait};

/// What it was asked, and what it is to answer.
#[derive(Default)]
pub(crate) struct Rules {
    /// How many calls arrived.
    pub(crate) calls: AtomicU32,
    /// How many connections were made.
    pub(crate) connections: AtomicU32,
    /// How many of the next calls are answered with ABORTED.
    pub(crate) conflicts: AtomicU32,
    /// The pieces of an export; after the last one the stream ends.
    pub(crate) export: Mutex<Vec<ExportKeyringResponse>>,
    /// What a backup is answered with; after the last message the stream ends.
    pub(crate) backup: Mutex<Vec<BackupResponse>>,
    /// The `keyring` of answers.
    pub(crate) keyring: AtomicU32,
    /// The name of the key in answers, if it is not the one that was asked for.
    pub(crate) other_key: Mutex<Option<String>>,
    /// The format in answers to Decrypt, if it is not SKD1.
    pub(crate) format: Mutex<Option<i32>>,
    /// The legacy keys that GetStatus tells of; without them and a rotation's states it is not served.
    pub(crate) legacy: Mutex<Option<Vec<String>>>,
    /// What it tells of a rotation of the master key, and was asked to do with it.
    pub(crate) rotation: RotationRules,
    /// The request ids of changes.
    pub(crate) request_ids: Mutex<Vec<String>>,
    /// The `grpc-timeout` of each Encrypt.
    pub(crate) timeouts: Mutex<Vec<String>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy)]
enum Order {
    Leave,
    Cut,
}

pub(crate) struct FakeDaemon {
    pub(crate) rules: Arc<Rules>,
    pub(crate) socket: PathBuf,
    orders: broadcast::Sender<Order>,
    accepting: JoinHandle<()>,
}

impl FakeDaemon {
    pub(crate) fn start(socket: &Path) -> Self {
        Self::start_with(socket, Arc::default())
    }

    pub(crate) fn start_with(socket: &Path, rules: Arc<Rules>) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let (orders, _) = broadcast::channel(16);
        let accepting = tokio::spawn(accept(listener, rules.clone(), orders.clone()));
        Self { rules, socket: socket.to_owned(), orders, accepting }
    }

    /// Tells every connection that it goes away; new ones are accepted.
    pub(crate) fn say_goaway(&self) {
        let _ = self.orders.send(Order::Leave);
    }

    /// Cuts every connection; new ones are accepted.
    pub(crate) fn cut_connections(&self) {
        let _ = self.orders.send(Order::Cut);
    }

    /// Ends as SIGKILL ends a process: connections are cut, nobody listens, the socket's file stays.
    pub(crate) async fn kill(self) {
        self.accepting.abort();
        let _ = self.accepting.await;
        let _ = self.orders.send(Order::Cut);
    }
}

async fn accept(listener: UnixListener, rules: Arc<Rules>, orders: broadcast::Sender<Order>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        rules.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(stream, rules.clone(), orders.subscribe()));
    }
}

async fn serve(stream: UnixStream, rules: Arc<Rules>, mut orders: broadcast::Receiver<Order>) {
    let routes = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let fake = Fake(rules.clone());
        async move {
            if request.uri().path().starts_with("/servos.keyd.v1.KeyAdmin/") {
                KeyAdminServer::new(fake).call(request).await
            } else {
                KeyServiceServer::new(fake).call(request).await
            }
        }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), routes));
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            order = orders.recv() => match order {
                Ok(Order::Leave) => connection.as_mut().graceful_shutdown(),
                _ => return,
            }
        }
    }
}

struct Fake(Arc<Rules>);

impl Fake {
    /// Counts the call, and answers with the code that the context's `answer` names; `hang` never answers.
    async fn arrive(&self, context: &HashMap<String, String>) -> Result<(), Status> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let conflict = |left: u32| left.checked_sub(1);
        if self.0.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, conflict).is_ok() {
            return Err(Status::aborted("generation"));
        }
        match context.get("answer").map(String::as_str) {
            None => Ok(()),
            Some("hang") => std::future::pending().await,
            Some("rejected") => Err(Status::invalid_argument("ciphertext rejected")),
            Some(words) if words.contains(' ') => {
                let (code, reason) = words.split_once(' ').unwrap();
                Err(Status::new(Code::from(code.parse::<i32>().unwrap()), reason))
            }
            Some(code) => Err(Status::new(Code::from(code.parse::<i32>().unwrap()), "fake reason")),
        }
    }

    fn key(&self, asked: &str) -> String {
        lock(&self.0.other_key).clone().unwrap_or_else(|| asked.to_owned())
    }

    fn keyring(&self) -> u64 {
        self.0.keyring.load(Ordering::SeqCst).into()
    }

    fn change(&self, request_id: String) {
        lock(&self.0.request_ids).push(request_id);
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// A "ciphertext" is the plaintext backwards.
fn backwards(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().rev().collect()
}

#[async_trait]
impl KeyService for Fake {
    type ExportKeyringStream = tokio_stream::Iter<std::vec::IntoIter<Result<ExportKeyringResponse, Status>>>;

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Answer<EncryptResponse> {
        if let Some(timeout) = request.metadata().get("grpc-timeout") {
            lock(&self.0.timeouts).push(timeout.to_str().unwrap().to_owned());
        }
        let asked = request.into_inner();
        self.arrive(&asked.context).await?;
        let (key, keyring) = (self.key(&asked.key), self.keyring());
        Ok(Response::new(EncryptResponse { ciphertext: backwards(asked.plaintext), key, version: 1, keyring }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Answer<DecryptResponse> {
        let asked = request.into_inner();
        self.arrive(&asked.context).await?;
        let format = lock(&self.0.format).unwrap_or(Format::Skd1.into());
        let (plaintext, key) = (backwards(asked.ciphertext), self.key(&asked.key));
        Ok(Response::new(DecryptResponse { plaintext, key, version: 1, primary: true, format }))
    }

    async fn re_encrypt(&self, request: Request<ReEncryptRequest>) -> Answer<ReEncryptResponse> {
        let asked = request.into_inner();
        self.arrive(&asked.context).await?;
        let format = lock(&self.0.format).unwrap_or(Format::Skd1.into());
        let key = self.key(asked.relabel.as_ref().map_or(&asked.key, |relabel| &relabel.key));
        let keyring = self.keyring();
        Ok(Response::new(ReEncryptResponse { ciphertext: asked.ciphertext, key, version: 2, format, keyring }))
    }

    async fn verify_canary(&self, request: Request<VerifyCanaryRequest>) -> Answer<VerifyCanaryResponse> {
        self.arrive(&HashMap::new()).await?;
        // The first byte is the result; the daemon's own canary opens.
        let result = request.into_inner().canary.first().map_or(1, |byte| i32::from(*byte));
        let fingerprint = "00112233aabbccdd".to_owned();
        Ok(Response::new(VerifyCanaryResponse { result, fingerprint, ..Default::default() }))
    }

    async fn issue_canary(&self, _: Request<IssueCanaryRequest>) -> Answer<IssueCanaryResponse> {
        Ok(Response::new(IssueCanaryResponse { canary: vec![1; 64] }))
    }

    async fn export_keyring(&self, _: Request<ExportKeyringRequest>) -> Answer<Self::ExportKeyringStream> {
        self.arrive(&HashMap::new()).await?;
        let pieces: Vec<_> = lock(&self.0.export).iter().cloned().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(pieces)))
    }

    async fn who_am_i(&self, _: Request<WhoAmIRequest>) -> Answer<WhoAmIResponse> {
        let operations = vec!["Encrypt".to_owned()];
        Ok(Response::new(WhoAmIResponse { uid: 7, operations, socket: 1, ..Default::default() }))
    }
}

#[async_trait]
impl KeyAdmin for Fake {
    type BackupStream = tokio_stream::Iter<std::vec::IntoIter<Result<BackupResponse, Status>>>;

    async fn backup(&self, _: Request<BackupRequest>) -> Answer<Self::BackupStream> {
        self.arrive(&HashMap::new()).await?;
        let messages: Vec<_> = lock(&self.0.backup).iter().cloned().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(messages)))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        if let Some(status) = self.0.rotation.next_status() {
            return status.map(Response::new);
        }
        let Some(held) = lock(&self.0.legacy).clone() else { return Err(Status::unimplemented("")) };
        let key = |fingerprint| LegacyKeyStatus { fingerprint, adopted: 1 };
        let legacy_keys = held.into_iter().map(key).collect();
        Ok(Response::new(GetStatusResponse { legacy_keys, ..Default::default() }))
    }

    /// Two pages: the versions of the second key go on in the second page.
    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Answer<ListKeysResponse> {
        let key = |name: &str, version: u32| Key {
            name: name.to_owned(),
            id: name.to_owned(),
            versions: vec![KeyVersion { number: version, ..Default::default() }],
            ..Default::default()
        };
        Ok(Response::new(match request.into_inner().page_token.as_str() {
            "" => ListKeysResponse { keys: vec![key("a", 1), key("b", 2)], next_page_token: "2".into() },
            _ => ListKeysResponse { keys: vec![key("b", 1), key("c", 1)], next_page_token: String::new() },
        }))
    }

    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Answer<CreateKeyResponse> {
        let asked = request.into_inner();
        self.change(asked.request_id);
        self.arrive(&HashMap::new()).await?;
        Ok(Response::new(CreateKeyResponse { key: Some(Key { name: asked.name, primary: 1, ..Default::default() }) }))
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Answer<RotateKeyResponse> {
        let asked = request.into_inner();
        self.change(asked.request_id);
        Ok(Response::new(RotateKeyResponse { key: asked.key, version: 2 }))
    }

    async fn delete_key(&self, request: Request<DeleteKeyRequest>) -> Answer<DeleteKeyResponse> {
        let asked = request.into_inner();
        self.change(asked.request_id);
        Ok(Response::new(DeleteKeyResponse { key: asked.key, id: "0011223344556677".into(), versions: 1 }))
    }

    async fn adopt_legacy_key(&self, request: Request<AdoptLegacyKeyRequest>) -> Answer<AdoptLegacyKeyResponse> {
        self.change(request.into_inner().request_id);
        Ok(Response::new(AdoptLegacyKeyResponse { fingerprint: "8899aabbccddeeff".into() }))
    }

    async fn retire_legacy_key(&self, request: Request<RetireLegacyKeyRequest>) -> Answer<RetireLegacyKeyResponse> {
        let asked = request.into_inner();
        self.change(asked.request_id);
        Ok(Response::new(RetireLegacyKeyResponse { fingerprint: asked.fingerprint, remaining: 0 }))
    }

    async fn record_drill(&self, request: Request<RecordDrillRequest>) -> Answer<RecordDrillResponse> {
        self.change(request.into_inner().request_id);
        self.arrive(&HashMap::new()).await?;
        Ok(Response::new(RecordDrillResponse { at: 1_800_000_000 }))
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Answer<RotateResponse> {
        let asked = request.into_inner();
        self.change(asked.request_id.clone());
        self.arrive(&HashMap::new()).await?;
        self.0.rotation.rotate(asked)
    }

    async fn finish_rotation(&self, request: Request<FinishRotationRequest>) -> Answer<FinishRotationResponse> {
        let asked = request.into_inner();
        self.change(asked.request_id.clone());
        self.arrive(&HashMap::new()).await?;
        self.0.rotation.finish(asked)
    }

    async fn abort_rotation(&self, request: Request<AbortRotationRequest>) -> Answer<AbortRotationResponse> {
        let asked = request.into_inner();
        self.change(asked.request_id.clone());
        self.arrive(&HashMap::new()).await?;
        self.0.rotation.abort(asked)
    }
}
