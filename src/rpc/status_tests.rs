//! The table of status codes: every refusal against the comments of the contract.
//!
//! Must never hold a second table: codes and their meaning are read out of the proto.
//! Run by `cargo test`.

use super::{REJECTED, UNAUTHENTICATED, broken, of};
use crate::auth::policy::Denied;
use crate::operations::refusal::{BackupError, Refusal, Rejection, StoreError, StoreTrouble};
use crate::operations::rotation::refusal::RotationRefusal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tonic::Code;

const PROTO: &str = include_str!("../../proto/servos/keyd/v1/key_service.proto");
const ADMIN_PROTO: &str = include_str!("../../proto/servos/keyd/v1/key_admin.proto");
/// Stands where only the log may repeat it.
const CAUSE: &str = "the-cause-of-it";

/// Every code by the name it has in the contract.
const CODES: [(&str, Code); 16] = [
    ("CANCELLED", Code::Cancelled),
    ("UNKNOWN", Code::Unknown),
    ("INVALID_ARGUMENT", Code::InvalidArgument),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
    ("NOT_FOUND", Code::NotFound),
    ("ALREADY_EXISTS", Code::AlreadyExists),
    ("PERMISSION_DENIED", Code::PermissionDenied),
    ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
    ("FAILED_PRECONDITION", Code::FailedPrecondition),
    ("ABORTED", Code::Aborted),
    ("OUT_OF_RANGE", Code::OutOfRange),
    ("UNIMPLEMENTED", Code::Unimplemented),
    ("INTERNAL", Code::Internal),
    ("UNAVAILABLE", Code::Unavailable),
    ("DATA_LOSS", Code::DataLoss),
    ("UNAUTHENTICATED", Code::Unauthenticated),
];

/// Codes that no refusal has: they come from the transport, from a panic, or from a peer without credentials.
const NOT_REFUSALS: [Code; 6] = [
    Code::Unauthenticated,
    Code::DeadlineExceeded,
    Code::Cancelled,
    Code::Unimplemented,
    Code::OutOfRange,
    Code::Internal,
];

/// The table at the head of the contract: each code with what it is said to mean.
fn table() -> BTreeMap<&'static str, String> {
    let head = PROTO.split_once("Status codes, the whole table").unwrap().1.split_once("syntax =").unwrap().0;
    let mut table = BTreeMap::new();
    let mut current = None;
    for line in head.lines().skip(1) {
        let text = line.trim_start_matches("//").trim();
        let first = text.split_whitespace().next().unwrap_or_default();
        if line.starts_with("//   ") && !line.starts_with("//    ") {
            assert!(CODES.iter().any(|(name, _)| *name == first), "{first} is no code");
            current = Some(first);
        }
        let Some(code) = current else { continue };
        let meaning: &mut String = table.entry(code).or_default();
        meaning.push(' ');
        meaning.push_str(text.strip_prefix(code).unwrap_or(text).trim());
    }
    table
}

fn name_of(code: Code) -> &'static str {
    CODES.iter().find(|(_, of)| *of == code).unwrap().0
}

/// What must stand in the table, in the row of its code, for each kind of refusal; a new one does not compile.
fn row(refusal: &Refusal) -> (Code, &'static str) {
    match refusal {
        Refusal::Denied(_) => (Code::PermissionDenied, "policy says no"),
        Refusal::Invalid { .. } => (Code::InvalidArgument, "malformed request"),
        Refusal::AlreadySealed
        | Refusal::NotAMessage
        | Refusal::Base64Text
        | Refusal::Stream
        | Refusal::RequestIdReused => (Code::InvalidArgument, "malformed request"),
        Refusal::Rejected(_) => (Code::InvalidArgument, "\"ciphertext rejected\""),
        Refusal::VersionUnknown(_) => (Code::FailedPrecondition, "names a version that is unknown"),
        Refusal::VersionDisabled(_) => (Code::FailedPrecondition, "disabled or destroyed"),
        Refusal::LegacyNotAllowed => (Code::FailedPrecondition, "legacy is not allowed"),
        Refusal::NewerFormat | Refusal::NoPrimary | Refusal::DrillOfOtherKey | Refusal::Salvage => {
            (Code::FailedPrecondition, "cannot go with the daemon's present state (says which)")
        }
        Refusal::Rotation(why) if why.is_about_the_request() => (Code::InvalidArgument, "malformed request"),
        Refusal::Rotation(_) => (Code::FailedPrecondition, "a rotation of the master key"),
        Refusal::NoSuchKey => (Code::NotFound, "the name of the key to seal with"),
        Refusal::NoSuchLegacyKey => (Code::NotFound, "KeyAdmin, is unknown"),
        Refusal::KeyExists => (Code::AlreadyExists, "the name is taken"),
        Refusal::Busy => (Code::ResourceExhausted, "too many"),
        Refusal::Store(StoreError::Conflict { .. }) => (Code::Aborted, "the store changed under the call"),
        Refusal::Store(
            StoreError::Damaged { .. }
            | StoreError::Empty { .. }
            | StoreError::Foreign { .. }
            | StoreError::NewerFormat { .. },
        )
        | Refusal::Damaged(_)
        | Refusal::Unsettled { trouble: StoreTrouble::Damaged, .. } => (Code::DataLoss, "the store is damaged"),
        Refusal::Store(
            StoreError::Missing { .. }
            | StoreError::AlreadyExists { .. }
            | StoreError::InUse { .. }
            | StoreError::GenerationNotRising { .. }
            | StoreError::BatchTooLarge
            | StoreError::Full { .. }
            | StoreError::Unavailable { .. }
            | StoreError::NotPermitted { .. },
        )
        | Refusal::Backup(_)
        | Refusal::Suspended
        | Refusal::Unsettled { .. }
        | Refusal::MarkBehind
        | Refusal::Random
        | Refusal::Memory(_) => (Code::Unavailable, "cannot be used now"),
    }
}

