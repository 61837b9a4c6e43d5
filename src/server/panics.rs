//! A panic in a call: caught while it is polled, logged with an id, and answered as INTERNAL.
//!
//! Must never tell what the code panicked with, nor poll again what has panicked.
//! Called by `call` for handlers, and by `body` for streams of answers.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use tonic::Status;

use crate::rpc::status::broken;
use crate::telemetry::events;

/// Runs `future`; a panic in it becomes a value.
pub(super) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    // Sound to go on with: after a panic the future is never polled again, only dropped.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(payload)),
    })
    .await
}

/// The status of a call whose service, or whose stream of answers, panicked: the id joins it to the log.
pub(super) fn status() -> Status {
    let (id, status) = broken();
    tracing::error!(event = events::CALL_FAILED, id, "a call broke off: this is a bug");
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_value() {
        assert!(caught(async { panic!("planted") }).await.is_err());
        assert_eq!(caught(async { 7 }).await.ok(), Some(7));
    }
}
