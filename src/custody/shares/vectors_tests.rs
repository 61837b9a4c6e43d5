//! The standard's own vectors, `tests/vectors/slip39.json`: published with SLIP-0039 in trezor/python-shamir-mnemonic,
//! and unchanged here. All of them, those with groups, short secrets and a passphrase too, by what our shares are made
//! of.
//!
//! Must never leave out a vector: they are counted.
//! Run by `cargo test`.

use super::agreement::recovered;
use super::*;
use crate::custody::fixtures::memory;
use std::collections::{BTreeMap, BTreeSet};

/// The passphrase of all vectors.
const PASSPHRASE: &[u8] = b"TREZOR";

/// What it is, the shares, the secret in hex (empty where there is none), and a key of a wallet, which is not ours.
type Vector = (String, Vec<String>, String, String);

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../../tests/vectors/slip39.json")).unwrap()
}

type Decoded = (Header, Vec<u8>);

fn decoded(share: &str) -> Result<Decoded, String> {
    let numbers: Option<Vec<u16>> = share.split(' ').map(|word| words::find(word.as_bytes())).collect();
    let mut value = [0; 32];
    let (header, length) =
        format::decode(&numbers.ok_or("unknown word")?, &mut value).map_err(|error| error.to_string())?;
    Ok((header, value[..length].to_vec()))
}

/// What all shares have in common.
fn common(header: &Header) -> (KitId, u8, u8) {
    (KitId::of(header), header.group_threshold, header.group_count)
}

/// The secret of points of which exactly `threshold` must be there.
fn joined(points: &[(u8, &[u8])], threshold: u8) -> Result<Vec<u8>, String> {
    let places: BTreeSet<u8> = points.iter().map(|(at, _)| *at).collect();
    if points.len() != usize::from(threshold) || places.len() != points.len() {
        return Err("not as many as are needed".to_owned());
    }
    let mut secret = vec![0; points[0].1.len()];
    if recovered(points, &mut secret) { Ok(secret) } else { Err("digest".to_owned()) }
}

/// The whole standard, with groups, as ours does without.
fn combined(shares: &[String]) -> Result<Vec<u8>, String> {
    let decoded: Vec<Decoded> = shares.iter().map(|share| decoded(share)).collect::<Result<_, _>>()?;
    let (first, _) = &decoded[0];
    if decoded.iter().any(|(header, value)| common(header) != common(first) || value.len() != decoded[0].1.len()) {
        return Err("shares of different backups".to_owned());
    }
    let mut groups: BTreeMap<u8, Vec<&Decoded>> = BTreeMap::new();
    decoded.iter().for_each(|share| groups.entry(share.0.group_index).or_default().push(share));
    let mut of_groups = Vec::new();
    for (at, members) in &groups {
        let threshold = members[0].0.member_threshold;
        if members.iter().any(|(header, _)| header.member_threshold != threshold) {
            return Err("thresholds of one group differ".to_owned());
        }
        let points: Vec<(u8, &[u8])> =
            members.iter().map(|(header, value)| (header.member_index, value.as_slice())).collect();
        of_groups.push((*at, joined(&points, threshold)?));
    }
    let points: Vec<(u8, &[u8])> = of_groups.iter().map(|(at, value)| (*at, value.as_slice())).collect();
    let mut secret = joined(&points, first.group_threshold)?;
    cipher::decrypt(&mut secret, PASSPHRASE, first);
    Ok(secret)
}

#[test]
fn every_vector_of_the_standard_gives_its_secret_or_none() {
    let (mut valid, mut invalid) = (0, 0);
    for (what, shares, secret, _) in vectors() {
        match combined(&shares) {
            Ok(found) => {
                assert_eq!(base16ct::lower::encode_string(&found), secret, "{what}");
                valid += 1;
            }
            Err(why) => {
                assert!(secret.is_empty(), "{what}: {why}");
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (15, 30));
}

#[test]
fn a_share_of_the_vectors_is_written_as_it_was_read() {
    let mut whole = 0;
    for share in vectors().into_iter().flat_map(|(_, shares, _, _)| shares) {
        let Ok((header, value)) = decoded(&share) else { continue };
        let Ok(value) = <[u8; 32]>::try_from(value) else { continue };
        let numbers: Vec<u16> = share.split(' ').map(|word| words::find(word.as_bytes()).unwrap()).collect();
        assert_eq!(format::encode(&header, &value).as_slice(), numbers, "{share}");
        whole += 1;
    }
    assert_eq!(whole, 22);
}

#[test]
fn what_the_standard_refuses_is_refused_where_keys_are_put_together_and_groups_too() {
    let memory = memory();
    let mut taken = Vec::new();
    for (what, shares, secret, _) in vectors() {
        let parsed = shares.iter().map(|share| Share::parse(share.split(' ').map(str::as_bytes), &memory));
        let Ok(parsed) = parsed.collect::<Result<Vec<Share>, ShareError>>() else { continue };
        if combine(&parsed, &memory).is_ok() {
            assert!(!secret.is_empty(), "{what}");
            taken.push(what);
        }
    }
    // Those of 32 bytes in one group: with an empty passphrase they give a key, though not that of the vector.
    let numbers: Vec<&str> = taken.iter().map(|what| what.split('.').next().unwrap()).collect();
    assert_eq!(numbers, ["20", "23", "44", "45"]);
}
