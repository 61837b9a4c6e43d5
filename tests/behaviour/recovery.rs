//! Paper: a kit is made, tried, and put together again, by the real tool, with everything that can be wrong on the way.
//!
//! Must never show a word of a share or a byte of a key that a test made.
//! Run by `cargo test`.

use crate::harness::{
    DEADLINE, Installation, Invocation, KEYCTL, Outcome, base64, eventually, fingerprint, hex, random_key, wait,
};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A kit of the key in `master.key`, a file of text for each share, in the order of their numbers.
fn kit(place: &Installation, shares: &str, directory: &str) -> Vec<PathBuf> {
    let directory = place.path(directory);
    std::fs::create_dir(&directory).unwrap();
    let (out, store, key) = (text(&directory), text(&place.store()), text(&place.path("master.key")));
    let kit = ["recovery-kit", "--shares", shares, "--out", &out, "--store", &store, "--key-file", &key, "--json"];
    let made = json(&place.keyctl(&kit).expect(0).stdout);
    let files = made["files"].as_array().unwrap().iter().map(|file| PathBuf::from(file.as_str().unwrap()));
    files.collect()
}

/// The words of a share out of the text of a kit.
fn words(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let block = text.split("BEGIN SHARE").nth(1).unwrap().split("-----\n").nth(1).unwrap();
    let words = block.split("----- END").next().unwrap().split_whitespace();
    words.filter(|word| word.bytes().all(|letter| letter.is_ascii_lowercase())).collect::<Vec<_>>().join(" ")
}

/// What must never be said: any words that follow each other and do not name the kit.
fn secrets(files: &[PathBuf]) -> Vec<String> {
    let of = |file: &PathBuf| {
        let words = words(file);
        words.split(' ').skip(3).collect::<Vec<_>>().windows(2).map(|pair| pair.join(" ")).collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}

fn saying_none_of(outcome: Outcome, files: &[PathBuf]) -> Outcome {
    let secrets = secrets(files);
    outcome.not_saying(&secrets.iter().map(String::as_str).collect::<Vec<_>>())
}

fn recover(place: &Installation, files: &[&PathBuf], more: &[&str]) -> Outcome {
    let shares: Vec<String> = files.iter().flat_map(|file| ["--share".to_owned(), text(file)]).collect();
    let arguments: Vec<&str> = ["recover"].into_iter().chain(shares.iter().map(String::as_str)).collect();
    let all: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
    saying_none_of(place.keyctl(&[&arguments, more].concat()), &all)
}

fn check(place: &Installation, files: &[&PathBuf], more: &[&str]) -> Outcome {
    let shares: Vec<String> = files.iter().flat_map(|file| ["--share".to_owned(), text(file)]).collect();
    let arguments: Vec<&str> = ["check-key"].into_iter().chain(shares.iter().map(String::as_str)).collect();
    place.keyctl(&[&arguments, more].concat())
}

#[test]
fn from_printed_shares_to_an_opened_value() {
    let place = Installation::made();
    let kit = kit(&place, "2/3", "kit");
    let daemon = place.serve();
    let seal = ["encrypt", "--key", "default", "--no-context", "--base64"];
    let sealed = daemon.keyctl(&seal).input("s3cret").run(KEYCTL).expect(0).stdout;
    // Tried while the daemon runs, without the key's file.
    std::fs::remove_file(place.path("master.key")).unwrap();
    let shares = [&kit[2], &kit[0]];
    let typed = shares.map(|file| words(file)).join("\n");
    let tried = daemon.keyctl(&["check-key", "--typed", "--json"]).input(typed).run(KEYCTL).expect(0);
    assert_eq!(json(&tried.stdout)["given"]["fingerprint"], fingerprint(place.key));
    daemon.stop();

    // The machine is gone; there is a backup, and paper.
    let backup = text(place.backups().last().unwrap());
    let key = text(&place.path("master.key"));
    let made = recover(&place, &shares, &["--against", &backup, "--out", &key, "--json"]).expect(0);
    assert_eq!(json(&made.stdout)["checked_by"], "backup");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), format!("{}\n", hex(&place.key)));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    let daemon = place.serve();
    let opened = daemon.keyctl(&["decrypt", "--key", "default", "--no-context", "--base64"]).input(sealed).run(KEYCTL);
    assert_eq!(opened.expect(0).stdout, "s3cret");
}

