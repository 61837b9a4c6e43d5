//! The MAC over a whole snapshot of the store: which records there are, and what is in each, at which generation.
//!
//! Must never trust the record that holds the MAC itself, nor compare a MAC in a time that depends on its bytes.
//! Called by operations at each load, before anything but the root is believed, and at each commit.

use subtle::ConstantTimeEq as _;

use crate::custody::context::length_prefix;
use crate::custody::digests::Digests;
use crate::custody::id::StoreId;
use crate::custody::keys::RootKey;
use crate::custody::labels;
use crate::custody::primitives::{self, with_clean_stack};
use crate::sys::wipe::Zeroizing;

/// The record that holds the MAC, and is not under it.
const MAC_RECORD: &str = "mac";

/// SHA-256 of a record's value as it is stored: what the MAC covers of it.
pub fn digest(value: &[u8]) -> [u8; 32] {
    primitives::sha256(value)
}

/// The MAC over every record but `mac`: HMAC-SHA-256 under a key of the root over
/// `"servos-keyd/snapshot" || store id || u64 generation || u32 count`, then `u32 len, name, digest` in name order.
///
/// It covers digests, so a commit hashes no value that it does not change.
pub fn mac(root: &RootKey, store: &StoreId, generation: u64, digests: &Digests) -> [u8; 32] {
    with_clean_stack(|| {
        let mut key = Zeroizing::new([0; 32]);
        primitives::expand(root.expose_key(), &[labels::ROOT_MAC], &mut key);
        let (count, covered) = digests.covered_without(MAC_RECORD);
        primitives::hmac_sha256(&key, |mac| {
            mac.update(b"servos-keyd/snapshot");
            mac.update(store.as_bytes());
            mac.update(&generation.to_be_bytes());
            mac.update(&length_prefix(count));
            covered.iter().for_each(|piece| mac.update(piece));
        })
    })
}

/// Whether `expected` is the MAC of these records, in constant time.
pub fn verify(root: &RootKey, store: &StoreId, generation: u64, digests: &Digests, expected: &[u8]) -> bool {
    mac(root, store, generation, digests).ct_eq(expected).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::fixtures::{self, root_key, with_each_bit_flipped};

    fn of_the_vectors() -> (RootKey, StoreId, u64, Digests, [u8; 32]) {
        let vectors = fixtures::store();
        let snapshot = vectors.snapshot;
        let digests = snapshot.records.iter().map(|(name, value)| (name.clone(), digest(&value.0))).collect();
        let store = StoreId::from_bytes(vectors.store_id.0);
        (root_key(&vectors.root_key.0), store, snapshot.generation, digests, snapshot.mac.0)
    }

    #[test]
    fn the_vector_s_mac_is_made_and_verified_with_and_without_its_own_record() {
        let (root, store, generation, mut digests, expected) = of_the_vectors();
        assert_eq!(digests.len(), 4);
        assert_eq!(mac(&root, &store, generation, &digests), expected);
        assert!(verify(&root, &store, generation, &digests, &expected));
        digests.insert("mac", digest(&expected));
        assert!(verify(&root, &store, generation, &digests, &expected));
    }

    #[test]
    fn another_root_store_or_generation_does_not_verify() {
        let (root, store, generation, digests, expected) = of_the_vectors();
        assert!(!verify(&root_key(&[9; 32]), &store, generation, &digests, &expected));
        assert!(!verify(&root, &StoreId::from_bytes([9; 16]), generation, &digests, &expected));
        assert!(!verify(&root, &store, generation + 1, &digests, &expected));
    }

    #[test]
    fn a_record_added_dropped_renamed_or_changed_does_not_verify() {
        let (root, store, generation, digests, expected) = of_the_vectors();
        let fails = |change: &dyn Fn(&mut Digests)| {
            let mut changed = digests.clone();
            change(&mut changed);
            !verify(&root, &store, generation, &changed, &expected)
        };
        assert!(fails(&|records| {
            records.insert("key/0", digest(b""));
        }));
        assert!(fails(&|records| {
            records.remove("meta");
        }));
        assert!(fails(&|records| {
            records.insert("meta", digest(b"n"));
        }));
        assert!(fails(&|records| {
            let meta = records.remove("meta").unwrap();
            records.insert("metb", meta);
        }));
        assert!(fails(&|records| {
            let (identity, meta) = (records.get("identity").unwrap(), records.get("meta").unwrap());
            records.insert("identity", meta);
            records.insert("meta", identity);
        }));
        assert!(fails(&|records| *records = Digests::default()));
    }

    #[test]
    fn a_mac_with_any_bit_flipped_or_of_another_length_does_not_verify() {
        let (root, store, generation, digests, expected) = of_the_vectors();
        let verifies = |mac: &[u8]| verify(&root, &store, generation, &digests, mac);
        assert!(with_each_bit_flipped(&expected).all(|flipped| !verifies(&flipped)));
        assert!((0..32).all(|length| !verifies(&expected[..length])));
        assert!(!verifies(&[&expected[..], &[0]].concat()));
    }
}
