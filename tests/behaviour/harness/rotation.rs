//! `servos-keyctl rotate` on a daemon, the keys in files, and a value that must go on opening.
//!
//! Must never show a key.
//! Used by the tests of rotations.

use super::{Daemon, Installation, KEYCTL, Outcome, block_on, cell, fingerprint, name};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file's path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `servos-keyctl rotate ...`
pub fn rotate(daemon: &Daemon, arguments: &[&str]) -> Outcome {
    daemon.keyctl(&[&["rotate"], arguments].concat()).run(KEYCTL)
}

/// The same with `--json`, whichever stream the answer is on.
pub fn rotate_json(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, Value) {
    let outcome = rotate(daemon, &[arguments, &["--json"]].concat());
    let answer = if outcome.code == Some(0) { &outcome.stdout } else { &outcome.stderr };
    let value = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {outcome:#?}"));
    assert!(outcome.code != Some(0) || outcome.stderr.is_empty(), "{outcome:#?}");
    (outcome.code, value)
}

/// The key in a file of the installation.
pub fn key_in(path: &Path) -> String {
    let content = std::fs::read_to_string(path).unwrap();
    let line = content.lines().find(|line| !line.contains('=')).or_else(|| {
        let mut lines = content.lines();
        lines.find_map(|line| line.strip_prefix("SERVOS_MASTER_KEY=").or(line.strip_prefix("ACT_MASTER_KEY=")))
    });
    line.unwrap().to_owned()
}

/// Its fingerprint.
pub fn fingerprint_in(path: &Path) -> String {
    fingerprint(base16ct::lower::decode_vec(key_in(path)).unwrap().try_into().unwrap())
}

/// Seals a value, and returns what opens it again.
pub fn seal(daemon: &Daemon) -> Vec<u8> {
    block_on(async { daemon.component().encrypt(&name("default"), b"s3cret", &cell("1")).await.unwrap().ciphertext })
}

/// Passes a value of [`seal`] that opens.
#[track_caller]
pub fn opens(daemon: &Daemon, sealed: &[u8]) {
    let opened = block_on(async { daemon.component().decrypt(&name("default"), sealed, &cell("1")).await.unwrap() });
    assert_eq!(opened.plaintext.as_slice(), b"s3cret");
}

/// Passes a run that shows no key: what nobody may read on a screen or in a log.
#[track_caller]
pub fn shows_no_key(outcome: Outcome, files: &[&Path]) -> Outcome {
    for file in files {
        assert!(!outcome.said().contains(&key_in(file)), "a key is shown: {outcome:#?}");
    }
    outcome
}

/// `servos-keyctl rotate run ...`
pub fn rotate_run(daemon: &Daemon, arguments: &[&str]) -> Outcome {
    rotate(daemon, &[&["run"], arguments].concat())
}

/// An installation whose key file has two names, so that a run stops before it is replaced: served, with the second name.
pub fn stopped_before_its_key_is_replaced() -> (Installation, Daemon, PathBuf) {
    let installation = Installation::made();
    let (key, second) = (installation.path("master.key"), installation.path("another name"));
    std::fs::hard_link(&key, &second).unwrap();
    let daemon = installation.serve();
    let late = rotate_run(&daemon, &["--yes", "--wait", "1ms"]).expect(75);
    shows_no_key(late, &[]).saying(&["has 2 names", "Put the key from", "--resume", "--undo"]);
    assert_eq!(fingerprint_in(&key), fingerprint(installation.key));
    (installation, daemon, second)
}
