//! Tests of `cli::exit`: the numbers are those of sysexits(3), and every cause has the one of the table.
//!
//! Must never build a cause in a way that its own room would not.
//! Run as `cli::exit::tests`.

use super::*;
use crate::custody::id::Fingerprint;
use crate::operations::restore::newer::Newer;
use std::io;
use std::path::PathBuf;

fn path() -> PathBuf {
    "/x".into()
}

fn fingerprint(byte: u8) -> Fingerprint {
    Fingerprint::from_bytes([byte; 8])
}

#[test]
fn the_numbers_are_those_of_sysexits_and_each_stands_once_in_the_help() {
    let codes: Vec<u8> = ALL.iter().map(|exit| exit.code).collect();
    assert_eq!(codes, [1, 64, 65, 66, 69, 70, 71, 73, 74, 75, 77, 78]);
    for exit in ALL {
        assert_eq!(help().matches(&format!("{:2}  {}", exit.code, exit.meaning)).count(), 1, "{}", exit.meaning);
    }
}

#[test]
fn every_store_fault_has_the_code_of_the_table() {
    let source = || io::Error::other("x");
    let rows = [
        (StoreError::Missing { path: path() }, 66),
        (StoreError::AlreadyExists { path: path() }, 73),
        (StoreError::Empty { path: path() }, 74),
        (StoreError::Foreign { path: path() }, 74),
        (StoreError::NewerFormat { path: path(), found: 4 }, 78),
        (StoreError::Damaged { path: path(), detail: "torn".into() }, 74),
        (StoreError::Full { path: path() }, 74),
        (StoreError::Unavailable { path: path(), source: source() }, 74),
        (StoreError::InUse { path: path() }, 75),
        (StoreError::Conflict { expected: 1, found: 2 }, 75),
        (StoreError::NotPermitted { path: path(), detail: "mode".into() }, 77),
        (StoreError::BatchTooLarge, 70),
        (StoreError::GenerationNotRising { expected: 2, next: 1 }, 70),
    ];
    for (error, code) in rows {
        assert_eq!(of_store(&error).code, code, "{error}");
        assert_eq!(of_start(&StartFailure::Store(error)).code, code);
    }
}

