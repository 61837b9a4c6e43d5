//! What ServOS sealed before it had a daemon: `nonce[12] || ciphertext || tag` under the raw master key.
//!
//! Must never write this format, nor open it with anything but a key that is held as a legacy key on purpose.
//! Called by operations, only where a request allows it and the store holds a legacy key.

use crate::custody::committing::TAG_BYTES;
use crate::custody::keys::LegacyKey;
use crate::custody::primitives::{self, with_clean_stack};
use crate::sys::wipe::Zeroizing;

pub use crate::custody::committing::Rejected;

const NONCE_BYTES: usize = 12;

/// Length of the shortest legacy value, that of an empty plaintext: nonce and tag.
pub const OVERHEAD: usize = NONCE_BYTES + TAG_BYTES;

/// Opens a legacy value, given as bytes (databases hold it as base64 text).
///
/// # Errors
/// [`Rejected::Length`] under 28 bytes, [`Rejected::Body`] for a damaged value or another key's: they cannot be told
/// apart.
///
/// # Security
/// A legacy value carries no context: whoever can write the database can have moved it, and whoever knows the old key
/// can have made it.
pub fn open(key: &LegacyKey, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Rejected> {
    with_clean_stack(|| {
        let (nonce, rest) = value.split_first_chunk::<NONCE_BYTES>().ok_or(Rejected::Length)?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Rejected::Length)?;
        let mut plaintext = Zeroizing::new(body.to_vec());
        primitives::open_in_place(key.expose_key(), nonce, &[], &mut plaintext, tag)
            .map_err(|primitives::Refused| Rejected::Body)?;
        Ok(plaintext)
    })
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding as _};

    use super::*;
    use crate::custody::fixtures::{self, legacy_key, with_each_bit_flipped};

    #[test]
    fn every_vector_row_is_opened_or_rejected() {
        let vectors = fixtures::legacy();
        for row in &vectors.rows {
            let value = Base64::decode_vec(&row.stored).unwrap();
            let opened = open(&legacy_key(&row.master_key.0), &value);
            if row.valid {
                assert_eq!(*opened.unwrap(), row.plaintext.clone().unwrap().0, "row {}: {}", row.id, row.why);
            } else {
                let reason = match row.why.as_str() {
                    "one bit flipped" | "sealed under another key" => Rejected::Body,
                    "shorter than nonce and tag" | "empty" => Rejected::Length,
                    unknown => panic!("a defect without an expected reason: {unknown}"),
                };
                assert_eq!(opened, Err(reason), "row {}: {}", row.id, row.why);
            }
        }
        assert_eq!(vectors.rows.len(), 11);
    }

    #[test]
    fn a_legacy_value_with_any_bit_flipped_or_cut_anywhere_is_rejected() {
        let row = fixtures::legacy().rows.swap_remove(2);
        let key = legacy_key(&row.master_key.0);
        let value = Base64::decode_vec(&row.stored).unwrap();
        assert!(with_each_bit_flipped(&value).all(|damaged| open(&key, &damaged).is_err()));
        assert!((0..value.len()).all(|length| open(&key, &value[..length]).is_err()));
    }
}