#[test]
fn a_recovered_key_is_checked_against_a_daemon_a_store_a_backup_an_export_or_a_fingerprint() {
    let place = Installation::made();
    let kit = kit(&place, "2/2", "kit");
    let shares = [&kit[1], &kit[0]];
    let bytes = std::fs::read(place.backups().last().unwrap()).unwrap();
    let export = text(&place.write_private("export.txt", base64(&bytes).as_bytes()));
    let (store, backup) = (text(&place.store()), text(place.backups().last().unwrap()));
    let fingerprint = fingerprint(place.key).to_uppercase();
    let before = std::fs::read(place.store()).unwrap();
    for (number, (check, by)) in [
        (vec!["--against", &store], "store"),
        (vec!["--against", &backup], "backup"),
        (vec!["--against", &export], "backup"),
        (vec!["--against", &store, "--fingerprint", &fingerprint], "store"),
        (vec!["--fingerprint", &fingerprint], "fingerprint"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = text(&place.path(&format!("key{number}")));
        let made = recover(&place, &shares, &[&check[..], &["--out", &out, "--json"]].concat()).expect(0);
        assert_eq!(json(&made.stdout)["checked_by"], by, "{check:?}");
        assert_eq!(std::fs::read_to_string(&out).unwrap().trim_end(), hex(&place.key));
    }
    assert_eq!(std::fs::read(place.store()).unwrap(), before, "the store was changed");
    let weak = recover(&place, &shares, &["--fingerprint", &fingerprint, "--out", &text(&place.path("weak"))]);
    assert!(weak.expect(0).stderr.contains("not that it opens your store"));

    let daemon = place.serve();
    let out = text(&place.path("by-daemon"));
    let arguments = ["recover", "--typed", "--base64", "--out", &out, "--json"];
    let made = daemon.keyctl(&arguments).input(words(&kit[0]) + "\n" + &words(&kit[1])).run(KEYCTL).expect(0);
    assert_eq!(json(&made.stdout)["checked_by"], "daemon");
    assert_eq!(std::fs::read_to_string(&out).unwrap().trim_end(), base64(&place.key));
}

#[test]
fn a_key_is_written_as_its_file_had_it_and_a_kit_says_how() {
    let place = Installation::made();
    let upper = hex(&place.key).to_uppercase();
    for (name, text_of_key, option) in
        [("upper", upper.clone(), "--upper-case"), ("base64", base64(&place.key), "--base64")]
    {
        place.write_private("master.key", text_of_key.as_bytes());
        let sheets = kit(&place, "1/1", name);
        let sheet = std::fs::read_to_string(&sheets[0]).unwrap();
        assert!(sheet.contains(option), "{option}");
        let (out, against) = (text(&place.path(&format!("{name}.key"))), text(&place.store()));
        recover(&place, &[&sheets[0]], &["--against", &against, option, "--out", &out]).expect(0);
        assert_eq!(std::fs::read_to_string(&out).unwrap().trim_end(), text_of_key);
    }
}

#[test]
fn nothing_is_written_for_a_key_that_is_wrong_or_cannot_be_checked() {
    let (place, other) = (Installation::made(), Installation::made());
    let kit_of_place = kit(&place, "2/3", "kit");
    let again = kit(&place, "2/3", "again");
    let [one, two] = [&kit_of_place[0], &kit_of_place[1]];
    let foreign = text(other.backups().last().unwrap());
    let own = text(place.backups().last().unwrap());
    let mut bytes = std::fs::read(&own).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = text(&place.write_private("damaged.skb1", &bytes));
    let (out, missing) = (text(&place.path("out")), text(&place.path("none")));
    let there = text(&place.path("master.key"));
    let print = fingerprint(place.key);
    let wrong_print = fingerprint(other.key);
    for (files, more, code, said) in [
        (vec![one], vec!["--against", &own], 66, "the kit needs 2, so 1 more"),
        (vec![one, one], vec!["--against", &own], 65, "was given twice"),
        (vec![one, &again[1]], vec!["--against", &own], 65, "is of another kit"),
        (vec![one, two, &again[2]], vec!["--against", &own], 65, "is of another kit"),
        (vec![one, two], vec!["--against", &foreign], 1, "nothing was written"),
        (vec![one, two], vec!["--against", &damaged], 65, "damaged"),
        (vec![one, two], vec!["--against", &missing], 66, "cannot read"),
        (vec![one, two], vec!["--against", &there], 65, "is the text of other bytes than a backup's"),
        (vec![one, two], vec!["--fingerprint", &wrong_print], 1, "nothing was written"),
        (vec![one, two], vec!["--fingerprint", &wrong_print, "--against", &own], 1, "nothing was written"),
        (vec![one, two], vec!["--fingerprint", "12"], 64, "16 hex digits"),
        (vec![one, two], vec![], 66, "there is nothing to check it against"),
        (vec![], vec!["--against", &own], 64, "there is nothing to put a key together from"),
        (vec![one, two], vec!["--fingerprint", &print, "--base64", "--upper-case"], 64, "cannot be used with"),
    ] {
        let outcome = recover(&place, &files, &[&more[..], &["--out", &out]].concat()).expect(code);
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
        outcome.not_saying(&[&hex(&place.key), &base64(&place.key)]);
        assert!(!Path::new(&out).exists(), "{said}");
    }
    recover(&place, &[one, two], &["--fingerprint", &print, "--out", &there]).expect(73);
    recover(&place, &[one, two], &["--fingerprint", &print, "--out", "-"]).expect(64);
    recover(&place, &[one, two], &["--fingerprint", &print, "--out", &text(&place.path("none/key"))]).expect(73);
    let typed = words(one);
    let refused = place.keyctl(&["recover", "--share", &typed, "--fingerprint", &print, "--out", &out]).expect(64);
    saying_none_of(refused.saying(&["a share was typed", "history"]), &kit_of_place);
    saying_none_of(
        place.keyctl(&["recover", "--typed", &typed]).expect(64).saying(&["a share was typed"]),
        &kit_of_place,
    );
    let key = hex(&place.key);
    place.keyctl(&["recover", "--share", &key, "--out", &out]).expect(64).not_saying(&[&key]);
}

#[test]
fn paper_is_tried_on_a_store_and_on_any_backup_and_loaded_nowhere() {
    let (place, other) = (Installation::made(), Installation::made());
    let sheets = kit(&place, "2/2", "kit");
    let shares = [&sheets[0], &sheets[1]];
    let (store, backup) = (text(&place.store()), text(place.backups().last().unwrap()));
    let (foreign, key) = (text(other.backups().last().unwrap()), text(&place.path("master.key")));
    let before = place.files();
    for more in [["--store", &store], ["--backup", &backup]] {
        let checked = saying_none_of(check(&place, &shares, &[&more[..], &["--json"]].concat()), &sheets).expect(0);
        let value = json(&checked.stdout);
        assert_eq!((&value["opens"], &value["verified"]), (&true.into(), &true.into()), "{more:?}");
        assert!(value["given"]["source"].as_str().unwrap().starts_with("2 shares of kit"));
    }
    let wrong = check(&place, &shares, &["--backup", &foreign]).expect(1);
    assert!(wrong.stderr.contains("does not open this backup"), "{}", wrong.stderr);
    check(&place, &shares, &["--key-file", &key, "--store", &store]).expect(64);
    check(&place, &shares, &["--backup", &backup, "--store", &store]).expect(64);
    check(&place, &shares[..1], &["--backup", &backup]).expect(66);
    place.keyctl(&["check-key", "--key-file", &key, "--backup", &backup]).expect(0);
    place.keyctl(&["check-key", "--key-file", &key, "--backup", &foreign]).expect(1);
    place.keyctl(&["check-key", "--key-file", &key, "--backup", &key]).expect(65);
    assert_eq!(place.files(), before, "something was changed or left");
}

#[test]
fn a_kit_is_made_of_a_key_that_was_checked_and_goes_where_it_was_sent_alone() {
    let place = Installation::made();
    place.write_private("other.key", hex(&random_key()).as_bytes());
    let (store, key, other) = (text(&place.store()), text(&place.path("master.key")), text(&place.path("other.key")));
    let of = |key: &str, more: &[&str]| {
        let all = [&["recovery-kit", "--key-file", key][..], more].concat();
        place.keyctl(&all)
    };
    let (page, sheet) = (text(&place.path("kit.html")), text(&place.path("kit.txt")));
    of(&other, &["--store", &store, "--out", &page]).expect(1).saying(&["does not open this store", "--unchecked"]);
    of(&key, &["--store", &text(&place.path("none.redb")), "--out", &page]).expect(66).saying(&["--unchecked"]);
    of(&key, &["--store", &store]).expect(64).saying(&["--out"]);
    of(&key, &["--store", &store, "--html"]).expect(64);
    of(&key, &["--store", &store, "--out", "-", "--json"]).expect(64);
    of(&key, &["--store", &store, "--out", &text(&place.path("none/kit"))]).expect(73);
    for shares in ["1/3", "4/3", "2/17", "0/0", "3", "x"] {
        of(&key, &["--store", &store, "--out", &page, "--shares", shares]).expect(64);
    }
    let typed = hex(&place.key);
    of(&key, &["--shares", &typed]).expect(64).not_saying(&[&typed]);
    assert!(!place.path("kit.html").exists());

    let made = of(&key, &["--store", &store, "--shares", "2/3", "--out", &page]).expect(0);
    made.saying(&["shred -u", "printer", "2 needed"]).not_saying(&[&hex(&place.key)]);
    of(&key, &["--store", &store, "--out", &page]).expect(73);
    of(&other, &["--unchecked", "--out", &sheet, "--shares", "3/5"]).expect(0).saying(&["nothing has shown"]);
    for file in [&page, &sheet] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    let piped = of(&key, &["--store", &store, "--out", "-", "--text"]).expect(0).stdout;
    assert!(piped.contains("THE WHOLE KEY") && piped.contains(&hex(&place.key)[..4]));
    assert!(of(&key, &["--store", &store, "--out", "-", "--html"]).expect(0).stdout.contains("<svg"));
}

#[test]
fn while_the_master_key_is_rotated_a_kit_is_made_of_the_new_key_and_not_of_the_one_that_goes() {
    let place = Installation::made();
    let daemon = place.serve_for_admin();
    daemon.keyctl(&["rotate", "begin", "--generate", "--yes"]).run(KEYCTL).expect(0);
    let (key, out) = (text(&place.path("master.key")), text(&place.path("kit.txt")));
    let refused = daemon.keyctl(&["recovery-kit", "--key-file", &key, "--out", &out]).run(KEYCTL).expect(1);
    refused.saying(&["being rotated", ".next", "rotate status"]);
    assert!(!place.path("kit.txt").exists());
    let next = text(&place.path("master.key.next"));
    let made = daemon.keyctl(&["recovery-kit", "--key-file", &next, "--out", &out]).run(KEYCTL).expect(0);
    made.saying(&["the new key of a rotation that is pending"]);
    let fingerprint = crate::harness::rotation::fingerprint_in(&place.path("master.key.next"));
    assert!(std::fs::read_to_string(out).unwrap().contains(&fingerprint));
}

/// The tool at a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    /// The other end, by which it is seen whether an echo is on.
    seen_by_tool: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Self {
        let pty = openpty(None, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        // Whatever runs the tests may ignore some signals, and hand that on.
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=HUP,INT,QUIT,TERM", KEYCTL]);
        let child = command.args(arguments).env_clear().stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (keys, mut screen) = (File::from(pty.master.try_clone().unwrap()), File::from(pty.master));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                kept.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, keys, seen_by_tool: pty.slave, shown }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.seen_by_tool).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Types a line once the tool asks for it.
    fn answer(&mut self, prompt: &str, line: &str) {
        eventually(prompt, || self.shown().ends_with(prompt));
        assert!(!self.echoes(), "what is typed would be shown");
        self.keys.write_all(line.as_bytes()).unwrap();
    }

    /// Waits until it has ended and its last words are read.
    fn end(&mut self, code: i32, words: &str) -> String {
        let status = wait(&mut self.child, DEADLINE).unwrap_or_else(|| panic!("it waits: {}", self.shown()));
        eventually(words, || self.shown().contains(words));
        assert_eq!(status.code(), Some(code), "{}", self.shown());
        assert!(self.echoes(), "the terminal was left without its echo");
        self.shown()
    }
}

