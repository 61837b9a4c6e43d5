//! The tool's commands against a fake daemon: what they print, write, ask, and end with.
//!
//! Must never need a real daemon, a terminal, or the environment of whoever runs it.
//! Called by `cargo test`.

use super::commands_stage::{Stage, run};
use crate::client::fake_daemon::lock;
use crate::proto::v1::ExportKeyringResponse;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn a_secret_goes_through_pipes_there_and_back_with_nothing_added() {
    let stage = Stage::new();
    let cell = ["--key", "ssh-keys", "--context", "table=servers", "--base64"];
    let sealed = stage.run(&[&["encrypt"], cell.as_slice()].concat(), b"se\ncret\0");
    assert_eq!((sealed.code, sealed.errors.as_str()), (0, ""));
    let opened = stage.run(&[&["decrypt"], cell.as_slice()].concat(), &sealed.output);
    assert_eq!((opened.code, opened.output.as_slice()), (0, b"se\ncret\0".as_slice()));
}

#[test]
fn a_value_without_a_context_is_sealed_with_a_hint_unless_that_is_meant() {
    let stage = Stage::new();
    let forgotten = stage.run(&["encrypt", "--key", "default"], b"x");
    assert!(forgotten.code == 0 && forgotten.errors.contains("--no-context"), "{}", forgotten.errors);
    let meant = stage.run(&["encrypt", "--key", "default", "--no-context"], b"x");
    assert_eq!((meant.code, meant.errors.as_str()), (0, ""));
}

#[test]
fn json_holds_the_bytes_as_base64_or_names_the_file() {
    let stage = Stage::new();
    let answer = stage.run(&["encrypt", "--json", "--key", "k", "--no-context"], b"abc").json();
    assert_eq!((&answer["ciphertext"], &answer["version"]), (&"Y2Jh".into(), &1.into()));
    let answer = stage.run(&["decrypt", "--json", "--key", "k"], b"cba").json();
    assert_eq!((&answer["plaintext"], &answer["format"]), (&"YWJj".into(), &"SKD1".into()));
    let out = stage.file("out").display().to_string();
    let answer = stage.run(&["decrypt", "--json", "--key", "k", "--out", &out], b"cba").json();
    assert_eq!((&answer["out"], &answer["plaintext"]), (&out.as_str().into(), &Value::Null));
    assert_eq!(fs::read(&out).unwrap(), b"abc");
}

#[test]
fn a_secret_in_a_file_is_its_owners_alone_and_replaces_nothing_unasked() {
    let stage = Stage::new();
    let input = stage.keep("in", b"terces");
    let out = stage.file("out").display().to_string();
    let decrypt = ["decrypt", "--key", "k", "--in", &input, "--out", &out];
    assert_eq!(stage.run(&decrypt, b"").code, 0);
    assert_eq!(fs::read(&out).unwrap(), b"secret");
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let calls = stage.calls();
    let again = stage.run(&decrypt, b"");
    assert_eq!((again.code, stage.calls()), (73, calls), "{}", again.errors);
    assert_eq!(stage.run(&[decrypt.as_slice(), &["--force"]].concat(), b"").code, 0);
}

#[test]
fn a_refusal_leaves_no_output_and_no_file() {
    let stage = Stage::new();
    let out = stage.file("out").display().to_string();
    let arguments = ["decrypt", "--key", "k", "--context", "answer=rejected", "--out", &out];
    let outcome = stage.run(&arguments, b"x");
    assert_eq!((outcome.code, outcome.output.as_slice()), (65, b"".as_slice()));
    assert!(!stage.file("out").exists());
    assert!(outcome.errors.contains("ciphertext rejected"), "{}", outcome.errors);
}

