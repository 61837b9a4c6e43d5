//! What a run refuses, before it changes anything and when it goes on: and what it would have done.
//!
//! Must never pass a refusal that changed something. Run by `cargo test`.

use crate::harness::rotation::{fingerprint_in, rotate, rotate_run as run, stopped_before_its_key_is_replaced, text};
use crate::harness::{Daemon, Installation, KEYCTL, KeyFile, fingerprint, hex, is_root, not_run, random_key};
use std::path::PathBuf;

/// One with an env file beside its key file, served.
fn with_env_file() -> (Installation, Daemon, PathBuf) {
    let mut installation = Installation::made();
    let lines = format!("# first\nSERVOS_MASTER_KEY={}\nLAST=1\n", hex(&installation.key));
    let env = installation.write_private("servos.env", lines.as_bytes());
    installation.key_file = KeyFile::At(env.clone());
    let daemon = installation.serve();
    (installation, daemon, env)
}

#[test]
fn a_dry_run_tells_the_plan_and_changes_nothing() {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let (installation, daemon, env) = with_env_file();
    let before = installation.files();
    let old = fingerprint(installation.key);
    let told = run(&daemon, &["--dry-run"]).expect(0);
    told.saying(&[
        "nothing was changed",
        &format!("Make a new key in {}.next", env.display()),
        &format!("Keep the old key in {}.old-{old}", env.display()),
        "as SERVOS_MASTER_KEY; every other byte stays",
        "the new key alone opens the store",
    ]);
    let told = daemon.keyctl(&["--json", "rotate", "run", "--dry-run"]).run(KEYCTL).expect(0);
    let value: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&value["dry_run"], &value["old_fingerprint"]), (&true.into(), &old.clone().into()));
    assert_eq!(value["components_must_be_migrated"], true);
    assert_eq!(value["steps"].as_array().unwrap().len(), 8);
    assert_eq!(installation.files(), before);
}

#[test]
fn what_is_not_as_expected_is_refused_with_the_command_that_goes_on_and_nothing_is_changed() {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let (installation, daemon, env) = with_env_file();
    let old = fingerprint(installation.key);
    let beside = |more: &str| PathBuf::from(format!("{}{more}", env.display()));
    let other = installation.write_private("other.key", format!("{}\n", hex(&random_key())).as_bytes());
    let refused = |arguments: &[&str], code: i32, words: &[&str]| {
        let before = installation.files();
        run(&daemon, arguments).expect(code).saying(words);
        assert!(installation.files() == before, "{arguments:?} changed something");
    };
    let all = ["--yes", "--components-migrated"];
    refused(&["--yes"], 64, &["components that are not yet on the daemon", text(&env), "--components-migrated"]);
    refused(&["--components-migrated"], 64, &["must be confirmed", "--yes"]);
    refused(&["--resume"], 66, &["no interrupted rotation", "servos.env.rotation", "--key-file"]);
    refused(&["--undo"], 66, &["no interrupted rotation"]);
    refused(&[&all[..], &["--key-file", text(&other)]].concat(), 65, &[&format!("the daemon uses {old}"), "check-key"]);
    refused(&[&all[..], &["--key-file", "/no/such.key"]].concat(), 66, &["/no/such.key"]);
    refused(&[&all[..], &["--key-file", "-"]].concat(), 64, &["not from standard input"]);
    refused(&[&all[..], &["--wait", "5"]].concat(), 64, &["no unit"]);
    refused(&["--yes", "--by-hand", text(&other)], 73, &["exists already", "does not exist yet"]);
    refused(&[&all[..], &["--key-file", &hex(&installation.key)]].concat(), 64, &["a key was typed"]);

    let next = installation.write_private("servos.env.next", b"x");
    refused(&all, 73, &["servos.env.next", "exists already", "mv "]);
    std::fs::remove_file(&next).unwrap();
    let kept =
        installation.write_private(&format!("servos.env.old-{old}"), format!("{}\n", hex(&random_key())).as_bytes());
    refused(&all, 73, &["where the old key is to be kept", "mv "]);
    std::fs::remove_file(&kept).unwrap();

    // A journal of somebody else is not followed: what stands in it would be done as root.
    let journal = beside(".rotation");
    std::fs::write(&journal, "{}\n").unwrap();
    refused(&all, 65, &["is no journal of `rotate run`"]);
    std::os::unix::fs::chown(&journal, Some(65_534), None).unwrap();
    refused(&["--resume"], 77, &["is not this user's own file"]);
    std::fs::remove_file(&journal).unwrap();
    std::os::unix::fs::symlink(&env, &journal).unwrap();
    refused(&["--resume"], 74, &["servos.env.rotation"]);
    std::fs::remove_file(&journal).unwrap();

    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0);
    refused(&all, 65, &["is under way", "rotate status"]);
}

#[test]
fn a_key_that_somebody_else_put_there_meanwhile_is_left_and_named() {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let (installation, daemon, _) = stopped_before_its_key_is_replaced();
    let key = installation.path("master.key");
    let third = random_key();
    installation.write_private("master.key", format!("{}\n", hex(&third)).as_bytes());
    for way in [["--resume", "--yes"], ["--undo", "--yes"]] {
        let refused = run(&daemon, &way).expect(65);
        refused.saying(&[&fingerprint(third), "neither the old one nor the new one", &fingerprint(installation.key)]);
    }
    assert_eq!(fingerprint_in(&key), fingerprint(third));
    installation.write_private("master.key", format!("{}\n", hex(&installation.key)).as_bytes());
    run(&daemon, &["--undo"]).expect(0).saying(&["undone", "as before"]);
    assert_eq!(fingerprint_in(&key), fingerprint(installation.key));
}

#[test]
fn a_run_is_not_gone_on_with_at_another_store() {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let ((one, daemon, _), other) = (stopped_before_its_key_is_replaced(), Installation::made());
    let stranger = other.serve();
    let before = other.files();
    for way in ["--resume", "--undo"] {
        let refused = run(&stranger, &[way, "--yes", "--key-file", text(&one.path("master.key"))]).expect(65);
        refused.saying(&["the daemon serves the store", "--socket PATH"]);
    }
    assert!(other.files() == before, "the other store was changed");
    run(&daemon, &["--undo"]).expect(0);
}

#[test]
fn a_rotation_that_was_aborted_meanwhile_does_not_bring_a_key_into_the_file_that_opens_nothing() {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let (installation, daemon, second) = stopped_before_its_key_is_replaced();
    let key = installation.path("master.key");
    std::fs::remove_file(second).unwrap();
    rotate(&daemon, &["abort", "--yes"]).expect(0);
    run(&daemon, &["--resume", "--yes"])
        .expect(65)
        .saying(&["aborted by somebody else", "--undo"])
        .not_saying(&["--resume"]);
    assert_eq!(fingerprint_in(&key), fingerprint(installation.key));
    run(&daemon, &["--undo"]).expect(0);
    assert_eq!(fingerprint_in(&key), fingerprint(installation.key));
    run(&daemon, &["--yes"]).expect(0);
}
