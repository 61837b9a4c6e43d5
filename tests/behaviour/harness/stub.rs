//! Calls of the generated code: messages that the test writes itself, each sent once.
//!
//! Must never repeat a call.
//! Used by tests of request ids, and of what a death leaves.

use servos_keyd::proto::v1::key_admin_client::KeyAdminClient;
use std::path::{Path, PathBuf};
use tonic::transport::{Channel, Endpoint, Uri};

/// A stub on a connection of its own: the daemon closes those that carried a key.
pub fn admin_stub(socket: &Path) -> KeyAdminClient<Channel> {
    let socket: PathBuf = socket.to_owned();
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    KeyAdminClient::new(Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect))
}
