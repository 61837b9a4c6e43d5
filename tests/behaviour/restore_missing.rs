//! Restore tells what it knows to be missing: by the mark, by other backups, by clients' canaries; for programs too.
//!
//! Must never let a backup that lacks something pass without a word of it. Run by `cargo test`.

use crate::harness::{Daemon, Installation, base64, block_on, cell, name};
use crate::mark::{canary_of, issue};
use serde_json::Value;
use servos_keyd::client::canary::CanaryResult;
use servos_keyd::store::backup_file;
use servos_keyd::store::mark::State;
use std::path::PathBuf;

const GAP: u64 = 1 << 32;

fn rotate(daemon: &Daemon, key: &str) {
    block_on(async { daemon.admin().rotate_key(&name(key)).await.unwrap() });
}

/// An installation with three backups, canaries of before and after each version, and no store.
fn lost() -> (Installation, Vec<Vec<u8>>) {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let mut canaries = vec![issue(&daemon)];
    for key in ["default", "ssh-keys"] {
        rotate(&daemon, key);
        canaries.push(issue(&daemon));
    }
    daemon.stop().expect(0);
    std::fs::remove_file(installation.store()).unwrap();
    assert_eq!(installation.backups().len(), 3);
    (installation, canaries)
}

#[test]
fn the_newest_backup_goes_without_a_flag_although_the_mark_is_one_commit_ahead() {
    let (installation, _) = lost();
    let newest = installation.backups().pop().unwrap();
    assert_eq!(installation.marked_state().generation, backup_file::read(&newest).unwrap().generation + 1);
    let restored = installation.restore(&newest).expect(0);
    restored
        .saying(&["seen", "generation 5", "which follows such a backup by itself"])
        .not_saying(&["warning", "missing"]);
}

#[test]
fn versions_are_named_by_key_and_number_with_the_file_that_has_them_also_if_that_is_damaged() {
    let (installation, _) = lost();
    let backups = installation.backups();
    let refused = installation.restore(&backups[0]).expect(65);
    refused.saying(&[
        "2 key versions that others name",
        "default version 2",
        "ssh-keys version 2",
        backups[2].to_str().unwrap(),
    ]);
    // The newest is damaged: the one before it is the newest to be had, and what the damaged one names is told.
    let bytes = std::fs::read(&backups[2]).unwrap();
    std::fs::write(&backups[2], &bytes[..bytes.len() - 1]).unwrap();
    let restored = installation.restore(&backups[1]).expect(0);
    restored.saying(&[
        "warning",
        "1 key version that others name is",
        "ssh-keys version 2",
        "a damaged backup, in its own word",
    ]);
}

#[test]
fn a_mark_that_is_ahead_alone_asks_for_the_flag_unless_what_follows_by_itself_explains_it() {
    let (installation, _) = lost();
    let backup = installation.path("elsewhere.skb1");
    std::fs::rename(installation.backups().pop().unwrap(), &backup).unwrap();
    std::fs::remove_dir_all(installation.path("backup")).unwrap();
    let seen = |generation| State { generation, ..installation.marked_state() };
    installation.write_mark(Some(seen(6)), None);
    let before = installation.files();
    let refused = installation.restore(&backup).expect(65);
    refused.saying(&["has seen generation 6", "generation 4", "Look for a newer backup", "--older"]);
    assert_eq!(installation.files(), before);
    installation.write_mark(Some(seen(5)), None);
    installation.restore(&backup).expect(0).not_saying(&["warning"]);
}

