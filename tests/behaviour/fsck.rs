//! `servos-keyd fsck`: each thing that can be wrong with a store and its backups, as people are told of it.
//!
//! Must never pass where a file was changed by the look at it. Run by `cargo test`.

use crate::harness::{Installation, KEYD, Outcome, block_on, name, random_key};
use servos_keyd::store::backup_file;
use servos_keyd::store::mark::State;
use servos_keyd::store::record;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// A store with a few generations, and nobody on it.
fn made() -> Installation {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async { daemon.admin().rotate_key(&name("default")).await.unwrap() });
    daemon.stop().expect(0);
    installation
}

/// Checks, and holds the check to changing nothing.
#[track_caller]
fn fsck(installation: &Installation, arguments: &[&str]) -> Outcome {
    let before = installation.files();
    let outcome = installation.command("fsck", arguments).run(KEYD);
    assert_eq!(installation.files(), before, "{outcome:#?}");
    outcome
}

pub fn newest(installation: &Installation) -> PathBuf {
    installation.backups().pop().unwrap()
}

pub fn flip(path: &std::path::Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Flips a byte of a version's seal wherever it lies in the file: pages of older commits hold it too.
pub fn flip_in_a_record(installation: &Installation) {
    let records = installation.records().records;
    let (_, value) = records.iter().find(|(name, _)| name.starts_with("version/")).unwrap();
    let needle = &value[value.len() - 20..];
    let file = std::fs::read(installation.store()).unwrap();
    let found: Vec<usize> =
        file.windows(needle.len()).enumerate().filter(|(_, window)| window == &needle).map(|(at, _)| at).collect();
    assert!(!found.is_empty());
    for at in found {
        flip(&installation.store(), |_| at);
    }
}

/// Damages the seals of two keys' only versions; those keys have no primary version then.
fn damage_two_only_versions(installation: &Installation) {
    installation.change_records_and_mac(|snapshot| {
        let versions = snapshot.records.iter_mut().filter(|(name, _)| name.starts_with("version/"));
        let read = |name: &str, value: &[u8]| record::decode::<record::Version>(name, value).unwrap();
        let mut of_keys = BTreeMap::<Vec<u8>, Vec<&mut Vec<u8>>>::new();
        for (name, value) in versions {
            of_keys.entry(read(name, value).key_id).or_default().push(value);
        }
        let only = of_keys.into_values().filter(|versions| versions.len() == 1).take(2).flatten();
        only.for_each(|value| *value.last_mut().unwrap() ^= 1);
    });
}

#[test]
fn a_good_store_has_a_line_for_each_check_and_ends_with_success() {
    let installation = made();
    let told = fsck(&installation, &[]).expect(0).not_saying(&["PROBLEM", "not looked at"]);
    for word in ["file ", "root ", "mac ", "canary ", "identity ", "keys ", "versions ", "mark ", "newest backup "] {
        assert!(told.stdout.lines().any(|line| line.starts_with(word) && line.contains(" ok ")), "{word}: {told:#?}");
    }
    told.saying(&["9 versions, every seal opens", "everything is good", "every version of generation"]);
    let told = fsck(&installation, &["--json"]).expect(0);
    let value: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(value["exit"], 0);
    assert!(value["seals"].as_u64().unwrap() > 20, "{value}");
    assert!(value["checks"].as_array().unwrap().iter().all(|check| check["result"] == "ok"), "{value}");
}

#[test]
fn each_problem_is_told_with_its_code_and_what_mends_it() {
    type Change = fn(&mut Installation);
    let cases: [(&str, Change, i32, &[&str]); 15] = [
        ("a byte of a record", |i| flip_in_a_record(i), 74, &["file ", "PROBLEM", "`servos-keyd restore --config "]),
        ("an empty file", |i| std::fs::write(i.store(), b"").unwrap(), 74, &["is empty, not a store"]),
        (
            "a record that its MAC does not cover",
            |i| i.change_records(|s| drop(s.records.remove("meta"))),
            74,
            &["do not fit the snapshot's MAC", "record meta is missing"],
        ),
        (
            "two seals that do not open",
            |i| damage_two_only_versions(i),
            74,
            &["versions       PROBLEM", "does not open", "4 problems"],
        ),
        (
            "no identity",
            |i| i.change_records_and_mac(|s| drop(s.records.remove("identity"))),
            74,
            &["record identity is missing"],
        ),
        ("no mark", |i| std::fs::remove_file(i.mark()).unwrap(), 74, &["is missing", "`servos-keyd accept --config "]),
        ("a damaged mark", |i| std::fs::write(i.mark(), b"x").unwrap(), 74, &["is damaged", " --generation 3`"]),
        (
            "a mark ahead",
            |i| i.write_mark(Some(State { generation: 99, ..i.marked_state() }), None),
            74,
            &["it has seen generation 99"],
        ),
        (
            "a mark of another store",
            |i| i.write_mark(Some(State { store_id: [7; 16], ..i.marked_state() }), None),
            74,
            &["the mark of another store"],
        ),
        (
            "a mark of another root",
            |i| i.write_mark(Some(State { root_id: [7; 32], ..i.marked_state() }), None),
            74,
            &["another root"],
        ),
        (
            "the newest backup",
            |i| flip(&newest(i), |length| length / 2),
            1,
            &["newest backup  PROBLEM", "its self-check"],
        ),
        (
            "an older backup",
            |i| flip(&i.backups()[0], |length| length / 2),
            1,
            &["other backups  PROBLEM", "to mend  move it away"],
        ),
        ("no backup", |i| std::fs::remove_dir_all(i.path("backup")).unwrap(), 1, &["there is none in"]),
        ("a version in no backup", |i| std::fs::remove_file(newest(i)).unwrap(), 1, &["is in no backup"]),
        ("another key", |i| i.write_key(random_key()), 78, &["MASTER KEY INTEGRITY CHECK FAILED"]),
    ];
    for (case, change, code, words) in cases {
        let mut installation = made();
        change(&mut installation);
        let told = fsck(&installation, &[]);
        assert_eq!(told.code, Some(code), "{case}: {told:#?}");
        for word in words {
            assert!(told.said().contains(word), "{case}: {word:?} is not in {told:#?}");
        }
        if code == 78 {
            continue;
        }
        let json = fsck(&installation, &["--json"]).expect(code);
        let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(value["exit"], code, "{case}");
        assert!(
            value["checks"].as_array().unwrap().iter().any(|check| check["result"] == "problem"),
            "{case}: {value}"
        );
    }
}

#[test]
fn a_damaged_file_is_told_with_the_newest_good_backup_by_name() {
    let installation = made();
    std::fs::write(installation.store(), b"not a store").unwrap();
    let good = installation.backups()[0].clone();
    let told = fsck(&installation, &[]).expect(74);
    told.clone().saying(&[
        "is not a store of servos-keyd",
        newest(&installation).to_str().unwrap(),
        "root           -",
    ]);
    flip(&newest(&installation), |length| length / 2);
    let told = fsck(&installation, &[]).expect(74);
    told.saying(&["2 problems", "keyd.toml", good.to_str().unwrap()]);
}

#[test]
fn what_is_harmless_is_said_and_is_no_problem() {
    let installation = made();
    let state = installation.marked_state();
    installation.write_mark(Some(State { generation: state.generation - 1, ..state }), None);
    std::fs::write(installation.path("keyd.redb.new"), b"half").unwrap();
    let words = ["the store is 1 ahead of it", "keyd.redb.new", "harmless"];
    fsck(&installation, &[]).expect(0).saying(&words).not_saying(&["PROBLEM"]);
}

#[test]
fn a_store_that_was_not_closed_is_good_and_stays_as_it_is() {
    let installation = Installation::made();
    installation.serve().kill();
    fsck(&installation, &[]).expect(0);
}

#[test]
fn a_running_daemon_keeps_the_check_out_and_its_own_is_named() {
    let installation = Installation::made();
    let daemon = installation.serve();
    // The daemon's own files change under it.
    installation.command("fsck", &[]).run(KEYD).expect(75).saying(&["`servos-keyctl status`"]);
    daemon.stop().expect(0);
    fsck(&installation, &[]).expect(0);
}

#[test]
fn where_no_store_is_nothing_is_checked() {
    let installation = Installation::new();
    fsck(&installation, &[]).expect(66).saying(&["no store at"]);
    let installation = made();
    std::fs::remove_file(installation.store()).unwrap();
    fsck(&installation, &[]).expect(66).saying(&["is gone"]);
}

#[test]
fn a_backup_under_another_s_name_is_not_taken_for_it() {
    let installation = made();
    std::fs::copy(&installation.backups()[0], newest(&installation)).unwrap();
    assert!(backup_file::read(&newest(&installation)).is_ok());
    fsck(&installation, &[]).expect(1).saying(&["is not what its name says", "is in no backup"]);
}

#[test]
fn what_a_start_refuses_in_its_places_is_not_called_good() {
    let installation = made();
    let backups = installation.path("backup");
    for (path, bad, good) in
        [(installation.store(), 0o666, 0o600), (installation.mark(), 0o666, 0o600), (backups, 0o777, 0o700)]
    {
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        set(bad);
        installation.serve_refused().expect(77);
        fsck(&installation, &[]).expect(77).saying(&["everyone can change", path.to_str().unwrap()]);
        set(good);
    }
    let directory = installation.path("keyd.redb.new");
    std::fs::create_dir(&directory).unwrap();
    installation.serve_refused().expect(74);
    fsck(&installation, &[]).expect(74).saying(&["keyd.redb.new is a directory", "move it away"]);
    std::fs::remove_dir(&directory).unwrap();
    fsck(&installation, &[]).expect(0);
}

#[test]
fn a_name_that_a_terminal_would_obey_is_shown_and_not_obeyed() {
    let installation = made();
    std::fs::write(installation.path("backup").join("keyd-\x1b[2J\u{9b}31m.skb1"), b"bad").unwrap();
    for arguments in [&[][..], &["--json"]] {
        let told = fsck(&installation, arguments).expect(1).saying(&["[2J"]);
        assert!(told.said().chars().all(|c| c == '\n' || !c.is_control()), "{told:#?}");
    }
}