fn store_errors() -> Vec<StoreError> {
    let path = || PathBuf::from(CAUSE);
    vec![
        StoreError::Missing { path: path() },
        StoreError::AlreadyExists { path: path() },
        StoreError::Empty { path: path() },
        StoreError::Foreign { path: path() },
        StoreError::NewerFormat { path: path(), found: 4 },
        StoreError::Damaged { path: path(), detail: CAUSE.to_owned() },
        StoreError::InUse { path: path() },
        StoreError::Conflict { expected: 1, found: 2 },
        StoreError::GenerationNotRising { expected: 1, next: 1 },
        StoreError::BatchTooLarge,
        StoreError::Full { path: path() },
        StoreError::Unavailable { path: path(), source: std::io::Error::other(CAUSE) },
        StoreError::NotPermitted { path: path(), detail: CAUSE.to_owned() },
    ]
}

/// One of each variant, and of each variant below it that decides.
fn every_refusal() -> Vec<Refusal> {
    let version = "00112233aabbccdd".parse().unwrap();
    let fingerprint = "00112233aabbccdd".parse().unwrap();
    let mut all = vec![
        Refusal::Denied(Denied { operation: "CreateKey", uid: 4_242_424 }),
        Refusal::Invalid { field: "plaintext", problem: "must have at most 1 byte".to_owned() },
        Refusal::AlreadySealed,
        Refusal::NotAMessage,
        Refusal::Base64Text,
        Refusal::Stream,
        Refusal::Rejected(Rejection::DoesNotOpen),
        Refusal::Rejected(Rejection::OtherKey),
        Refusal::Rejected(Rejection::Legacy),
        Refusal::NewerFormat,
        Refusal::VersionUnknown(version),
        Refusal::VersionDisabled(version),
        Refusal::LegacyNotAllowed,
        Refusal::NoSuchKey,
        Refusal::KeyExists,
        Refusal::NoPrimary,
        Refusal::DrillOfOtherKey,
        Refusal::NoSuchLegacyKey,
        Refusal::RequestIdReused,
        Refusal::Salvage,
        Refusal::Backup(BackupError::Differs { path: CAUSE.into() }),
        Refusal::Damaged(CAUSE.to_owned()),
        Refusal::Busy,
        Refusal::Suspended,
        Refusal::Unsettled { reason: CAUSE.to_owned(), trouble: StoreTrouble::Damaged },
        Refusal::Unsettled { reason: CAUSE.to_owned(), trouble: StoreTrouble::Full },
        Refusal::Random,
        Refusal::Memory(CAUSE.to_owned()),
        Refusal::MarkBehind,
        Refusal::Rotation(RotationRefusal::NotPending(fingerprint)),
        Refusal::Rotation(RotationRefusal::UnderWay { old: fingerprint, new: fingerprint }),
        Refusal::Rotation(RotationRefusal::KeyUsedBefore(fingerprint)),
        Refusal::Rotation(RotationRefusal::OtherNewKey {
            source_name: "f".into(),
            found: fingerprint,
            asked: fingerprint,
        }),
    ];
    all.extend(store_errors().into_iter().map(Refusal::Store));
    all
}

