//! The sealed keyring, kept by applications beside the values it opens.
//!
//! Must never hand out an export that ended early or is older than the values it is for.
//! Called by applications that store a value, and by `servos-keyctl keyring export`.

use super::context::Context;
use super::error::{BoxedSource, Error};
use super::key_name::KeyName;
use super::key_service::Client;
use super::value::Sealed;
use crate::proto::v1::ExportKeyringRequest;
use crate::proto::v1::key_service_client::KeyServiceClient;
use tonic::Status;

/// A complete export of the keyring: the bytes of a backup file (SKB1), worthless without the master key of its time.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyringExport {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Generation of the store that it holds.
    pub generation: u64,
}

/// What arrived of an export within one try.
struct Received {
    bytes: Vec<u8>,
    generation: Option<u64>,
    complete: bool,
    mixed: bool,
}

impl Client {
    /// Fetches the sealed keyring, whole.
    ///
    /// # Errors
    /// [`Error::IncompleteExport`] if it ends early, and those of every call. The deadline is that of the whole export.
    pub async fn export_keyring(&self) -> Result<KeyringExport, Error> {
        let received = self
            .connection
            .call(|attempt| async move {
                let mut stub = KeyServiceClient::new(attempt.channel());
                let mut pieces = stub.export_keyring(attempt.request(ExportKeyringRequest {})).await?.into_inner();
                let mut received = Received { bytes: Vec::new(), generation: None, complete: false, mixed: false };
                while let Some(piece) = pieces.message().await? {
                    received.mixed |= received.complete || received.generation.is_some_and(|g| g != piece.generation);
                    received.generation = Some(piece.generation);
                    received.complete = piece.complete;
                    received.bytes.extend_from_slice(&piece.data);
                }
                Ok::<_, Status>(received)
            })
            .await?;
        let incomplete = |reason: &str| Error::IncompleteExport { reason: reason.to_owned() };
        match received {
            Received { mixed: true, .. } => Err(incomplete("its pieces do not belong together")),
            Received { bytes, generation: Some(generation), complete: true, .. } if !bytes.is_empty() => {
                Ok(KeyringExport { bytes, generation })
            }
            _ => Err(incomplete("it ended early")),
        }
    }

    /// Fetches the sealed keyring if what the application holds is older than `needed`, the `keyring` of an answer.
    ///
    /// `held` is the generation of the newest export in the application's database, 0 if there is none. For applications
    /// whose database is asynchronous; others use [`Self::encrypt_keeping_keyring`].
    ///
    /// # Errors
    /// Those of [`Self::export_keyring`].
    pub async fn export_keyring_newer_than(&self, held: u64, needed: u64) -> Result<Option<KeyringExport>, Error> {
        if held >= needed {
            return Ok(None);
        }
        let export = self.export_keyring().await?;
        if export.generation < needed {
            let reason = format!("it is of generation {}; {needed} is needed", export.generation);
            return Err(Error::IncompleteExport { reason });
        }
        Ok(Some(export))
    }

    /// Seals a secret, and has the keyring that opens it kept beside it: a backup of the application's database and the
    /// master key of its time are then enough to open every value in it.
    ///
    /// `held` is the generation of the newest export in the application's database, read in the transaction that will
    /// store the value, 0 if there is none. `keep` is called with the bytes and the generation of a newer one if it is
    /// needed, and stores both in that same transaction. The client remembers nothing of it: a transaction that is rolled
    /// back takes its export with it.
    ///
    /// # Errors
    /// [`Error::NotKept`] with what `keep` returned: the value must then not be stored. Those of [`Self::encrypt`] and
    /// [`Self::export_keyring`].
    pub async fn encrypt_keeping_keyring<E: Into<BoxedSource>>(
        &self,
        key: &KeyName,
        plaintext: &[u8],
        context: &Context,
        held: u64,
        keep: impl FnOnce(&[u8], u64) -> Result<(), E>,
    ) -> Result<Sealed, Error> {
        let sealed = self.encrypt(key, plaintext, context).await?;
        if let Some(export) = self.export_keyring_newer_than(held, sealed.keyring).await? {
            keep(&export.bytes, export.generation).map_err(Error::not_kept)?;
        }
        Ok(sealed)
    }
}
