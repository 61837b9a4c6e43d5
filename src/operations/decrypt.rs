//! Decrypt: opens one ciphertext with the one version it names, or as a legacy value where that is allowed.
//!
//! Must never answer a failure with an empty value, nor try a second key on a message of this daemon.
//! Called by `rpc::key_service` and `reencrypt`.

use super::encrypt::{MAX_PLAINTEXT_BYTES, check_size};
use super::engine::Engine;
use super::keyring::Keyring;
use super::refusal::{Refusal, Rejection};
use super::version::Version;
use crate::auth::key_name::{KeyName, LEGACY};
use crate::auth::operation::Decrypt;
use crate::auth::permit::Admission;
use crate::custody::context::Context;
use crate::custody::envelope::{self, Envelope};
use crate::custody::id::VersionId;
use crate::custody::message::{OVERHEAD, Zeroizing};
use std::sync::Arc;

/// The largest ciphertext of a single call, in bytes.
pub const MAX_CIPHERTEXT_BYTES: usize = MAX_PLAINTEXT_BYTES + OVERHEAD;

/// What is to be opened.
pub struct Request<'r> {
    /// The name of the key the caller expects; none if any will do.
    pub expected_key: Option<&'r str>,
    /// The value.
    pub ciphertext: &'r [u8],
    /// The context it was sealed with.
    pub context: &'r Context,
    /// Opens a legacy value too.
    pub allow_legacy: bool,
}

/// How a value had been sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As a message of this daemon.
    Skd1,
    /// Before servos-keyd.
    Legacy,
}

/// What was opened.
pub struct Opened {
    /// The secret.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The key it was under; "legacy" for a legacy value.
    pub key: KeyName,
    /// The number of the version; 0 for a legacy value.
    pub version: u32,
    /// Whether that version is primary.
    pub primary: bool,
    /// How it had been sealed.
    pub format: Format,
}

/// Opens one value.
///
/// # Errors
/// [`Refusal::Invalid`] (too large), and what [`open`] refuses.
pub fn decrypt(admission: &Admission<'_, Decrypt>, engine: &Engine, request: &Request<'_>) -> Result<Opened, Refusal> {
    open(admission, &engine.keyring(), request)
}

/// Opens one value with a given keyring.
///
/// # Errors
/// [`Refusal::NotAMessage`], [`Refusal::Base64Text`], [`Refusal::Stream`], [`Refusal::NewerFormat`],
/// [`Refusal::LegacyNotAllowed`], [`Refusal::VersionUnknown`], [`Refusal::VersionDisabled`],
/// [`Refusal::Rejected`], [`Refusal::Denied`], [`Refusal::Invalid`].
pub fn open(admission: &Admission<'_, Decrypt>, keyring: &Keyring, request: &Request<'_>) -> Result<Opened, Refusal> {
    check_size("ciphertext", request.ciphertext.len(), MAX_CIPHERTEXT_BYTES)?;
    match envelope::classify(request.ciphertext) {
        Envelope::Message(id) if keyring.versions.contains_key(&id) => open_message(admission, keyring, request, id),
        // Judged as a message is before its kind is told: one of another key than expected is rejected all the same.
        Envelope::Stream(id) if keyring.versions.contains_key(&id) => {
            keyring.opener(id, request.expected_key, admission).and(Err(Refusal::Stream))
        }
        Envelope::Message(id) | Envelope::Stream(id) => {
            // A legacy nonce can begin with the magic by chance: one value in 2^32.
            open_unless(admission, keyring, request, Refusal::VersionUnknown(id))
        }
        Envelope::Newer => open_unless(admission, keyring, request, Refusal::NewerFormat),
        Envelope::Base64Text => open_unless(admission, keyring, request, Refusal::Base64Text),
        Envelope::Truncated => open_unless(admission, keyring, request, Refusal::NotAMessage),
        Envelope::TooShort => Err(Refusal::NotAMessage),
        Envelope::Unmarked => open_unmarked(admission, keyring, request),
    }
}

fn open_message(
    admission: &Admission<'_, Decrypt>,
    keyring: &Keyring,
    request: &Request<'_>,
    id: VersionId,
) -> Result<Opened, Refusal> {
    let (version, permit) = keyring.opener(id, request.expected_key, admission)?;
    let plaintext = version.open(&permit, request.context, request.ciphertext)?;
    Ok(opened(keyring, version, plaintext))
}

fn opened(keyring: &Keyring, version: &Arc<Version>, plaintext: Zeroizing<Vec<u8>>) -> Opened {
    Opened {
        plaintext,
        key: version.key.clone(),
        version: version.number,
        primary: keyring.is_primary(version),
        format: Format::Skd1,
    }
}

/// A value without a mark of ours: a legacy one, or nothing we know.
fn open_unmarked(
    admission: &Admission<'_, Decrypt>,
    keyring: &Keyring,
    request: &Request<'_>,
) -> Result<Opened, Refusal> {
    if keyring.legacy.is_empty() {
        return Err(Refusal::NotAMessage);
    }
    if !request.allow_legacy {
        return Err(Refusal::LegacyNotAllowed);
    }
    open_legacy(admission, keyring, request)
}

/// A value that says what it is, but might be a legacy one by chance: if it is not, the answer is `otherwise`.
fn open_unless(
    admission: &Admission<'_, Decrypt>,
    keyring: &Keyring,
    request: &Request<'_>,
    otherwise: Refusal,
) -> Result<Opened, Refusal> {
    if !request.allow_legacy || keyring.legacy.is_empty() {
        return Err(otherwise);
    }
    match open_legacy(admission, keyring, request) {
        Err(Refusal::Rejected(_)) => Err(otherwise),
        answer => answer,
    }
}

fn open_legacy(
    admission: &Admission<'_, Decrypt>,
    keyring: &Keyring,
    request: &Request<'_>,
) -> Result<Opened, Refusal> {
    // A legacy value is under no data key, so any known name may be expected of it; an unknown one is a mistake.
    if request.expected_key.is_some_and(|name| name != LEGACY && !keyring.names.contains_key(name)) {
        return Err(Refusal::Rejected(Rejection::OtherKey));
    }
    let plaintext = keyring.open_legacy(request.ciphertext, admission)?;
    Ok(Opened { plaintext, key: KeyName::legacy(), version: 0, primary: false, format: Format::Legacy })
}

#[cfg(test)]
#[path = "decrypt_tests.rs"]
mod tests;
