//! SKC1, a client's canary: 64 bytes that a component keeps in its own database, by which it knows its keyring again.
//!
//! Must never be made for anybody but the holder of the identity, nor read before its MAC has matched.
//! Called by operations for IssueCanary and VerifyCanary, and to tell whether a store is older than its clients.

use subtle::ConstantTimeEq as _;

use crate::custody::id::StoreId;
use crate::custody::keys::IdentityKey;
use crate::custody::labels;
use crate::custody::primitives::{self, with_clean_stack};
use crate::sys::wipe::Zeroizing;

/// Length of a client's canary.
pub const BYTES: usize = 64;

const MAGIC: &[u8; 4] = b"SKC1";
const MAC_BYTES: usize = 32;

/// What an authentic canary says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Generation of the store when it was issued.
    pub generation: u64,
    /// Finished rotations when it was issued.
    pub rotations: u32,
}

/// Why a canary says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanaryFault {
    /// It names another store, and this one did not make it.
    #[error("the canary was issued by another store")]
    OtherStore,
    /// It is not as this store issued it.
    #[error("the canary is damaged")]
    Damaged,
}

/// `"SKC1" || store id[16] || u64 generation || u32 finished rotations || MAC over these 32 bytes`.
pub fn issue(identity: &IdentityKey, store: &StoreId, generation: u64, rotations: u32) -> [u8; BYTES] {
    let claim = encode(store, generation, rotations);
    let mut canary = [0; BYTES];
    canary[..32].copy_from_slice(&claim);
    canary[32..].copy_from_slice(&mac(identity, &claim));
    canary
}

/// What the canary says, if this store issued it.
///
/// # Errors
/// [`CanaryFault`]. A canary of this store whose store id alone was damaged is [`CanaryFault::Damaged`]: with the right
/// id in its place its MAC matches.
pub fn verify(identity: &IdentityKey, store: &StoreId, canary: &[u8; BYTES]) -> Result<Claim, CanaryFault> {
    let (magic, named, claim, given_mac) = decode(canary).ok_or(CanaryFault::Damaged)?;
    let expected = mac(identity, &encode(store, claim.generation, claim.rotations));
    let ours = bool::from(expected.ct_eq(given_mac));
    match (magic == MAGIC, named == *store, ours) {
        (true, true, true) => Ok(claim),
        (true, false, false) => Err(CanaryFault::OtherStore),
        _ => Err(CanaryFault::Damaged),
    }
}

fn encode(store: &StoreId, generation: u64, rotations: u32) -> [u8; 32] {
    let mut claim = [0; 32];
    claim[..4].copy_from_slice(MAGIC);
    claim[4..20].copy_from_slice(store.as_bytes());
    claim[20..28].copy_from_slice(&generation.to_be_bytes());
    claim[28..].copy_from_slice(&rotations.to_be_bytes());
    claim
}

fn decode(canary: &[u8; BYTES]) -> Option<(&[u8; 4], StoreId, Claim, &[u8; MAC_BYTES])> {
    let (magic, rest) = canary.split_first_chunk()?;
    let (store, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (rotations, rest) = rest.split_first_chunk()?;
    let claim = Claim { generation: u64::from_be_bytes(*generation), rotations: u32::from_be_bytes(*rotations) };
    Some((magic, StoreId::from_bytes(*store), claim, rest.first_chunk()?))
}

fn mac(identity: &IdentityKey, claim: &[u8; 32]) -> [u8; MAC_BYTES] {
    with_clean_stack(|| {
        let mut key = Zeroizing::new([0; 32]);
        primitives::expand(identity.expose_key(), &[labels::IDENTITY_CANARY], &mut key);
        primitives::hmac_sha256(&key, |mac| mac.update(claim))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::fixtures::{self, identity_key, with_each_bit_flipped};

    const STORE: StoreId = StoreId::from_bytes(*b"the store itself");
    const ANOTHER: StoreId = StoreId::from_bytes(*b"another store...");

    #[test]
    fn the_vector_s_canary_is_issued_to_the_byte_and_verified() {
        let vectors = fixtures::store();
        let row = vectors.client_canary;
        let (identity, store) = (identity_key(&row.identity.0), StoreId::from_bytes(vectors.store_id.0));
        assert_eq!(issue(&identity, &store, row.generation, row.rotations), row.canary.0);
        let claim = Claim { generation: row.generation, rotations: row.rotations };
        assert_eq!(verify(&identity, &store, &row.canary.0), Ok(claim));
    }

    #[test]
    fn a_canary_with_any_bit_flipped_is_damaged_also_where_the_bit_is_in_the_store_id() {
        let identity = identity_key(&[1; 32]);
        let canary = issue(&identity, &STORE, 41, 2);
        for flipped in with_each_bit_flipped(&canary) {
            assert_eq!(verify(&identity, &STORE, &flipped.try_into().unwrap()), Err(CanaryFault::Damaged));
        }
    }

    #[test]
    fn a_canary_of_another_store_is_told_as_such() {
        let theirs = issue(&identity_key(&[2; 32]), &ANOTHER, 41, 2);
        assert_eq!(verify(&identity_key(&[1; 32]), &STORE, &theirs), Err(CanaryFault::OtherStore));
    }

    #[test]
    fn a_canary_forged_under_another_identity_is_damaged() {
        let forged = issue(&identity_key(&[2; 32]), &STORE, 41, 2);
        assert_eq!(verify(&identity_key(&[1; 32]), &STORE, &forged), Err(CanaryFault::Damaged));
    }

    #[test]
    fn the_greatest_claim_survives() {
        let identity = identity_key(&[1; 32]);
        let canary = issue(&identity, &STORE, u64::MAX, u32::MAX);
        let claim = Claim { generation: u64::MAX, rotations: u32::MAX };
        assert_eq!(verify(&identity, &STORE, &canary), Ok(claim));
    }

    #[test]
    fn zeros_are_no_canary() {
        assert_eq!(verify(&identity_key(&[1; 32]), &STORE, &[0; BYTES]), Err(CanaryFault::Damaged));
    }
}
