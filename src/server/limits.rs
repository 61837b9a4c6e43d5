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
    /// Calls of one user id at once on each endpoint, from the first byte of the request that is read to the last one of
    /// the answer that is sent: each can hold a whole message. Further ones wait for their turn, within their deadline,
    /// and nothing of them is read but what the windows let in.
    pub calls_per_user: usize,
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

/// How many calls of one user are served at once on each endpoint; the configuration has no setting for it.
pub const CALLS_PER_USER: usize = 64;

/// How long calls in flight have to end after a stop; the configuration has no setting for it.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Received bytes that one stream may leave unread. Larger messages flow: the window moves as they are read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Received bytes that all streams of a connection together may leave unread.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
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
