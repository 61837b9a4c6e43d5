//! What one client may take from the others: connections, streams, time.
//!
//! Must never hold a value that means "no limit": each field is a bound that is enforced.
//! Called by `cli`, which fills it from the configuration, and by the rest of `server`.

use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// The bounds of a server. Every one of them is enforced on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections on each endpoint. One more is accepted and closed at once. Counted per endpoint, so that
    /// whoever fills the component socket does not lock the operator out of the admin socket.
    pub connections: usize,
    /// Open connections of one user id on each endpoint; peers without credentials count as one user.
    pub connections_per_user: usize,
    /// Bytes that all calls under way on each endpoint may hold together: their heads, their messages, twice each, and
    /// answers that are not made of them. Of these a user gets no more than half of what is left for all. One call more, or a message
    /// that is too large now, is refused.
    pub call_bytes: usize,
    /// Calls in flight on one connection.
    pub streams: u32,
    /// How long a call may take to its response's head; a client's own shorter `grpc-timeout` goes before.
    /// It is also how long a response that is under way may make no progress, give or take its own length.
    pub request_timeout: Duration,
    /// How long a connection may be without a call before it is closed. A handshake that is not finished is no call.
    pub idle_connection: Duration,
    /// How long calls in flight have to end after the server was told to stop.
    pub drain: Duration,
}

/// What the calls under way may hold on the socket of components, and on one that serves everything; the configuration has no
/// setting for it. One user alone gets a third: 40 calls under way with plaintexts of the largest size.
pub const CALL_BYTES: usize = 256 << 20;

/// How long calls in flight have to end after a stop; the configuration has no setting for it.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Received bytes that one stream may leave unread. Larger messages flow: the window moves as they are read.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// Received bytes that all streams of a connection together may leave unread; h2 counts half as much more for what small
/// frames take beside their bytes. Every connection can have it, whatever else is under way.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
const SEND_BUFFER_BYTES: usize = 64 << 10;
const HEADER_LIST_BYTES: u32 = 16 << 10;
/// Streams that a client opened and reset before they were looked at (rapid reset) until the connection is ended.
const PENDING_RESETS: usize = 20;
/// Streams that were reset because the client broke the protocol on them until the connection is ended.
const LOCAL_ERROR_RESETS: usize = 64;

impl Limits {
    /// The HTTP/2 settings for one connection. No keep-alive pings: a connection without calls ends anyway.
    pub(super) fn http2(&self) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(HEADER_LIST_BYTES)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_ERROR_RESETS)
            .auto_date_header(false)
            .keep_alive_interval(None);
        builder
    }
}
