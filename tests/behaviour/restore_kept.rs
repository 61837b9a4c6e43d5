//! Restore over something: what lay there is kept, said with the way back, and another installation's is left alone.
//!
//! Must never lose a byte of what lay there. Run by `cargo test`.

use crate::harness::rotation::seal;
use crate::harness::{Daemon, Installation, Outcome, block_on, cell, is_there, name, random_key};
use crate::mark::rotate;
use std::path::{Path, PathBuf};

fn opens(daemon: &Daemon, value: &[u8]) -> bool {
    block_on(async { daemon.component().decrypt(&name("default"), value, &cell("1")).await.is_ok() })
}

/// What is kept beside a path, the oldest first.
fn kept(path: &Path) -> Vec<PathBuf> {
    let prefix = format!("{}.kept-", path.file_name().unwrap().to_str().unwrap());
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix)).collect();
    all.sort();
    all
}

/// Runs the commands that a restore ended with.
fn undo(restored: &Outcome) {
    let commands: Vec<&str> =
        restored.stdout.lines().filter_map(|line| line.strip_prefix("undo")).map(str::trim).collect();
    assert!(commands.len() >= 4, "{restored:#?}");
    let script = format!("set -e\n{}\n", commands.join("\n"));
    let ran = crate::harness::Invocation::new(["-c", &script]).variable("PATH", "/usr/bin:/bin").run("/bin/sh");
    ran.expect(0);
}

#[test]
fn whatever_is_no_whole_newer_store_is_kept_byte_for_byte_and_said() {
    let whole = std::fs::read(Installation::made().store()).unwrap();
    for (case, bytes, word) in [
        ("empty", Vec::new(), "is empty, not a store"),
        ("foreign", b"not a store".to_vec(), "is not a store of servos-keyd"),
        ("cut", whole[..whole.len() / 2].to_vec(), "is damaged"),
        ("its first bytes", whole[..7].to_vec(), "is damaged"),
    ] {
        let installation = Installation::made();
        let (backup, mark) = (installation.backups()[0].clone(), std::fs::read(installation.mark()).unwrap());
        std::fs::write(installation.store(), &bytes).unwrap();
        installation.serve_refused().expect(74).saying(&["which keeps the file"]);
        let restored = installation.restore(&backup).expect(0);
        let [store] = &kept(&installation.store())[..] else { panic!("{case}") };
        assert_eq!(std::fs::read(store).unwrap(), bytes, "{case}");
        assert_eq!(std::fs::read(&kept(&installation.mark())[0]).unwrap(), mark, "{case}");
        restored.saying(&[word, store.to_str().unwrap(), "(the mark as it was)", "undo "]);
        installation.serve().stop().expect(0);
    }
}

#[test]
fn a_directory_and_a_link_in_the_store_s_place_are_kept_too() {
    for case in ["a directory", "a link"] {
        let installation = Installation::made();
        let target = installation.path("target");
        std::fs::rename(installation.store(), &target).unwrap();
        let before = std::fs::read(&target).unwrap();
        if case == "a link" {
            std::os::unix::fs::symlink(&target, installation.store()).unwrap();
        } else {
            std::fs::create_dir(installation.store()).unwrap();
        }
        installation.restore(&installation.backups()[0]).expect(0);
        assert!(kept(&installation.store())[0].symlink_metadata().is_ok(), "{case}");
        assert_eq!(std::fs::read(&target).unwrap(), before, "{case}");
        installation.serve().stop().expect(0);
    }
}

