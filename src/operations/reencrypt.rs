//! ReEncrypt: moves a value to the primary version of its key, or to another key and context.
//!
//! Must never let the plaintext out, nor change key or context without the right to relabel.
//! Called by `rpc::key_service`.

use super::decrypt::{self, Format, Opened};
use super::encrypt::{MAX_PLAINTEXT_BYTES, Sealed};
use super::engine::Engine;
use super::refusal::Refusal;
use crate::auth::key_name::KeyName;
use crate::auth::operation::{Decrypt, Encrypt, ReEncrypt, Relabel};
use crate::auth::permit::Admission;
use crate::auth::policy::Denied;
use crate::custody::context::Context;

/// The rights that the call stands on.
pub struct Rights<'p> {
    /// To the call itself.
    pub reencrypt: Admission<'p, ReEncrypt>,
    /// To open under the source key.
    pub decrypt: Admission<'p, Decrypt>,
    /// To seal under the target key.
    pub encrypt: Admission<'p, Encrypt>,
    /// To change key or context; demanded only where that happens.
    pub relabel: Result<Admission<'p, Relabel>, Denied>,
}

/// A new key and context.
pub struct Label {
    /// The new key.
    pub key: KeyName,
    /// The new context, whole.
    pub context: Context,
}

/// Moves one value.
///
/// # Errors
/// What [`decrypt::open`] refuses, [`Refusal::Salvage`], [`Refusal::NoSuchKey`], [`Refusal::NoPrimary`],
/// [`Refusal::Denied`], and [`Refusal::Invalid`] for a legacy value without a label.
pub fn reencrypt(
    rights: &Rights<'_>,
    engine: &Engine,
    request: &decrypt::Request<'_>,
    label: Option<&Label>,
) -> Result<(Sealed, Format), Refusal> {
    engine.changes_allowed()?;
    let keyring = engine.keyring();
    let opened = decrypt::open(&rights.decrypt, &keyring, request)?;
    if opened.plaintext.len() > MAX_PLAINTEXT_BYTES {
        // Only a legacy value, which adds fewer bytes, can hold that: Decrypt would never take the message it becomes.
        return Err(Refusal::invalid("ciphertext", format!("must hold at most {MAX_PLAINTEXT_BYTES} bytes")));
    }
    let (key, context) = target(rights, &opened, request, label)?;
    rights.reencrypt.for_key(&key)?;
    let permit = rights.encrypt.for_key(&key)?;
    let version = keyring.primary(&key)?;
    let ciphertext = version.seal(&permit, context, &opened.plaintext, &*engine.random)?;
    let sealed = Sealed { ciphertext, key, version: version.number, keyring: keyring.keyring };
    Ok((sealed, opened.format))
}

/// The key and context to seal with, once it is clear that the caller may choose them.
fn target<'r>(
    rights: &Rights<'_>,
    opened: &Opened,
    request: &decrypt::Request<'r>,
    label: Option<&'r Label>,
) -> Result<(KeyName, &'r Context), Refusal> {
    match (label, opened.format) {
        (None, Format::Skd1) => Ok((opened.key.clone(), request.context)),
        (None, Format::Legacy) => {
            Err(Refusal::invalid("relabel", "is required for a legacy value, which has no key and no context"))
        }
        // A legacy value has no label that could be changed: opening and sealing are rights enough.
        (Some(label), Format::Legacy) => Ok((label.key.clone(), &label.context)),
        (Some(label), Format::Skd1) => {
            if label.key != opened.key || label.context.encoded() != request.context.encoded() {
                let right = rights.relabel.as_ref().map_err(|denied| *denied)?;
                right.for_key(&opened.key)?;
                right.for_key(&label.key)?;
            }
            Ok((label.key.clone(), &label.context))
        }
    }
}
