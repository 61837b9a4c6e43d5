//! The socket of the metrics: HTTP/1.1 for whoever collects them, one request a connection.
//!
//! Must never read a body, keep a connection longer than its time, or take a thread's time from calls for a slow reader.
//! Called by `cli`, beside `serve`, where a socket for them is configured or handed over.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use super::admission::Admission;
use super::serve::{Backoff, concerns_one_connection};
use crate::sys::peer::{self, PeerCredentials};
use crate::telemetry::connections::Peer;
use crate::telemetry::open_metrics;
use crate::telemetry::traffic::Traffic;

/// Where they are, on the socket.
const PATH: &str = "/metrics";
/// The socket's name, for status.
const NAME: &str = "metrics";
/// Open connections, and those of one user among them.
const CONNECTIONS: usize = 16;
const CONNECTIONS_PER_USER: usize = 8;
/// From the first byte of a request to the end of its head.
const HEAD: Duration = Duration::from_secs(5);
/// From the accept to the end of the answer.
const WHOLE: Duration = Duration::from_secs(10);
const HEAD_LINES: usize = 32;
/// hyper takes no less.
const HEAD_BYTES: usize = 8 << 10;

/// Serves on `listener` what `metrics` gives each peer, until it is dropped; whom it gives nothing is refused. Needs a Tokio
/// runtime with time and I/O.
///
/// # Errors
/// A listener that the runtime does not take.
pub async fn serve_metrics<M>(
    listener: std::os::unix::net::UnixListener,
    metrics: M,
    traffic: Arc<Traffic>,
) -> io::Result<Infallible>
where
    M: Fn(PeerCredentials) -> Option<String> + Clone + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    traffic.connections.serves(NAME);
    let admission = Admission::new(CONNECTIONS, CONNECTIONS_PER_USER, 0);
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((socket, _address)) => {
                backoff.reset();
                admit(socket, &metrics, &admission, &traffic);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => sleep(backoff.next(&error)).await,
        }
    }
}

/// Whom the kernel does not name, and whoever is one too many, is closed by being dropped.
fn admit<M>(socket: UnixStream, metrics: &M, admission: &Arc<Admission>, traffic: &Arc<Traffic>)
where
    M: Fn(PeerCredentials) -> Option<String> + Clone + Send + 'static,
{
    let Ok(credentials) = peer::of(&socket) else { return traffic.connections.refused(NAME) };
    let Ok(seat) = admission.admit(Some(credentials.uid)) else { return traffic.connections.refused(NAME) };
    let open = traffic.connections.open(Peer { socket: NAME, uid: Some(credentials.uid), pid: credentials.pid });
    let metrics = metrics.clone();
    let text = move || metrics(credentials);
    tokio::spawn(async move {
        // Reading, answering and leaving, all of it: however it ends, there is nobody to tell.
        let _ended = timeout(WHOLE, answer_one(socket, text)).await;
        drop((seat, open));
    });
}

async fn answer_one(socket: UnixStream, metrics: impl Fn() -> Option<String>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEAD_LINES)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .auto_date_header(false);
    let _end = http.serve_connection(TokioIo::new(socket), answer).await;
}

fn respond(request: &Request<Incoming>, metrics: impl FnOnce() -> Option<String>) -> Response<String> {
    let mut response = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, PATH) => match metrics() {
            Some(text) => {
                let mut response = Response::new(text);
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(open_metrics::CONTENT_TYPE));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                return response;
            }
            None => plain(StatusCode::FORBIDDEN, "this user may not read the metrics\n"),
        },
        (&Method::GET | &Method::HEAD, _) => plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"),
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    struct Rig {
        directory: tempfile::TempDir,
        traffic: Arc<Traffic>,
    }

    impl Rig {
        fn start(text: Option<&'static str>) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let listener = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
            let traffic = Arc::<Traffic>::default();
            tokio::spawn(serve_metrics(listener, move |_| text.map(str::to_owned), Arc::clone(&traffic)));
            Self { directory, traffic }
        }

        async fn connect(&self) -> UnixStream {
            UnixStream::connect(self.directory.path().join("socket")).await.unwrap()
        }

        async fn ask(&self, request: &str) -> String {
            let mut socket = self.connect().await;
            socket.write_all(request.as_bytes()).await.unwrap();
            said_until_closed(&mut socket).await
        }
    }

    async fn said_until_closed(socket: &mut UnixStream) -> String {
        let mut said = Vec::new();
        let _end = socket.read_to_end(&mut said).await;
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn the_metrics_are_at_one_path_and_nothing_else_is_answered() {
        let rig = Rig::start(Some("# EOF\n"));
        let said = rig.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\n# EOF\n"), "{said}");
        assert!(said.contains(&format!("content-type: {}\r\n", open_metrics::CONTENT_TYPE)), "{said}");
        let head = rig.ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(head.contains("content-length: 6\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(HEAD_LINES + 1));
        for (request, answer) in [
            ("GET /metrics HTTP/1.0\r\n\r\n", "HTTP/1.0 200 "),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
            ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 405 "),
            ("what is this\r\n\r\n", "HTTP/1.1 400 "),
            (&long, "HTTP/1.1 431 "),
            (&many, "HTTP/1.1 431 "),
        ] {
            let said = rig.ask(request).await;
            assert!(said.starts_with(answer), "{said}");
        }
        let refused = Rig::start(None).ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_and_one_that_does_not_end_are_closed() {
        let rig = Rig::start(Some("# EOF\n"));
        for begun in ["", "GET /met", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"] {
            let mut socket = rig.connect().await;
            socket.write_all(begun.as_bytes()).await.unwrap();
            assert!(!said_until_closed(&mut socket).await.contains("200"));
        }
    }

    #[tokio::test]
    async fn one_user_takes_his_share_of_the_connections_and_the_next_is_closed() {
        let rig = Rig::start(Some("# EOF\n"));
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_PER_USER {
            held.push(rig.connect().await);
        }
        assert_eq!(said_until_closed(&mut rig.connect().await).await, "");
        let count = rig.traffic.connections.sockets().remove(0);
        assert_eq!((count.open, count.refused), (8, 1));
        assert!(held.iter().all(|socket| socket.peer_addr().is_ok()));
    }
}
