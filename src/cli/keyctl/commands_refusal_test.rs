//! What the tool's commands refuse against a fake daemon, before or after it was asked, and what they then advise.
//!
//! Must never need a real daemon, a terminal, or the environment of whoever runs it.
//! Called by `cargo test`.

use super::commands_stage::{Stage, run};
use crate::client::fake_daemon::lock;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_legacy_key_is_retired_only_after_it_was_confirmed() {
    let stage = Stage::new();
    let retire = ["legacy", "retire", "00112233aabbccdd"];
    *lock(&stage.daemon.rules.legacy) = Some(vec!["00112233aabbccdd".into()]);
    assert_eq!(stage.run(&retire, b"yes\n").code, 64);
    assert_eq!(run(&stage.daemon.socket, &retire, b"no\n", true).code, 1);
    assert_eq!(stage.changes(), 0);
    assert_eq!(run(&stage.daemon.socket, &retire, b"yes\n", true).code, 0);
}

#[test]
fn a_legacy_key_comes_from_a_file_and_is_not_printed() {
    let stage = Stage::new();
    let key = "0123456789abcdef".repeat(4);
    let outcome = stage.run(&["legacy", "adopt", "-"], format!("{key}\n").as_bytes());
    assert!(outcome.code == 0 && outcome.text().contains("8899aabbccddeeff"), "{}", outcome.errors);
    assert!(!outcome.text().contains(&key) && !outcome.errors.contains(&key));
    let argument = stage.run(&["legacy", "adopt", &key], b"");
    assert_eq!(argument.code, 64, "a key is no argument");
    assert!(!argument.errors.contains(&key), "and is not repeated on the screen");
}

#[test]
fn a_legacy_key_that_is_not_held_is_missing_before_anybody_is_asked() {
    let stage = Stage::new();
    *lock(&stage.daemon.rules.legacy) = Some(vec!["8899aabbccddeeff".into()]);
    for is_terminal in [false, true] {
        let outcome = run(&stage.daemon.socket, &["legacy", "retire", "00112233aabbccdd"], b"yes\n", is_terminal);
        assert_eq!((outcome.code, stage.changes()), (66, 0), "{}", outcome.errors);
        assert!(outcome.errors.contains("held: 8899aabbccddeeff") && !outcome.errors.contains("Retiring"));
    }
}

