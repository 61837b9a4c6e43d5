//! The high-water mark, and the operator's word that overrules it.
//!
//! Must never accept a store that goes on at a generation that was seen before. Run by `cargo test`.

use crate::harness::{Daemon, Installation, Invocation, KEYD, block_on, cell, is_there, name, not_run, random_key};
use servos_keyd::client::canary::CanaryResult;
use servos_keyd::client::error::Error;
use servos_keyd::store::mark::State;

/// Generations that an accepted or restored store skips are counted in these.
const GAP: u64 = 1 << 32;

/// What a store says of a client's canary.
pub fn canary_of(daemon: &Daemon, canary: &[u8]) -> CanaryResult {
    match block_on(async { daemon.component().verify_canary(canary).await }) {
        Ok(report) => report.result,
        Err(Error::Canary(report)) => report.result,
        Err(error) => panic!("{error:?}"),
    }
}

/// A canary of the daemon.
pub fn issue(daemon: &Daemon) -> Vec<u8> {
    block_on(async { daemon.component().issue_canary().await.unwrap() })
}

/// As many new versions of the key `default`.
pub fn rotate(daemon: &Daemon, times: usize) {
    block_on(async {
        for _ in 0..times {
            daemon.admin().rotate_key(&name("default")).await.unwrap();
        }
    });
}

/// A store whose newest generations are lost: an older file was put back. Answers what it had issued then and since.
fn put_back() -> (Installation, u64, Vec<u8>, Vec<u8>) {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    rotate(&daemon, 1);
    let kept = issue(&daemon);
    daemon.stop().expect(0);
    let older = installation.path("older");
    std::fs::copy(installation.store(), &older).unwrap();
    let generation = installation.records().generation;
    let daemon = installation.serve_for_admin();
    rotate(&daemon, 2);
    let lost = issue(&daemon);
    daemon.stop().expect(0);
    std::fs::rename(older, installation.store()).unwrap();
    (installation, generation, kept, lost)
}

#[test]
fn a_mark_that_does_not_fit_is_refused_with_the_command_that_takes_the_store() {
    type Change = fn(&Installation, State);
    let cases: [(&str, Change, &str); 12] = [
        ("missing", |i, _| std::fs::remove_file(i.mark()).unwrap(), "missing"),
        ("empty", |i, _| std::fs::write(i.mark(), b"").unwrap(), "damaged"),
        ("cut", |i, _| cut(i, 40), "damaged"),
        ("without its line end", |i, _| cut(i, 1), "damaged"),
        ("garbage", |i, _| std::fs::write(i.mark(), [0xff; 90]).unwrap(), "damaged"),
        ("a line more", |i, _| append(i, b"SKH1 none\n"), "damaged"),
        ("too long", |i, _| append(i, &[b'x'; 9_000]), "damaged"),
        ("a directory", in_the_way, "damaged"),
        ("ahead", |i, state| i.write_mark(Some(State { generation: 9, ..state }), None), "generation 9"),
        (
            "of another store",
            |i, state| i.write_mark(Some(State { store_id: [7; 16], ..state }), None),
            "another store",
        ),
        ("of another root", |i, state| i.write_mark(Some(State { root_id: [7; 32], ..state }), None), "another root"),
        (
            "announcing another store",
            |i, state| i.write_mark(None, Some(State { store_id: [7; 16], ..state })),
            "another store",
        ),
    ];
    for (case, change, word) in cases {
        let installation = Installation::made();
        change(&installation, installation.marked_state());
        let before = installation.files();
        let refused = installation.serve_refused();
        assert_eq!(refused.code, Some(74), "{case}: {refused:#?}");
        refused.saying(&[
            word,
            "`servos-keyd accept --config /",
            " --generation 1`",
            installation.mark().to_str().unwrap(),
        ]);
        assert_eq!(installation.files(), before, "{case}");
        if case == "a directory" {
            std::fs::remove_dir(installation.mark()).unwrap();
        }
        installation.accept(&["--generation", "1", "--yes"]).expect(0).saying(&["4294967296"]);
        assert_eq!(installation.marked_state().generation, GAP, "{case}");
        installation.serve().stop().expect(0);
    }
}

