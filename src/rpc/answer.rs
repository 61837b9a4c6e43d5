//! From an operation's outcome to an answer: refusals logged and mapped, panics caught, changes awaited.
//!
//! Must never answer a panic or a lost job with anything but INTERNAL, nor log more of a request than its RPC.
//! Called by every handler.

use super::refusals::{Kind, is_told};
use super::status;
use crate::auth::peer::Peer;
use crate::operations::ledger::Ledger;
use crate::operations::refusal::Refusal;
use crate::operations::writer::{Job, Writer};
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use crate::telemetry::panic::{PanicLocation, last_panic_location};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;
use tonic::{Code, Request, Response, Status};

/// The peer that a call comes from.
///
/// # Errors
/// UNAUTHENTICATED if the connection has none.
pub fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    request.extensions().get().copied().ok_or_else(|| Status::unauthenticated(status::UNAUTHENTICATED))
}

/// Does something in memory and answers it.
///
/// # Errors
/// What the table says of a refusal; INTERNAL for a panic.
pub fn answer<T>(
    rpc: &'static str,
    peer: Peer,
    work: impl FnOnce() -> Result<T, Refusal>,
) -> Result<Response<T>, Status> {
    // The keyring that a call sees is immutable, so a panic leaves nothing half done that others could meet.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(message)) => Ok(Response::new(message)),
        Ok(Err(refusal)) => Err(refused(rpc, peer, &refusal)),
        Err(_) => Err(broken(rpc, peer, last_panic_location())),
    }
}

/// Looks at the ledger, on the writer's thread, without changing anything, and answers it.
///
/// # Errors
/// As [`answer_from_writer`].
pub async fn answer_from_look<T: Send + 'static>(
    rpc: &'static str,
    peer: Peer,
    writer: Option<&Writer>,
    work: impl FnOnce(&mut Ledger) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Status> {
    await_writer(rpc, peer, writer, Writer::submit_look, work).await
}

/// Changes something with the ledger, on the writer's thread, and answers it.
///
/// # Errors
/// As [`answer`]; RESOURCE_EXHAUSTED if too much waits already.
pub async fn answer_from_writer<T: Send + 'static>(
    rpc: &'static str,
    peer: Peer,
    writer: Option<&Writer>,
    work: impl FnOnce(&mut Ledger) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Status> {
    await_writer(rpc, peer, writer, Writer::submit, work).await
}

async fn await_writer<T: Send + 'static>(
    rpc: &'static str,
    peer: Peer,
    writer: Option<&Writer>,
    submit: fn(&Writer, Job) -> Result<(), Refusal>,
    work: impl FnOnce(&mut Ledger) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Status> {
    let writer = writer.ok_or_else(|| refused(rpc, peer, &Refusal::Salvage))?;
    let (sender, receiver) = oneshot::channel();
    let job = Box::new(move |ledger: &mut Ledger| {
        // A caller that has gone away does not undo its change.
        let _ = sender.send(work(ledger));
    });
    submit(writer, job).map_err(|refusal| refused(rpc, peer, &refusal))?;
    match receiver.await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(refusal)) => Err(refused(rpc, peer, &refusal)),
        Err(_) => Err(broken(rpc, peer, None)),
    }
}

/// Logs a refusal with its cause, where its user has not had too many logged, and gives the caller's part of it.
pub fn refused(rpc: &'static str, peer: Peer, refusal: &Refusal) -> Status {
    let (code, text) = status::of(refusal);
    let (uid, pid) = (peer.credentials.uid, peer.credentials.pid);
    let kind = match code {
        _ if refusal.is_fault() => Kind::Fault,
        Code::PermissionDenied => Kind::NotPermitted,
        _ if matches!(refusal, Refusal::Rejected(_)) => Kind::Rejected,
        _ => Kind::Other,
    };
    if is_told(Some(uid), kind) {
        let cause = chain(refusal);
        match kind {
            Kind::Fault => {
                tracing::error!(event = events::CALL_FAILED, rpc, ?code, uid, pid, %cause, "call failed");
            }
            Kind::NotPermitted => {
                tracing::warn!(event = events::CALL_REFUSED, rpc, ?code, uid, pid, %cause, "call refused");
            }
            Kind::Rejected | Kind::Other => {
                tracing::info!(event = events::CALL_REFUSED, rpc, ?code, uid, pid, %cause, "call refused");
            }
        }
    }
    Status::new(code, text)
}

/// A panic, or a job that was lost with one: the id joins the answer to the log.
fn broken(rpc: &'static str, peer: Peer, place: Option<PanicLocation>) -> Status {
    let (id, status) = status::broken();
    let place = place.map_or_else(|| "on the writer's thread".to_owned(), |place| place.to_string());
    let (uid, pid) = (peer.credentials.uid, peer.credentials.pid);
    tracing::error!(event = events::CALL_FAILED, rpc, id, place, uid, pid, "a call broke off: this is a bug");
    status
}
