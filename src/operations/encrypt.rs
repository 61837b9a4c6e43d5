//! Encrypt: seals one secret under the primary version of a key.
//!
//! Must never wait for the disk, nor seal under anything but the primary version.
//! Called by `rpc::key_service`.

use super::engine::Engine;
use super::keyring::Keyring;
use super::refusal::Refusal;
use crate::auth::key_name::KeyName;
use crate::auth::operation::Encrypt;
use crate::auth::permit::Admission;
use crate::custody::context::Context;
use crate::custody::envelope;

/// The largest plaintext of a single call, in bytes.
pub const MAX_PLAINTEXT_BYTES: usize = 1024 * 1024;

/// What is to be sealed.
pub struct Request<'r> {
    /// The key to seal with.
    pub key: &'r KeyName,
    /// The secret.
    pub plaintext: &'r [u8],
    /// What the message belongs to.
    pub context: &'r Context,
    /// Seals even what looks like a message of this store.
    pub allow_nested: bool,
}

/// What was sealed.
pub struct Sealed {
    /// The SKD1 message.
    pub ciphertext: Vec<u8>,
    /// The key that sealed it.
    pub key: KeyName,
    /// The number of the version.
    pub version: u32,
    /// The generation at which a version or seal last changed.
    pub keyring: u64,
}

/// Seals one secret.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::Invalid`] (too large), [`Refusal::NoSuchKey`], [`Refusal::NoPrimary`],
/// [`Refusal::Denied`], [`Refusal::AlreadySealed`], [`Refusal::Random`].
pub fn encrypt(admission: &Admission<'_, Encrypt>, engine: &Engine, request: &Request<'_>) -> Result<Sealed, Refusal> {
    engine.changes_allowed()?;
    check_size("plaintext", request.plaintext.len(), MAX_PLAINTEXT_BYTES)?;
    let keyring = engine.keyring();
    // The permit comes before the look-up, so that a refused peer cannot learn which names exist.
    let permit = admission.for_key(request.key)?;
    let version = keyring.primary(request.key)?;
    if !request.allow_nested && looks_sealed(&keyring, request.plaintext) {
        return Err(Refusal::AlreadySealed);
    }
    let ciphertext = version.seal(&permit, request.context, request.plaintext, &*engine.random)?;
    Ok(Sealed { ciphertext, key: request.key.clone(), version: version.number, keyring: keyring.keyring })
}

/// Whether a plaintext, or what it is the base64 text of, begins like a message of this store.
fn looks_sealed(keyring: &Keyring, plaintext: &[u8]) -> bool {
    envelope::sealed_version(plaintext).iter().any(|id| keyring.versions.contains_key(id))
}

/// Holds a field to its limit.
///
/// # Errors
/// [`Refusal::Invalid`] naming field and limit.
pub fn check_size(field: &'static str, bytes: usize, limit: usize) -> Result<(), Refusal> {
    if bytes > limit {
        return Err(Refusal::invalid(field, format!("must have at most {limit} bytes, has {bytes}")));
    }
    Ok(())
}

#[cfg(test)]
#[path = "encrypt_tests.rs"]
mod tests;
