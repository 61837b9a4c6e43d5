//! The messages that Backup answers with: what the backup is, then its bytes.
//!
//! Must never hold a second copy of the bytes: a piece is made when the transport takes it.
//! Called by the handlers of `key_admin`.

use crate::operations::backup::{Made, Pieces};
use crate::proto::v1::{BackupInfo, BackupResponse};
use std::pin::Pin;
use tonic::Status;
use tonic::codegen::tokio_stream::{self, Stream};

pub(super) type BackupStream = Pin<Box<dyn Stream<Item = Result<BackupResponse, Status>> + Send>>;

/// What the backup is, and nothing behind it: the daemon has written its file.
pub(super) fn alone(made: &Made) -> BackupStream {
    Box::pin(tokio_stream::once(Ok(first(made))))
}

/// What the backup is, and then its bytes.
pub(super) fn with_contents(made: &Made, pieces: Pieces) -> BackupStream {
    let chunks = pieces.map(|chunk| BackupResponse { info: None, chunk });
    Box::pin(tokio_stream::iter(std::iter::once(first(made)).chain(chunks).map(Ok)))
}

fn first(made: &Made) -> BackupResponse {
    let info = BackupInfo {
        path: made.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        store_id: made.store_id.to_string(),
        generation: made.generation,
        written: made.written,
        bytes: made.bytes,
        keys: u32::try_from(made.keys).unwrap_or(u32::MAX),
        versions: u32::try_from(made.versions).unwrap_or(u32::MAX),
        opened_by: made.opened_by.iter().map(ToString::to_string).collect(),
    };
    BackupResponse { info: Some(info), chunk: Vec::new() }
}
