//! Holds the table of docs/errors.md to the code: every refusal has its row, and every row its refusal.
//!
//! Must never miss a refusal: one that is added does not compile here until it has an example.
//! Run by `cargo test`.

use std::collections::BTreeSet;

use crate::auth::policy::Denied;
use crate::custody::id::{Fingerprint, VersionId};
use crate::operations::refusal::{Refusal, Rejection, StoreTrouble};
use crate::operations::rotation::key_sources::SourceUnreadable;
use crate::operations::rotation::refusal::RotationRefusal;
use crate::rpc::status::{UNAUTHENTICATED, did_not_start, of, too_much};
use crate::store::backup_file::BackupError;
use crate::store::port::StoreError;

const PAGE: &str = include_str!("../../../docs/errors.md");

/// The place of each variant; no wildcard, so that a new one is missed by nobody.
fn number(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::Denied(_) => 0,
        Refusal::Invalid { .. } => 1,
        Refusal::AlreadySealed => 2,
        Refusal::NotAMessage => 3,
        Refusal::Base64Text => 4,
        Refusal::Stream => 5,
        Refusal::Rejected(_) => 6,
        Refusal::NewerFormat => 7,
        Refusal::VersionUnknown(_) => 8,
        Refusal::VersionDisabled(_) => 9,
        Refusal::LegacyNotAllowed => 10,
        Refusal::NoSuchKey => 11,
        Refusal::KeyExists => 12,
        Refusal::NoPrimary => 13,
        Refusal::NoSuchLegacyKey => 14,
        Refusal::RequestIdReused => 15,
        Refusal::Salvage => 16,
        Refusal::Store(_) => 17,
        Refusal::Backup(_) => 18,
        Refusal::Damaged(_) => 19,
        Refusal::Busy => 20,
        Refusal::Suspended => 21,
        Refusal::Random => 22,
        Refusal::Memory(_) => 23,
        Refusal::MarkBehind => 24,
        Refusal::Unsettled { .. } => 37,
        Refusal::DrillOfOtherKey => 38,
        Refusal::Rotation(why) => match why {
            RotationRefusal::UnderWay { .. } => 25,
            RotationRefusal::Decided { .. } => 26,
            RotationRefusal::BegunOtherwise { .. } => 27,
            RotationRefusal::NotPending(_) => 28,
            RotationRefusal::Other { .. } => 29,
            RotationRefusal::KeyInUse(_) => 30,
            RotationRefusal::KeyUsedBefore(_) => 31,
            RotationRefusal::NoNewKey(_) => 32,
            RotationRefusal::OtherNewKey { .. } => 33,
            RotationRefusal::ForeignKey { .. } => 34,
            RotationRefusal::SourcesLag(_) => 35,
            RotationRefusal::Source(_) => 36,
        },
    }
}

const ID: VersionId = VersionId::from_bytes([7; 8]);

/// The byte that each of the examples' fingerprints repeats, and how the page shows it.
const FINGERPRINTS: [(u8, &str); 5] = [(1, "<old>"), (2, "<new>"), (3, "<found>"), (4, "<asked>"), (5, "<pending>")];

fn examples() -> Vec<Refusal> {
    let io = || std::io::Error::other("x");
    let mut all = vec![
        Refusal::Denied(Denied { operation: "Encrypt", uid: 1 }),
        Refusal::invalid("<field>", "<problem>"),
        Refusal::AlreadySealed,
        Refusal::NotAMessage,
        Refusal::Base64Text,
        Refusal::Stream,
        Refusal::Rejected(Rejection::DoesNotOpen),
        Refusal::Rejected(Rejection::OtherKey),
        Refusal::Rejected(Rejection::Legacy),
        Refusal::NewerFormat,
        Refusal::VersionUnknown(ID),
        Refusal::VersionDisabled(ID),
        Refusal::LegacyNotAllowed,
        Refusal::NoSuchKey,
        Refusal::KeyExists,
        Refusal::NoPrimary,
        Refusal::DrillOfOtherKey,
        Refusal::NoSuchLegacyKey,
        Refusal::RequestIdReused,
        Refusal::Salvage,
        Refusal::Store(StoreError::Conflict { expected: 1, found: 2 }),
        Refusal::Store(StoreError::Damaged { path: "p".into(), detail: "x".into() }),
        Refusal::Store(StoreError::Full { path: "p".into() }),
        Refusal::Store(StoreError::from_io("p".as_ref(), io())),
        Refusal::Backup(BackupError::TooLarge),
        Refusal::Damaged("x".into()),
        Refusal::Busy,
        Refusal::Suspended,
        Refusal::Random,
        Refusal::Memory("x".into()),
        Refusal::MarkBehind,
        Refusal::Unsettled { reason: "x".into(), trouble: StoreTrouble::Unavailable },
    ];
    all.extend(rotation_refusals());
    all
}

