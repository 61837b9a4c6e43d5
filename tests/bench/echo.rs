//! The yardstick: a bare tonic server that answers Encrypt with the plaintext as it came.
//!
//! Must never do more than tonic does by itself: system allocator, default settings, no router, no limits, no checks.
//! Called by `footprint` in a process of its own.

use super::Outcome;
use servos_keyd::proto::v1;
use servos_keyd::proto::v1::key_service_server::{KeyService, KeyServiceServer};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// As in the daemon: `cli::keyd::runtime`.
const MAX_WORKERS: usize = 4;

/// Serves on `socket` until it is killed.
pub fn serve(socket: &Path) -> Outcome<()> {
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_WORKERS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let incoming = Incoming(UnixListener::bind(socket)?);
        tonic::transport::Server::builder()
            .serve_with_incoming(KeyServiceServer::new(Echo), incoming)
            .await
            .map_err(Into::into)
    })
}

struct Incoming(UnixListener);

impl Stream for Incoming {
    type Item = std::io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accept(context).map(|accepted| Some(accepted.map(|(socket, _)| socket)))
    }
}

struct Echo;

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("an echo"))
}

#[tonic::async_trait]
impl KeyService for Echo {
    async fn encrypt(&self, request: Request<v1::EncryptRequest>) -> Result<Response<v1::EncryptResponse>, Status> {
        let message = request.get_ref();
        Ok(Response::new(v1::EncryptResponse {
            ciphertext: message.plaintext.clone(),
            key: message.key.clone(),
            version: 1,
            keyring: 1,
        }))
    }

    async fn decrypt(&self, _: Request<v1::DecryptRequest>) -> Result<Response<v1::DecryptResponse>, Status> {
        not_here()
    }

    async fn re_encrypt(&self, _: Request<v1::ReEncryptRequest>) -> Result<Response<v1::ReEncryptResponse>, Status> {
        not_here()
    }

    async fn verify_canary(
        &self,
        _: Request<v1::VerifyCanaryRequest>,
    ) -> Result<Response<v1::VerifyCanaryResponse>, Status> {
        not_here()
    }

    async fn issue_canary(
        &self,
        _: Request<v1::IssueCanaryRequest>,
    ) -> Result<Response<v1::IssueCanaryResponse>, Status> {
        not_here()
    }

    type ExportKeyringStream = Pin<Box<dyn Stream<Item = Result<v1::ExportKeyringResponse, Status>> + Send>>;

    async fn export_keyring(
        &self,
        _: Request<v1::ExportKeyringRequest>,
    ) -> Result<Response<Self::ExportKeyringStream>, Status> {
        not_here()
    }

    async fn who_am_i(&self, _: Request<v1::WhoAmIRequest>) -> Result<Response<v1::WhoAmIResponse>, Status> {
        not_here()
    }
}
