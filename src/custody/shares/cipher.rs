//! The cipher around a shared secret: four rounds of Feistel, each of which is PBKDF2 of the half that stays.
//!
//! Must never be counted on for secrecy here: the passphrase is empty, and the key's secrecy is that of the shares.
//! Called by `shares`, because the standard has it, and its other implementations undo it.

use super::format::Header;
use crate::custody::primitives::pbkdf2_hmac_sha256;
use crate::sys::wipe::Zeroizing;
use std::num::NonZeroU32;

/// Rounds, and iterations of all of them together at exponent 0.
const ROUNDS: u8 = 4;
const BASE_ITERATIONS: u32 = 10_000;

/// The passphrase of every share of ours.
pub(super) const NO_PASSPHRASE: &[u8] = b"";

/// EMS = Encrypt(MS, P, e, id, ext), in place.
///
/// Source: SLIP-0039, section "Encryption of the master secret".
pub(super) fn encrypt(secret: &mut [u8], passphrase: &[u8], header: &Header) {
    feistel(secret, passphrase, header, 0..ROUNDS);
}

/// MS = Decrypt(EMS, P, e, id, ext), in place.
pub(super) fn decrypt(secret: &mut [u8], passphrase: &[u8], header: &Header) {
    feistel(secret, passphrase, header, (0..ROUNDS).rev());
}

fn feistel(secret: &mut [u8], passphrase: &[u8], header: &Header, rounds: impl Iterator<Item = u8>) {
    let (mut left, mut right) = secret.split_at_mut(secret.len() / 2);
    for round in rounds {
        let mut mixed = Zeroizing::new([0; 16]);
        let salt = Zeroizing::new([salt(header).as_slice(), right].concat());
        let password = Zeroizing::new([&[round], passphrase].concat());
        let mixed = mixed.get_mut(..left.len()).unwrap_or_default();
        pbkdf2_hmac_sha256(iterations(header), &salt, &password, mixed);
        left.iter_mut().zip(mixed).for_each(|(left, mixed)| *left ^= *mixed);
        (left, right) = (right, left);
    }
    left.swap_with_slice(right);
}

fn iterations(header: &Header) -> NonZeroU32 {
    NonZeroU32::new((BASE_ITERATIONS << header.iteration_exponent) / u32::from(ROUNDS)).unwrap_or(NonZeroU32::MAX)
}

fn salt(header: &Header) -> Vec<u8> {
    if header.extendable { Vec::new() } else { [b"shamir".as_slice(), &header.identifier.to_be_bytes()].concat() }
}