#[test]
fn a_whole_newer_store_is_given_up_only_on_purpose_and_comes_back_by_the_commands_that_are_told() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    rotate(&daemon, 1);
    let value = seal(&daemon);
    daemon.stop().expect(0);
    let (newest, whole) = (installation.backups().pop().unwrap(), std::fs::read(installation.store()).unwrap());
    let before = installation.files();
    let refused = installation.restore(&newest).expect(65);
    refused.saying(&["is whole and newer: it is at generation 3", "generation 2", "Nothing was changed", "--older"]);
    assert_eq!(installation.files(), before);
    let oldest = installation.backups()[0].clone();
    let refused = installation.restore(&oldest).expect(65);
    refused.saying(&["default version 2, made 20", installation.store().to_str().unwrap()]);
    assert_eq!(installation.files(), before);

    let restored = installation.restore_older(&oldest).expect(0);
    restored.clone().saying(&[
        "going back to generation 1 on purpose",
        "default version 2",
        "a whole store of generation 3",
    ]);
    let [store] = &kept(&installation.store())[..] else { panic!("{restored:#?}") };
    assert_eq!(std::fs::read(store).unwrap(), whole);
    let daemon = installation.serve();
    assert!(!opens(&daemon, &value));
    daemon.stop().expect(0);

    undo(&restored);
    assert_eq!(std::fs::read(installation.store()).unwrap(), whole);
    let daemon = installation.serve();
    assert!(opens(&daemon, &value));
    daemon.stop().expect(0);
    // The backup of what was undone is none of a newer store either.
    std::fs::remove_file(installation.store()).unwrap();
    installation.restore(&newest).expect(0);
}

#[test]
fn what_an_interrupted_rewrite_left_comes_back_too() {
    let installation = Installation::made();
    let backup = installation.backups()[0].clone();
    let unfinished = installation.path("keyd.redb.new");
    std::fs::rename(installation.store(), &unfinished).unwrap();
    std::fs::write(installation.store(), b"not a store").unwrap();
    let left = [unfinished, installation.store(), installation.mark()];
    let before = left.clone().map(|path| std::fs::read(path).unwrap());
    undo(&installation.restore(&backup).expect(0));
    assert!(left.iter().all(|path| is_there(path)), "{:?}", installation.files().keys());
    assert_eq!(left.map(|path| std::fs::read(path).unwrap()), before);
}

#[test]
fn a_store_that_is_not_newer_is_replaced_without_being_asked() {
    let installation = Installation::made();
    let backup = installation.backups()[0].clone();
    installation.restore(&backup).expect(0).saying(&["a whole store of generation 1"]);
    // Again, and it is done already.
    let (store, kept_now) = (std::fs::read(installation.store()).unwrap(), kept(&installation.store()));
    let again = installation.restore(&backup).expect(0);
    again.saying(&["this backup was restored already, and nothing was changed since", "by an earlier restore"]);
    assert_eq!((std::fs::read(installation.store()).unwrap(), kept(&installation.store())), (store, kept_now));
    let daemon = installation.serve_for_admin();
    rotate(&daemon, 1);
    daemon.stop().expect(0);
    installation.restore(&backup).expect(65).saying(&["is whole and newer"]);
}

#[test]
fn another_installation_s_store_or_mark_and_a_running_daemon_s_are_left_alone() {
    let installation = Installation::made();
    let backup = installation.backups()[0].clone();
    let other = Installation::made();
    let daemon = installation.serve();
    let before = installation.files();
    for arguments in [vec![], vec!["--older"]] {
        let arguments: Vec<&str> = arguments.into_iter().chain([backup.to_str().unwrap()]).collect();
        installation.restore_with(&arguments).expect(75).saying(&["systemctl stop 'servos-keyd*'"]);
    }
    // Nor is a file that is no backup looked at before the daemon is seen.
    installation.restore(Path::new("/nowhere/file.skb1")).expect(75);
    assert_eq!(installation.files(), before);
    daemon.stop().expect(0);

    std::fs::copy(other.store(), installation.store()).unwrap();
    let before = installation.files();
    let refused = installation.restore_older(&backup).expect(73);
    refused.saying(&["is another installation's, of store ", installation.store().to_str().unwrap()]);
    assert_eq!(installation.files(), before);
    std::fs::remove_file(installation.store()).unwrap();
    std::fs::copy(other.mark(), installation.mark()).unwrap();
    let before = installation.files();
    installation.restore_older(&backup).expect(73).saying(&["keyd.redb.mark is another installation's"]);
    assert_eq!(installation.files(), before);
}

