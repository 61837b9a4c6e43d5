//! Paper at a terminal: what is typed there and what is shown, and that the echo comes back however it ends.
//!
//! Must never pass a terminal that was left without its echo.
//! Run by `cargo test`.

use super::{kit, secrets, text, words};
use crate::harness::{DEADLINE, Installation, KEYCTL, eventually, hex, wait};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

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
