//! `rotate begin` and `rotate status` against a fake daemon: what is made, sent, asked and refused.
//!
//! Must never need a real daemon, a terminal, or the environment of whoever runs it.
//! Called by `cargo test`.

use super::durable_file::tests::DISK_FAILS;
use super::rotate_stage::{NEW_KEY, OLD_KEY, RotationStage, THIRD_KEY, assert_shows_no_key, fingerprint_of};
use crate::client::fake_daemon::lock;
use crate::client::fake_rotation::rotation;
use crate::proto::v1::{Rotation, RotationState, RotationStep};
use crate::sys::apart;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tonic::Code;

fn pending(new: &str) -> Option<Rotation> {
    Some(rotation(new, RotationState::Pending, RotationStep::Waiting))
}

#[test]
fn the_daemon_reads_the_new_key_itself_where_it_opens_a_key_file() {
    let staged = RotationStage::with_file(OLD_KEY);
    staged.put("master.key.next", &format!("{NEW_KEY}\n"));
    let outcome = staged.run(&["begin", "--yes", "--keep-data-keys"]);
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    let begun = lock(&staged.rules().begun).clone();
    assert_eq!(begun.len(), 1);
    assert_eq!((begun[0].new_key_fingerprint.as_str(), begun[0].new_key.len()), (fingerprint_of(NEW_KEY).as_str(), 0));
    assert!(begun[0].keep_data_keys && !begun[0].request_id.is_empty());
    for part in
        ["pending", "keyd-1.skb1", "keyd-0.skb1", "Restic", "could still go wrong", "`servos-keyctl rotate finish`"]
    {
        assert!(outcome.text().contains(part), "{part}: {}", outcome.text());
    }
    assert_shows_no_key(&outcome, &[OLD_KEY, NEW_KEY]);
}

