//! The records' names: which record it is, and of what.
//!
//! Must never read a name but as this program writes it: two names of one record would be two records.
//! Named by `record`, and by `operations` through it.

use super::fixed_hex::fixed;
use base16ct::lower as hex;
use std::fmt::{self, Display};

/// Name of the record that holds what is true of the whole store.
pub const META: &str = "meta";
/// Name of the record that holds the snapshot's MAC: 32 bytes as they are, no message.
pub const MAC: &str = "mac";
/// Name of the record that holds the root under the master key.
pub const MASTER: &str = "master";
/// Name of the record that holds the canary.
pub const CANARY: &str = "canary";
/// Name of the record that holds the store's identity key.
pub const IDENTITY: &str = "identity";

/// Name of the legacy key with this fingerprint (16 lower-case hex digits).
pub fn legacy(fingerprint: impl Display) -> String {
    format!("legacy/{fingerprint}")
}

/// Name of the data key with this id (16 lower-case hex digits).
pub fn key(id: impl Display) -> String {
    format!("key/{id}")
}

/// Name of the version with this id (16 lower-case hex digits).
pub fn version(id: impl Display) -> String {
    format!("version/{id}")
}

/// Name of the request with this UUID (hyphenated, lower case).
pub fn request(uuid: impl Display) -> String {
    format!("request/{uuid}")
}

/// Name of the `n`th part of the history, from 0.
#[must_use]
pub fn history(n: u32) -> String {
    format!("history/{n}")
}

/// What a record's name says it is. Its `Display` is the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordName {
    /// [`META`].
    Meta,
    /// [`MAC`].
    Mac,
    /// [`MASTER`].
    Master,
    /// [`CANARY`].
    Canary,
    /// [`IDENTITY`].
    Identity,
    /// [`legacy`], by the fingerprint of the key it holds.
    Legacy([u8; 8]),
    /// [`key`], by the key's id.
    Key([u8; 8]),
    /// [`version`], by the version's id.
    Version([u8; 8]),
    /// [`request`], by the bytes of its UUID.
    Request([u8; 16]),
    /// [`history`], by its number.
    History(u32),
}

impl RecordName {
    /// Reads a name as hostile text; `None` unless it is written exactly as this program writes it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let parsed = match name.split_once('/') {
            None => match name {
                META => Self::Meta,
                MAC => Self::Mac,
                MASTER => Self::Master,
                CANARY => Self::Canary,
                IDENTITY => Self::Identity,
                _ => return None,
            },
            Some(("legacy", id)) => Self::Legacy(fixed(id)?),
            Some(("key", id)) => Self::Key(fixed(id)?),
            Some(("version", id)) => Self::Version(fixed(id)?),
            Some(("request", uuid)) => Self::Request(fixed(&uuid.replace('-', ""))?),
            Some(("history", n)) => Self::History(n.parse().ok()?),
            Some(_) => return None,
        };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str(META),
            Self::Mac => f.write_str(MAC),
            Self::Master => f.write_str(MASTER),
            Self::Canary => f.write_str(CANARY),
            Self::Identity => f.write_str(IDENTITY),
            Self::Legacy(fingerprint) => f.write_str(&legacy(hex::encode_string(fingerprint))),
            Self::Key(id) => f.write_str(&key(hex::encode_string(id))),
            Self::Version(id) => f.write_str(&version(hex::encode_string(id))),
            Self::Request(uuid) => f.write_str(&request(hyphenated(*uuid))),
            Self::History(n) => f.write_str(&history(*n)),
        }
    }
}

/// A UUID's bytes as text. Source: RFC 9562, section 4.
fn hyphenated(uuid: [u8; 16]) -> String {
    let number = u128::from_be_bytes(uuid);
    let group = |shift: u32, digits: usize| {
        let mask = (1_u128 << (4 * digits)) - 1;
        format!("{:0digits$x}", (number >> shift) & mask)
    };
    [group(96, 8), group(80, 4), group(64, 4), group(48, 4), group(0, 12)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_as_what_it_was_made_from() {
        let uuid = "0190a4c1-7e2b-7c3d-8e4f-0123456789ab";
        for (name, text) in [
            (RecordName::Meta, META.to_owned()),
            (RecordName::Mac, MAC.to_owned()),
            (RecordName::Master, MASTER.to_owned()),
            (RecordName::Canary, CANARY.to_owned()),
            (RecordName::Identity, IDENTITY.to_owned()),
            (RecordName::Legacy([0xaa; 8]), legacy("aaaaaaaaaaaaaaaa")),
            (RecordName::Key([0xaa; 8]), key("aaaaaaaaaaaaaaaa")),
            (RecordName::Version([0x0b; 8]), version("0b0b0b0b0b0b0b0b")),
            (RecordName::Request(fixed(&uuid.replace('-', "")).unwrap()), request(uuid)),
            (RecordName::History(0), history(0)),
            (RecordName::History(u32::MAX), history(u32::MAX)),
        ] {
            assert_eq!(RecordName::parse(&text), Some(name));
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn a_name_that_is_not_written_as_we_write_it_is_refused() {
        for name in [
            "",
            "/",
            "Meta",
            "meta/",
            "meta ",
            "key",
            "key/",
            "key/aa",
            "key/AAAAAAAAAAAAAAAA",
            "key/aaaaaaaaaaaaaaaaa",
            "key/aaaaaaaaaaaaaaaa/",
            "key//aaaaaaaaaaaaaaaa",
            "keys/aaaaaaaaaaaaaaaa",
            "history/",
            "history/01",
            "history/+1",
            "history/-1",
            "history/4294967296",
            "request/0190a4c17e2b7c3d8e4f0123456789ab",
            "request/0190A4C1-7E2B-7C3D-8E4F-0123456789AB",
            "request/0190a4c1-7e2b-7c3d-8e4f0123456789ab-",
            "version/\0",
        ] {
            assert_eq!(RecordName::parse(name), None, "{name:?}");
        }
    }
}
