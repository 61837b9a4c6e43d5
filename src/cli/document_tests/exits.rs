//! Holds the exit codes of docs/errors.md and README.md to the code, cause by cause.
//!
//! Must never pass for a cause that the page does not name.
//! Run by `cargo test`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::cli::exit::{self, Exit};
use crate::client::canary::{CanaryReport, CanaryResult};
use crate::client::error::Error;
use crate::config::error::ConfigError;
use crate::config::key_source_error::KeySourceError;
use crate::custody::id::Fingerprint;
use crate::operations::restore::newer::Newer;
use crate::operations::start_failure::StartFailure;
use crate::store::backup_file::BackupError;
use crate::store::mark::MarkError;
use crate::store::port::StoreError;
use crate::sys::sockets::bound::BindError;

const PAGE: &str = include_str!("../../../docs/errors.md");
const README: &str = include_str!("../../../README.md");

fn start(failure: StartFailure) -> Exit {
    exit::of_start(&failure)
}

fn store(error: StoreError) -> Exit {
    start(StartFailure::Store(error))
}

fn key(error: KeySourceError) -> Exit {
    exit::of_key_source(&error)
}

fn stores() -> Vec<(&'static str, Exit)> {
    let path = || Path::new("p").to_owned();
    let io = |kind: io::ErrorKind| StoreError::from_io(Path::new("p"), io::Error::from(kind));
    let mark = |generation| StartFailure::MarkMissing { mark: path(), generation };
    let damaged_mark = MarkError::Damaged { path: path(), detail: "x" };
    let refused = StartFailure::MarkRefuses { mark: path(), problem: "x".into(), generation: 1 };
    vec![
        ("no store where nothing was ever made", start(StartFailure::NoStore { store: path() })),
        (
            "no store where the configuration says, but one elsewhere; `init` ends with 73 here",
            start(StartFailure::StoreElsewhere { store: path(), found: path(), ways: String::new() }),
        ),
        (
            "no store, but a mark or backup of one; `init` ends with 73 here",
            start(StartFailure::StoreLost { store: path(), witnesses: vec![path()], newest: None }),
        ),
        ("a creation that was interrupted", start(StartFailure::CreationInterrupted { store: path() })),
        ("a backup or file of rows that is missing", store(StoreError::Missing { path: path() })),
        ("`init` over a store that exists", start(StartFailure::Exists { path: path() })),
        (
            "`restore` over a store or mark of another installation",
            start(StartFailure::OtherStore { path: path(), found: "a".into(), wanted: "b".into() }),
        ),
        (
            "`restore` of a backup where something newer is known, without `--older`",
            start(StartFailure::Older {
                file: path(),
                argument: "p".into(),
                generation: 1,
                newer: Box::new(Newer::Mark { path: path(), generation: 9 }),
            }),
        ),
        (
            "`restore` with a canary of another store, or a damaged one",
            start(StartFailure::CanaryRefused { file: path(), problem: "x" }),
        ),
        (
            "a backup of the same generation holds other records",
            start(StartFailure::Backup(BackupError::Differs { path: path() })),
        ),
        ("the store is damaged", start(StartFailure::Damaged("x".into()))),
        ("the store's file is empty", store(StoreError::Empty { path: path() })),
        ("the store's file is foreign", store(StoreError::Foreign { path: path() })),
        ("no space is left", store(StoreError::Full { path: path() })),
        ("a file cannot be read or written", store(io(io::ErrorKind::Other))),
        ("the mark is missing", start(mark(1))),
        ("the mark is damaged", start(StartFailure::MarkUnusable { generation: 1, source: damaged_mark })),
        ("the mark refuses the store", start(refused)),
        ("a backup is damaged or foreign", start(StartFailure::Backup(BackupError::Foreign))),
        ("the store is held by another process", store(StoreError::InUse { path: path() })),
        ("the system does not permit the store's file", store(io(io::ErrorKind::PermissionDenied))),
        ("the store's file has a newer format", store(StoreError::NewerFormat { path: path(), found: 4 })),
        // Judged before anything is opened: the tests of behaviour hold these.
        ("the store or the mark can be changed by others, or is of another user", exit::NOT_PERMITTED),
        ("the store's directory can be changed by everyone, or is of another user", exit::NOT_PERMITTED),
        ("the store lies on a network file system", exit::CONFIG),
        ("a store or backup of a newer servos-keyd", start(StartFailure::NewerSchema("x".into()))),
        (
            "`accept` with another generation than the store's",
            start(StartFailure::OtherGeneration { found: 1, told: 2 }),
        ),
    ]
}

fn keys() -> Vec<(&'static str, Exit)> {
    let place = || "p".to_owned();
    let given = Fingerprint::from_bytes([0; 8]);
    let disagree = StartFailure::SourcesDisagree {
        first: place(),
        first_fingerprint: given,
        second: place(),
        second_fingerprint: given,
    };
    vec![
        ("no source names a master key", key(KeySourceError::NoSource)),
        ("systemd found no file for the credential", key(KeySourceError::NotDelivered { place: place() })),
        ("a key file that was named is missing", key(KeySourceError::Missing { place: place() })),
        (
            "a key file cannot be read",
            key(KeySourceError::Unreadable { place: place(), source: io::Error::other("x") }),
        ),
        ("a key file's mode or owner", key(KeySourceError::Exposed { place: place(), faults: String::new() })),
        (
            "the system does not permit the key file",
            key(KeySourceError::Denied { place: place(), daemon_uid: 1, mend: String::new() }),
        ),
        ("a key file that holds no key", key(KeySourceError::NoKeyInside { place: place() })),
        ("a malformed master key", start(StartFailure::MalformedKey { source_name: place(), problem: String::new() })),
        ("sources that hold different keys", start(disagree)),
        (
            "another master key than the store's",
            start(StartFailure::WrongKey {
                expected: String::new(),
                to_come: None,
                since: String::new(),
                given,
                past: None,
            }),
        ),
        (
            "a row that `--check-legacy` refutes the key with",
            start(StartFailure::LegacyRowRefused { file: "p".into(), given }),
        ),
        ("the configuration file", exit::of_config(&ConfigError::NotFound { path: "p".into() })),
    ]
}

