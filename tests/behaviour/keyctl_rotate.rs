//! `servos-keyctl rotate` on a daemon that opens its key file: begun, finished and aborted, and what is refused.
//!
//! Must never let the tool edit a key file, replace a `.next`, or remove the last file with a key. Run by `cargo test`.

use crate::harness::rotation::{fingerprint_in, opens, rotate, rotate_json, seal, shows_no_key, text};
use crate::harness::{Installation, Invocation, KEYCTL, KEYD, base64, fingerprint, hex, is_there, random_key};
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// An installation whose daemon opens its key file, and that file with the one beside it.
fn with_key_file() -> (Installation, PathBuf, PathBuf) {
    let installation = Installation::made();
    let (file, next) = (installation.path("master.key"), installation.path("master.key.next"));
    (installation, file, next)
}

#[test]
fn a_key_file_is_rotated_in_three_steps_and_each_says_what_comes_next() {
    let (installation, file, next) = with_key_file();
    let daemon = installation.serve_for_admin();
    let sealed = seal(&daemon);
    let (old, old_content) = (fingerprint(installation.key), std::fs::read(&file).unwrap());
    rotate(&daemon, &["status"]).expect(0).saying(&["none", &old, text(&next), "rotate begin --generate"]);

    let begun = rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0);
    let new = fingerprint_in(&next);
    shows_no_key(begun, &[&file, &next]).saying(&[
        "pending",
        &format!("{old}, opens the store"),
        &format!("{new}, opens the store"),
        &format!("Put the new key {new} into {}", file.display()),
        "servos-keyctl rotate finish",
        "servos-keyctl rotate abort",
        "What could still go wrong:",
    ]);
    let made = next.metadata().unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid()), (0o600, file.metadata().unwrap().uid()));
    assert_eq!(std::fs::read(&file).unwrap(), old_content, "the tool edits no key file");
    opens(&daemon, &sealed);

    rotate(&daemon, &["status"]).expect(0).saying(&["pending", &new, "rotate finish", "rotate abort"]);
    let early = rotate(&daemon, &["finish", "--yes"]).expect(65);
    early.saying(&[&format!("{} holds {old}: put the new key {new} there", file.display())]);
    assert!(is_there(&next), "nothing was finished");

    std::fs::rename(&file, installation.path("master.key.old")).unwrap();
    std::fs::copy(&next, &file).unwrap();
    let tried = rotate(&daemon, &["finish", "--dry-run"]).expect(0);
    tried.saying(&["nothing was changed", &format!("{new}, opens the store"), &format!("{old}, opens nothing")]);
    assert!(is_there(&next), "a dry run removes nothing");
    let finished = rotate(&daemon, &["finish", "--yes"]).expect(0);
    shows_no_key(finished, &[&file]).saying(&[
        &format!("The key {new} alone opens the store now."),
        &format!("Removed {}", next.display()),
        "finished",
        "each has a new version",
    ]);
    assert!(!is_there(&next) && fingerprint_in(&file) == new);
    rotate(&daemon, &["status"]).expect(0).saying(&["none", &new]);
    opens(&daemon, &sealed);
    daemon.stop().expect(0);

    opens(&installation.serve_for_admin(), &sealed);
    std::fs::copy(installation.path("master.key.old"), &file).unwrap();
    installation.serve_refused().expect(78).saying(&[&old, &new]);
}