#[test]
fn a_client_s_canary_tells_whether_it_will_open_and_how_far_its_database_had_seen() {
    let (installation, canaries) = lost();
    let newest = installation.backups().pop().unwrap();
    let early = installation.write_private("early", &canaries[0]);
    let late = installation.write_private("late", (base64(&canaries[2]) + "\n").as_bytes());
    let arguments = |files: &[&PathBuf]| -> Vec<String> {
        let canaries = files.iter().flat_map(|file| ["--canary".to_owned(), file.display().to_string()]);
        canaries.chain([newest.display().to_string()]).collect()
    };
    let restore = |files: &[&PathBuf]| {
        let arguments = arguments(files);
        installation.restore_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Of another store, damaged, and none: refused, and nothing is changed, whatever else is told.
    let other = installation.write_private("other", &issue(&Installation::made().serve()));
    let mut damaged = canaries[0].clone();
    damaged[40] ^= 1;
    let damaged = installation.write_private("damaged", &damaged);
    let none = installation.write_private("none", b"hello");
    let before = installation.files();
    restore(&[&early, &other]).expect(65).saying(&["OTHER_STORE", other.to_str().unwrap(), "Nothing was changed"]);
    restore(&[&damaged]).expect(65).saying(&["DAMAGED"]);
    restore(&[&none]).expect(65).saying(&["holds no canary"]);
    restore(&[&installation.path("nowhere")]).expect(66);
    assert_eq!(installation.files(), before);
    let restored = restore(&[&early, &late]).expect(0);
    restored.saying(&[
        &format!("OPENS  {} (of generation 1)", early.display()),
        &format!("STALE  {} (of generation 5)", late.display()),
        "warning: the canary in",
    ]);
    let daemon = installation.serve();
    assert_eq!(canary_of(&daemon, &canaries[0]), CanaryResult::Opens);
    assert_eq!(canary_of(&daemon, &canaries[2]), CanaryResult::Stale);
}

#[test]
fn a_store_goes_on_beyond_a_canary_that_alone_has_seen_another_restore() {
    let (installation, _) = lost();
    let backup = installation.path("elsewhere.skb1");
    std::fs::rename(installation.backups().pop().unwrap(), &backup).unwrap();
    installation.restore(&backup).expect(0);
    let daemon = installation.serve_for_admin();
    rotate(&daemon, "default");
    let canary = issue(&daemon);
    daemon.stop().expect(0);
    // The machine is lost; what is left is the backup of before, and the database with its canary.
    for (with_canary, generation) in [(false, GAP), (true, 2 * GAP)] {
        let place = Installation::with_key(installation.key);
        let file = place.write_private("canary", &canary);
        let mut arguments = vec![backup.to_str().unwrap()];
        if with_canary {
            arguments.extend(["--canary", file.to_str().unwrap()]);
        }
        place.restore_with(&arguments).expect(0);
        assert_eq!(place.marked_state().generation, generation);
    }
}

#[test]
fn json_has_what_people_are_told_and_a_refusal_is_json_too() {
    let (installation, canaries) = lost();
    let (backups, canary) = (installation.backups(), installation.write_private("canary", &canaries[2]));
    let oldest = backups[0].to_str().unwrap();
    let refused = installation.restore_with(&["--json", oldest]).expect(65);
    let error: Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(error["error"]["exit"], 65);
    assert!(error["error"]["message"].as_str().unwrap().contains("--older"), "{error}");
    std::fs::write(installation.store(), b"damaged").unwrap();
    std::fs::set_permissions(installation.store(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let restored = installation.restore_with(&["--json", "--older", "--canary", canary.to_str().unwrap(), oldest]);
    let restored = restored.expect(0);
    assert_eq!(restored.stderr, "");
    let value: Value = serde_json::from_str(&restored.stdout).unwrap();
    assert_eq!((&value["backup_generation"], &value["generation"]), (&1.into(), &GAP.into()));
    assert_eq!((&value["keys"], &value["versions"], &value["missing_count"]), (&8.into(), &8.into(), &2.into()));
    assert_eq!(value["missing"][0]["key"], "default");
    assert_eq!(value["missing"][0]["version"], 2);
    assert_eq!(value["canaries"][0]["result"], "STALE");
    let kept = value["kept"]["store"].as_str().unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), b"damaged");
    assert!(std::path::Path::new(value["backup"].as_str().unwrap()).exists());
    assert!(value["undo"].as_array().unwrap().len() >= 4 && !value["warnings"].as_array().unwrap().is_empty());
    let cell = block_on(async { installation.serve().component().encrypt(&name("default"), b"x", &cell("1")).await });
    cell.unwrap();
}