#[test]
fn each_answer_of_the_daemon_ends_with_its_exit_code() {
    let stage = Stage::new();
    // gRPC code, exit code
    let table = [
        (3, 65),
        (5, 66),
        (6, 73),
        (7, 77),
        (8, 75),
        (9, 65),
        (10, 75),
        (11, 65),
        (12, 69),
        (13, 70),
        (14, 75),
        (15, 74),
        (16, 77),
        (4, 75),
    ];
    for (code, exit) in table {
        let answer = format!("answer={code}");
        let outcome = stage.run(&["encrypt", "--key", "k", "--context", &answer], b"x");
        assert_eq!((outcome.code, outcome.output.len()), (exit, 0), "gRPC {code}: {}", outcome.errors);
    }
}

#[test]
fn mistakes_in_the_arguments_end_with_64_and_ask_nobody() {
    let stage = Stage::new();
    let mistakes: [&[&str]; 13] = [
        &[],
        &["nonsense"],
        &["encrypt"],
        &["encrypt", "--key", "Not-A-Name"],
        &["encrypt", "--key", "legacy"],
        &["encrypt", "--key", "k", "--context", "novalue"],
        &["encrypt", "--key", "k", "--context", "a=b", "--no-context"],
        &["decrypt", "--key", "k", "--context", "a=b", "--context", "a=c"],
        &["reencrypt", "--key", "k", "--to-context", "a=b", "--to-context", "a=b"],
        &["keyring", "export", "-"],
        &["decrypt", "--key", "k", "--force"],
        &["legacy", "retire", "xyz"],
        &["verify-canary", "--base64"],
    ];
    for arguments in mistakes {
        let outcome = stage.run(arguments, b"");
        assert_eq!((outcome.code, outcome.output.len()), (64, 0), "{arguments:?}: {}", outcome.errors);
        assert!(!outcome.errors.is_empty());
    }
    assert_eq!(stage.calls(), 0);
}

#[test]
fn help_and_version_are_answers() {
    let stage = Stage::new();
    for arguments in [["--help"], ["--version"]] {
        let outcome = stage.run(&arguments, b"");
        assert!(outcome.code == 0 && outcome.text().contains("servos-keyctl"), "{}", outcome.errors);
    }
}

#[test]
fn without_a_daemon_the_socket_that_was_tried_is_named_with_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    for arguments in [["status"].as_slice(), &["metrics"], &["whoami"], &["keys", "list"], &["verify-canary"]] {
        let outcome = run(&socket, arguments, b"", false);
        assert_eq!(outcome.code, 69, "{arguments:?}");
        assert!(outcome.errors.contains(socket.to_str().unwrap()), "{}", outcome.errors);
        assert!(outcome.errors.contains("`servos-keyd serve --config FILE`"), "{}", outcome.errors);
    }
    let outcome = run(&socket, &["status", "--json"], b"", false);
    let error: Value = serde_json::from_str(&outcome.errors).unwrap();
    assert_eq!(error["error"]["exit"], 69);
}

#[test]
fn a_canary_that_does_not_open_is_shown_and_ends_with_1() {
    let stage = Stage::new();
    assert!(stage.run(&["verify-canary"], b"").text().contains("OPENS"));
    let good = stage.run(&["canary", "issue", "--base64"], b"");
    assert_eq!(good.output.len(), 89);
    assert_eq!(stage.run(&["verify-canary", "-", "--base64"], &good.output).code, 0);
    for (result, name) in [(2, "STALE"), (3, "OTHER_STORE"), (4, "DAMAGED")] {
        let file = stage.keep("canary", &[result; 64]);
        let outcome = stage.run(&["verify-canary", &file, "--json"], b"");
        assert_eq!((outcome.code, &outcome.json()["result"]), (1, &name.into()));
    }
    assert_eq!(stage.run(&["verify-canary", "-"], b"").code, 65, "an empty canary passed for the daemon's own");
    assert_eq!(stage.run(&["verify-canary", "does-not-exist"], b"").code, 66);
}