#[test]
fn programs_read_the_same_in_json() {
    let (installation, file, next) = with_key_file();
    let daemon = installation.serve_for_admin();
    let old = fingerprint(installation.key);
    let (code, status) = rotate_json(&daemon, &["status"]);
    assert_eq!(
        (code, &status["rotation"], status["fingerprint"].as_str()),
        (Some(0), &Value::Null, Some(old.as_str()))
    );
    assert_eq!(status["next_file"], text(&next));

    let (code, tried) = rotate_json(&daemon, &["begin", "--generate", "--dry-run"]);
    assert_eq!((code, &tried["dry_run"], &tried["new_key_file"]), (Some(0), &true.into(), &text(&next).into()));
    assert!(!is_there(&next), "a dry run makes nothing");

    let (code, begun) = rotate_json(&daemon, &["begin", "--generate", "--yes", "--keep-data-keys"]);
    let new = fingerprint_in(&next);
    assert_eq!((code, &begun["rotation"]["state"]), (Some(0), &"pending".into()));
    assert_eq!(begun["rotation"]["opens"], serde_json::json!([old, new]));
    assert_eq!((&begun["rotation"]["new_data_keys"], &begun["data_keys"]), (&false.into(), &0.into()));
    assert_eq!(
        begun["sources"],
        serde_json::json!([{"name": text(&file), "fingerprint": old, "needs_restart": false}])
    );
    assert!(Path::new(begun["backup"].as_str().unwrap()).is_file());
    assert!(begun["old_key_backups"].as_array().unwrap().contains(&begun["backup"]));

    let (code, early) = rotate_json(&daemon, &["finish", "--yes"]);
    assert_eq!((code, &early["error"]["exit"]), (Some(65), &65.into()));
    assert!(early["error"]["message"].as_str().unwrap().contains(text(&file)), "{early}");
    let (code, unasked) = rotate_json(&daemon, &["finish"]);
    assert_eq!(code, Some(64), "{unasked}");
    assert!(unasked["error"]["hint"].as_str().unwrap().contains("--yes"), "{unasked}");

    std::fs::copy(&next, &file).unwrap();
    let (code, finished) = rotate_json(&daemon, &["finish", "--yes"]);
    assert_eq!(
        (code, &finished["rotation"]["state"], &finished["rotation"]["step"]),
        (Some(0), &"finished".into(), &"done".into())
    );
    assert_eq!((&finished["new_key_file_removed"], is_there(&next)), (&true.into(), false));
    assert_eq!(finished["sources"][0]["fingerprint"], new);
    assert!(finished["old_key_backups"].as_array().unwrap().contains(&begun["backup"]));
    let (code, none) = rotate_json(&daemon, &["abort", "--yes"]);
    assert_eq!(code, Some(65));
    assert!(
        none["error"]["message"].as_str().unwrap().contains("no rotation of the master key is under way"),
        "{none}"
    );
}

#[test]
fn begin_goes_on_with_the_key_that_is_there_and_begins_no_other() {
    let (installation, _, next) = with_key_file();
    let daemon = installation.serve_for_admin();
    rotate(&daemon, &["begin", "--yes"]).expect(66).saying(&[text(&next), "begin --generate"]);
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0);
    let made = std::fs::read(&next).unwrap();
    let new = fingerprint_in(&next);

    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(65).saying(&["is under way", &new]);
    assert_eq!(std::fs::read(&next).unwrap(), made, "it is never replaced");
    rotate(&daemon, &["begin", "--yes"]).expect(0).saying(&["pending", &new]);
    rotate(&daemon, &["begin", "--yes", "--keep-data-keys"]).expect(65).saying(&["another keep_data_keys"]);
    installation.write_private("master.key.next", hex(&random_key()).as_bytes());
    rotate(&daemon, &["begin", "--yes"]).expect(65).saying(&["is under way", &new]);
    rotate(&daemon, &["status"]).expect(0).saying(&[&new]);
}