#[test]
fn what_comes_next_is_told_in_the_daemons_words_and_not_twice() {
    let staged = RotationStage::with_file(OLD_KEY);
    staged.put("master.key.next", NEW_KEY);
    *lock(&staged.rules().next) = vec!["Copy it, then `servos-keyctl rotate finish`.".into()];
    let answer = staged.run(&["begin", "--yes", "--json"]).json();
    let next: Vec<_> = answer["next"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(next.len(), 2);
    assert!(next[0].starts_with("Copy it") && next[1].contains("rotate abort"), "{next:?}");
    assert_eq!((&answer["rotation"]["state"], &answer["seals"]), (&"pending".into(), &12.into()));
    assert_eq!(answer["new_key_file"], staged.next.display().to_string());
}

#[test]
fn the_new_key_is_sent_where_the_daemon_opens_no_file() {
    let staged = RotationStage::given_its_key(OLD_KEY);
    let without = staged.run(&["begin", "--yes"]);
    assert_eq!(without.code, 64, "{}", without.errors);
    assert!(without.errors.contains("--key-file FILE") && without.errors.contains("credential servos_master_key"));
    staged.put("master.key.next", &format!("export SERVOS_MASTER_KEY=\"{NEW_KEY}\"\n"));
    let outcome = staged.run(&["begin", "--yes", "--key-file", staged.file.to_str().unwrap()]);
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    assert_eq!(lock(&staged.rules().begun)[0].new_key, NEW_KEY.as_bytes());
    assert_shows_no_key(&outcome, &[NEW_KEY]);
}

#[test]
fn a_generated_key_is_in_its_file_before_the_daemon_is_called() {
    for is_given in [false, true] {
        let staged = if is_given { RotationStage::given_its_key(OLD_KEY) } else { RotationStage::with_file(OLD_KEY) };
        staged.watch_next();
        let outcome = staged.run(&["begin", "--generate", "--yes", "--key-file", staged.file.to_str().unwrap()]);
        assert_eq!(outcome.code, 0, "{}", outcome.errors);
        let made = fs::read_to_string(&staged.next).unwrap();
        assert_eq!(*lock(&staged.rules().seen), [Some(made.clone())]);
        assert_eq!(lock(&staged.rules().begun)[0].new_key_fingerprint, fingerprint_of(&made));
        assert_eq!(lock(&staged.rules().begun)[0].new_key.is_empty(), !is_given);
        let (made_of, like) = (staged.next.metadata().unwrap(), staged.file.metadata().unwrap());
        assert_eq!((made_of.mode() & 0o7777, made_of.uid(), made_of.gid()), (0o600, like.uid(), like.gid()));
        assert!(outcome.errors.contains(&fingerprint_of(&made)), "{}", outcome.errors);
        assert_shows_no_key(&outcome, &[&made]);
        assert_eq!(staged.files(), ["master.key", "master.key.next"]);
    }
}

#[test]
fn a_generated_key_has_the_form_of_the_key_file() {
    let base64 = "ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=";
    let env = |variable: &str, key: &str| format!("# secret\nDATABASE_PASSWORD=hunter2\n{variable}={key}\n");
    let table = [
        (OLD_KEY.to_owned(), false, "", 64),
        (OLD_KEY.to_owned(), true, "", 44),
        (base64.to_owned(), false, "", 44),
        (env("SERVOS_MASTER_KEY", OLD_KEY), false, "SERVOS_MASTER_KEY=", 64),
        (env("ACT_MASTER_KEY", base64), false, "ACT_MASTER_KEY=", 44),
        (env("ACT_MASTER_KEY", OLD_KEY), true, "ACT_MASTER_KEY=", 44),
    ];
    for (content, asks_for_base64, before, length) in table {
        let staged = RotationStage::with_file(&content);
        let arguments = ["begin", "--generate", "--yes", "--base64"];
        let outcome = staged.run(if asks_for_base64 { &arguments } else { &arguments[..3] });
        assert_eq!(outcome.code, 0, "{}", outcome.errors);
        let made = fs::read_to_string(&staged.next).unwrap();
        let key = made.strip_prefix(before).unwrap().strip_suffix('\n').unwrap();
        assert_eq!(key.len(), length, "like {before}");
        assert_eq!(lock(&staged.rules().begun)[0].new_key_fingerprint, fingerprint_of(key));
    }
}

#[test]
fn a_new_key_that_is_there_is_never_replaced() {
    let staged = RotationStage::with_file(OLD_KEY);
    staged.put("master.key.next", NEW_KEY);
    let outcome = staged.run(&["begin", "--generate", "--yes"]);
    assert_eq!((outcome.code, staged.stage.calls()), (73, 0), "{}", outcome.errors);
    let path = staged.next.display();
    for part in [&fingerprint_of(NEW_KEY), "`servos-keyctl rotate begin`", &format!("`mv {path} {path}.unused`")] {
        assert!(outcome.errors.contains(part), "{part}: {}", outcome.errors);
    }
    assert_eq!(fs::read_to_string(&staged.next).unwrap(), NEW_KEY);
    staged.put("master.key.next", "no key");
    let outcome = staged.run(&["begin", "--generate", "--yes"]);
    assert!(outcome.code == 73 && outcome.errors.contains("no key that can be read"), "{}", outcome.errors);
    fs::remove_file(&staged.next).unwrap();
    std::os::unix::fs::symlink(staged.stage.file("nowhere"), &staged.next).unwrap();
    assert_eq!(staged.run(&["begin", "--generate", "--yes"]).code, 73);
    assert!(!staged.stage.file("nowhere").exists(), "a dangling link was followed");
}

#[test]
fn a_generated_key_stays_when_the_daemon_refuses_or_nobody_confirms() {
    let staged = RotationStage::with_file(OLD_KEY);
    *lock(&staged.rules().refusal) = Some((Code::Unavailable, "the backup could not be written".into()));
    let outcome = staged.run(&["begin", "--generate", "--yes", "--keep-data-keys"]);
    assert_eq!(outcome.code, 75, "{}", outcome.errors);
    let again = format!("stays in {}; `servos-keyctl rotate begin --keep-data-keys` goes on", staged.next.display());
    assert!(outcome.errors.contains("the backup could not be written") && outcome.errors.contains(&again));
    let made = fs::read_to_string(&staged.next).unwrap();
    *lock(&staged.rules().refusal) = None;
    assert_eq!(staged.run(&["begin", "--yes"]).code, 0);
    assert_eq!(lock(&staged.rules().begun)[1].new_key_fingerprint, fingerprint_of(&made));

    let staged = RotationStage::with_file(OLD_KEY);
    let outcome = staged.run_asking(&["begin", "--generate"], "no\n");
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.errors.contains("stays in") && !outcome.errors.contains("nothing was changed"),
        "{}",
        outcome.errors
    );
    assert!(staged.next.exists() && lock(&staged.rules().begun).iter().all(|asked| asked.dry_run));
}

