//! The tool's commands against a fake daemon: what they print, write, ask, and end with.
//!
//! Must never need a real daemon, a terminal, or the environment of whoever runs it.
//! Called by `cargo test`.

use super::console::Console;
use super::run_on;
use crate::client::fake_daemon::{FakeDaemon, lock};
use crate::proto::v1::ExportKeyringResponse;
use serde_json::Value;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Outcome {
    code: u8,
    output: Vec<u8>,
    errors: String,
}

impl Outcome {
    fn text(&self) -> &str {
        str::from_utf8(&self.output).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.output).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

struct Stage {
    dir: tempfile::TempDir,
    daemon: FakeDaemon,
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let daemon = runtime.block_on(async { FakeDaemon::start(&dir.path().join("keyd.sock")) });
        Self { dir, daemon, _runtime: runtime }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.file(name), bytes).unwrap();
        self.file(name).display().to_string()
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        run(&self.daemon.socket, arguments, input, false)
    }

    fn calls(&self) -> u32 {
        self.daemon.rules.calls.load(Ordering::SeqCst)
    }

    fn changes(&self) -> usize {
        lock(&self.daemon.rules.request_ids).len()
    }
}

fn run(socket: &Path, arguments: &[&str], input: &[u8], is_terminal: bool) -> Outcome {
    let (output, errors) = (Kept::default(), Kept::default());
    let mut console = Console {
        input: Box::new(io::Cursor::new(input.to_vec())),
        output: Box::new(output.clone()),
        errors: Box::new(errors.clone()),
        input_is_terminal: is_terminal,
        output_is_terminal: is_terminal,
        json: false,
    };
    let last = ["--socket", socket.to_str().unwrap()];
    let all = ["servos-keyctl"].iter().chain(arguments).chain(&last).map(Into::into);
    let code = run_on(&mut console, all);
    let output = lock(&output.0).clone();
    let errors = String::from_utf8(lock(&errors.0).clone()).unwrap();
    Outcome { code, output, errors }
}

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
    for arguments in [["status"].as_slice(), &["whoami"], &["keys", "list"], &["verify-canary"]] {
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
    assert!(refuted.errors.contains("1 of 1 values") && refuted.errors.contains("lines 1"), "{}", refuted.errors);

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
    assert_eq!(stage.run(&["keyring", "export", &path], b"").code, 0);
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
