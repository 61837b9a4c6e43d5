//! A response body that knows its call: the call stays in flight until the last byte is sent, and each piece is progress.
//!
//! Must never copy a piece, nor let a panic in a stream of answers end more than its own call.
//! Called by `call`, and polled and dropped by hyper and h2.

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::HeaderMap;
use hyper::body::{Body, Buf, Bytes, Frame, SizeHint};
use tonic::Status;

use super::activity::Call;
use super::panics;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None` once it has panicked.
    body: Option<tonic::body::Body>,
    call: Arc<Call>,
}

impl Answer {
    pub(super) fn new(body: tonic::body::Body, call: Arc<Call>) -> Self {
        Self { body: Some(body), call }
    }
}

impl Body for Answer {
    type Data = Piece;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Status>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(context)));
        let Ok(frame) = polled else {
            this.body = None;
            return Poll::Ready(Some(last_words()));
        };
        if frame.is_ready() {
            this.call.progress();
        }
        frame.map(|frame| {
            frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| Piece { bytes, call: Arc::clone(&this.call) })))
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

/// The trailers of an answer whose stream panicked.
fn last_words() -> Result<Frame<Piece>, Status> {
    let mut trailers = HeaderMap::new();
    panics::status().add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

/// A piece of an answer. h2 drops it when it has been written to the socket.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    call: Arc<Call>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.call.progress();
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }
}
