//! `servos-keyctl status --watch`: screen after screen, over a restart of the daemon, until somebody ends it.
//!
//! Must never wait for a time to pass, but for what must be seen. Run by `cargo test`.

use crate::harness::{Installation, Invocation, KEYCTL, eventually};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};

fn end(mut child: Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{signal} is a clean end");
}

#[test]
fn screens_follow_each_other_over_a_restart_of_the_daemon_until_somebody_ends_it() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let words = tempfile::tempdir().unwrap();
    let said = || std::fs::read_to_string(words.path().join("stdout")).unwrap();
    let screens = || said().matches("every 1 s; Ctrl-C ends it\n").count();
    let child = daemon.keyctl(&["status", "--watch", "1"]).spawn(KEYCTL, words.path());
    eventually("two screens", || screens() >= 2);
    assert!(said().contains("PER SECOND") && said().contains("GetStatus") && !said().contains('\u{1b}'), "{}", said());
    daemon.stop().expect(0);
    eventually("that nobody answers is said", || said().contains("no daemon answers: "));
    let daemon = installation.serve_for_admin();
    let before = said().matches("up since").count();
    eventually("the new daemon's state is shown", || said().matches("up since").count() > before);
    end(child, Signal::SIGINT);
    assert_eq!(std::fs::read_to_string(words.path().join("stderr")).unwrap(), "");
    let child = daemon.keyctl(&["status", "--watch", "1", "--json"]).spawn(KEYCTL, words.path());
    eventually("two lines of JSON", || said().matches('\n').count() >= 2);
    end(child, Signal::SIGTERM);
    let line: serde_json::Value = serde_json::from_str(said().lines().next().unwrap()).unwrap();
    assert!(line["daemon_version"].is_string(), "{line}");
}

#[test]
fn on_a_terminal_each_screen_is_drawn_over_the_one_before_and_fits_it() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let size = Winsize { ws_row: 12, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(&size, None).unwrap();
    let Invocation { arguments, .. } = daemon.keyctl(&["status", "--watch", "1"]);
    let child = Command::new(KEYCTL)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::from(pair.slave))
        .spawn()
        .unwrap();
    let mut terminal = File::from(pair.master);
    let mut said = Vec::new();
    let screens = |said: &[u8]| said.windows(3).filter(|part| part == b"\x1b[H").count();
    while screens(&said) < 3 {
        let mut part = [0; 4096];
        let length = terminal.read(&mut part).unwrap();
        said.extend_from_slice(&part[..length]);
    }
    end(child, Signal::SIGINT);
    let said = String::from_utf8(said).unwrap();
    let screen = said.split("\u{1b}[H").nth(2).unwrap();
    assert!(screen.ends_with("\u{1b}[J") && screen.matches('\n').count() == 11, "{screen:?}");
    assert!(screen.contains("To mend:") || screen.contains("Nothing to mend."), "{screen:?}");
    daemon.stop().expect(0);
}

#[test]
fn an_interval_that_is_none_is_a_mistake() {
    for interval in ["0", "x", "-1", "86401"] {
        Invocation::new(["status", &format!("--watch={interval}")]).run(KEYCTL).expect(64);
    }
}