#[test]
fn what_is_typed_at_a_terminal_is_never_shown_and_the_echo_comes_back() {
    let place = Installation::made();
    let sheets = kit(&place, "2/3", "kit");
    let (store, out) = (text(&place.store()), text(&place.path("recovered.key")));
    let mut terminal = Terminal::start(&["recover", "--typed", "--against", &store, "--out", &out]);
    let (first, second) = (words(&sheets[1]), words(&sheets[2]));
    let (begin, rest) = first.split_at(first.match_indices(' ').nth(9).unwrap().0);
    terminal.answer("Share 1, word 1 of 33: ", &format!("{begin} wrnog more\r"));
    terminal.answer("Share 1, word 11 of 33: ", &format!("{rest}\r"));
    terminal.answer("Share 2 of 2, word 1 of 33: ", &format!("oops\x15{second}\r"));
    let shown = terminal.end(0, "Next: ");
    for secret in secrets(&sheets).iter().map(String::as_str).chain(["wrnog", "oops"]) {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("Word 11 is none of the list"), "{shown}");
    assert_eq!(std::fs::read_to_string(&out).unwrap().trim_end(), hex(&place.key));
}

#[test]
fn what_is_pasted_at_once_is_not_shown_between_its_lines() {
    let place = Installation::made();
    let sheets = kit(&place, "2/3", "kit");
    let store = text(&place.store());
    let mut terminal = Terminal::start(&["check-key", "--typed", "--store", &store]);
    let lines = sheets[..2].iter().map(|sheet| words(sheet).replace(' ', "\r") + "\r").collect::<String>();
    terminal.answer("Share 1, word 1 of 33: ", &lines);
    let shown = terminal.end(0, "asked");
    let typed: String = sheets[..2].iter().map(|sheet| words(sheet) + " ").collect();
    for word in typed.split_whitespace() {
        // An echo would stand alone on its line, or behind what was asked.
        let is_shown = |line: &str| line.trim() == word || line.trim().ends_with(&format!(": {word}"));
        assert!(!shown.lines().any(is_shown), "{shown}");
    }
}

