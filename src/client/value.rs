//! Answers of `KeyService`, checked against what the call asked for: values that were sealed or opened, and canaries.
//!
//! Must never show a plaintext, nor let an answer pass that is against the contract.
//! Called by the typed calls of `KeyService`; applications read the fields of values.

use super::canary::{CanaryReport, CanaryResult};
use super::error::Error;
use super::key_name::{KeyName, RESERVED};
use crate::proto::v1;
use base64ct::{Base64, Encoding};
use std::fmt;
use zeroize::Zeroizing;

/// How a value that was opened had been sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A message of the daemon.
    Skd1,
    /// A legacy value under a former master key, without a context. It should be re-encrypted.
    Legacy,
}

/// A sealed value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The message: what the application stores.
    pub ciphertext: Vec<u8>,
    /// Name of the key it is under.
    pub key: String,
    /// Number of the version it is under.
    pub version: u32,
    /// Generation of the keyring that opens it: keep an export at least that new beside the value.
    pub keyring: u64,
}

impl Sealed {
    /// The message as standard base64 with padding, for a TEXT column.
    pub fn to_base64(&self) -> String {
        Base64::encode_string(&self.ciphertext)
    }
}

/// A value that was moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReSealed {
    /// The new message.
    pub sealed: Sealed,
    /// How the old one had been sealed.
    pub format: Format,
}

/// A secret that was opened. Its bytes are overwritten when it is dropped.
pub struct Decrypted {
    /// The secret; empty only if an empty secret was sealed.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// Number of the version that opened it; 0 for a legacy value.
    pub version: u32,
    /// Whether that is the primary version. If not, the value should be re-encrypted.
    pub primary: bool,
    /// How it had been sealed.
    pub format: Format,
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Decrypted")
            .field("version", &self.version)
            .field("primary", &self.primary)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Decrypted {
    /// Passes what the daemon opened if it is what the call asked for.
    pub(super) fn checked(key: &KeyName, answer: v1::DecryptResponse, legacy_allowed: bool) -> Result<Self, Error> {
        let format = answer.format();
        // From here on the bytes are wiped whatever happens.
        let plaintext = Zeroizing::new(answer.plaintext);
        let format = checked_format(format, legacy_allowed)?;
        let expected = if format == Format::Legacy { RESERVED } else { key.as_str() };
        if answer.key != expected {
            return Err(Error::against_contract("a value opened under another key than the call expects"));
        }
        Ok(Self { plaintext, version: answer.version, primary: answer.primary, format })
    }
}

/// The bytes of standard base64 with padding.
///
/// # Errors
/// [`Error::NotBase64`].
pub fn from_base64(text: &str) -> Result<Vec<u8>, Error> {
    Base64::decode_vec(text.trim_ascii()).map_err(|_| Error::NotBase64)
}

/// Passes what the daemon sealed if it is under the key that the call names.
pub(super) fn checked_seal(key: &KeyName, sealed: Sealed) -> Result<Sealed, Error> {
    if sealed.key != key.as_str() {
        return Err(Error::against_contract("a value sealed under another key than the call names"));
    }
    if sealed.ciphertext.is_empty() {
        return Err(Error::against_contract("an empty ciphertext"));
    }
    Ok(sealed)
}

/// Passes the format of what the daemon opened if the call allows it.
pub(super) fn checked_format(format: v1::Format, legacy_allowed: bool) -> Result<Format, Error> {
    match format {
        v1::Format::Skd1 => Ok(Format::Skd1),
        v1::Format::Legacy if legacy_allowed => Ok(Format::Legacy),
        v1::Format::Legacy => Err(Error::against_contract("a legacy value opened though the call does not allow it")),
        v1::Format::Unspecified => Err(Error::against_contract("a value opened without its format")),
    }
}

/// Passes what the daemon says of a canary if it opens.
///
/// # Errors
/// [`Error::Canary`] for every result but OPENS; [`Error::Unexpected`] for a result that the contract does not know.
pub(super) fn checked_canary(answer: v1::VerifyCanaryResponse) -> Result<CanaryReport, Error> {
    let result = match answer.result() {
        v1::CanaryResult::Opens => CanaryResult::Opens,
        v1::CanaryResult::Stale => CanaryResult::Stale,
        v1::CanaryResult::OtherStore => CanaryResult::OtherStore,
        v1::CanaryResult::Damaged => CanaryResult::Damaged,
        v1::CanaryResult::Unspecified => return Err(Error::against_contract("a canary without a result")),
    };
    let report = CanaryReport {
        result,
        fingerprint: answer.fingerprint,
        since_unix_seconds: answer.since,
        store_id: answer.store_id,
        generation: answer.generation,
        keyring: answer.keyring,
    };
    if result == CanaryResult::Opens { Ok(report) } else { Err(Error::Canary(Box::new(report))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(result: i32) -> v1::VerifyCanaryResponse {
        v1::VerifyCanaryResponse { result, fingerprint: "ab".into(), ..Default::default() }
    }

    #[test]
    fn only_opens_is_an_answer() {
        assert_eq!(checked_canary(answer(1)).unwrap().result, CanaryResult::Opens);
        for (number, result) in [(2, CanaryResult::Stale), (3, CanaryResult::OtherStore), (4, CanaryResult::Damaged)] {
            match checked_canary(answer(number)) {
                Err(Error::Canary(report)) => assert_eq!((report.result, report.fingerprint.as_str()), (result, "ab")),
                _ => panic!("{number} passed"),
            }
        }
    }

    #[test]
    fn a_result_that_is_unknown_or_missing_is_an_error() {
        for number in [0, 5, -1, i32::MAX] {
            assert!(matches!(checked_canary(answer(number)), Err(Error::Unexpected { .. })), "{number}");
        }
    }
}
