//! Tests of SKB1: the fixed vector, and hostile bytes.
//!
//! Must never take bytes for good because this program could have made them.
//! Called by cargo, as the tests of `backup_format`.

use super::*;
use crate::store::backup_file::encode;
use base16ct::lower as hex;

fn vector() -> (Backup, Vec<u8>) {
    let all: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/store.json")).unwrap();
    let bytes = |value: &serde_json::Value| hex::decode_vec(value.as_str().unwrap()).unwrap();
    let given = &all["backup"];
    let records = given["records"].as_object().unwrap().iter();
    let backup = Backup {
        schema: u32::try_from(given["schema"].as_u64().unwrap()).unwrap(),
        store_id: bytes(&all["store_id"]).try_into().unwrap(),
        generation: given["generation"].as_u64().unwrap(),
        unix_seconds: given["unix_seconds"].as_u64().unwrap(),
        records: records.map(|(name, value)| (name.clone(), bytes(value))).collect(),
    };
    (backup, bytes(&given["file"]))
}

/// `body` with the digest that belongs to it.
fn summed(mut body: Vec<u8>) -> Vec<u8> {
    let sum = digest(&SHA256, &body);
    body.extend(sum.as_ref());
    body
}

/// Header and record bytes as given, whatever they promise, under a digest that fits.
fn crafted(schema: u32, count: u32, records: &[u8]) -> Vec<u8> {
    let mut body = b"SKB1".to_vec();
    body.extend(schema.to_be_bytes());
    body.extend([7; 16]);
    body.extend([0; 16]);
    body.extend(count.to_be_bytes());
    body.extend(records);
    summed(body)
}

fn record(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length(name)[..], name, &length(value), value].concat()
}

fn is_damaged(bytes: &[u8]) -> bool {
    matches!(decode(bytes), Err(BackupError::Damaged { .. }))
}

#[test]
fn the_vector_is_made_and_read_byte_for_byte() {
    let (backup, file) = vector();
    assert_eq!(encode(&backup).unwrap(), file);
    assert!(decode(&file).unwrap() == backup);
}

#[test]
fn every_truncation_every_flipped_bit_and_trailing_bytes_are_refused() {
    let (_, file) = vector();
    for length in 0..file.len() {
        assert!(decode(&file[..length]).is_err(), "truncated to {length}");
    }
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut bad = file.clone();
            bad[at] ^= 1 << bit;
            assert!(decode(&bad).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert!(is_damaged(&[&file[..], b"\0"].concat()));
}

#[test]
fn records_under_a_digest_that_fits_are_still_judged() {
    let one = record(b"a", b"1");
    assert!(decode(&crafted(1, 1, &one)).is_ok());
    assert!(is_damaged(&crafted(1, 2, &one)), "a count of more than there is");
    assert!(is_damaged(&crafted(1, u32::MAX, &one)), "a count of four billion");
    assert!(is_damaged(&crafted(1, 0, &one)), "bytes after the last record");
    assert!(is_damaged(&crafted(1, 1, &u32::MAX.to_be_bytes())), "a name of four gigabytes");
    assert!(is_damaged(&crafted(1, 1, &[&one[..5], &u32::MAX.to_be_bytes()].concat())), "a value of four gigabytes");
    assert!(is_damaged(&crafted(1, 2, &[&one[..], &one].concat())), "a name twice");
    assert!(is_damaged(&crafted(1, 2, &[&record(b"b", b""), &one[..]].concat())), "names out of order");
    assert!(decode(&crafted(1, 1, &record(&[b'n'; 512], b""))).is_ok());
    assert!(is_damaged(&crafted(1, 1, &record(&[b'n'; 513], b""))), "a name too long");
    assert!(is_damaged(&crafted(1, 1, &record(b"\xff", b""))), "a name that is not text");
    assert!(is_damaged(&crafted(0, 1, &one)), "no schema");
    assert!(is_damaged(&summed(b"SKB1\0\0\0\x01".to_vec())), "no header");
}

#[test]
fn a_newer_schema_and_a_foreign_file_are_told_apart_from_damage() {
    assert!(matches!(decode(&crafted(2, 0, b"")), Err(BackupError::NewerSchema { found: 2 })));
    assert!(matches!(
        decode(&[b"SKB1\0\0\0\x09".as_slice(), &[0; 32]].concat()),
        Err(BackupError::NewerSchema { found: 9 })
    ));
    assert!(matches!(decode(b""), Err(BackupError::Foreign)));
    assert!(matches!(decode(b"redb and more than thirty-two bytes of it"), Err(BackupError::Foreign)));
}
