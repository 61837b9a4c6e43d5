//! The administrator of a running daemon, who rotates its keys and makes backups.
//!
//! Must never wait for ever: a rotation that stops is an error.
//! Called by the measurements of rotations, backups and recovery.

use super::Outcome;
use super::load;
use servos_keyd::custody::id::Fingerprint;
use servos_keyd::proto::v1::key_admin_client::KeyAdminClient;
use servos_keyd::proto::v1::{
    AbortRotationRequest, BackupRequest, FinishRotationRequest, GetStatusRequest, RotateKeyRequest, RotateRequest,
};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// How often the status is asked for.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the last step may take to come.
const PATIENCE: Duration = Duration::from_secs(300);

/// The way to the daemon. Each call has a connection of its own, since Rotate closes the one it came by.
pub struct Admin {
    socket: PathBuf,
}

impl Admin {
    /// The administrator of the daemon that listens on `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    async fn connect(&self) -> Outcome<KeyAdminClient<Channel>> {
        Ok(KeyAdminClient::new(load::channel(&self.socket).await?))
    }

    /// Begins a rotation to the key that lies beside the daemon's key file.
    pub async fn begin(&self, key: Fingerprint) -> Outcome<()> {
        let new_key_fingerprint = key.to_string();
        self.connect().await?.rotate(RotateRequest { new_key_fingerprint, ..RotateRequest::default() }).await?;
        Ok(())
    }

    /// Finishes it, to the commit that decides.
    pub async fn finish(&self, key: Fingerprint) -> Outcome<()> {
        let new_key_fingerprint = key.to_string();
        let request = FinishRotationRequest { new_key_fingerprint, ..FinishRotationRequest::default() };
        self.connect().await?.finish_rotation(request).await?;
        Ok(())
    }

    /// Aborts it, to the commit that decides, with new versions of the data keys to follow.
    pub async fn abort(&self, key: Fingerprint) -> Outcome<()> {
        let new_key_fingerprint = key.to_string();
        let request =
            AbortRotationRequest { new_key_fingerprint, new_data_keys: true, ..AbortRotationRequest::default() };
        self.connect().await?.abort_rotation(request).await?;
        Ok(())
    }

    /// Has a backup made, and takes it whole where it comes with its contents.
    pub async fn back_up(&self, contents: bool) -> Outcome<()> {
        let mut messages = self.connect().await?.backup(BackupRequest { contents }).await?.into_inner();
        let (mut promised, mut arrived) = (0, 0);
        while let Some(message) = messages.message().await? {
            promised = message.info.map_or(promised, |info| info.bytes);
            arrived += u64::try_from(message.chunk.len())?;
        }
        if contents && arrived != promised {
            return Err("a backup did not arrive whole".into());
        }
        Ok(())
    }

    /// Adds versions to a key, one after the other, for as long as it is let.
    pub async fn change_without_end(&self) -> Outcome<()> {
        let mut client = self.connect().await?;
        loop {
            let (key, request_id) = ("default".to_owned(), String::new());
            client.rotate_key(RotateKeyRequest { key, request_id }).await?;
        }
    }

    /// Returns when nothing is left to do of any rotation.
    pub async fn rest(&self) -> Outcome<()> {
        let mut client = self.connect().await?;
        let begun = Instant::now();
        loop {
            let status = client.get_status(GetStatusRequest {}).await?.into_inner();
            match status.rotation {
                None => return Ok(()),
                Some(rotation) if !rotation.problem.is_empty() => return Err(rotation.problem.into()),
                Some(_) if begun.elapsed() > PATIENCE => return Err("the rotation does not end".into()),
                Some(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
