//! A version of a data key: what it may do, what it sealed, and sealing and opening under it.
//!
//! Must never seal or open without a permit for its key.
//! Called by the operations that seal and open; held by `keyring` and `versions`.

use super::refusal::{Refusal, Rejection};
use crate::auth::key_name::KeyName;
use crate::auth::operation::{Decrypt, Encrypt};
use crate::auth::permit::Permit;
use crate::custody::context::Context;
use crate::custody::id::{KeyId, VersionId};
use crate::custody::keys::VersionKey;
use crate::custody::message::{self, Zeroizing};
use crate::custody::random::Random;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a version may do. A version that seals is the primary of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionState {
    /// Opens, and seals if it is primary.
    Enabled,
    /// Neither.
    Disabled,
}

/// What a version sealed since the daemon started. For status only: there is no limit to enforce.
#[derive(Default)]
pub struct Usage {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Usage {
    fn count(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Messages and plaintext bytes.
    #[must_use]
    pub fn sealed(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// A version of a key.
#[derive(Clone)]
pub struct Version {
    /// Its id, as it stands in ciphertexts.
    pub id: VersionId,
    /// The key it belongs to.
    pub key_id: KeyId,
    /// That key's name; of a deleted key, the name it had.
    pub key: KeyName,
    /// Its number, 1 and up.
    pub number: u32,
    /// What it may do.
    pub state: VersionState,
    /// When it was made: Unix seconds.
    pub created: i64,
    /// What it sealed.
    pub usage: Arc<Usage>,
    pub(super) secret: Arc<VersionKey>,
}

impl Version {
    /// Seals under this version.
    ///
    /// # Errors
    /// [`Refusal::Random`] if the kernel gives no salt.
    pub fn seal(
        &self,
        permit: &Permit<Encrypt>,
        context: &Context,
        plaintext: &[u8],
        random: &Random,
    ) -> Result<Vec<u8>, Refusal> {
        if !permit.covers(&self.key) {
            return Err(Refusal::NoSuchKey);
        }
        let sealed = message::seal(&self.secret, context, plaintext, random)?;
        self.usage.count(plaintext.len());
        Ok(sealed)
    }

    /// Opens what this version sealed.
    ///
    /// # Errors
    /// [`Refusal::Rejected`] if it is damaged or has another context.
    pub fn open(
        &self,
        permit: &Permit<Decrypt>,
        context: &Context,
        value: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        if !permit.covers(&self.key) {
            return Err(Refusal::Rejected(Rejection::OtherKey));
        }
        message::open(&self.secret, context, value).map_err(|_| Refusal::Rejected(Rejection::DoesNotOpen))
    }
}