#[test]
fn every_start_that_fails_has_the_code_of_the_table() {
    let rows = [
        (StartFailure::NoStore { store: path() }, 66),
        (StartFailure::StoreElsewhere { store: path(), found: path(), ways: String::new() }, 66),
        (StartFailure::StoreLost { store: path(), witnesses: vec![path()], newest: None }, 66),
        (StartFailure::CreationInterrupted { store: path() }, 66),
        (StartFailure::Exists { path: path() }, 73),
        (
            StartFailure::WrongKey {
                expected: "a".into(),
                to_come: Some(fingerprint(2)),
                since: "b".into(),
                given: fingerprint(1),
                past: None,
            },
            78,
        ),
        (
            StartFailure::SourcesDisagree {
                first: "a".into(),
                first_fingerprint: fingerprint(1),
                second: "b".into(),
                second_fingerprint: fingerprint(2),
            },
            78,
        ),
        (StartFailure::MalformedKey { source_name: "a".into(), problem: "short".into() }, 78),
        (StartFailure::NewerSchema("2".into()), 78),
        (StartFailure::LegacyRowRefused { file: path(), given: fingerprint(1) }, 65),
        (StartFailure::LegacyRowNotBase64 { file: path(), line: 1 }, 65),
        (
            StartFailure::LegacyRowsDiffer {
                file: path(),
                given: fingerprint(1),
                opened: 1,
                count: 2,
                lines: "line 2".into(),
            },
            65,
        ),
        (StartFailure::UnusableFile(StoreError::Empty { path: path() }), 74),
        (StartFailure::Unsalvageable { store: path(), problem: "x".into() }, 74),
        (StartFailure::NewerSchema("2".into()).in_backup(&path()), 78),
        (StartFailure::OtherGeneration { found: 1, told: 2 }, 65),
        (StartFailure::OtherStore { path: path(), found: "a".into(), wanted: "b".into() }, 73),
        (
            StartFailure::Older {
                file: path(),
                argument: "/x".into(),
                generation: 1,
                newer: Box::new(Newer::Store { path: path(), generation: 2, lacks: 0 }),
            },
            65,
        ),
        (StartFailure::CanaryRefused { file: path(), problem: "x" }, 65),
        (StartFailure::Damaged("x".into()), 74),
        (StartFailure::MarkMissing { mark: path(), generation: 1 }, 74),
        (StartFailure::MarkUnusable { generation: 1, source: MarkError::Damaged { path: path(), detail: "x" } }, 74),
        (StartFailure::MarkRefuses { mark: path(), problem: "x".into(), generation: 1 }, 74),
        (StartFailure::Mark(MarkError::Damaged { path: path(), detail: "x" }), 74),
        (StartFailure::Mark(MarkError::File(StoreError::Full { path: path() })), 74),
        (StartFailure::Backup(BackupError::Foreign), 74),
        (StartFailure::Backup(BackupError::Damaged { detail: "x" }), 74),
        (StartFailure::Backup(BackupError::NewerSchema { found: 2 }), 78),
        (StartFailure::Backup(BackupError::TooLarge), 70),
        (StartFailure::Backup(BackupError::Differs { path: path() }), 73),
        (StartFailure::Backup(BackupError::File(StoreError::Missing { path: path() })), 66),
        (StartFailure::Refused(Refusal::Damaged("x".into())), 74),
        (StartFailure::Refused(Refusal::Random), 74),
    ];
    for (failure, code) in rows {
        assert_eq!(of_start(&failure).code, code, "{failure}");
    }
}

#[test]
fn a_file_that_is_asked_about_and_is_no_good_backup_is_rejected_data() {
    let rows = [
        (BackupError::Foreign, 65),
        (BackupError::Damaged { detail: "x" }, 65),
        (BackupError::NewerSchema { found: 2 }, 78),
        (BackupError::File(StoreError::Missing { path: path() }), 66),
        (BackupError::File(StoreError::NotPermitted { path: path(), detail: "mode".into() }), 77),
    ];
    for (error, code) in rows {
        assert_eq!(of_inspected(&error).code, code, "{error}");
    }
}

#[test]
fn every_key_source_fault_has_the_code_of_its_class() {
    let place = || "/k".to_owned();
    let rows = [
        (KeySourceError::NoSource, 66),
        (KeySourceError::NotDelivered { place: place() }, 66),
        (KeySourceError::Missing { place: place() }, 66),
        (KeySourceError::Denied { place: place(), daemon_uid: 1, mend: "chown".into() }, 77),
        (KeySourceError::NextDenied { place: place(), daemon_uid: 1, mend: "chown".into() }, 77),
        (KeySourceError::Exposed { place: place(), faults: "mode".into() }, 77),
        (KeySourceError::NotAFile { place: place(), kind: "a FIFO" }, 78),
        (KeySourceError::TooLarge { place: place(), limit_bytes: 1 }, 78),
        (KeySourceError::Empty { place: place() }, 78),
        (KeySourceError::Nul { place: place() }, 78),
        (KeySourceError::ByteOrderMark { place: place() }, 78),
        (KeySourceError::Words { place: place() }, 78),
        (KeySourceError::UnclosedQuote { place: place(), line: 1 }, 78),
        (KeySourceError::EmptyValue { place: place(), variable: "V", line: 1 }, 78),
        (KeySourceError::NoKeyInside { place: place() }, 78),
        (KeySourceError::PathLooksLikeKey { variable: "V" }, 78),
        (KeySourceError::Unreadable { place: place(), source: io::Error::other("x") }, 74),
    ];
    for (error, code) in rows {
        assert_eq!(of_key_source(&error).code, code, "{error}");
    }
}

