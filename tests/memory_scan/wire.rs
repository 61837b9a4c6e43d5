//! Calls by hand, where the typed client sends none: as another user, malformed, or with an id of the caller's choice.
//!
//! Must never be another user for longer than it takes to connect. Called by `refusals` and `refused_admin`.

use crate::keys::Outcome;
use hyper_util::rt::TokioIo;
use nix::unistd::{Uid, seteuid};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use tonic::transport::{Channel, Endpoint};

/// One call over a connection of its own; `path` is `/package.Service/Method`.
pub async fn call<Q, A>(stream: UnixStream, path: &'static str, message: Q) -> Result<A, tonic::Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let failed = |error: tonic::transport::Error| tonic::Status::from_error(error.into());
    let mut client = tonic::client::Grpc::new(channel(stream).await.map_err(failed)?);
    client.ready().await.map_err(failed)?;
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    client.unary(tonic::Request::new(message), path, codec).await.map(tonic::Response::into_inner)
}

async fn channel(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = stream.take();
        async move {
            let stream = stream.ok_or_else(|| std::io::Error::other("the one connection has ended"))?;
            stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(stream).map(TokioIo::new)
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

/// Connects as this user. Whoever it is may reach the socket then: the daemon itself is to say no.
pub fn connect_as(user: u32, socket: &Path) -> Outcome<UnixStream> {
    let directory = socket.parent().ok_or("a socket lies in a directory")?;
    set_permissions(directory, Permissions::from_mode(0o711))?;
    set_permissions(socket, Permissions::from_mode(0o666))?;
    seteuid(Uid::from_raw(user))?;
    let connected = UnixStream::connect(socket);
    seteuid(Uid::from_raw(0))?;
    Ok(connected?)
}
