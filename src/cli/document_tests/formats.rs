//! Holds docs/formats.md to the code: each table of offsets to bytes that the code or an independent implementation made.
//!
//! Must never take a table that leaves a gap, nor bytes that the code itself would refuse.
//! Run by `cargo test`.

use base64ct::{Base64, Encoding as _};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::custody::context::{self, Context};
use crate::custody::shares::words;
use crate::store::backup_file::{Backup, decode, encode};
use crate::store::mark::{self, Mark, State};
use crate::store::record;

const PAGE: &str = include_str!("../../../docs/formats.md");

fn section(name: &str) -> &'static str {
    PAGE.split("\n## ").find(|section| section.starts_with(name)).unwrap()
}

/// The fields of the one table of offsets in a section, cut out of something that is `total` long.
fn fields(name: &str, total: usize) -> Vec<(&'static str, std::ops::Range<usize>)> {
    let rows = section(name).lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<[&str; 3]> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').splitn(3, " | ").map(str::trim).collect();
            cells.try_into().unwrap()
        })
        .collect();
    let fixed: usize = rows.iter().filter_map(|[_, bytes, _]| bytes.parse::<usize>().ok()).sum();
    let n = total.checked_sub(fixed).unwrap();
    let value = |cell: &str| cell.split(" + ").map(|part| part.parse().unwrap_or(n)).sum::<usize>();
    let mut end = 0;
    let mut found = Vec::new();
    for [offset, bytes, field] in rows {
        assert_eq!(value(offset), end, "{name}: {field}");
        end += value(bytes);
        found.push((field, value(offset)..end));
    }
    assert_eq!(end, total, "{name}");
    found
}

/// The bytes of the one field whose name begins so.
fn field<'b>(name: &str, bytes: &'b [u8], begins: &str) -> &'b [u8] {
    let all = fields(name, bytes.len());
    let [(_, range)] = &all.iter().filter(|(field, _)| field.starts_with(begins)).collect::<Vec<_>>()[..] else {
        panic!("{name}: not one field {begins}");
    };
    &bytes[range.clone()]
}

fn bytes(value: &Value) -> Vec<u8> {
    base16ct::lower::decode_vec(value.as_str().unwrap()).unwrap()
}

fn vectors(file: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec()
}

#[test]
fn the_table_of_messages_cuts_every_vector_where_its_fields_are() {
    let all = vectors("skd1.json");
    let valid: Vec<&Value> = all["messages"].as_array().unwrap().iter().filter(|row| row["valid"] == true).collect();
    assert!(valid.len() > 20);
    for row in valid {
        let message = bytes(&row["ciphertext"]);
        assert_eq!(field("SKD1", &message, "`SKD1`"), b"SKD1");
        assert_eq!(field("SKD1", &message, "version id"), bytes(&row["version_id"]));
        assert_eq!(field("SKD1", &message, "salt"), bytes(&row["salt"]));
        assert_eq!(field("SKD1", &message, "AES").len(), bytes(&row["plaintext"]).len());
        assert!(Base64::encode_string(&message).starts_with("U0tEM"));
    }
    let overhead = format!("{} bytes more than the plaintext", crate::custody::message::OVERHEAD);
    assert!(section("SKD1").contains(&overhead), "{overhead}");
}

#[test]
fn the_table_of_record_seals_cuts_every_vector_where_its_fields_are() {
    let all = vectors("store.json");
    let seals = all["seals"].as_array().unwrap();
    assert!(seals.len() > 4);
    for row in seals {
        let sealed = bytes(&row["sealed"]);
        assert_eq!(field("SKR1", &sealed, "`SKR1`"), b"SKR1");
        assert_eq!(field("SKR1", &sealed, "owner id"), bytes(&row["owner_id"]));
        assert_eq!(field("SKR1", &sealed, "salt"), bytes(&row["salt"]));
        assert_eq!(field("SKR1", &sealed, "AES").len(), bytes(&row["secret"]).len());
        let purpose = format!("`{}`", row["context"]["purpose"].as_str().unwrap());
        assert!(section("SKR1").contains(&purpose), "{purpose}");
        for name in row["context"].as_object().unwrap().keys() {
            assert!(section("SKR1").contains(name), "{name}");
        }
    }
}