fn sockets() -> Vec<(&'static str, Exit)> {
    let path = || Path::new("p").to_owned();
    let unsafe_path = BindError::PathNotSafe { directory: path(), danger: String::new(), remedy: String::new() };
    vec![
        (
            "something else than a socket in the socket's place",
            exit::of_bind(&BindError::Occupied { path: path(), found: "a file" }),
        ),
        ("another process answers on the socket", exit::of_bind(&BindError::AlreadyServed { path: path() })),
        ("a socket's directory that others can write to", exit::of_bind(&unsafe_path)),
        ("a socket that belongs to another user", exit::of_bind(&BindError::NotOurs { path: path(), owner: 1 })),
    ]
}

/// The rows of two cells below a heading, up to the next one.
fn rows(page: &'static str, heading: &str) -> BTreeMap<&'static str, &'static str> {
    let section = page.split("\n#").find(|section| section.trim_start_matches('#').starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    let cells = |row: &'static str| row.trim_matches('|').trim().split_once(" | ").unwrap();
    rows.skip(1).map(cells).collect()
}

#[test]
fn the_page_and_the_readme_give_every_code_with_its_meaning() {
    for page in [rows(PAGE, " Exit codes"), rows(README, " Exit codes")] {
        let documented: Vec<(u8, &str)> =
            page.into_iter().map(|(code, meaning)| (code.parse().unwrap(), meaning)).filter(|(c, _)| *c != 0).collect();
        let mut declared: Vec<(u8, &str)> = exit::ALL.iter().map(|exit| (exit.code, exit.meaning)).collect();
        declared.sort_unstable();
        let mut documented = documented;
        documented.sort_unstable();
        assert_eq!(documented, declared);
    }
}

#[test]
fn the_page_gives_the_daemon_s_code_for_each_cause() {
    let codes = [stores(), keys(), sockets()].concat();
    let in_code: BTreeMap<&str, String> = codes.iter().map(|(cause, exit)| (*cause, exit.code.to_string())).collect();
    assert_eq!(in_code.len(), codes.len(), "each cause is named once");
    let on_page: BTreeMap<&str, String> =
        rows(PAGE, " `servos-keyd`, cause").into_iter().map(|(cause, code)| (cause, code.to_owned())).collect();
    assert_eq!(on_page, in_code);
}

fn client_errors() -> Vec<(&'static str, Error)> {
    let reason = || "x".to_owned();
    let report = CanaryReport {
        result: CanaryResult::Stale,
        fingerprint: String::new(),
        since_unix_seconds: 0,
        store_id: String::new(),
        generation: 0,
        keyring: 0,
    };
    vec![
        ("a canary that does not open", Error::Canary(Box::new(report))),
        ("ciphertext rejected", Error::Rejected),
        ("FAILED_PRECONDITION", Error::Precondition { reason: reason() }),
        ("INVALID_ARGUMENT", Error::Invalid { reason: reason() }),
        ("over the limit of a message", Error::TooLarge { reason: reason() }),
        ("input that is not base64", Error::NotBase64),
        ("NOT_FOUND", Error::UnknownKey { reason: reason() }),
        ("no daemon on the socket", Error::Unavailable { socket: "s".into(), source: "x".into() }),
        ("a call that this socket does not serve", Error::NotServed { socket: "s".into() }),
        ("INTERNAL", Error::Bug { reason: reason() }),
        ("ALREADY_EXISTS", Error::AlreadyExists { reason: reason() }),
        ("DATA_LOSS", Error::DataLoss { reason: reason() }),
        ("an export that ended early", Error::IncompleteExport { reason: reason() }),
        ("a backup that ended early", Error::IncompleteBackup { reason: reason() }),
        ("ABORTED", Error::Conflict { reason: reason() }),
        ("RESOURCE_EXHAUSTED", Error::Busy { reason: reason() }),
        ("UNAVAILABLE from the daemon", Error::StoreUnavailable { reason: reason() }),
        ("DEADLINE_EXCEEDED", Error::DeadlineExceeded { deadline: Duration::ZERO }),
        ("PERMISSION_DENIED", Error::NotPermitted { reason: reason(), closed_socket: None }),
        ("UNAUTHENTICATED", Error::Unauthenticated { reason: reason() }),
    ]
}

#[test]
fn the_page_gives_the_tool_s_code_for_each_cause() {
    let in_code: BTreeMap<&str, String> =
        client_errors().into_iter().map(|(cause, error)| (cause, exit::of_client(&error).code.to_string())).collect();
    let on_page: BTreeMap<&str, String> =
        rows(PAGE, " `servos-keyctl`, cause").into_iter().map(|(cause, code)| (cause, code.to_owned())).collect();
    assert_eq!(on_page, in_code);
}
