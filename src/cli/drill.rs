//! A drill that succeeded, told to the daemon whose key or backup was tried.
//!
//! Must never tell it of a drill with the file that the daemon itself reads: that is no copy.
//! Called by `servos-keyctl check-key` and `servos-keyd restore --drill`.

use super::exit;
use super::failure::Failure;
use super::{key, service};
use crate::client::error::Error;
use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::proto::v1::DrillKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was tried.
pub struct Drill<'d> {
    /// Alone, or with a backup.
    pub kind: DrillKind,
    /// The key: 16 hex digits.
    pub fingerprint: &'d str,
    /// The store that it opens: 32 hex digits.
    pub store_id: &'d str,
    /// The files that the key was read from.
    pub files: Vec<PathBuf>,
}

/// Has the daemon on `socket` keep it; answers when, in Unix seconds, or why it did not: which is no failure of the drill.
///
/// # Errors
/// Why it was not kept.
pub fn record(socket: &Path, drill: &Drill<'_>) -> Result<i64, String> {
    let runtime = super::runtime::of_this_thread().map_err(|failure| failure.message)?;
    // A person waits.
    let client = Client::new(socket).with_wait_for_daemon(Duration::ZERO);
    let kept = runtime.block_on(kept(&AdminClient::new(&client), socket, drill));
    kept.unwrap_or_else(|error| Err(because(error)))
}

async fn kept(admin: &AdminClient, socket: &Path, drill: &Drill<'_>) -> Result<Result<i64, String>, Error> {
    let status = admin.status().await?;
    let serves = status.store.unwrap_or_default().store_id;
    if serves != drill.store_id {
        return Ok(Err(format!("the daemon on {} serves another store, {serves}", socket.display())));
    }
    let reads = status.master_key.unwrap_or_default().next_file;
    let reads = reads.strip_suffix(".next").map(PathBuf::from);
    let own = reads.and_then(|reads| drill.files.iter().find(|tried| is_same_file(&reads, tried)));
    if let Some(tried) = own {
        return Ok(Err(format!("{} is what the daemon itself reads, and no copy", tried.display())));
    }
    // What systemd hands over the daemon does not know by its file's name: the unit does.
    if let Some(tried) = service_reads(&drill.files) {
        return Ok(Err(format!(
            "{} is what the service itself reads, by its unit, and no copy: it proves nothing of the one that is kept",
            tried.display()
        )));
    }
    Ok(Ok(admin.record_drill(drill.kind, drill.fingerprint).await?))
}

/// The first of the files that the machine's service takes its key from.
fn service_reads(files: &[PathBuf]) -> Option<&PathBuf> {
    let of_unit = key::memory().map(|memory| service::files_of_unit(&memory)).unwrap_or_default();
    files.iter().find(|tried| of_unit.iter().any(|own| is_same_file(own, tried)))
}

fn because(error: Error) -> String {
    let failure = Failure::from(error);
    // What is refused for the socket's sake is said without its remedy: nothing has gone wrong.
    match failure.hint {
        Some(hint) if failure.exit != exit::NO_DAEMON => format!("{} ({hint})", failure.message),
        _ => failure.message,
    }
}

/// Whether two paths lead to one file, by whatever names it has.
#[must_use]
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
