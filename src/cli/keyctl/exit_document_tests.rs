//! Holds the tool's exit codes in docs/errors.md to the code, cause by cause.
//! It must never pass for a cause that the page does not name.
//! Run by `cargo test`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exit::Failure;
use crate::client::canary::{CanaryReport, CanaryResult};
use crate::client::error::Error;

const PAGE: &str = include_str!("../../../docs/errors.md");

fn examples() -> Vec<(&'static str, Error)> {
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
        ("ABORTED", Error::Conflict { reason: reason() }),
        ("RESOURCE_EXHAUSTED", Error::Busy { reason: reason() }),
        ("UNAVAILABLE from the daemon", Error::StoreUnavailable { reason: reason() }),
        ("DEADLINE_EXCEEDED", Error::DeadlineExceeded { deadline: Duration::ZERO }),
        ("PERMISSION_DENIED", Error::NotPermitted { reason: reason() }),
        ("UNAUTHENTICATED", Error::Unauthenticated { reason: reason() }),
    ]
}

#[test]
fn the_page_gives_the_tool_s_code_for_each_cause() {
    let in_code: BTreeMap<&str, String> =
        examples().into_iter().map(|(cause, error)| (cause, Failure::from(error).exit.code().to_string())).collect();
    let section = PAGE.split("\n### ").find(|section| section.starts_with("`servos-keyctl`")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| cause"));
    let on_page: BTreeMap<&str, String> = rows
        .map(|row| row.trim_matches('|').trim().split_once(" | ").unwrap())
        .map(|(cause, code)| (cause, code.to_owned()))
        .collect();
    assert_eq!(on_page, in_code);
}