#[test]
fn a_store_under_another_key_is_kept_and_the_key_it_names_is_told() {
    let (installation, new) = (Installation::made(), random_key());
    let old = installation.key;
    let backup = installation.backups()[0].clone();
    let daemon = installation.serve_for_admin();
    installation.begin_rotation(&daemon, new);
    installation.finish_rotation(&daemon, new);
    daemon.stop().expect(0);
    let whole = std::fs::read(installation.store()).unwrap();
    installation.write_key(old);
    let restored = installation.restore_older(&backup).expect(0);
    let expected = format!("it says it was sealed under master key {}", crate::harness::fingerprint(new));
    restored.saying(&["the key does not open it", &expected]);
    assert_eq!(std::fs::read(&kept(&installation.store())[0]).unwrap(), whole);
    installation.serve().stop().expect(0);
}

#[test]
fn what_is_refused_changes_nothing_of_a_store_that_is_there() {
    let mut installation = Installation::made();
    let good = std::fs::read(&installation.backups()[0]).unwrap();
    let fifo = installation.path("fifo.skb1");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut newer = good.clone();
    newer[7] = 9;
    let cases: [(&str, PathBuf, i32, &str); 7] = [
        ("missing", installation.path("none.skb1"), 66, "no such file"),
        ("a directory", installation.path("backup"), 74, "is a directory, not a backup"),
        ("a FIFO", fifo, 74, "is not a file"),
        ("empty", installation.write_private("empty.skb1", b""), 74, "not a backup of servos-keyd"),
        ("cut", installation.write_private("cut.skb1", &good[..good.len() / 2]), 74, "damaged"),
        ("newer", installation.write_private("newer.skb1", &newer), 78, "schema 9"),
        ("the store", installation.store(), 74, "not a backup of servos-keyd"),
    ];
    for (case, file, code, word) in &cases {
        let before = installation.files();
        let refused = installation.restore_older(file);
        assert_eq!(refused.code, Some(*code), "{case}: {refused:#?}");
        refused.saying(&[word, file.to_str().unwrap()]).not_saying(&["kept"]);
        assert_eq!(installation.files(), before, "{case}");
    }
    installation.write_key(random_key());
    let before = installation.files();
    installation.restore_older(&installation.backups()[0]).expect(78).saying(&["MASTER KEY INTEGRITY CHECK FAILED"]);
    assert_eq!(installation.files(), before);
    // Nor does one whose mark cannot be written.
    installation.write_key(installation.key);
    installation.mark_path = Some(installation.path("none/mark"));
    let before = installation.files();
    installation.restore_older(&installation.backups()[0]).expect(74);
    assert_eq!(installation.files(), before);
}

#[test]
fn what_was_restored_is_backed_up_and_goes_without_its_backups_directory() {
    let installation = Installation::made();
    let backup = installation.path("elsewhere.skb1");
    std::fs::rename(&installation.backups()[0], &backup).unwrap();
    installation.restore(&backup).expect(0).saying(&["backup      "]);
    let written = installation.backups();
    assert_eq!(written.len(), 1);
    // It is a good one: of the store as it is now.
    std::fs::remove_file(installation.store()).unwrap();
    installation.restore(&written[0]).expect(0).not_saying(&["warning"]);
    installation.serve().stop().expect(0);

    let mut place = Installation::with_key(installation.key);
    place.backup_path = Some(place.path("no/such/backup"));
    let restored = place.restore(&backup).expect(0);
    restored.saying(&["warning: no backup of the restored store could be written", "servos-keyctl backup FILE"]);
    place.serve().stop().expect(0);
    assert!(!is_there(&place.path("no")));
}