#[test]
fn every_socket_fault_has_the_code_of_the_table() {
    let refused = |kind: io::ErrorKind| BindError::Refused { step: "binding", path: path(), source: kind.into() };
    let rows = [
        (BindError::AlreadyServed { path: path() }, 75),
        (BindError::PathNotSafe { directory: path(), danger: "x".into(), remedy: "y".into() }, 77),
        (BindError::NotOurs { path: path(), owner: 1 }, 77),
        (BindError::Occupied { path: path(), found: "a file" }, 73),
        (BindError::ModeNotKept { path: path(), directory: path(), mode: 0o777 }, 73),
        (BindError::PathTooLong { path: path() }, 78),
        (refused(io::ErrorKind::PermissionDenied), 77),
        (refused(io::ErrorKind::NotFound), 73),
    ];
    for (error, code) in rows {
        assert_eq!(of_bind(&error).code, code, "{error}");
    }
}

#[test]
fn every_answer_of_the_daemon_has_the_code_of_the_table() {
    let reason = || "x".to_owned();
    let rows = [
        (ClientError::Rejected, 65),
        (ClientError::Precondition { reason: reason() }, 65),
        (ClientError::Invalid { reason: reason() }, 65),
        (ClientError::TooLarge { reason: reason() }, 65),
        (ClientError::NotBase64, 65),
        (ClientError::UnknownKey { reason: reason() }, 66),
        (ClientError::Unavailable { socket: path(), source: "x".into() }, 69),
        (ClientError::NotServed { socket: path() }, 69),
        (ClientError::Bug { reason: reason() }, 70),
        (ClientError::Unexpected { code: tonic::Code::Unknown, reason: reason() }, 70),
        (ClientError::AlreadyExists { reason: reason() }, 73),
        (ClientError::DataLoss { reason: reason() }, 74),
        (ClientError::IncompleteExport { reason: reason() }, 74),
        (ClientError::IncompleteBackup { reason: reason() }, 74),
        (ClientError::not_kept("x"), 74),
        (ClientError::Conflict { reason: reason() }, 75),
        (ClientError::Busy { reason: reason() }, 75),
        (ClientError::StoreUnavailable { reason: reason() }, 75),
        (ClientError::DeadlineExceeded { deadline: std::time::Duration::ZERO }, 75),
        (ClientError::NotPermitted { reason: reason(), closed_socket: None }, 77),
        (ClientError::Unauthenticated { reason: reason() }, 77),
    ];
    for (error, code) in rows {
        assert_eq!(of_client(&error).code, code, "{error}");
    }
}

#[test]
fn a_configuration_that_is_not_valid_is_78() {
    assert_eq!(of_config(&ConfigError::NotFound { path: path() }).code, 78);
}

#[test]
fn a_key_that_cannot_be_made_has_the_code_of_its_cause() {
    assert_eq!(of_key(&KeyError::Random(crate::custody::random::RandomUnavailable)).code, 74);
    assert_eq!(of_key(&KeyError::NoRoom { needed: 64 }).code, 70);
    assert_eq!(of_key(&KeyError::Malformed(crate::custody::keys::Malformed::AllEqual)).code, 78);
}

#[test]
fn a_restart_is_not_tried_after_what_it_changes_nothing_about() {
    let unit = include_str!("../../packaging/systemd/servos-keyd.service");
    let by_hand = include_str!("../../docs/operations.md");
    // An answer, no daemon, a bug and what passes by itself.
    let others = [1, 69, 70, 75];
    let listed = ALL.iter().map(|exit| exit.code).filter(|code| !others.contains(code));
    let line =
        format!("RestartPreventExitStatus={}", listed.map(|code| code.to_string()).collect::<Vec<_>>().join(" "));
    for (name, text) in [("the package's unit", unit), ("docs/operations.md", by_hand)] {
        assert!(text.lines().any(|found| found == line), "{name}: {line}");
    }
}
