//! One call: refused if it is not gRPC, given to the service within its deadline, and never the end of its connection.
//!
//! Must never say in a status what the service did or panicked with: the texts are fixed.
//! Called by `connection` for each request.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use super::activity::Call;
use super::body::Answer;
use super::deadline::{later, time_allowed};
use super::panics;
use crate::rpc::connection::{Connection, carries_a_key};
use crate::rpc::received::Received;
use crate::rpc::status::too_much;
use crate::rpc::turned_away::TurnedAway;
use crate::telemetry::calls::{self, operation_of};

/// What a call takes before it has a message: its task, and the room for its first bytes.
const BARE_CALL_BYTES: usize = 8 << 10;
/// What a header takes beside its bytes.
const HEADER_BYTES: usize = 128;

/// What answers calls: a tonic service, or several behind one. Cloned for each call, and never asked whether it is ready:
/// it must always be.
pub trait CallService:
    Service<Request<Received>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    /// Whether a request can carry what must not stay in its connection's buffers, where nothing can wipe it: the connection
    /// is then closed behind the call, however that ends.
    fn closes_behind<B>(&self, request: &Request<B>) -> bool;
}

impl CallService for Connection {
    fn closes_behind<B>(&self, request: &Request<B>) -> bool {
        carries_a_key(request)
    }
}

impl CallService for TurnedAway {
    fn closes_behind<B>(&self, _: &Request<B>) -> bool {
        // It has nothing more to say to anybody.
        true
    }
}

/// Has the connection closed when it goes: with the answer, or with a call that its client, its deadline or a panic ends.
struct CloseBehind(Arc<Call>);

impl Drop for CloseBehind {
    fn drop(&mut self) {
        self.0.close_connection();
    }
}

/// Counts a call when it goes: by the code of its answer, or as one that nobody waited for.
struct Measured {
    call: Arc<Call>,
    operation: usize,
    began: Instant,
    code: usize,
}

impl Measured {
    fn begin(request: &Request<Incoming>, call: &Arc<Call>, began: Instant) -> Self {
        let operation = operation_of(request.uri().path());
        Self { call: Arc::clone(call), operation, began, code: calls::CANCELLED }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.call.traffic().calls.count(self.operation, self.code, self.began.elapsed());
    }
}

/// A call that was begun.
enum Begun<S: CallService> {
    /// Nothing is left to do.
    Answered(Box<Response<Body>>),
    /// The service is at it, and has so much time.
    Handled(S::Future, Duration),
}

/// Answers one request. The call is over when the answer's last byte is sent; until then it holds what it was charged.
pub(super) fn answer<S: CallService>(
    service: S,
    request: Request<Incoming>,
    call: Arc<Call>,
    limit: Duration,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send {
    let close = service.closes_behind(&request).then(|| CloseBehind(Arc::clone(&call)));
    // The clock is asked once for both: it is not cheap everywhere.
    let began = Instant::now();
    let mut measured = Measured::begin(&request, &call, began);
    // The request goes to the service before the future is made: in it, it would be moved again and again.
    let begun = begin(service, request, &call, limit);
    async move {
        let _close = close;
        let response = match begun {
            Begun::Answered(response) => *response,
            Begun::Handled(future, allowed) => finish(future, later(began, allowed)).await,
        };
        measured.code = code_of(&response);
        drop(measured);
        Ok(response.map(|body| Answer::new(body, call)))
    }
}

fn begin<S: CallService>(mut service: S, request: Request<Incoming>, call: &Call, limit: Duration) -> Begun<S> {
    if let Some(refusal) = refusal(&request) {
        return Begun::Answered(Box::new(refusal));
    }
    let allowed = time_allowed(request.headers(), limit);
    if allowed.is_zero() {
        return Begun::Answered(Box::new(deadline_passed().into_http()));
    }
    let charge = call.charge();
    if charge.take(head_bytes(request.headers())).is_err() {
        return Begun::Answered(Box::new(too_much().into_http()));
    }
    let mut request = request.map(|body| Received::new(body, Arc::clone(charge)));
    request.extensions_mut().insert(Arc::clone(charge));
    match catch_unwind(AssertUnwindSafe(|| service.call(request))) {
        Ok(future) => Begun::Handled(future, allowed),
        Err(_payload) => Begun::Answered(Box::new(panics::status().into_http())),
    }
}

/// What a call holds beside its messages.
fn head_bytes(headers: &HeaderMap) -> usize {
    headers.iter().fold(BARE_CALL_BYTES, |sum, (name, value)| sum + HEADER_BYTES + name.as_str().len() + value.len())
}

/// The answer to what is not a gRPC request.
fn refusal(request: &Request<Incoming>) -> Option<Response<Body>> {
    if request.method() != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    let grpc = request.headers().get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()));
    (!grpc).then(|| plain(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// Source: gRPC over HTTP/2, "Content-Type": `application/grpc`, alone or with `+proto` or a parameter after it.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
}

/// The number of an answer's code. A success that has a message tells its code only behind that.
fn code_of(response: &Response<Body>) -> usize {
    match response.headers().get(Status::GRPC_STATUS) {
        Some(code) => code.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(calls::UNKNOWN),
        None if response.status() == StatusCode::OK => 0,
        None => calls::UNKNOWN,
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

async fn finish<F>(future: F, deadline: Instant) -> Response<Body>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    match tokio::time::timeout_at(deadline, panics::caught(future)).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_payload)) => panics::status().into_http(),
        Err(_elapsed) => deadline_passed().into_http(),
    }
}

fn deadline_passed() -> Status {
    Status::deadline_exceeded("deadline passed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_content_types_are_taken() {
        for taken in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is_grpc(taken.as_bytes()), "{taken}");
        }
        for refused in
            ["", "application/grp", "application/grpc-web", "application/grpcx", "text/plain", "application/json"]
        {
            assert!(!is_grpc(refused.as_bytes()), "{refused}");
        }
    }
}