#[test]
fn a_key_that_was_made_and_not_begun_with_is_kept() {
    let (installation, file, next) = with_key_file();
    let daemon = installation.serve_for_admin();
    // Where nobody can be asked, nothing is made.
    rotate(&daemon, &["begin", "--generate"]).expect(64).saying(&["--yes"]);
    assert!(!is_there(&next));
    // The daemon refuses after the key is durable: a file stands where the backups' directory was.
    installation.break_backups();
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(75).saying(&[
        "backup",
        "the new key stays in",
        text(&next),
    ]);
    let made = std::fs::read(&next).unwrap();
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(73).saying(&["exists already", &fingerprint_in(&next)]);
    installation.mend_backups();
    rotate(&daemon, &["begin", "--yes"]).expect(0).saying(&[&fingerprint_in(&next)]);
    assert_eq!(std::fs::read(&next).unwrap(), made);
    assert_eq!(fingerprint_in(&file), fingerprint(installation.key));
}

#[test]
fn abort_keeps_the_new_key_and_may_be_begun_again() {
    let (installation, file, next) = with_key_file();
    let daemon = installation.serve_for_admin();
    let sealed = seal(&daemon);
    rotate(&daemon, &["abort", "--yes"]).expect(65).saying(&["no rotation of the master key is under way"]);
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0);
    let (old, new, made) = (fingerprint(installation.key), fingerprint_in(&next), std::fs::read(&next).unwrap());
    let old_content = std::fs::read(&file).unwrap();

    std::fs::copy(&next, &file).unwrap();
    let refused = rotate(&daemon, &["abort", "--yes"]).expect(65);
    refused.saying(&[&format!("{} holds {new}: put the old key {old} there", file.display())]);
    std::fs::write(&file, &old_content).unwrap();
    rotate(&daemon, &["abort", "--dry-run"])
        .expect(0)
        .saying(&["nothing was changed", &format!("{new}, opens nothing")]);
    rotate(&daemon, &["status"]).expect(0).saying(&["pending"]);
    let aborted = rotate(&daemon, &["abort", "--yes"]).expect(0);
    shows_no_key(aborted, &[&file, &next]).saying(&["aborted", text(&next), "Begin a new rotation"]);
    assert_eq!((std::fs::read(&next).unwrap(), std::fs::read(&file).unwrap()), (made, old_content));
    opens(&daemon, &sealed);
    rotate(&daemon, &["begin", "--yes"]).expect(0).saying(&["pending", &new]);
    rotate(&daemon, &["abort", "--yes", "--new-data-keys"]).expect(0).saying(&["each has a new version"]);
    daemon.stop().expect(0);

    std::fs::copy(&next, &file).unwrap();
    installation.serve_refused().expect(78).saying(&[&old, &new]);
}

#[test]
fn a_bad_new_key_begins_nothing_and_stays_as_it_is() {
    let (installation, file, next) = with_key_file();
    let daemon = installation.serve_for_admin();
    let good = hex(&random_key());
    let two_keys = format!("SERVOS_MASTER_KEY={good}\nACT_MASTER_KEY={}\n", hex(&random_key()));
    let cases: [(&str, &[u8], i32, &str); 7] = [
        ("empty", b"", 78, "is empty"),
        ("no key", b"the new key", 78, "holds neither a key alone nor a line SERVOS_MASTER_KEY="),
        ("a digit lost", &good.as_bytes()[1..], 78, "63 hex digits"),
        ("a placeholder", &[b'0'; 64], 78, "it is a placeholder"),
        ("raw bytes", &[0; 32], 78, "NUL"),
        ("the key in use", &std::fs::read(&file).unwrap(), 65, "is the master key in use"),
        ("two keys", two_keys.as_bytes(), 78, "two sources hold different master keys"),
    ];
    for (what, content, code, says) in cases {
        installation.write_private("master.key.next", content);
        let refused = rotate(&daemon, &["begin", "--yes"]);
        assert_eq!(refused.code, Some(code), "{what}: {refused:#?}");
        assert!(refused.stderr.contains(says), "{what}: {refused:#?}");
        assert!(!refused.said().contains(&good[1..]), "{what}: a key is shown");
        assert_eq!(std::fs::read(&next).unwrap(), content, "{what}");
        rotate(&daemon, &["status"]).expect(0).saying(&["none"]);
    }
    installation.write_private("master.key.next", good.as_bytes());
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o644)).unwrap();
    rotate(&daemon, &["begin", "--yes"]).expect(77).saying(&["mode 0644", "chmod 600"]);
    std::fs::remove_file(&next).unwrap();
    std::fs::create_dir(&next).unwrap();
    rotate(&daemon, &["begin", "--yes"]).expect(78).saying(&["is a directory"]);
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(73).saying(&["exists already"]);
    rotate(&daemon, &["status"]).expect(0).saying(&["none"]);
}