fn cut(installation: &Installation, by: usize) {
    let text = std::fs::read(installation.mark()).unwrap();
    std::fs::write(installation.mark(), &text[..text.len() - by]).unwrap();
}

fn append(installation: &Installation, more: &[u8]) {
    let text = std::fs::read(installation.mark()).unwrap();
    std::fs::write(installation.mark(), [&text, more].concat()).unwrap();
}

fn in_the_way(installation: &Installation, _: State) {
    std::fs::remove_file(installation.mark()).unwrap();
    std::fs::create_dir(installation.mark()).unwrap();
}

#[test]
fn an_older_store_put_back_is_refused_until_it_is_accepted_and_then_goes_on_beyond_the_gap() {
    let (installation, generation, kept, lost) = put_back();
    let before = installation.files();
    let configuration = installation.path("keyd.toml");
    let command = format!("`servos-keyd accept --config {} --generation {generation}`", configuration.display());
    installation.serve_refused().expect(74).saying(&["older file", &command]);
    assert_eq!(installation.files(), before);

    let number = generation.to_string();
    installation.accept(&["--generation", &number, "--yes"]).expect(0).saying(&["4294967296"]);
    let daemon = installation.serve_for_admin();
    assert_eq!(canary_of(&daemon, &kept), CanaryResult::Opens);
    assert_eq!(canary_of(&daemon, &lost), CanaryResult::Stale);
    // However far it goes on, what the lost time issued stays stale, and what is issued now does not.
    rotate(&daemon, 3);
    assert_eq!(canary_of(&daemon, &lost), CanaryResult::Stale);
    let new = issue(&daemon);
    daemon.stop().expect(0);
    assert!(installation.records().generation > GAP);
    let daemon = installation.serve();
    assert_eq!(canary_of(&daemon, &new), CanaryResult::Opens);
    assert_eq!(canary_of(&daemon, &lost), CanaryResult::Stale);
}

#[test]
fn accept_takes_nothing_but_exactly_what_it_is_told() {
    let (installation, generation, ..) = put_back();
    let number = generation.to_string();
    let cases: [(&str, Vec<&str>, i32, &str); 6] = [
        ("another generation", vec!["--generation", "1", "--yes"], 65, "not 1"),
        ("the lost generation", vec!["--generation", "9999", "--yes"], 65, "not 9999"),
        ("nobody to ask", vec!["--generation", &number], 64, "--yes"),
        ("no generation", vec!["--yes"], 64, "--generation"),
        ("no number", vec!["--generation", "newest", "--yes"], 64, "newest"),
        ("below zero", vec!["--generation", "-1", "--yes"], 64, "-1"),
    ];
    for (case, arguments, code, word) in cases {
        let before = installation.files();
        let refused = installation.accept(&arguments);
        assert_eq!(refused.code, Some(code), "{case}: {refused:#?}");
        refused.saying(&[word]);
        assert_eq!(installation.files(), before, "{case}");
    }
    // An answer on standard input that is no terminal is no answer.
    let piped = installation.command("accept", &["--generation", &number]).input("yes\n").run(KEYD);
    piped.expect(64);
}

#[test]
fn accept_takes_no_store_that_does_not_open_whole() {
    let installation = Installation::made();
    std::fs::remove_file(installation.mark()).unwrap();
    let key = installation.key;
    let arguments = ["--generation", "1", "--yes"];
    installation.write_key(random_key());
    let before = installation.files();
    installation.accept(&arguments).expect(78).saying(&["MASTER KEY INTEGRITY CHECK FAILED"]);
    assert_eq!(installation.files(), before);
    installation.write_key(key);
    installation.change_records(|snapshot| *snapshot.records.get_mut("mac").unwrap().last_mut().unwrap() ^= 1);
    let before = installation.files();
    installation.accept(&arguments).expect(74).saying(&["damaged"]);
    assert_eq!(installation.files(), before);
    std::fs::remove_file(installation.store()).unwrap();
    let before = installation.files();
    installation.accept(&arguments).expect(66);
    assert_eq!(installation.files(), before);
}

