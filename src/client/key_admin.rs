//! The typed calls of `KeyAdmin`: what operators ask of the daemon.
//!
//! Must never send a change without a request id: a retry would be a second change.
//! Called by `servos-keyctl`, by installers and by the tests.

use super::connection::Connection;
use super::error::Error;
use super::key_name::KeyName;
use super::key_service::Client;
use crate::proto::v1::key_admin_client::KeyAdminClient;
use crate::proto::v1::{
    AdoptLegacyKeyRequest, CreateKeyRequest, DeleteKeyRequest, DeleteKeyResponse, DrillKind, GetStatusRequest,
    GetStatusResponse, Key, KeyPurpose, ListKeysRequest, RecordDrillRequest, RetireLegacyKeyRequest,
    RetireLegacyKeyResponse, RotateKeyRequest, RotateKeyResponse,
};
use std::sync::Arc;
use uuid::Uuid;

/// A client of `KeyAdmin`, on the admin socket. Cheap to clone; clones share one connection.
///
/// Each call that changes something carries a fresh request id, kept over its retries.
#[derive(Clone)]
pub struct AdminClient {
    pub(super) connection: Arc<Connection>,
}

/// Which keys to list; the default is all that are in use.
#[derive(Clone, Default, Debug)]
pub struct KeyFilter {
    /// Only this key.
    pub key: Option<KeyName>,
    /// Deleted keys too.
    pub include_deleted: bool,
}

impl AdminClient {
    /// A client that shares the connection, the deadline and the socket of `client`.
    pub fn new(client: &Client) -> Self {
        Self { connection: client.connection.clone() }
    }

    /// Asks for the state of the daemon, its store, its master key and its memory.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn status(&self) -> Result<GetStatusResponse, Error> {
        let send = |channel, request| async move { KeyAdminClient::new(channel).get_status(request).await };
        self.connection.unary(GetStatusRequest::default, send).await
    }

    /// Lists keys in order of name, each with all its versions; asks for page after page.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] if the filter names one that does not exist, and those of every call.
    pub async fn list_keys(&self, filter: &KeyFilter) -> Result<Vec<Key>, Error> {
        let mut keys: Vec<Key> = Vec::new();
        let mut token = String::new();
        loop {
            let message = || ListKeysRequest {
                key: filter.key.as_ref().map(KeyName::to_string).unwrap_or_default(),
                page_size: 0,
                page_token: token.clone(),
                include_deleted: filter.include_deleted,
            };
            let send = |channel, request| async move { KeyAdminClient::new(channel).list_keys(request).await };
            let page = self.connection.unary(message, send).await?;
            for key in page.keys {
                match keys.last_mut().filter(|last| last.id == key.id) {
                    Some(last) => last.versions.extend(key.versions),
                    None => keys.push(key),
                }
            }
            if page.next_page_token.is_empty() {
                return Ok(keys);
            }
            if page.next_page_token == token {
                return Err(Error::against_contract("the same page of keys again"));
            }
            token = page.next_page_token;
        }
    }

    /// Makes a key for sealing and opening, with its first version.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::StoreUnavailable`] (no backup could be written: the same call again goes on),
    /// and those of every call.
    pub async fn create_key(&self, name: &KeyName) -> Result<Key, Error> {
        let request_id = Uuid::new_v4().to_string();
        let message = || CreateKeyRequest {
            name: name.to_string(),
            purpose: KeyPurpose::Encrypt.into(),
            request_id: request_id.clone(),
        };
        let send = |channel, request| async move { KeyAdminClient::new(channel).create_key(request).await };
        let answer = self.connection.unary(message, send).await?;
        answer.key.ok_or_else(|| Error::against_contract("a key was made, and not shown"))
    }

    /// Adds a version to a key and makes it primary; older versions go on opening.
    ///
    /// # Errors
    /// [`Error::UnknownKey`], [`Error::StoreUnavailable`] as in [`Self::create_key`], and those of every call.
    pub async fn rotate_key(&self, key: &KeyName) -> Result<RotateKeyResponse, Error> {
        let request_id = Uuid::new_v4().to_string();
        let message = || RotateKeyRequest { key: key.to_string(), request_id: request_id.clone() };
        let send = |channel, request| async move { KeyAdminClient::new(channel).rotate_key(request).await };
        self.connection.unary(message, send).await
    }

    /// Takes a key's name away and disables its versions: nothing it sealed opens any more.
    ///
    /// # Errors
    /// [`Error::UnknownKey`], and those of every call.
    pub async fn delete_key(&self, key: &KeyName) -> Result<DeleteKeyResponse, Error> {
        let request_id = Uuid::new_v4().to_string();
        let message = || DeleteKeyRequest { key: key.to_string(), request_id: request_id.clone() };
        let send = |channel, request| async move { KeyAdminClient::new(channel).delete_key(request).await };
        self.connection.unary(message, send).await
    }

    /// Gives the daemon a former master key to keep, as its file has it: 64 hex or 44 base64 characters. Answers its
    /// fingerprint, 16 hex digits.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is malformed, and those of every call.
    pub async fn adopt_legacy_key(&self, key_text: &[u8]) -> Result<String, Error> {
        let request_id = Uuid::new_v4().to_string();
        let message = || AdoptLegacyKeyRequest { legacy_key: key_text.to_vec(), request_id: request_id.clone() };
        let send = |channel, request| async move { KeyAdminClient::new(channel).adopt_legacy_key(request).await };
        Ok(self.connection.unary(message, send).await?.fingerprint)
    }

    /// Drops a legacy key, named by its fingerprint of 16 hex digits: values under it do not open any more.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] if no such key is held, and those of every call.
    pub async fn retire_legacy_key(&self, fingerprint: &str) -> Result<RetireLegacyKeyResponse, Error> {
        let request_id = Uuid::new_v4().to_string();
        let message = || RetireLegacyKeyRequest { fingerprint: fingerprint.to_owned(), request_id: request_id.clone() };
        let send = |channel, request| async move { KeyAdminClient::new(channel).retire_legacy_key(request).await };
        self.connection.unary(message, send).await
    }

    /// Has it kept that a drill with a copy of this master key succeeded, named by its fingerprint of 16 hex digits.
    /// Answers when, in Unix seconds.
    ///
    /// # Errors
    /// [`Error::Precondition`] if the key does not open the store, or under salvage, and those of every call.
    pub async fn record_drill(&self, kind: DrillKind, fingerprint: &str) -> Result<i64, Error> {
        let request_id = Uuid::new_v4().to_string();
        let message = || RecordDrillRequest {
            kind: kind.into(),
            fingerprint: fingerprint.to_owned(),
            request_id: request_id.clone(),
        };
        let send = |channel, request| async move { KeyAdminClient::new(channel).record_drill(request).await };
        Ok(self.connection.unary(message, send).await?.at)
    }
}
