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
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::UnixStream;
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
pub struct Pieces(Vec<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.0.remove(0)))))
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
        let stream = UnixStream::connect(socket).await.unwrap();
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = soon(builder.handshake(TokioIo::new(stream))).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Self { sender }
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
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Pieces(vec![Bytes::from(body)])).unwrap();
        let response = soon(self.sender.clone().send_request(request)).await?;
        Ok(soon(read(response)).await)
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