#[test]
fn a_key_typed_as_an_argument_is_refused_and_not_repeated() {
    let (installation, _, next) = with_key_file();
    let daemon = installation.serve_for_admin();
    let key = random_key();
    for typed in [hex(&key), base64(&key)] {
        for option in ["--key-file", "--fingerprint"] {
            let refused = rotate(&daemon, &["begin", "--yes", option, &typed]).expect(64);
            assert!(!refused.said().contains(&typed), "{option}: {refused:#?}");
        }
        for command in ["finish", "abort"] {
            let refused = rotate(&daemon, &[command, "--yes", "--key-file", &typed]).expect(64);
            assert!(!refused.said().contains(&typed), "{command}: {refused:#?}");
        }
        for argument in [typed.clone(), format!("SERVOS_MASTER_KEY={typed}"), format!("--key={typed}")] {
            let refused = rotate(&daemon, &["begin", "--yes", &argument]).expect(64);
            assert!(!refused.said().contains(&typed), "{refused:#?}");
            for command in ["serve", "init", "accept"] {
                let refused = Invocation::new([command, &argument]).run(KEYD).expect(64).not_saying(&[&typed]);
                // Of an option the parser repeats the name alone.
                if !argument.starts_with("--") {
                    refused.saying(&["a key was typed as an argument", "shell's history"]);
                }
            }
            let refused = Invocation::new([&argument]).run(KEYD).expect(64);
            assert!(!refused.said().contains(&typed), "{refused:#?}");
        }
    }
    assert!(!is_there(&next));
    rotate(&daemon, &["status"]).expect(0).saying(&["none"]);
}

#[test]
fn without_a_daemon_nothing_is_made() {
    let (installation, _, next) = with_key_file();
    let socket = installation.path("keyd-admin.sock");
    for arguments in [&["begin", "--generate", "--yes"][..], &["finish", "--yes"], &["abort", "--yes"], &["status"]] {
        let all = [&["rotate"], arguments, &["--socket", text(&socket)]].concat();
        Invocation::new(all).run(KEYCTL).expect(69).saying(&["no daemon answers"]);
    }
    assert!(!is_there(&next));
}

#[test]
fn a_key_file_that_was_changed_before_anything_was_begun_is_warned_of_and_can_be_rotated_to_or_put_back() {
    let (installation, file, next) = with_key_file();
    let daemon = installation.serve_for_admin();
    let (old, other) = (fingerprint(installation.key), random_key());
    let new = fingerprint(other);
    installation.write_key(other);
    let warned = rotate(&daemon, &["status"]).expect(0);
    let opens_nothing = format!("{} holds {new}, which does not open the store", file.display());
    warned.saying(&["WARNING", &opens_nothing, &format!("Put the key in use, {old}, back into"), "rotate begin"]);
    // The way on that it names, where the old key is lost but for the daemon's memory.
    std::fs::copy(&file, &next).unwrap();
    rotate(&daemon, &["begin", "--yes"]).expect(0);
    let pending = rotate(&daemon, &["status"]).expect(0);
    pending.saying(&["pending", "rotate finish"]).not_saying(&["WARNING", &format!("Put the new key {new} into")]);
    rotate(&daemon, &["finish", "--yes"]).expect(0);
    rotate(&daemon, &["status"]).expect(0).saying(&["none", &new]).not_saying(&["WARNING"]);
    daemon.stop().expect(0);
}