#[test]
fn a_legacy_key_comes_out_of_an_env_file_that_holds_one_key() {
    let stage = Stage::new();
    let (one, other) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
    let keep = |text: String| {
        let path = stage.keep("servos.env", text.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let file = keep(format!("# old\nSERVOS_MASTER_KEY={one}\nACT_MASTER_KEY={one}\n"));
    let outcome = stage.run(&["legacy", "adopt", &file], b"");
    assert_eq!((outcome.code, stage.changes()), (0, 1), "{}", outcome.errors);
    assert!(!outcome.text().contains(&one) && !outcome.errors.contains(&one));

    let rows = stage.keep("rows", format!("{}\n", "AAAA".repeat(16)).as_bytes());
    let refuted = stage.run(&["legacy", "adopt", &file, "--check", &rows], b"");
    assert_eq!((refuted.code, stage.changes()), (65, 1), "{}", refuted.errors);
    let says = |text: &str| refuted.errors.contains(text);
    assert!(says("does not open the value in") && says("nothing was adopted"), "{}", refuted.errors);

    let file = keep(format!("SERVOS_MASTER_KEY={one}\nACT_MASTER_KEY={other}\n"));
    let outcome = stage.run(&["legacy", "adopt", &file], b"");
    assert_eq!((outcome.code, stage.changes()), (78, 1), "{}", outcome.errors);
    assert!(outcome.errors.contains("two sources hold different master keys"), "{}", outcome.errors);
}

#[test]
fn nothing_is_sealed_or_opened_for_an_empty_input_unless_that_is_meant() {
    let stage = Stage::new();
    let encrypt = ["encrypt", "--key", "k", "--no-context", "--base64"];
    let nothing = stage.run(&encrypt, b"");
    assert_eq!((nothing.code, nothing.output.len(), stage.calls()), (65, 0, 0));
    assert!(nothing.errors.contains("standard input is empty: nothing was sealed; add --allow-empty"));
    let file = stage.keep("in", b"");
    let nothing = stage.run(&[encrypt.as_slice(), &["--in", &file]].concat(), b"x");
    assert!(nothing.code == 65 && nothing.errors.contains(&format!("{file} is empty")), "{}", nothing.errors);
    for arguments in [["--key", "k"].as_slice(), &["--key", "k", "--base64"]] {
        let nothing = stage.run(&[&["decrypt"], arguments].concat(), if arguments.len() == 3 { b" \n" } else { b"" });
        assert!(nothing.code == 65 && nothing.errors.contains("the input is empty"), "{}", nothing.errors);
    }
    assert_eq!(stage.calls(), 0);
    // The fake's ciphertext of nothing is nothing, which the client refuses: it was asked for all the same.
    let _ = stage.run(&[encrypt.as_slice(), &["--allow-empty"]].concat(), b"");
    assert_eq!(stage.calls(), 1);
}

#[test]
fn base64_text_may_be_broken_into_lines() {
    let stage = Stage::new();
    let opened = stage.run(&["decrypt", "--key", "k", "--base64"], b"\n dGVy\r\n Y2Vz \n");
    assert_eq!((opened.code, opened.output.as_slice()), (0, b"secret".as_slice()), "{}", opened.errors);
}

#[test]
fn what_the_daemon_calls_by_its_fields_is_hinted_at_by_the_options() {
    let stage = Stage::new();
    let table = [
        ("encrypt", "3 plaintext: already sealed; set allow_nested to seal it again", "add --allow-nested"),
        ("decrypt", "9 legacy not allowed: set allow_legacy to open values", "add --allow-legacy"),
        ("decrypt", "3 this is base64 text: decode it first", "add --base64"),
        ("reencrypt", "3 this is base64 text: decode it first", "add --base64"),
    ];
    for (command, answer, hint) in table {
        let outcome = stage.run(&[command, "--key", "k", "--context", &format!("answer={answer}")], b"x");
        assert!(outcome.errors.ends_with(&format!("\n  {hint}\n")), "{}", outcome.errors);
    }
    for command in ["decrypt", "reencrypt"] {
        let context = "answer=3 not a message of servos-keyd";
        let outcome = stage.run(&[command, "--key", "k", "--context", context, "--allow-legacy"], b"x");
        assert!(outcome.errors.contains("`servos-keyctl legacy adopt FILE`"), "{}", outcome.errors);
    }
}

#[test]
fn a_key_that_does_not_exist_is_named_with_how_to_make_it() {
    let stage = Stage::new();
    let outcome = stage.run(&["encrypt", "--key", "defualt", "--context", "answer=5"], b"x");
    assert_eq!(outcome.code, 66);
    assert!(outcome.errors.contains("no key is called defualt"), "{}", outcome.errors);
    assert!(outcome.errors.contains("`servos-keyctl keys create defualt`"), "{}", outcome.errors);
    assert!(!outcome.errors.contains("did you mean"), "none of a, b and c is similar: {}", outcome.errors);
    let arguments = ["reencrypt", "--key", "k", "--to-key", "cc", "--context", "answer=5"];
    let outcome = stage.run(&arguments, b"x");
    assert!(outcome.errors.contains("no key is called cc") && outcome.errors.contains("did you mean c?"));
}

#[test]
fn what_is_no_socket_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, b"").unwrap();
    for path in [path.as_path(), dir.path()] {
        let outcome = run(path, &["whoami"], b"", false);
        assert_eq!(outcome.code, 69);
        assert!(outcome.errors.contains(&format!("{} is not a socket", path.display())), "{}", outcome.errors);
    }
}

#[test]
fn binary_is_not_thrown_at_a_terminal() {
    let stage = Stage::new();
    let outcome = run(&stage.daemon.socket, &["encrypt", "--key", "k", "--no-context"], b"x", true);
    assert_eq!((outcome.code, outcome.output.len()), (64, 0));
    let outcome = run(&stage.daemon.socket, &["encrypt", "--key", "k", "--no-context", "--base64"], b"x", true);
    assert_eq!(outcome.code, 0);
}

#[test]
fn a_binary_secret_is_not_thrown_at_a_terminal_and_notices_begin_on_a_line_of_their_own() {
    let stage = Stage::new();
    let decrypt = ["decrypt", "--key", "k", "--allow-legacy"];
    for binary in [b"\xff\x00".as_slice(), b"m13[\x1b"] {
        let outcome = run(&stage.daemon.socket, &decrypt, binary, true);
        assert_eq!((outcome.code, outcome.output.len()), (64, 0), "{}", outcome.errors);
        assert_eq!(stage.run(&decrypt, binary).output.len(), binary.len(), "a pipe takes anything");
    }
    *lock(&stage.daemon.rules.format) = Some(2);
    *lock(&stage.daemon.rules.other_key) = Some("legacy".into());
    let shown = run(&stage.daemon.socket, &decrypt, b"terces", true);
    assert_eq!((shown.code, shown.output.as_slice()), (0, b"secret".as_slice()), "{}", shown.errors);
    assert!(shown.errors.contains("\n\nA value from before"), "{}", shown.errors);
    let piped = stage.run(&decrypt, b"terces");
    assert!(piped.errors.starts_with("A value from before"), "{}", piped.errors);
}