#[test]
fn a_person_is_asked_only_about_what_the_daemon_would_do() {
    let staged = RotationStage::with_file(OLD_KEY);
    staged.put("master.key.next", NEW_KEY);
    let nobody = staged.run(&["begin"]);
    assert_eq!((nobody.code, staged.stage.calls()), (64, 0), "{}", nobody.errors);
    let asked = staged.run_asking(&["begin"], "yes\n");
    assert_eq!(asked.code, 0, "{}", asked.errors);
    for part in ["on another machine", "both keys open the store", "12 seals are", "8 keys will get a new version"] {
        assert!(asked.errors.contains(part), "{part}: {}", asked.errors);
    }
    let begun: Vec<bool> = lock(&staged.rules().begun).iter().map(|asked| asked.dry_run).collect();
    assert_eq!(begun, [true, false]);
    *lock(&staged.rules().refusal) = Some((Code::FailedPrecondition, "the key is not new".into()));
    let refused = staged.run_asking(&["begin"], "yes\n");
    assert!(refused.code == 65 && !refused.errors.contains("Type yes"), "{}", refused.errors);
}

#[test]
fn a_dry_run_makes_nothing_and_says_so() {
    let staged = RotationStage::with_file(OLD_KEY);
    let outcome = staged.run(&["begin", "--generate", "--dry-run"]);
    assert_eq!((outcome.code, staged.stage.calls()), (0, 0), "{}", outcome.errors);
    assert!(outcome.text().contains("would make") && !staged.next.exists());
    staged.put("master.key.next", NEW_KEY);
    let answer = staged.run(&["begin", "--dry-run", "--json"]).json();
    assert_eq!(answer["dry_run"], true);
    let begun = lock(&staged.rules().begun).clone();
    assert!(begun.len() == 1 && begun[0].dry_run && begun[0].request_id.is_empty());
}

#[test]
fn a_new_key_that_is_missing_malformed_or_another_is_refused_before_the_call() {
    let staged = RotationStage::with_file(OLD_KEY);
    let begin = |arguments: &[&str]| staged.run(&[["begin", "--yes"].as_slice(), arguments].concat());
    let missing = begin(&[]);
    assert!(missing.code == 66 && missing.errors.contains("--generate"), "{}", missing.errors);
    staged.put("master.key.next", &NEW_KEY[1..]);
    let malformed = begin(&[]);
    assert!(malformed.code == 78 && !malformed.errors.contains(&NEW_KEY[1..]), "{}", malformed.errors);
    staged.put("master.key.next", "DATABASE_PASSWORD=hunter2\n");
    let none = begin(&[]);
    assert!(none.code == 78 && !none.errors.contains("hunter2"), "{}", none.errors);
    staged.put("master.key.next", NEW_KEY);
    let other = begin(&["--fingerprint", &fingerprint_of(THIRD_KEY)]);
    assert!(other.code == 65 && other.errors.contains(&fingerprint_of(NEW_KEY)), "{}", other.errors);
    fs::remove_file(&staged.next).unwrap();
    fs::create_dir(&staged.next).unwrap();
    let directory = begin(&[]);
    assert!(directory.code == 78 && directory.errors.contains("is a directory"), "{}", directory.errors);
    assert_eq!(staged.stage.calls(), 0);
}

#[test]
fn a_fingerprint_stands_for_a_file_that_only_the_daemon_sees() {
    let staged = RotationStage::with_file(OLD_KEY);
    let arguments = ["begin", "--yes", "--fingerprint", &fingerprint_of(NEW_KEY).to_uppercase()];
    assert_eq!(staged.run(&arguments).code, 0);
    assert_eq!(lock(&staged.rules().begun)[0].new_key_fingerprint, fingerprint_of(NEW_KEY));
    let given = RotationStage::given_its_key(OLD_KEY);
    let file = given.file.to_str().unwrap();
    let outcome = given.run(&[arguments.as_slice(), &["--key-file", file]].concat());
    assert_eq!((outcome.code, given.stage.calls()), (66, 0), "a key that must be sent was not: {}", outcome.errors);
}