#[test]
fn accept_waits_for_no_daemon() {
    let installation = Installation::made();
    let daemon = installation.serve();
    installation.accept(&["--generation", "1", "--yes"]).expect(75);
    daemon.stop().expect(0);
}

#[test]
fn accept_asks_on_a_terminal() {
    let script = "/usr/bin/script";
    if !is_there(std::path::Path::new(script)) {
        return not_run("there is no script(1) to make a terminal with");
    }
    for (answer, code) in [("no\n", 1), ("\n", 1), ("y\n", 1), ("yes\n", 0)] {
        let (installation, generation, ..) = put_back();
        let command = installation.command("accept", &["--generation", &generation.to_string()]);
        let words: Vec<&str> = command.arguments.iter().map(|word| word.to_str().unwrap()).collect();
        let line = format!("{KEYD} {}", words.join(" "));
        let before = installation.files();
        let asked =
            Invocation::new(["-qec", &line, "/dev/null"]).variable("SHELL", "/bin/sh").input(answer).run(script);
        assert_eq!(asked.code, Some(code), "{answer:?}: {asked:#?}");
        asked.saying(&["8 keys", "Type yes"]);
        assert_eq!(installation.files() == before, code != 0, "{answer:?}");
    }
}

#[test]
fn an_acceptance_that_broke_off_leaves_the_store_refused_and_is_done_again() {
    let (installation, generation, _, lost) = put_back();
    let number = generation.to_string();
    let seen = installation.marked_state();
    let older = std::fs::read(installation.store()).unwrap();
    installation.accept(&["--generation", &number, "--yes"]).expect(0);
    let to_come = installation.marked_state();
    // Killed between the mark's first word and the commit: with the mark that was there, or with none to keep.
    for now in [seen, to_come] {
        std::fs::write(installation.store(), &older).unwrap();
        installation.write_mark(Some(now), Some(to_come));
        installation.serve_refused().expect(74).saying(&["`servos-keyd accept --config "]);
    }
    installation.accept(&["--generation", &number, "--yes"]).expect(0);
    let daemon = installation.serve();
    assert_eq!(canary_of(&daemon, &lost), CanaryResult::Stale);
    daemon.stop().expect(0);
    // Killed between the commit and the mark's last word: accepted, and the word is said.
    let to_come = installation.marked_state();
    installation.write_mark(Some(seen), Some(to_come));
    installation.serve().stop().expect(0);
    assert_eq!(installation.marked_state(), to_come);
}

#[test]
fn a_mark_elsewhere_notices_that_the_whole_directory_is_an_older_one() {
    let mut installation = Installation::new();
    installation.store_path = Some(installation.path("state/keyd.redb"));
    installation.mark_path = Some(installation.path("keyd.mark"));
    installation.init(&[]).expect(0);
    let older = std::fs::read(installation.store()).unwrap();
    installation.accept(&["--generation", "1", "--yes"]).expect(0);
    assert!(!is_there(&installation.path("state/keyd.redb.mark")));
    std::fs::write(installation.store(), older).unwrap();
    installation.serve_refused().expect(74).saying(&["older file", "keyd.mark"]);
}

#[test]
fn sealing_goes_on_where_the_mark_cannot_be_written() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    std::fs::remove_file(installation.mark()).unwrap();
    std::fs::create_dir(installation.mark()).unwrap();
    rotate(&daemon, 1);
    block_on(async { daemon.component().encrypt(&name("default"), b"x", &cell("1")).await.unwrap() });
    assert!(daemon.said().contains("the high-water mark could not be written"), "{}", daemon.said());
    std::fs::remove_dir(installation.mark()).unwrap();
    rotate(&daemon, 1);
    assert_eq!(installation.marked_state().generation, installation.records().generation);
}

#[test]
fn status_tells_the_mark_right_after_a_start_before_anything_was_written() {
    let installation = Installation::made();
    for _ in 0..2 {
        let daemon = installation.serve_for_admin();
        let status = block_on(async { daemon.admin().status().await }).unwrap();
        let store = status.store.unwrap();
        assert!(store.generation > 0);
        assert_eq!(store.mark_generation, store.generation);
    }
}
