//! One call: refused if it is not gRPC, given to the service within its deadline, and never the end of its connection.
//!
//! Must never say in a status what the service did or panicked with: the texts are fixed.
//! Called by `connection` for each request.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tracing::error;

use crate::telemetry::events;

use super::activity::Call;
use super::body::Answer;
use super::deadline::time_allowed;

/// What answers calls: a tonic service, or several behind one. Cloned for each call.
pub trait CallService:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> CallService for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// Answers one request. The call is over when the answer's last byte is sent.
pub(super) async fn answer<S: CallService>(
    service: S,
    request: Request<Incoming>,
    call: Arc<Call>,
    turns: Arc<Semaphore>,
    limit: Duration,
) -> Result<Response<Answer>, Infallible> {
    let mut response = match refusal(&request) {
        Some(refusal) => refusal,
        None => respond(service, request, &call, turns, limit).await,
    };
    // In HTTP/2 the header has no meaning and is never sent. Here it is how a service asks for a fresh connection,
    // because this one's buffers have held something that should not lie there.
    if response.headers_mut().remove(CONNECTION).is_some_and(|value| value == "close") {
        call.close_connection();
    }
    Ok(response.map(|body| Answer::new(body, call)))
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

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

async fn respond<S: CallService>(
    mut service: S,
    request: Request<Incoming>,
    call: &Call,
    turns: Arc<Semaphore>,
    limit: Duration,
) -> Response<Body> {
    let allowed = time_allowed(request.headers(), limit);
    if allowed.is_zero() {
        return deadline_passed().into_http();
    }
    let handled = catching_panics(async move {
        // Nobody closes it, so this always is a turn, in the order of the calls.
        if let Ok(turn) = turns.acquire_owned().await {
            call.hold(turn);
        }
        match poll_fn(|context| service.poll_ready(context)).await {
            Ok(()) => service.call(request).await,
            Err(never) => Err(never),
        }
    });
    match tokio::time::timeout(allowed, handled).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_payload)) => panicked().into_http(),
        Err(_elapsed) => deadline_passed().into_http(),
    }
}

/// Runs `future`; a panic in it becomes a value.
async fn catching_panics<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    // Sound to go on with: after a panic the future is never polled again, only dropped.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => std::task::Poll::Ready(Err(payload)),
    })
    .await
}

fn deadline_passed() -> Status {
    Status::deadline_exceeded("deadline passed")
}

/// The status of a call whose service, or whose stream of answers, panicked: the id joins it to the log.
pub(super) fn panicked() -> Status {
    let (id, status) = crate::rpc::status::broken();
    error!(event = events::CALL_FAILED, id, "a call broke off: this is a bug");
    status
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

    #[tokio::test]
    async fn a_panic_becomes_a_value() {
        assert!(catching_panics(async { panic!("planted") }).await.is_err());
        assert_eq!(catching_panics(async { 7 }).await.ok(), Some(7));
    }
}
