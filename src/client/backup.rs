//! Backups of the store: written by the daemon, or fetched whole.
//!
//! Must never hand out a backup that ended early.
//! Called by `servos-keyctl backup`, by installers and by the tests.

use super::error::Error;
use super::key_admin::AdminClient;
use crate::proto::v1::key_admin_client::KeyAdminClient;
use crate::proto::v1::{BackupInfo, BackupRequest};
use tonic::Status;

/// A backup that was fetched: its bytes (SKB1) are those of a backup file, worthless without the master key of its time.
#[derive(Clone)]
pub struct FetchedBackup {
    /// What the daemon says of it. The digest at the end of the bytes tells whether they are those that it sent.
    pub info: BackupInfo,
    /// The bytes, as many as were promised.
    pub bytes: Vec<u8>,
}

/// What arrived within one try.
#[derive(Default)]
struct Received {
    info: Option<BackupInfo>,
    bytes: Vec<u8>,
    mixed: bool,
}

impl AdminClient {
    /// Has the daemon write a backup into its own directory; when this answers, it is durable.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`] if it cannot be written, [`Error::DataLoss`] if the store's file does not hold what was
    /// written to it, and those of every call. The same call again is safe.
    pub async fn back_up(&self) -> Result<BackupInfo, Error> {
        let received = self.receive(false).await?;
        match received.info {
            Some(info) if !received.mixed && received.bytes.is_empty() && !info.path.is_empty() => Ok(info),
            _ => Err(Error::against_contract("a backup was asked for, and not told of")),
        }
    }

    /// Fetches a backup, whole; the daemon writes nothing. The deadline is that of the whole backup.
    ///
    /// # Errors
    /// [`Error::IncompleteBackup`] if it ends early, [`Error::DataLoss`] as in [`Self::back_up`], and those of every call.
    pub async fn fetch_backup(&self) -> Result<FetchedBackup, Error> {
        let Received { info, bytes, mixed } = self.receive(true).await?;
        let incomplete = |reason: &str| Error::IncompleteBackup { reason: reason.to_owned() };
        let info = info.ok_or_else(|| incomplete("it does not say what it is"))?;
        if mixed {
            return Err(incomplete("its pieces do not belong together"));
        }
        match u64::try_from(bytes.len()) {
            Ok(arrived) if arrived == info.bytes && arrived > 0 => Ok(FetchedBackup { info, bytes }),
            _ => Err(incomplete(&format!("{} of {} bytes arrived", bytes.len(), info.bytes))),
        }
    }

    async fn receive(&self, contents: bool) -> Result<Received, Error> {
        self.connection
            .call(|attempt| async move {
                let mut stub = KeyAdminClient::new(attempt.channel());
                let mut messages = stub.backup(attempt.request(BackupRequest { contents })).await?.into_inner();
                let mut received = Received::default();
                while let Some(message) = messages.message().await? {
                    // What it is stands in the first message alone.
                    received.mixed |= received.info.is_some() == message.info.is_some();
                    received.info = received.info.or(message.info);
                    received.bytes.extend_from_slice(&message.chunk);
                }
                Ok::<_, Status>(received)
            })
            .await
    }
}