#[test]
fn the_table_of_canaries_cuts_the_vector_where_its_fields_are() {
    let all = vectors("store.json");
    let row = &all["client_canary"];
    let canary = bytes(&row["canary"]);
    assert_eq!(canary.len(), crate::custody::client_canary::BYTES);
    assert_eq!(field("SKC1", &canary, "`SKC1`"), b"SKC1");
    assert_eq!(field("SKC1", &canary, "store id"), bytes(&all["store_id"]));
    assert_eq!(field("SKC1", &canary, "generation"), row["generation"].as_u64().unwrap().to_be_bytes());
    let rotations = u32::try_from(row["rotations"].as_u64().unwrap()).unwrap();
    assert_eq!(field("SKC1", &canary, "rotations"), rotations.to_be_bytes());
}

#[test]
fn the_table_of_backups_cuts_a_backup_where_its_fields_are() {
    let records = BTreeMap::from([("a".to_owned(), b"12".to_vec()), ("bb".to_owned(), b"3".to_vec())]);
    let backup = Backup { schema: 1, store_id: [7; 16], generation: 41, unix_seconds: 1_780_000_000, records };
    let file = encode(&backup).unwrap();
    assert!(decode(&file).unwrap() == backup);
    assert_eq!(field("SKB1", &file, "`SKB1`"), b"SKB1");
    assert_eq!(field("SKB1", &file, "schema of the records: 1"), crate::store::backup_file::SCHEMA.to_be_bytes());
    assert_eq!(field("SKB1", &file, "store id"), [7; 16]);
    assert_eq!(field("SKB1", &file, "generation"), 41_u64.to_be_bytes());
    assert_eq!(field("SKB1", &file, "when it was made"), 1_780_000_000_u64.to_be_bytes());
    assert_eq!(field("SKB1", &file, "count"), 2_u32.to_be_bytes());
    let each = b"\0\0\0\x01a\0\0\0\x0212\0\0\0\x02bb\0\0\0\x013";
    assert_eq!(field("SKB1", &file, "each record in name order"), each);
    assert_eq!(field("SKB1", &file, "SHA-256"), sha256(&file[..file.len() - 32]));
    assert_eq!(backup.file_name(), format!("keyd-{}-{:020}.skb1", "07".repeat(16), 41));
    assert!(section("SKB1").contains("`keyd-<store id>-<generation, 20 digits>.skb1`"));
}

#[test]
fn the_page_s_line_of_the_mark_is_the_one_that_is_written() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("mark");
    let state = State { store_id: [0xab; 16], generation: 41, root_id: [0xcd; 32] };
    let line = section("SKH1").split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let line = line.replace("<store id>", &"ab".repeat(16)).replace("<root id>", &"cd".repeat(32));
    let line = line.replace("<generation>", "41");
    mark::write(&path, &Mark { now: Some(state), to_come: Some(state) }).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), line.repeat(2));
    mark::write(&path, &Mark { now: None, to_come: Some(state) }).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("SKH1 none\n{line}"));
    assert!(section("SKH1").contains("`SKH1 none`"));
}

#[test]
fn the_page_encodes_a_context_as_the_code_does_and_gives_its_limits() {
    let shown = section("Context").split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let shown: String = shown.split_whitespace().collect();
    assert_eq!(base16ct::lower::encode_string(Context::new([("table", "demo")]).unwrap().encoded()), shown);
    let empty = base16ct::lower::encode_string(Context::empty().encoded());
    assert!(section("Context").contains(&format!("The empty one is `{empty}`")));
    let limits = format!(
        "at most {} pairs, {} bytes a key, {} bytes a value, {} bytes encoded",
        context::MAX_PAIRS,
        context::MAX_KEY_BYTES,
        context::MAX_VALUE_BYTES,
        context::MAX_ENCODED_BYTES
    );
    assert!(section("Context").contains(&limits), "{limits}");
}

