//! What answers calls in the place of a daemon that did not start: each is UNAVAILABLE, whatever it asks.
//!
//! Must never look at a request, nor tell a component why: the operator's socket alone shows the cause.
//! Called by `server`, once for each connection that waited for the start.

use super::status::{did_not_start, did_not_start_because};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};

/// The service of one connection that is turned away.
#[derive(Clone)]
pub struct TurnedAway {
    answer: Arc<Status>,
}

impl TurnedAway {
    /// For a component.
    #[must_use]
    pub fn component() -> Self {
        Self { answer: Arc::new(did_not_start()) }
    }

    /// For an operator, with the cause.
    #[must_use]
    pub fn operator(cause: &str) -> Self {
        Self { answer: Arc::new(did_not_start_because(cause)) }
    }
}

impl<B> Service<http::Request<B>> for TurnedAway {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        ready(Ok(Status::clone(&self.answer).into_http()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(mut service: TurnedAway) -> String {
        let answer = service.call(http::Request::new(())).into_inner().unwrap();
        assert_eq!(answer.headers()["grpc-status"], "14");
        answer.headers()["grpc-message"].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_component_is_told_to_try_again_and_the_operator_why() {
        let component = answered(TurnedAway::component());
        let operator = answered(TurnedAway::operator("no store at /var/lib"));
        assert!(component.contains("did%20not%20start") && !component.contains("no%20store"), "{component}");
        assert!(operator.contains("did%20not%20start") && operator.contains("no%20store%20at"), "{operator}");
    }
}
