//! Calls made by hand: HTTP/2 to a socket, with any bytes for a message, and the answer as it stands on the wire.
//!
//! Must never mend a request, or wait without a deadline.
//! Used by tests of what no well-behaved client sends.

use super::DEADLINE;
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

/// The package's services.
pub const KEY_SERVICE: &str = "servos.keyd.v1.KeyService";
/// The operators' service.
pub const KEY_ADMIN: &str = "servos.keyd.v1.KeyAdmin";

/// One connection.
#[derive(Clone)]
pub struct Wire {
    sender: SendRequest<Pieces>,
}

/// A request's body.
pub struct Pieces {
    bytes: Option<Bytes>,
    /// Whether it ends behind them; else more is to come, and never does.
    ends: bool,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The gRPC code; none if there is no gRPC status.
    pub code: Option<Code>,
    /// Its text.
    pub text: String,
    /// The messages.
    pub messages: Vec<Vec<u8>>,
}

impl Answer {
    /// Passes an answer with this code, and gives its text.
    #[track_caller]
    pub fn refused(self, code: Code) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.messages.is_empty(), "{self:?}");
        self.text
    }

    /// Passes an answer that is one message.
    #[track_caller]
    pub fn message<M: Message + Default>(self) -> M {
        assert_eq!((self.code, self.messages.len()), (Some(Code::Ok), 1), "{self:?}");
        M::decode(self.messages[0].as_slice()).unwrap()
    }
}

/// A future that must end in time.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("this should have ended")
}

/// A message with the five bytes that go before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

impl Wire {
    /// Connects.
    pub async fn connect(socket: &Path) -> Self {
        Self::connect_and_listen(socket).await.0
    }

    /// Connects, and keeps what the daemon says on the connection.
    pub async fn connect_and_listen(socket: &Path) -> (Self, Heard) {
        Self::over(UnixStream::connect(socket).await.unwrap()).await
    }

    /// The same on a connection that was made by others.
    pub async fn over(stream: UnixStream) -> (Self, Heard) {
        let heard = Heard::default();
        let stream = Listening { stream, heard: heard.clone() };
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = soon(builder.handshake(TokioIo::new(stream))).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        (Self { sender }, heard)
    }

    /// Calls a method with a message.
    pub async fn call(&self, service: &str, method: &str, message: &impl Message) -> Answer {
        self.call_with(service, method, &message.encode_to_vec(), &[]).await
    }

    /// Calls a method with any bytes for a message, and headers.
    pub async fn call_with(&self, service: &str, method: &str, bytes: &[u8], headers: &[(&str, &str)]) -> Answer {
        self.send(&format!("/{service}/{method}"), framed(bytes), headers).await.expect("an answer")
    }

    /// Sends any body to any path.
    pub async fn send(&self, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> hyper::Result<Answer> {
        self.send_body(path, Pieces { bytes: Some(Bytes::from(body)), ends: true }, headers).await
    }

    /// Sends these bytes and says that more are to come, which never do: answered only if it is refused.
    pub fn begin(&self, path: &'static str, body: Bytes) -> JoinHandle<Option<Answer>> {
        let wire = self.clone();
        let body = Pieces { bytes: Some(body), ends: false };
        tokio::spawn(async move { wire.send_body(path, body, &[]).await.ok() })
    }

    async fn send_body(&self, path: &str, body: Pieces, headers: &[(&str, &str)]) -> hyper::Result<Answer> {
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        let response = soon(self.sender.clone().send_request(request)).await?;
        Ok(soon(read(response)).await)
    }
}

/// What the daemon said on one connection, below HTTP/2.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Words>>);

#[derive(Default)]
struct Words {
    bytes: Vec<u8>,
    /// Nothing comes any more.
    closed: bool,
}

impl Heard {
    /// Whether the connection has ended: the daemon closed it, or the client did, which does so behind a GOAWAY.
    pub fn is_closed(&self) -> bool {
        self.0.lock().unwrap().closed
    }

    /// Whether the daemon said that it takes no more calls on it: a frame GOAWAY.
    pub fn says_goaway(&self) -> bool {
        let words = self.0.lock().unwrap();
        let mut rest = words.bytes.as_slice();
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            if head[3] == 7 {
                return true;
            }
            let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
            rest = after.get(length..).unwrap_or_default();
        }
        false
    }
}

/// A socket that keeps what is read from it.
struct Listening {
    stream: UnixStream,
    heard: Heard,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.heard.0.lock().unwrap().closed = true;
    }
}

impl AsyncRead for Listening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(end) = &read {
            let mut words = self.heard.0.lock().unwrap();
            words.bytes.extend_from_slice(&buffer.filled()[before..]);
            words.closed |= end.is_err() || buffer.filled().len() == before;
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn read(response: Response<Incoming>) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut status = status(&head.headers);
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => status = frame.trailers_ref().and_then(self::status),
        }
    }
    let mut messages = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes(head[1..].try_into().unwrap())).unwrap();
        let (message, after) = after.split_at(length);
        messages.push(message.to_vec());
        rest = after;
    }
    let code = status.as_ref().map(Status::code);
    let text = status.map(|status| status.message().to_owned()).unwrap_or_default();
    Answer { code, text, messages }
}

fn status(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers)
}
