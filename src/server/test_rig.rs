//! A server on a socket of its own, a service whose answer is in the path, and clients of all manners.
//!
//! Must never rely on a fixed path, or on a machine being fast.
//! Called by `socket_tests`.

use std::convert::Infallible;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};

use super::call::CallService;
use super::limits::Limits;
use super::serve::{Drained, Endpoint, serve};
use crate::rpc::received::Received;
use crate::sys::peer::PeerCredentials;
use crate::telemetry::traffic::Traffic;

/// Longer than anything here takes on a busy machine, shorter than the times that must not be waited for.
const SOON: Duration = Duration::from_secs(15);
const NEVER: Duration = Duration::from_secs(300);

/// What a path begins with behind whose call the connection is to be closed.
const CLOSING: &str = "/close";

/// A service whose answer is in the path.
#[derive(Clone)]
struct Paths {
    peer: Option<PeerCredentials>,
}

impl Service<Request<Received>> for Paths {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Received>) -> Self::Future {
        assert!(!request.uri().path().ends_with("/panic-at-once"), "planted");
        let peer = self.peer;
        Box::pin(async move {
            let path = request.uri().path();
            let status = match path.strip_prefix(CLOSING).unwrap_or(path) {
                "/ok" => Status::ok(""),
                "/peer" => Status::ok(format!("{}", peer.map_or(-1, |peer| i64::from(peer.uid)))),
                "/count" => match drained(request.into_body()).await {
                    Ok(length) => Status::ok(length.to_string()),
                    Err(error) => Status::from_error(error),
                },
                "/hang" => std::future::pending().await,
                "/slow" => {
                    tokio::time::sleep(Duration::from_millis(700)).await;
                    Status::ok("")
                }
                "/big" => return Ok(Response::new(Body::new(Pieces::Big))),
                "/panic-in-body" => return Ok(Response::new(Body::new(Pieces::Panic))),
                "/panic" => panic!("planted"),
                _ => Status::unimplemented(""),
            };
            Ok(status.into_http())
        })
    }
}

impl CallService for Paths {
    fn closes_behind<B>(&self, request: &Request<B>) -> bool {
        request.uri().path().starts_with(CLOSING)
    }
}

/// A body: one piece larger than any window, a panic, or what is begun and never ended.
pub(super) enum Pieces {
    Big,
    Panic,
    Whole(Vec<u8>),
    Begun(Vec<u8>),
    Endless,
    End,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if matches!(*self, Pieces::Endless) {
            return Poll::Pending;
        }
        let next = if matches!(*self, Pieces::Begun(_)) { Pieces::Endless } else { Pieces::End };
        Poll::Ready(match std::mem::replace(&mut *self, next) {
            Pieces::Whole(bytes) | Pieces::Begun(bytes) => Some(Ok(Frame::data(Bytes::from(bytes)))),
            Pieces::Big => Some(Ok(Frame::data(Bytes::from(vec![7; 1 << 20])))),
            Pieces::Panic => panic!("planted"),
            Pieces::Endless | Pieces::End => None,
        })
    }
}

pub(super) async fn next_frame(body: &mut Incoming) -> Option<Frame<Bytes>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await.and_then(Result::ok)
}

async fn drained(mut body: Received) -> Result<usize, StdError> {
    let mut length = 0;
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(length)
}

pub(super) async fn drain_body(mut body: Incoming) -> usize {
    let mut length = 0;
    while let Some(frame) = next_frame(&mut body).await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

pub(super) struct Rig {
    pub(super) path: PathBuf,
    pub(super) traffic: Arc<Traffic>,
    _directory: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<Drained>>,
}

/// Limits under which nothing happens by itself.
pub(super) fn patient() -> Limits {
    let plenty = 1024;
    Limits {
        connections: plenty,
        connections_per_user: plenty,
        call_bytes: 256 << 20,
        streams: 128,
        request_timeout: NEVER,
        idle_connection: NEVER,
        drain: NEVER,
    }
}

pub(super) fn hasty_idle() -> Limits {
    Limits { idle_connection: Duration::from_millis(200), ..patient() }
}

impl Rig {
    pub(super) fn start(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (stop, stopped) = oneshot::channel();
        let endpoint = Endpoint { name: "test", listener, connection: |peer| Paths { peer } };
        let traffic = Arc::<Traffic>::default();
        let counted = Arc::clone(&traffic);
        let server = tokio::spawn(serve(vec![endpoint], limits, counted, async move { stopped.await.unwrap() }));
        Self { path, traffic, _directory: directory, stop, server }
    }

    pub(super) async fn raw(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(self.raw().await).await
    }

    /// Stops the server and waits for it.
    pub(super) async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        soon(self.server).await.unwrap().unwrap()
    }
}

pub(super) struct Client {
    pub(super) sender: SendRequest<Body>,
    pub(super) ended: JoinHandle<()>,
}

impl Client {
    pub(super) async fn connect(socket: UnixStream) -> Self {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1024)
            .handshake(TokioIo::new(socket))
            .await
            .unwrap();
        Self { sender, ended: tokio::spawn(async move { drop(connection.await) }) }
    }

    pub(super) fn send(&self, request: Request<Body>) -> JoinHandle<hyper::Result<Response<Incoming>>> {
        let mut sender = self.sender.clone();
        tokio::spawn(async move { sender.send_request(request).await })
    }

    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Incoming> {
        soon(self.send(request)).await.unwrap().unwrap()
    }

    /// The gRPC code and message of a call without a body.
    pub(super) async fn call(&self, path: &str) -> (tonic::Code, String) {
        status(self.answer(grpc(path)).await.headers())
    }

    pub(super) async fn call_with_timeout(&self, path: &str, timeout: &str) -> tonic::Code {
        let mut request = grpc(path);
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        status(self.answer(request).await.headers()).0
    }
}

pub(super) fn status(headers: &HeaderMap) -> (tonic::Code, String) {
    let status = Status::from_header_map(headers).expect("a gRPC status");
    (status.code(), status.message().to_owned())
}

pub(super) fn request(method: &str, path: &str, content_type: &str, body: Body) -> Request<Body> {
    let uri = format!("http://localhost{path}");
    Request::builder().method(method).uri(uri).header("content-type", content_type).body(body).unwrap()
}

pub(super) fn grpc(path: &str) -> Request<Body> {
    request("POST", path, "application/grpc", Body::empty())
}

pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("this should have ended")
}

/// Everything the server says until it closes.
pub(super) async fn until_closed(socket: &mut UnixStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end as well as a close is.
    let _end = soon(socket.read_to_end(&mut said)).await;
    said
}

pub(super) fn frame_types(mut said: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let [a, b, c, kind, rest @ ..] = said {
        types.push(*kind);
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        said = rest.get(5 + length..).unwrap_or_default();
    }
    types
}