fn rotation_refusals() -> Vec<Refusal> {
    let [old, new, found, asked, pending] = FINGERPRINTS.map(|(byte, _)| Fingerprint::from_bytes([byte; 8]));
    let source_name = || "<source>".to_owned();
    [
        RotationRefusal::UnderWay { old, new },
        RotationRefusal::Decided { new, done: "finished" },
        RotationRefusal::BegunOtherwise { new },
        RotationRefusal::NotPending(asked),
        RotationRefusal::Other { pending, asked },
        RotationRefusal::KeyInUse(asked),
        RotationRefusal::KeyUsedBefore(asked),
        RotationRefusal::NoNewKey("<what to do>".to_owned()),
        RotationRefusal::OtherNewKey { source_name: source_name(), found, asked },
        RotationRefusal::ForeignKey { source_name: source_name(), found },
        RotationRefusal::SourcesLag("<each source, and what to do>".to_owned()),
        RotationRefusal::Source(SourceUnreadable("<source and problem>".to_owned())),
    ]
    .map(Refusal::from)
    .into()
}

/// `PermissionDenied` as gRPC writes it: PERMISSION_DENIED.
fn name(code: tonic::Code) -> String {
    let camel = format!("{code:?}");
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// Code and text of each row of the first table of the section.
fn rows() -> BTreeSet<(String, String)> {
    let section = PAGE.split("## ").find(|section| section.starts_with("What the daemon answers")).unwrap();
    let table = section.split("Answers that are made before").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        (cells.next().unwrap().to_owned(), cells.next().unwrap().trim_matches('`').to_owned())
    })
    .collect()
}

#[test]
fn every_refusal_has_an_example() {
    let covered: BTreeSet<usize> = examples().iter().map(number).collect();
    assert_eq!(covered, (0..39).collect());
}

#[test]
fn the_page_gives_the_code_and_text_of_every_refusal_and_no_other() {
    let answered: BTreeSet<(String, String)> = examples()
        .iter()
        .map(|refusal| {
            let (code, text) = of(refusal);
            let text = text.replace(&ID.to_string(), "<version id>");
            let shown = |text: String, (byte, shown): (u8, &str)| {
                text.replace(&Fingerprint::from_bytes([byte; 8]).to_string(), shown)
            };
            (name(code), FINGERPRINTS.into_iter().fold(text, shown))
        })
        .collect();
    assert_eq!(rows(), answered);
}

#[test]
fn the_page_gives_the_texts_of_what_is_answered_outside_of_operations() {
    let (unstarted, too_much) = (did_not_start(), too_much());
    for text in [UNAUTHENTICATED, crate::proto::codec::MALFORMED, unstarted.message(), too_much.message()] {
        assert!(PAGE.contains(&format!("| `{text}` |")), "{text}");
    }
}

#[test]
fn the_contract_s_table_has_every_code_of_the_page() {
    let contract = include_str!("../../../proto/servos/keyd/v1/key_service.proto");
    let table = contract.split("syntax =").next().unwrap();
    let codes = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let codes: BTreeSet<&str> =
        codes.filter(|cell| cell.len() > 5 && cell.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    assert_eq!(codes.len(), 15, "{codes:?}");
    for code in codes {
        assert!(table.contains(&format!("//   {code} ")), "{code}");
    }
}
