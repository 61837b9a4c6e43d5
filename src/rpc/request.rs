//! The fields of requests, parsed once into types that cannot be wrong.
//!
//! Must never repeat a field's content in an error: its name and its limit say enough.
//! Called by the handlers.

use crate::auth::key_name::{KeyName, MAX_BYTES};
use crate::operations::refusal::Refusal;
use crate::operations::{Context, Fingerprint};
use std::collections::HashMap;

/// The name of a key that is to be used or made.
///
/// # Errors
/// [`Refusal::Invalid`] naming the field and the rule.
pub fn key_name(field: &'static str, text: &str) -> Result<KeyName, Refusal> {
    KeyName::parse(text).map_err(|error| Refusal::invalid(field, error.to_string()))
}

/// The name of a key that a caller expects; none if the field is empty.
///
/// # Errors
/// [`Refusal::Invalid`] if it is longer than any name.
pub fn expected_key(text: &str) -> Result<Option<&str>, Refusal> {
    match text.len() {
        0 => Ok(None),
        1..=MAX_BYTES => Ok(Some(text)),
        _ => Err(Refusal::invalid("key", format!("must have at most {MAX_BYTES} bytes"))),
    }
}

/// A context.
///
/// # Errors
/// [`Refusal::Invalid`] naming the field and the limit.
pub fn context(field: &'static str, pairs: &HashMap<String, String>) -> Result<Context, Refusal> {
    Context::new(pairs).map_err(|error| Refusal::invalid(field, error.to_string()))
}

/// A request id in its canonical form; none if the field is empty.
///
/// # Errors
/// [`Refusal::Invalid`] if it is no UUID.
pub fn request_id(text: &str) -> Result<Option<String>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let id = (text.len() <= 36).then(|| uuid::Uuid::try_parse(text).ok()).flatten();
    let id = id.ok_or_else(|| Refusal::invalid("request_id", "must be a UUID of 36 characters, or empty"))?;
    Ok(Some(id.hyphenated().to_string()))
}

/// A fingerprint.
///
/// # Errors
/// [`Refusal::Invalid`] if it is not 16 hex digits.
pub fn fingerprint(field: &'static str, text: &str) -> Result<Fingerprint, Refusal> {
    text.parse().map_err(|_| Refusal::invalid(field, "must be 16 hex digits"))
}

/// A client's canary; none if the field is empty.
///
/// # Errors
/// [`Refusal::Invalid`] if it is not 64 bytes.
pub fn canary(bytes: &[u8]) -> Result<Option<[u8; 64]>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let canary = bytes.try_into().map_err(|_| Refusal::invalid("canary", "must be empty or have 64 bytes"))?;
    Ok(Some(canary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids_of_36_characters_or_empty() {
        assert_eq!(request_id("").unwrap(), None);
        let upper = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
        assert_eq!(request_id(upper).unwrap(), Some(upper.to_lowercase()));
        for bad in ["x", "6f9619ff-8b86-d011-b42d-00c04fc964f", "{6f9619ff-8b86-d011-b42d-00c04fc964ff}", "é"] {
            assert!(request_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_canary_is_64_bytes_or_none() {
        assert!(canary(&[]).unwrap().is_none());
        assert!(canary(&[0; 64]).unwrap().is_some());
        assert!(canary(&[0; 63]).is_err() && canary(&[0; 65]).is_err());
    }
}