#[test]
fn the_table_of_legacy_values_leaves_the_plaintext_s_length() {
    let all = vectors("legacy.json");
    let rows = all["rows"].as_array().unwrap().iter().filter(|row| row["valid"] == true);
    let lengths: Vec<usize> = rows
        .map(|row| {
            let value = Base64::decode_vec(row["stored"].as_str().unwrap()).unwrap();
            assert_eq!(field("Legacy", &value, "nonce").len(), 12);
            assert_eq!(field("Legacy", &value, "tag").len(), 16);
            assert_eq!(field("Legacy", &value, "ciphertext").len(), bytes(&row["plaintext"]).len());
            value.len()
        })
        .collect();
    assert!(lengths.len() > 3, "{lengths:?}");
}

#[test]
fn the_table_of_shares_reads_the_standard_s_own_shares() {
    let numbers: BTreeMap<&str, u32> = words::all().zip(0..).collect();
    let all = vectors("slip39.json");
    let sharing = all.as_array().unwrap().iter().filter(|row| {
        row[0].as_str().unwrap().to_lowercase().contains("basic sharing 2-of-3 (256 bits)") && row[2] != ""
    });
    let mut read = 0;
    for row in sharing {
        let extendable = u8::from(row[0].as_str().unwrap().contains("Extendable"));
        let mut identifiers = BTreeSet::new();
        for share in row[1].as_array().unwrap() {
            let words: Vec<&str> = share.as_str().unwrap().split(' ').collect();
            assert_eq!(words.len(), crate::custody::shares::SHARE_WORDS);
            let bits: Vec<u8> =
                words.iter().flat_map(|word| (0..10).rev().map(|at| u8::from(numbers[word] >> at & 1 == 1))).collect();
            let name = "SLIP-0039";
            let number =
                |begins: &str| field(name, &bits, begins).iter().fold(0_u32, |all, bit| all << 1 | u32::from(*bit));
            identifiers.insert(number("identifier"));
            assert_eq!(field(name, &bits, "extendable"), [extendable]);
            assert_eq!((number("member threshold"), number("groups"), number("group threshold")), (1, 0, 0));
            assert_eq!((number("group index"), number("zero")), (0, 0));
            assert!(number("member index") < 3);
            assert_eq!((field(name, &bits, "value").len(), field(name, &bits, "RS1024").len()), (256, 30));
            read += 1;
        }
        assert_eq!(identifiers.len(), 1);
    }
    assert_eq!(read, 4);
}

#[test]
fn the_page_names_every_record_and_its_message() {
    let rows = section("The records").lines().filter_map(|line| line.strip_prefix("| `"));
    let shown: BTreeSet<String> = rows.map(|row| row.split('`').next().unwrap().to_owned()).collect();
    let named = [record::META, record::MAC, record::MASTER, record::CANARY, record::IDENTITY].map(str::to_owned);
    let named = named.into_iter().chain([
        record::legacy("<fingerprint>"),
        record::key("<key id>"),
        record::version("<version id>"),
        record::request("<uuid>"),
        "history/<n>".to_owned(),
    ]);
    assert_eq!(shown, named.collect());
    assert_eq!(record::history(3), "history/3");
    let contract = include_str!("../../../proto/servos/keyd/store/v1/records.proto");
    let messages = section("The records").lines().filter_map(|line| line.split(" | `").nth(1)?.split('`').next());
    let messages: Vec<&str> = messages.collect();
    assert_eq!(messages.len(), 9);
    for message in messages {
        assert!(contract.contains(&format!("\nmessage {message} {{")), "{message}");
    }
}

#[test]
fn the_page_names_every_label_that_keys_are_derived_under_and_no_other() {
    let quoted = |text: &'static str| -> BTreeSet<&'static str> {
        text.split('"').skip(1).step_by(2).filter(|word| word.starts_with("servos-keyd/")).collect()
    };
    let declared = include_str!("../../custody/labels.rs").split("#[cfg(test)]").next().unwrap();
    let mut declared = quoted(declared);
    // The page writes these two as the prefix and the magic; and the MAC's first bytes are no label of a key.
    for (written, in_page) in [("servos-keyd/SKD1", "servos-keyd/"), ("servos-keyd/SKR1", "servos-keyd/")] {
        assert!(declared.remove(written), "{written}");
        declared.insert(in_page);
    }
    declared.insert("servos-keyd/snapshot");
    assert_eq!(quoted(PAGE), declared);
}
