//! What shares agree on: the secret of the polynomials through them, and the digest that tells whether it is one.
//!
//! Must never hand out a secret that its digest does not fit, nor one that a share given does not lie on.
//! Called by `shares`.

use super::field;
use crate::custody::keys::KeyError;
use crate::custody::primitives::hmac_sha256;
use crate::custody::random::Random;
use crate::sys::locked::{LockedMemory, Secret};
use crate::sys::wipe::Zeroizing;
use std::collections::BTreeSet;
use subtle::ConstantTimeEq as _;

/// Where the digest and the secret lie on the polynomials.
pub(super) const DIGEST_AT: u8 = 254;
pub(super) const SECRET_AT: u8 = 255;

/// Bytes of the digest.
const DIGEST_BYTES: usize = 4;

/// A share as its place and value.
pub(super) type Point<'v> = (u8, &'v [u8]);

/// Why there is no secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Disagreement {
    /// Some are wrong, and it cannot be told which.
    Unknown,
    /// These do not lie where the others do; by their order, from 0.
    Odd(Vec<usize>),
}

/// D || R: the digest of the secret under the random R.
///
/// Source: SLIP-0039, section "Sharing a secret".
pub(super) fn digest_share(secret: &Secret, memory: &LockedMemory, random: &Random) -> Result<Secret, KeyError> {
    memory.secret(|share| {
        let (digest, key) = share.split_at_mut(DIGEST_BYTES);
        random(key)?;
        digest.copy_from_slice(&digest_of(secret.expose_bytes(), key));
        Ok(())
    })
}

/// The first bytes of HMAC-SHA-256(R, S). A key that is shorter than 32 bytes is, for HMAC, one with zeros behind it.
fn digest_of(secret: &[u8], random: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut key = Zeroizing::new([0; 32]);
    key.iter_mut().zip(random).for_each(|(to, from)| *to = *from);
    let tag = Zeroizing::new(hmac_sha256(&key, |context| context.update(secret)));
    let [a, b, c, d, ..] = *tag;
    [a, b, c, d]
}

/// The secret that the shares agree on.
///
/// # Errors
/// [`Disagreement`] says which do not, where that can be told.
pub(super) fn shared_secret(points: &[Point<'_>], needed: u8, secret: &mut [u8; 32]) -> Result<(), Disagreement> {
    let needed = usize::from(needed);
    let (enough, more) = points.split_at_checked(needed).unwrap_or((points, &[]));
    if recovered(enough, secret) && more.iter().all(|point| lies_on(enough, point)) {
        return Ok(());
    }
    if more.is_empty() {
        return Err(Disagreement::Unknown);
    }
    // Some are wrong: the secret that most lie on tells which; where two have as many, neither is to be blamed.
    let odd_to = |choice: Vec<usize>, secret: &mut [u8; 32]| {
        let chosen: Vec<Point<'_>> = choice.iter().filter_map(|at| points.get(*at).copied()).collect();
        let is_odd = |(at, point): (usize, &Point<'_>)| (!lies_on(&chosen, point)).then_some(at);
        recovered(&chosen, secret).then(|| points.iter().enumerate().filter_map(is_odd).collect::<Vec<usize>>())
    };
    let found: BTreeSet<Vec<usize>> =
        choices(points.len(), needed).filter_map(|choice| odd_to(choice, secret)).collect();
    secret.fill(0);
    let fewest = found.iter().map(Vec::len).min();
    let mut least_odd = found.into_iter().filter(|odd| Some(odd.len()) == fewest);
    match (least_odd.next(), least_odd.next()) {
        (Some(odd), None) => Err(Disagreement::Odd(odd)),
        _ => Err(Disagreement::Unknown),
    }
}

/// Computes the secret of as many points as are needed; whether its digest, if it has one, fits.
///
/// Source: SLIP-0039, section "Recovering a secret".
pub(super) fn recovered(points: &[Point<'_>], secret: &mut [u8]) -> bool {
    if let [(_, value)] = points {
        secret.iter_mut().zip(*value).for_each(|(to, from)| *to = *from);
        return true;
    }
    let mut digest = Zeroizing::new([0; 32]);
    let Some(digest) = digest.get_mut(..secret.len()) else { return false };
    field::interpolate(points, SECRET_AT, secret);
    field::interpolate(points, DIGEST_AT, digest);
    let Some((digest, random)) = digest.split_at_checked(DIGEST_BYTES) else { return false };
    digest_of(secret, random).ct_eq(digest).into()
}

fn lies_on(points: &[Point<'_>], (at, value): &Point<'_>) -> bool {
    let mut computed = Zeroizing::new([0; 32]);
    let Some(computed) = computed.get_mut(..value.len()) else { return false };
    field::interpolate(points, *at, computed);
    bool::from((*computed).ct_eq(value))
}

/// Every choice of `needed` among `count`, at most 16, each in ascending order.
pub(super) fn choices(count: usize, needed: usize) -> impl Iterator<Item = Vec<usize>> {
    let all = 1u32.checked_shl(u32::try_from(count).unwrap_or(u32::MAX)).unwrap_or(0);
    let of = move |set: u32| (0..count).filter(|at| set >> at & 1 == 1).collect::<Vec<usize>>();
    let has_needed = move |set: &u32| usize::try_from(set.count_ones()).is_ok_and(|ones| ones == needed);
    (0..all).filter(has_needed).map(of)
}