#[test]
fn a_new_key_file_may_be_as_open_as_the_key_file_that_the_daemon_takes() {
    let staged = RotationStage::with_file(OLD_KEY);
    staged.put("master.key.next", NEW_KEY);
    // On a file system in memory any mode is taken, as by the daemon.
    let is_refused = |mode: u32| {
        fs::set_permissions(&staged.next, fs::Permissions::from_mode(mode)).unwrap();
        let outcome = staged.run(&["begin", "--yes"]);
        outcome.code == 77 || outcome.errors.contains("in memory")
    };
    assert!(is_refused(0o644) && is_refused(0o622));
    fs::set_permissions(&staged.file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(is_refused(0o622), "what others can change is never taken");
    fs::set_permissions(&staged.next, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(staged.run(&["begin", "--yes"]).code, 0);
}

#[test]
fn a_key_that_is_sent_is_roots_or_the_key_files_owners() {
    if !nix::unistd::geteuid().is_root() {
        return apart::not_run("the owner of a new key that is sent: only root gives files away");
    }
    let own = |file: &std::path::Path, uid| std::os::unix::fs::chown(file, Some(uid), None).unwrap();
    for (file_owner, next_owner, code) in
        [(0, 0, 0), (12_345, 12_345, 0), (12_345, 0, 0), (12_345, 12_346, 77), (0, 12_346, 77)]
    {
        let staged = RotationStage::given_its_key(OLD_KEY);
        staged.put("master.key.next", NEW_KEY);
        own(&staged.file, file_owner);
        own(&staged.next, next_owner);
        // As open as it may be: that excuses no other owner.
        fs::set_permissions(&staged.file, fs::Permissions::from_mode(0o644)).unwrap();
        let outcome = staged.run(&["begin", "--yes", "--key-file", staged.file.to_str().unwrap()]);
        assert_eq!((outcome.code, staged.stage.calls()), (code, u32::from(code == 0)), "{}", outcome.errors);
        assert!(
            code == 0
                || outcome.errors.contains(&format!("chown -h {}", if file_owner == 0 { "root" } else { "12345" })),
            "{}",
            outcome.errors
        );
    }
    // Where the daemon reads the file, it judges.
    let staged = RotationStage::with_file(OLD_KEY);
    staged.put("master.key.next", NEW_KEY);
    own(&staged.next, 12_346);
    assert_eq!(staged.run(&["begin", "--yes"]).code, 0);
}

#[test]
fn a_new_key_that_cannot_be_made_durable_is_not_begun_with() {
    for staged in [RotationStage::with_file(OLD_KEY), RotationStage::given_its_key(OLD_KEY)] {
        staged.put("master.key.next", NEW_KEY);
        let begin = || staged.run(&["begin", "--yes", "--key-file", staged.file.to_str().unwrap()]);
        DISK_FAILS.set(true);
        let outcome = begin();
        DISK_FAILS.set(false);
        assert_eq!((outcome.code, staged.stage.calls()), (74, 0), "{}", outcome.errors);
        assert!(outcome.errors.contains("master.key.next survive a power cut"), "{}", outcome.errors);
        assert_eq!(begin().code, 0);
    }
}

#[test]
fn a_key_file_in_memory_is_named_among_the_risks() {
    let in_memory = tempfile::tempdir_in("/dev/shm").ok().filter(|dir| {
        nix::sys::statfs::statfs(dir.path()).is_ok_and(|place| place.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
    });
    let Some(dir) = in_memory else {
        return apart::not_run("a key file in memory: /dev/shm is no file system in memory");
    };
    let staged = RotationStage::given_its_key(OLD_KEY);
    let file = dir.path().join("master.key");
    fs::copy(&staged.file, &file).unwrap();
    let outcome = staged.run(&["begin", "--generate", "--yes", "--key-file", file.to_str().unwrap()]);
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    let risk = format!("{} lies in memory: the new key is gone when the machine stops", file.display());
    assert!(outcome.text().contains(&risk), "{}", outcome.text());
}

#[test]
fn what_is_no_key_file_is_refused_before_anybody_is_asked() {
    let staged = RotationStage::with_file(OLD_KEY);
    let next = staged.next.display().to_string();
    let directory = staged.file.parent().unwrap().display().to_string();
    let fifo = staged.stage.file("fifo").display().to_string();
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let table = [
        (["--key-file", NEW_KEY], 64, "not the key itself"),
        (["--key-file", &format!("0x{NEW_KEY}")], 64, "not the key itself"),
        (["--key-file", &format!("{NEW_KEY}.next")], 64, "not the key itself"),
        (["--key-file", "/dev/null"], 78, "is a device"),
        (["--key-file", &fifo], 78, "is a FIFO"),
        (["--key-file", "-"], 64, "not from standard input"),
        (["--key-file", &next], 64, "without .next"),
        (["--key-file", &directory], 78, "is a directory"),
        (["--fingerprint", NEW_KEY], 64, "16 hex digits"),
        (["--fingerprint", "xyz"], 64, "16 hex digits"),
        (["--base64", "--keep-data-keys"], 64, "--generate"),
    ];
    for (arguments, code, said) in table {
        let outcome = staged.run(&[["begin", "--yes"].as_slice(), &arguments].concat());
        assert_eq!((outcome.code, staged.stage.calls()), (code, 0), "{arguments:?}: {}", outcome.errors);
        assert!(outcome.errors.contains(said), "{}", outcome.errors);
        assert_shows_no_key(&outcome, &[NEW_KEY]);
    }
}

#[test]
fn a_key_is_made_only_beside_the_key_in_use() {
    let staged = RotationStage::with_file(THIRD_KEY);
    let other = staged.run(&["begin", "--generate", "--yes"]);
    assert!(other.code == 65 && other.errors.contains(&fingerprint_of(THIRD_KEY)), "{}", other.errors);
    fs::remove_file(&staged.file).unwrap();
    let missing = staged.run(&["begin", "--generate", "--yes"]);
    assert!(missing.code == 66 && missing.errors.contains("--key-file"), "{}", missing.errors);
    assert!(staged.files().is_empty() && staged.stage.calls() == 0);
}

#[test]
fn while_a_rotation_is_under_way_only_the_same_one_is_begun_again() {
    let staged = RotationStage::with_file(OLD_KEY);
    staged.tell(&[pending(&fingerprint_of(NEW_KEY))]);
    let generate = staged.run(&["begin", "--generate", "--yes"]);
    assert!(generate.code == 65 && !staged.next.exists(), "{}", generate.errors);
    staged.put("master.key.next", THIRD_KEY);
    assert_eq!((staged.run(&["begin", "--yes"]).code, staged.stage.calls()), (65, 0));
    staged.put("master.key.next", NEW_KEY);
    let again = staged.run_asking(&["begin"], "");
    assert_eq!((again.code, staged.stage.calls()), (0, 1), "{}", again.errors);
}

#[test]
fn status_tells_what_opens_and_what_to_do_with_and_without_a_rotation() {
    let staged = RotationStage::with_file(OLD_KEY);
    let none = staged.run(&["status"]);
    assert_eq!(none.code, 0, "{}", none.errors);
    for part in ["none", &fingerprint_of(OLD_KEY), "2026-11-23T15:00:00Z", "master.key.next", "begin --generate"] {
        assert!(none.text().contains(part), "{part}: {}", none.text());
    }
    assert!(staged.run(&["status", "--json"]).json()["rotation"].is_null());
    staged.put("master.key.next", NEW_KEY);
    assert!(staged.run(&["status"]).text().contains("master.key.next is there: `servos-keyctl rotate begin`"));
    staged.tell(&[pending("8899aabbccddeeff")]);
    let pending = staged.run(&["status"]);
    assert!(pending.text().contains("8899aabbccddeeff, opens the store"), "{}", pending.text());
    assert!(pending.text().contains("rotate finish") && pending.text().contains("rotate abort"));
    let whole = staged.stage.run(&["status", "--json"], b"").json();
    assert_eq!(whole["rotation"]["opens"].as_array().unwrap().len(), 2);
    assert_eq!(whole["rotation"]["next_file"], staged.next.display().to_string());
}

#[test]
fn while_a_rotation_is_pending_check_key_says_of_both_keys_that_they_open() {
    let staged = RotationStage::with_file(OLD_KEY);
    let told = Rotation { opens: vec![fingerprint_of(OLD_KEY), fingerprint_of(NEW_KEY)], ..pending("00").unwrap() };
    staged.tell(&[Some(told)]);
    for (key, code) in [(OLD_KEY, 0), (NEW_KEY, 0), (THIRD_KEY, 1)] {
        staged.put("some.key", key);
        let file = staged.stage.file("some.key").display().to_string();
        // The store is named so that no configuration of this machine is read.
        let store = staged.store.display().to_string();
        let outcome = staged.stage.run(&["check-key", "--key-file", &file, "--store", &store], b"");
        assert_eq!(outcome.code, code, "{}{}", outcome.text(), outcome.errors);
        let both = format!("{} or {}", fingerprint_of(OLD_KEY), fingerprint_of(NEW_KEY));
        assert!(outcome.text().contains(&both), "{}", outcome.text());
    }
}