#[test]
fn a_key_is_deleted_only_after_it_was_confirmed() {
    let stage = Stage::new();
    let nobody = stage.run(&["keys", "delete", "a"], b"a\n");
    assert_eq!((nobody.code, stage.changes()), (64, 0), "{}", nobody.errors);
    let other = run(&stage.daemon.socket, &["keys", "delete", "a"], b"b\n", true);
    assert_eq!((other.code, stage.changes()), (1, 0));
    assert!(other.errors.contains("stops opening"), "{}", other.errors);
    let asked = run(&stage.daemon.socket, &["keys", "delete", "a"], b"a\n", true);
    assert_eq!((asked.code, stage.changes()), (0, 1), "{}", asked.errors);
    assert_eq!(stage.run(&["keys", "delete", "a", "--yes"], b"").code, 0);
}

#[test]
fn keys_are_listed_in_aligned_columns() {
    let stage = Stage::new();
    let list = stage.run(&["keys", "list"], b"");
    let lines: Vec<_> = list.text().lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0].find("STATE"), lines[1].find("unknown"));
    assert_eq!(stage.run(&["keys", "list", "--versions"], b"").text().lines().count(), 5);
    assert_eq!(stage.run(&["keys", "list", "--json"], b"").json()["keys"][1]["versions"][1]["number"], 1);
}

#[test]
fn the_keyring_is_written_whole_or_not_at_all() {
    let stage = Stage::new();
    let path = stage.file("keyring.skb").display().to_string();
    let piece = |complete| ExportKeyringResponse { data: b"SKB1".to_vec(), generation: 3, complete };
    *lock(&stage.daemon.rules.export) = vec![piece(false)];
    assert_eq!(stage.run(&["keyring", "export", &path], b"").code, 74);
    assert!(!Path::new(&path).exists());
    *lock(&stage.daemon.rules.export) = vec![piece(true)];
    let written = stage.run(&["keyring", "export", &path], b"");
    assert_eq!(written.code, 0);
    for part in ["the master key of this moment only", "while a rotation is pending with either of the two keys"] {
        assert!(written.errors.contains(part), "{}", written.errors);
    }
    assert_eq!(fs::read(&path).unwrap(), b"SKB1");
    assert_eq!(stage.run(&["keyring", "export", &path], b"").code, 73);
}

#[test]
fn an_input_over_its_limit_or_no_base64_is_rejected_before_it_is_sent() {
    let stage = Stage::new();
    assert_eq!(stage.run(&["encrypt", "--key", "k", "--no-context"], &vec![0; (1 << 20) + 1]).code, 65);
    assert_eq!(stage.run(&["decrypt", "--key", "k", "--base64"], b"not base64!").code, 65);
    assert_eq!(stage.run(&["decrypt", "--key", "k", "--base64"], b"\xff\xfe").code, 65);
    assert_eq!(stage.run(&["decrypt", "--key", "k", "--in", "does-not-exist"], b"").code, 66);
    assert_eq!(stage.calls(), 0);
}

#[test]
fn the_largest_secret_goes_through() {
    let stage = Stage::new();
    let secret = vec![0x5a; 1 << 20];
    let sealed = stage.run(&["encrypt", "--key", "k", "--no-context", "--base64"], &secret);
    assert_eq!(sealed.code, 0, "{}", sealed.errors);
    let opened = stage.run(&["decrypt", "--key", "k", "--base64"], &sealed.output);
    assert!(opened.output == secret, "{}", opened.errors);
}

#[test]
fn reencrypt_moves_to_another_key() {
    let stage = Stage::new();
    let arguments = ["reencrypt", "--json", "--key", "k", "--context", "id=1", "--to-key", "other", "--allow-legacy"];
    let answer = stage.run(&arguments, b"x").json();
    assert_eq!((&answer["key"], &answer["was"]), (&"other".into(), &"SKD1".into()));
}

#[test]
fn an_administrative_call_on_a_socket_without_it_says_where_to_ask() {
    let stage = Stage::new();
    let outcome = stage.run(&["status"], b"");
    assert!(outcome.code == 69 && outcome.errors.contains("admin socket"), "{}", outcome.errors);
}