#[test]
fn every_variant_is_in_the_list_that_this_test_walks() {
    let kind = |refusal: &Refusal| format!("{refusal:?}").split([' ', '(', '{']).next().unwrap().to_owned();
    let listed: BTreeSet<String> = every_refusal().iter().map(kind).collect();
    let source = include_str!("../operations/refusal.rs");
    let body = source.split_once("pub enum Refusal {").unwrap().1.split_once("\n}").unwrap().0;
    let declared: BTreeSet<String> = body
        .lines()
        .filter(|line| line.starts_with("    ") && line.as_bytes()[4].is_ascii_uppercase())
        .map(|line| line.trim().split([' ', '(', '{', ',']).next().unwrap().to_owned())
        .collect();
    assert_eq!(listed, declared);
}

#[test]
fn every_refusal_has_the_code_and_the_row_that_the_contract_gives_it() {
    let table = table();
    for refusal in every_refusal() {
        let (code, text) = of(&refusal);
        let (expected, meaning) = row(&refusal);
        assert_eq!(code, expected, "{refusal:?}");
        let words = &table[name_of(code)];
        assert!(words.contains(meaning), "{refusal:?}: {meaning:?} is not in the row: {words}");
        assert!(!text.is_empty() && text.len() < 200, "{text}");
    }
}

#[test]
fn every_code_of_the_table_is_used_and_every_code_that_is_used_stands_there() {
    let mut used: BTreeSet<&str> = every_refusal().iter().map(|refusal| name_of(of(refusal).0)).collect();
    let beyond: BTreeSet<&str> = NOT_REFUSALS.iter().map(|code| name_of(*code)).collect();
    assert!(used.is_disjoint(&beyond), "a refusal has a code that only the transport or a bug may give");
    used.extend(beyond);
    assert_eq!(used, table().into_keys().collect());
}

#[test]
fn every_code_that_an_rpc_names_is_in_the_table() {
    let table = table();
    let mut named = 0;
    for proto in [PROTO, ADMIN_PROTO] {
        for block in proto.split("// Codes:").skip(1) {
            let codes = block.split_once("rpc ").unwrap().0;
            for word in codes.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.len() > 6) {
                let is_code = CODES.iter().any(|(name, _)| *name == word);
                assert!(!is_code || table.contains_key(word), "{word}");
                named += usize::from(is_code);
            }
        }
    }
    assert!(named > 30, "{named}");
}

#[test]
fn no_text_for_the_caller_holds_a_cause() {
    for refusal in every_refusal() {
        let (_, text) = of(&refusal);
        assert!(!text.contains(CAUSE), "{refusal:?}: {text}");
        for hidden in ["4242424", "user ", "Rejected", "StoreError"] {
            assert!(!text.contains(hidden), "{refusal:?}: {text}");
        }
    }
}

#[test]
fn a_value_that_does_not_open_is_rejected_in_the_same_words_whatever_the_cause() {
    for cause in [Rejection::DoesNotOpen, Rejection::OtherKey, Rejection::Legacy] {
        match cause {
            Rejection::DoesNotOpen | Rejection::OtherKey | Rejection::Legacy => {}
        }
        assert_eq!(of(&Refusal::Rejected(cause)), (Code::InvalidArgument, REJECTED.to_owned()));
    }
    assert_eq!(REJECTED, "ciphertext rejected");
}

#[test]
fn the_words_that_clients_look_for_are_those_of_the_contract() {
    for (refusal, words) in [
        (Refusal::AlreadySealed, "already sealed"),
        (Refusal::NotAMessage, "not a message of servos-keyd"),
        (Refusal::Base64Text, "this is base64 text: decode it first"),
        (Refusal::NewerFormat, "made by a newer servos-keyd"),
        (Refusal::LegacyNotAllowed, "legacy not allowed"),
    ] {
        assert!(of(&refusal).1.contains(words), "{refusal:?}");
    }
}

#[test]
fn what_is_invalid_names_its_field_and_its_limit() {
    let refusal = Refusal::invalid("plaintext", "must have at most 1048576 bytes, has 1048577");
    assert_eq!(of(&refusal).1, "plaintext: must have at most 1048576 bytes, has 1048577");
}

#[test]
fn a_bug_gives_an_id_that_is_never_the_same() {
    let (first, status) = broken();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains(&first));
    assert_ne!(broken().0, first);
    assert!(!UNAUTHENTICATED.is_empty());
}