#[test]
fn the_key_itself_is_typed_unseen_too_and_who_breaks_off_gets_the_echo_back() {
    let place = Installation::made();
    let key = hex(&place.key);
    let store = text(&place.store());
    let mut terminal = Terminal::start(&["check-key", "--typed", "--store", &store]);
    terminal.answer("word 1 of 33: ", &format!("{key}\r"));
    let shown = terminal.end(0, "asked");
    assert!(!shown.contains(&key[..8]), "{shown}");

    for key in ["\x03", "\x04"] {
        let mut terminal = Terminal::start(&["check-key", "--typed", "--store", &store]);
        terminal.answer("word 1 of 33: ", key);
        terminal.end(1, "nothing was done with it");
    }
}

#[test]
fn whoever_ends_the_tool_while_something_is_typed_leaves_the_terminal_its_echo() {
    let place = Installation::made();
    let store = text(&place.store());
    for (signal, typed) in [(Signal::SIGTERM, ""), (Signal::SIGHUP, "academic acid"), (Signal::SIGINT, "\x1b[")] {
        let mut terminal = Terminal::start(&["check-key", "--typed", "--store", &store]);
        terminal.answer("word 1 of 33: ", typed);
        kill(Pid::from_raw(terminal.child.id().try_into().unwrap()), signal).unwrap();
        let status = wait(&mut terminal.child, DEADLINE).expect("it ends");
        assert_eq!(status.signal(), Some(signal as i32), "{}", terminal.shown());
        assert!(terminal.echoes(), "{signal} left the terminal without its echo");
    }
}

#[test]
fn a_kit_at_a_terminal_is_shown_there() {
    let place = Installation::made();
    let (store, key) = (text(&place.store()), text(&place.path("master.key")));
    let mut terminal = Terminal::start(&["recovery-kit", "--shares", "2/2", "--store", &store, "--key-file", &key]);
    let shown = terminal.end(0, "Next: ");
    assert_eq!(shown.matches("BEGIN SHARE").count(), 2, "{shown}");
}

#[test]
fn shares_come_through_a_pipe_of_the_shell_as_well() {
    let place = Installation::made();
    let sheets = kit(&place, "2/2", "kit");
    let store = text(&place.store());
    let scanned = format!("QR-Code:{}\nQR-Code:{}\n", words(&sheets[1]), words(&sheets[0]).to_uppercase());
    let arguments = ["check-key", "--share", "-", "--store", &store];
    Invocation::new(arguments).input(scanned).run(KEYCTL).expect(0);
}
