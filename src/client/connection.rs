//! The connection to the daemon's socket: the one place with a deadline and a retry.
//!
//! Must never repeat a call that the daemon has answered, but for ABORTED, and never outlast the deadline.
//! Called by the typed clients of both services.

use super::error::Error;
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, ConnectError, Request, Response, Status, TimeoutExpired};

/// The deadline of a call for which none is set.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// The longest deadline: gRPC has no way to write much longer ones.
pub(super) const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
/// How often a call is sent whose connection breaks under it. One break is a restart or an idle connection closed at
/// this very moment; several in a row are the call's own fault or a daemon that cannot start.
const BROKEN_LIMIT: u32 = 5;
/// How often a call is sent that the daemon answers with ABORTED.
const CONFLICT_LIMIT: u32 = 5;

/// Where the daemon is, and how long a call may take.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) socket: PathBuf,
    pub(super) deadline: Duration,
    pub(super) wait_for_daemon: Duration,
}

/// A connection that is made when it is first used and made anew when it breaks.
pub(super) struct Connection {
    settings: Settings,
    channel: OnceLock<Channel>,
}

/// One try of a call.
pub(super) struct Try {
    channel: Channel,
    left: Duration,
}

impl Try {
    /// The channel to send it on.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Dresses a message as a request that tells the daemon how much time is left.
    pub(super) fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.set_timeout(self.left);
        request
    }
}

/// What a failed try means for the call.
enum Fault {
    /// No connection: nobody listens there, or nothing is there.
    Refused(Status),
    /// No connection for another reason, such as a full queue.
    Unconnected(Status),
    /// The connection broke under the call, or was closing already.
    Broken(Status),
    /// The daemon answers that its store changed under the call.
    Conflict(Error),
    /// Anything else: an answer.
    Final(Error),
}

impl Connection {
    pub(super) fn new(socket: &Path) -> Self {
        Self::with_settings(Settings {
            socket: socket.to_owned(),
            deadline: DEFAULT_DEADLINE,
            wait_for_daemon: DEFAULT_DEADLINE,
        })
    }

    pub(super) fn with_settings(settings: Settings) -> Self {
        Self { settings, channel: OnceLock::new() }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A call with one answer: builds the message anew for each try, so that no second copy of a plaintext is kept.
    pub(super) async fn unary<Q, A, F>(
        &self,
        message: impl Fn() -> Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call(|attempt| {
            let sent = send(attempt.channel(), attempt.request(message()));
            async move { Ok(sent.await?.into_inner()) }
        })
        .await
    }

    /// Any call: `attempt` is repeated from its beginning.
    pub(super) async fn call<A, F>(&self, attempt: impl Fn(Try) -> F) -> Result<A, Error>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let started = Instant::now();
        let (mut pause, mut broken, mut conflicts) = (FIRST_PAUSE, 0, 0);
        let mut last = None;
        loop {
            let left = self.settings.deadline.saturating_sub(started.elapsed());
            let sent = Try { channel: self.channel().clone(), left };
            let status = match tokio::time::timeout(left, attempt(sent)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                // What the tries before met says more than that time ran out over the last one.
                Err(_) => return Err(last.unwrap_or_else(|| self.deadline_exceeded())),
            };
            let error = match self.judge(status) {
                Fault::Final(error) => return Err(error),
                Fault::Conflict(error) => {
                    conflicts += 1;
                    if conflicts >= CONFLICT_LIMIT {
                        return Err(error);
                    }
                    error
                }
                Fault::Broken(status) => {
                    broken += 1;
                    let error = self.unavailable(status);
                    if broken >= BROKEN_LIMIT {
                        return Err(error);
                    }
                    error
                }
                Fault::Refused(status) => {
                    let error = self.unavailable(status);
                    if started.elapsed() + pause > self.settings.wait_for_daemon {
                        return Err(error);
                    }
                    error
                }
                Fault::Unconnected(status) => self.unavailable(status),
            };
            if started.elapsed() + pause >= self.settings.deadline {
                return Err(error);
            }
            last = Some(error);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn channel(&self) -> &Channel {
        self.channel.get_or_init(|| {
            let socket = self.settings.socket.clone();
            // The socket's path as authority is a protocol error to the daemon's HTTP/2.
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
            }))
        })
    }

    fn judge(&self, status: Status) -> Fault {
        // A status that the daemon sent has no source; one that was made here has.
        if std::error::Error::source(&status).is_none() {
            let error = Error::from_answer(&status, &self.settings.socket, self.settings.deadline);
            return if status.code() == Code::Aborted { Fault::Conflict(error) } else { Fault::Final(error) };
        }
        if in_chain::<TimeoutExpired>(&status).is_some() {
            return Fault::Final(self.deadline_exceeded());
        }
        if in_chain::<ConnectError>(&status).is_none() {
            return Fault::Broken(status);
        }
        match in_chain::<io::Error>(&status).map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => Fault::Final(Error::NotPermitted {
                reason: format!("this process may not open {}", self.settings.socket.display()),
                closed_socket: Some(self.settings.socket.clone()),
            }),
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Fault::Refused(status),
            Some(io::ErrorKind::InvalidInput) => Fault::Final(self.unavailable(status)),
            _ => Fault::Unconnected(status),
        }
    }

    fn deadline_exceeded(&self) -> Error {
        Error::DeadlineExceeded { deadline: self.settings.deadline }
    }

    fn unavailable(&self, status: Status) -> Error {
        let socket = self.settings.socket.clone();
        // Of a failed connect only the kernel's word is of use; the layers above it say nothing more.
        match in_chain::<io::Error>(&status) {
            Some(error) => Error::Unavailable { socket, source: copy(error).into() },
            None => Error::Unavailable { socket, source: status.into() },
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn in_chain<E: std::error::Error + 'static>(status: &Status) -> Option<&E> {
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: io::ErrorKind) -> Fault {
        let status = Status::from_error(Box::new(ConnectError(io::Error::from(kind).into())));
        Connection::new(Path::new("/run/x.sock")).judge(status)
    }

    #[test]
    fn a_socket_this_user_may_not_open_is_no_missing_daemon() {
        match judged(io::ErrorKind::PermissionDenied) {
            Fault::Final(Error::NotPermitted { reason, closed_socket: Some(_) }) => {
                assert!(reason.contains("/run/x.sock"))
            }
            _ => panic!("not told apart"),
        }
    }

    #[test]
    fn only_an_absent_daemon_counts_as_refused() {
        assert!(matches!(judged(io::ErrorKind::NotFound), Fault::Refused(_)));
        assert!(matches!(judged(io::ErrorKind::ConnectionRefused), Fault::Refused(_)));
        assert!(matches!(judged(io::ErrorKind::WouldBlock), Fault::Unconnected(_)), "a full queue");
    }
}
