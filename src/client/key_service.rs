//! The typed calls of `KeyService`: what a component of ServOS asks of the daemon.
//!
//! Must never open a value without the key that is expected, and never hand out an answer it did not check.
//! Called by applications, by `servos-keyctl` and by the tests.

use super::canary::CanaryReport;
use super::connection::{Connection, LONGEST_DEADLINE, Settings};
use super::context::Context;
use super::error::Error;
use super::key_name::KeyName;
use super::value::{Decrypted, ReSealed, Sealed, checked_canary, checked_format, checked_seal, from_base64};
use crate::proto::v1::key_service_client::KeyServiceClient;
use crate::proto::v1::{
    self, EncryptRequest, IssueCanaryRequest, ReEncryptRequest, VerifyCanaryRequest, WhoAmIRequest,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A client of `KeyService`. Cheap to clone; clones share one connection.
#[derive(Clone)]
pub struct Client {
    pub(super) connection: Arc<Connection>,
}

impl Client {
    /// A client of the daemon on this socket. Connects when it is first used.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self { connection: Arc::new(Connection::new(socket.as_ref())) }
    }

    /// Sets the deadline of each call, retries included; 10 s without, a day at most. The daemon is told it.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        self.with(|settings| settings.deadline = deadline.min(LONGEST_DEADLINE))
    }

    /// Sets how long a call waits for a daemon that is not there, at most its deadline; 10 s without.
    #[must_use]
    pub fn with_wait_for_daemon(self, wait: Duration) -> Self {
        self.with(|settings| settings.wait_for_daemon = wait)
    }

    /// The socket of the daemon.
    pub fn socket(&self) -> PathBuf {
        self.connection.settings().socket.clone()
    }

    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.connection.settings().clone();
        change(&mut settings);
        Self { connection: Arc::new(Connection::with_settings(settings)) }
    }

    /// Seals a secret of at most 1 MiB under the primary version of a key.
    ///
    /// # Errors
    /// [`Error::UnknownKey`], [`Error::Invalid`] (a field over its limit; a plaintext that is sealed already) and those
    /// of every call.
    pub async fn encrypt(&self, key: &KeyName, plaintext: &[u8], context: &Context) -> Result<Sealed, Error> {
        self.seal(key, plaintext, context, false).await
    }

    /// Like [`Self::encrypt`], but seals even a plaintext that is a message of this store itself.
    ///
    /// # Security
    /// Values that are sealed twice by mistake come back as ciphertext to whoever opens them once.
    ///
    /// # Errors
    /// Those of [`Self::encrypt`].
    pub async fn danger_encrypt_nested(
        &self,
        key: &KeyName,
        plaintext: &[u8],
        context: &Context,
    ) -> Result<Sealed, Error> {
        self.seal(key, plaintext, context, true).await
    }

    async fn seal(&self, key: &KeyName, plaintext: &[u8], context: &Context, nested: bool) -> Result<Sealed, Error> {
        let pairs = context.to_wire()?;
        let message = || EncryptRequest {
            key: key.to_string(),
            plaintext: plaintext.to_vec(),
            context: pairs.clone(),
            allow_nested: nested,
        };
        let send = |channel, request| async move { KeyServiceClient::new(channel).encrypt(request).await };
        let answer = self.connection.unary(message, send).await?;
        let (ciphertext, version, keyring) = (answer.ciphertext, answer.version, answer.keyring);
        checked_seal(key, Sealed { ciphertext, key: answer.key, version, keyring })
    }

    /// Opens a message that is expected to be under `key`.
    ///
    /// # Errors
    /// [`Error::Rejected`] if it is damaged, or under another key or context; [`Error::Precondition`] if its version is
    /// unknown or disabled, or it is a legacy value; [`Error::Invalid`] if it is no message; and those of every call.
    pub async fn decrypt(&self, key: &KeyName, ciphertext: &[u8], context: &Context) -> Result<Decrypted, Error> {
        self.open(key, ciphertext, context, false).await
    }

    /// Like [`Self::decrypt`], of standard base64 with padding, as a TEXT column holds it. White space around it is
    /// ignored.
    ///
    /// # Errors
    /// [`Error::NotBase64`], and those of [`Self::decrypt`].
    pub async fn decrypt_base64(&self, key: &KeyName, text: &str, context: &Context) -> Result<Decrypted, Error> {
        self.decrypt(key, &from_base64(text)?, context).await
    }

    /// Like [`Self::decrypt`], but opens a legacy value too, while the daemon holds a legacy key.
    ///
    /// # Security
    /// A legacy value carries no key and no context: it opens wherever it is put. Use it only to read rows that have not
    /// moved yet, and move them with [`Self::danger_reencrypt_legacy`].
    ///
    /// # Errors
    /// Those of [`Self::decrypt`].
    pub async fn danger_decrypt_legacy(
        &self,
        key: &KeyName,
        ciphertext: &[u8],
        context: &Context,
    ) -> Result<Decrypted, Error> {
        self.open(key, ciphertext, context, true).await
    }

    async fn open(
        &self,
        key: &KeyName,
        ciphertext: &[u8],
        context: &Context,
        legacy: bool,
    ) -> Result<Decrypted, Error> {
        let pairs = context.to_wire()?;
        let message = || v1::DecryptRequest {
            key: key.to_string(),
            ciphertext: ciphertext.to_vec(),
            context: pairs.clone(),
            allow_legacy: legacy,
        };
        let send = |channel, request| async move { KeyServiceClient::new(channel).decrypt(request).await };
        let answer = self.connection.unary(message, send).await?;
        Decrypted::checked(key, answer, legacy)
    }

    /// Moves a message to the primary version of its key; the plaintext does not leave the daemon.
    ///
    /// # Errors
    /// Those of [`Self::decrypt`] and [`Self::encrypt`].
    pub async fn reencrypt(&self, key: &KeyName, ciphertext: &[u8], context: &Context) -> Result<ReSealed, Error> {
        self.reseal(key, ciphertext, context, None, false).await
    }

    /// Moves a message to another key or context. Needs the right to relabel.
    ///
    /// # Errors
    /// Those of [`Self::decrypt`] and [`Self::encrypt`].
    pub async fn relabel(
        &self,
        key: &KeyName,
        ciphertext: &[u8],
        context: &Context,
        new_key: &KeyName,
        new_context: &Context,
    ) -> Result<ReSealed, Error> {
        self.reseal(key, ciphertext, context, Some((new_key, new_context)), false).await
    }

    /// Moves a value that may be a legacy one to a key and context. A message that is under `key` and `context` is moved
    /// likewise; with the same key and context twice, it may be repeated over a whole table.
    ///
    /// # Security
    /// A legacy value carries no context: that this one belongs to the cell it was read from is the caller's word.
    ///
    /// # Errors
    /// Those of [`Self::decrypt`] and [`Self::encrypt`].
    pub async fn danger_reencrypt_legacy(
        &self,
        key: &KeyName,
        ciphertext: &[u8],
        context: &Context,
        new_key: &KeyName,
        new_context: &Context,
    ) -> Result<ReSealed, Error> {
        self.reseal(key, ciphertext, context, Some((new_key, new_context)), true).await
    }

    async fn reseal(
        &self,
        key: &KeyName,
        ciphertext: &[u8],
        context: &Context,
        to: Option<(&KeyName, &Context)>,
        legacy: bool,
    ) -> Result<ReSealed, Error> {
        let pairs = context.to_wire()?;
        let relabel = match to {
            Some((key, context)) => Some(v1::Relabel { key: key.to_string(), context: context.to_wire()? }),
            None => None,
        };
        let message = || ReEncryptRequest {
            key: key.to_string(),
            ciphertext: ciphertext.to_vec(),
            context: pairs.clone(),
            allow_legacy: legacy,
            relabel: relabel.clone(),
        };
        let send = |channel, request| async move { KeyServiceClient::new(channel).re_encrypt(request).await };
        let answer = self.connection.unary(message, send).await?;
        let format = checked_format(answer.format(), legacy)?;
        let (ciphertext, version, keyring) = (answer.ciphertext, answer.version, answer.keyring);
        let target = to.map_or(key, |(key, _)| key);
        Ok(ReSealed { sealed: checked_seal(target, Sealed { ciphertext, key: answer.key, version, keyring })?, format })
    }

    /// Checks the canary that the application keeps in its own database: whether that database belongs to this keyring.
    ///
    /// # Errors
    /// [`Error::Canary`] with the daemon's report for everything but OPENS; [`Error::Invalid`] if it is not 64 bytes; and
    /// those of every call.
    pub async fn verify_canary(&self, canary: &[u8]) -> Result<CanaryReport, Error> {
        if canary.is_empty() {
            // The daemon would take it for a question about its own canary, and a lost one would pass.
            return Err(Error::Invalid { reason: "a client's canary has 64 bytes; this one is empty".to_owned() });
        }
        self.ask_canary(canary).await
    }

    /// Checks the daemon's own canary: whether its master key opens its store.
    ///
    /// # Errors
    /// [`Error::Canary`] with the daemon's report for everything but OPENS, and those of every call.
    pub async fn verify_own_canary(&self) -> Result<CanaryReport, Error> {
        self.ask_canary(&[]).await
    }

    async fn ask_canary(&self, canary: &[u8]) -> Result<CanaryReport, Error> {
        let message = || VerifyCanaryRequest { canary: canary.to_vec() };
        let send = |channel, request| async move { KeyServiceClient::new(channel).verify_canary(request).await };
        checked_canary(self.connection.unary(message, send).await?)
    }

    /// Gets a canary of 64 bytes to keep in the application's own database.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn issue_canary(&self) -> Result<Vec<u8>, Error> {
        let send = |channel, request| async move { KeyServiceClient::new(channel).issue_canary(request).await };
        Ok(self.connection.unary(IssueCanaryRequest::default, send).await?.canary)
    }

    /// Asks who the daemon takes this process for, and what it may do.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn who_am_i(&self) -> Result<v1::WhoAmIResponse, Error> {
        let send = |channel, request| async move { KeyServiceClient::new(channel).who_am_i(request).await };
        self.connection.unary(WhoAmIRequest::default, send).await
    }
}
