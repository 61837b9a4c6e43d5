//! `servos-keyctl rotate run` when somebody changes its files meanwhile: by links, by taking them away, by other keys in them.
//!
//! Must never pass a run that took away the only copy of a key. Run by `cargo test`.

use super::*;

#[test]
fn a_key_file_that_leads_to_a_file_which_is_taken_away_is_waited_for_and_never_left_leading_to_nothing() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    for (leads_to, way) in [("next", "--resume"), ("next", "--undo"), ("old", "--resume"), ("old", "--undo")] {
        let (installation, daemon) = stopped_before_replace();
        let sealed = seal(&daemon);
        let (key, old) = (installation.path("master.key"), fingerprint(installation.key));
        let (next, kept) = (installation.path("master.key.next"), installation.path(&format!("master.key.old-{old}")));
        let target = if leads_to == "next" { &next } else { &kept };
        std::fs::remove_file(&key).unwrap();
        symlink(target.file_name().unwrap(), &key).unwrap();
        let (held, was) = (std::fs::read(&next).unwrap(), std::fs::read(&kept).unwrap());
        let late = run(&daemon, &[way, "--yes", "--wait", "50ms"]).expect(75);
        late.saying(&["are one file", text(target)]);
        assert_eq!((std::fs::read(&next).unwrap(), std::fs::read(&kept).unwrap()), (held, was), "{leads_to} {way}");
        // A start that finds the new key finishes, and nothing is undone any more.
        let daemon = match (leads_to, way) {
            ("next", "--undo") => daemon,
            _ => starts(&installation, daemon, &sealed),
        };
        // What it says is to be done helps.
        let wanted = if way == "--resume" { &next } else { &kept };
        let copy = std::fs::read(wanted).unwrap();
        std::fs::remove_file(&key).unwrap();
        installation.write_private("master.key", &copy);
        run(&daemon, &[way, "--yes"]).expect(0);
        starts(&installation, daemon, &sealed);
    }
}

#[test]
fn a_link_to_the_new_keys_file_that_came_after_the_finish_keeps_that_file() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let (installation, daemon) = stopped_before_replace();
    let sealed = seal(&daemon);
    let (key, next) = (installation.path("master.key"), installation.path("master.key.next"));
    std::fs::remove_file(&key).unwrap();
    symlink(&next, &key).unwrap();
    rotate(&daemon, &["finish", "--yes"]).expect(0);
    run(&daemon, &["--resume", "--yes", "--wait", "50ms"]).expect(75).saying(&["are one file", text(&next)]);
    starts(&installation, daemon, &sealed);
}

#[test]
fn the_new_keys_file_that_somebody_removed_keeps_nothing_from_ending() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    for way in ["--resume", "--undo"] {
        let given = Given::made();
        let daemon = given.serve();
        given.run(&daemon, &["--yes", "--restart", "exit 3"]).expect(69);
        let (sealed, new) = (seal(&daemon), fingerprint_in(&given.file));
        std::fs::remove_file(given.installation.path("given.key.next")).unwrap();
        let daemon = match way {
            // It goes on with the new key, which is in its place.
            "--resume" => {
                daemon.stop().expect(0);
                given.serve()
            }
            _ => daemon,
        };
        given.run(&daemon, &[way, "--yes"]).expect(0);
        let end = if way == "--resume" { new } else { fingerprint(given.installation.key) };
        assert_eq!((fingerprint_in(&given.file), in_use(&daemon)), (end.clone(), end));
        daemon.stop().expect(0);
        opens(&given.serve(), &sealed);
    }
}

#[test]
fn a_key_that_somebody_put_where_the_new_one_was_made_is_not_taken_away() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let foreign = format!("{}\n", hex(&random_key()));
    let is_kept = |installation: &Installation| {
        assert_eq!(std::fs::read_to_string(installation.path("master.key.next")).unwrap(), foreign);
    };
    // Before the begin, and while both keys open.
    for is_begun in [false, true] {
        let (installation, daemon) = match is_begun {
            true => stopped_before_replace(),
            false => {
                let (installation, daemon, _) = stopped_before_begin();
                (installation, daemon)
            }
        };
        installation.write_private("master.key.next", foreign.as_bytes());
        run(&daemon, &["--undo"]).expect(0).saying(&["master.key.next", "stays", "was made there"]);
        is_kept(&installation);
    }
    // And once all is done but the last step.
    let (installation, daemon) = stopped_before_replace();
    let new = key_in(&installation.path("master.key.next"));
    installation.write_private("master.key", format!("{new}\n").as_bytes());
    rotate(&daemon, &["finish", "--yes"]).expect(0);
    installation.write_private("master.key.next", foreign.as_bytes());
    run(&daemon, &["--resume", "--yes"]).expect(0).saying(&["master.key.next", "stays", "was made there"]);
    is_kept(&installation);
}

#[test]
fn where_the_old_keys_text_still_stands_is_told_by_a_run_that_was_resumed_too() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let given = Given::made();
    let old = hex(&given.installation.key);
    given.installation.write_private("given.key", format!("SERVOS_MASTER_KEY={old}\nRESTIC={old}\n").as_bytes());
    let credentials = given.installation.path("credentials");
    let serve = || {
        std::fs::write(credentials.join("servos_master_key"), key_in(&given.file)).unwrap();
        let serve = given.installation.command("serve", &[]);
        given.installation.serve_with(&serve.variable("CREDENTIALS_DIRECTORY", &credentials))
    };
    let daemon = serve();
    given.run(&daemon, &["--yes", "--components-migrated", "--restart", "exit 3"]).expect(69);
    daemon.stop().expect(0);
    let daemon = serve();
    let told = given.run(&daemon, &["--resume", "--yes"]).expect(0);
    let told = told.saying(&["The old key's text still stands in", "given.key, line 2"]);
    assert!(!told.said().contains(&old), "a key is shown");
}

#[test]
fn a_key_that_stands_in_two_texts_is_not_rotated_for_only_one_would_be_kept() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let mut installation = Installation::made();
    let (small, capital, other) =
        (hex(&installation.key), hex(&installation.key).to_uppercase(), base64(&installation.key));
    let file = installation.write_private("servos.env", b"");
    installation.key_file = KeyFile::At(file.clone());
    installation.write_private("servos.env", format!("ACT_MASTER_KEY={small}\n").as_bytes());
    let second = installation.write_private("second.key", format!("{capital}\n").as_bytes());
    let daemon = installation.serve();
    let all = ["--yes", "--components-migrated"];
    let refused = |more: &[&str]| {
        let before = installation.files();
        let told = run(&daemon, &[&all[..], more].concat()).expect(65);
        let told = told.saying(&["in another text", "only one is kept", "the same way everywhere"]);
        assert!(![&small, &capital, &other].iter().any(|key| told.said().contains(*key)), "a key is shown");
        assert_eq!(installation.files(), before);
    };
    refused(&["--key-file", text(&file), "--key-file", text(&second)]);
    for another in [&capital, &other] {
        let lines = format!("ACT_MASTER_KEY={small}\nSERVOS_MASTER_KEY={another}\n");
        installation.write_private("servos.env", lines.as_bytes());
        refused(&[]);
    }
    // In the same text both are changed, and both come back.
    let lines = format!("ACT_MASTER_KEY={small}\nSERVOS_MASTER_KEY='{small}'\n");
    installation.write_private("servos.env", lines.as_bytes());
    run(&daemon, &all).expect(0);
    let changed = std::fs::read_to_string(&file).unwrap();
    let new = changed.lines().next().unwrap().strip_prefix("ACT_MASTER_KEY=").unwrap();
    assert_eq!(changed, lines.replace(&small, new));
}

#[test]
fn a_key_file_that_is_gone_or_is_no_file_any_more_is_told_with_where_its_key_is() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let (installation, daemon) = stopped_before_replace();
    let (key, old) = (installation.path("master.key"), fingerprint(installation.key));
    let kept = installation.path(&format!("master.key.old-{old}"));
    for (what, code) in [("nothing", 66), ("a directory", 78), ("a FIFO", 78), ("half a key", 78)] {
        let _ = std::fs::remove_file(&key);
        match what {
            "nothing" => {}
            "a directory" => std::fs::create_dir(&key).unwrap(),
            "a FIFO" => nix::unistd::mkfifo(&key, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            _ => drop(installation.write_private("master.key", b"0123")),
        }
        let told = run(&daemon, &["--undo"]).expect(code);
        told.saying(&[&format!("put the key {old} from {} into {}", kept.display(), key.display()), "--undo"]);
        let _ = std::fs::remove_dir(&key);
    }
    std::fs::copy(&kept, &key).unwrap();
    run(&daemon, &["--undo"]).expect(0);
    assert_eq!(fingerprint_in(&key), old);
}

#[test]
fn the_kept_old_key_that_somebody_removed_is_kept_again_before_the_new_one_takes_its_place() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let (installation, daemon) = stopped_before_replace();
    let old = fingerprint(installation.key);
    let kept = installation.path(&format!("master.key.old-{old}"));
    // Another key under its name is not taken for it, and neither written over nor taken away.
    let foreign = format!("{}\n", hex(&random_key()));
    installation.write_private(&format!("master.key.old-{old}"), foreign.as_bytes());
    run(&daemon, &["--resume", "--yes"]).expect(65).saying(&[text(&kept), &format!("not {old}")]);
    assert_eq!(fingerprint_in(&installation.path("master.key")), old);
    std::fs::remove_file(&kept).unwrap();
    run(&daemon, &["--resume", "--yes"]).expect(0);
    assert_eq!(fingerprint_in(&kept), old);

    let (installation, daemon) = stopped_before_replace();
    let kept =
        installation.write_private(&format!("master.key.old-{}", fingerprint(installation.key)), foreign.as_bytes());
    run(&daemon, &["--undo"]).expect(0);
    assert_eq!(std::fs::read_to_string(kept).unwrap(), foreign);
}

#[test]
fn a_key_that_was_there_before_the_runs_own_was_named_is_not_begun_with() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let (installation, daemon, sealed) = stopped_before_begin();
    std::fs::remove_file(sealed).unwrap();
    let journal = installation.path("master.key.rotation");
    let lines = std::fs::read_to_string(&journal).unwrap();
    // As a run leaves it that died before it named its key; the last line was cut short by that.
    let begun: Vec<&str> = lines.lines().take(2).collect();
    std::fs::write(&journal, format!("{}\n{{\"ne", begun.join("\n"))).unwrap();
    let before = std::fs::read(installation.path("master.key.next")).unwrap();
    run(&daemon, &["--resume", "--yes"]).expect(73).saying(&["somebody else made", "mv ", "--undo"]);
    assert!(block_on(daemon.admin().status()).unwrap().rotation.is_none());
    assert_eq!(std::fs::read(installation.path("master.key.next")).unwrap(), before);
    std::fs::remove_file(installation.path("master.key.next")).unwrap();
    run(&daemon, &["--resume", "--yes"]).expect(0);
}

#[test]
fn the_new_keys_file_stays_while_the_key_file_does_not_hold_the_key_by_itself() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let (installation, daemon) = stopped_before_replace();
    let (key, next) = (installation.path("master.key"), installation.path("master.key.next"));
    let new = std::fs::read(&next).unwrap();
    std::fs::remove_file(&key).unwrap();
    symlink(&next, &key).unwrap();
    rotate(&daemon, &["finish", "--yes"]).expect(0);
    // The run was at its last step.
    let journal = installation.path("master.key.rotation");
    let lines = std::fs::read_to_string(&journal).unwrap() + "{\"step\":\"tidy-up\"}\n";
    std::fs::write(&journal, lines).unwrap();
    run(&daemon, &["--resume", "--yes"]).expect(65).saying(&["are one file", "put the key from"]);
    std::fs::remove_file(&key).unwrap();
    installation.write_private("master.key", format!("{}\n", hex(&installation.key)).as_bytes());
    run(&daemon, &["--resume", "--yes"]).expect(65).saying(&["holds the key", "put the key from", text(&next)]);
    assert_eq!(std::fs::read(&next).unwrap(), new);
    std::fs::copy(&next, &key).unwrap();
    run(&daemon, &["--resume", "--yes"]).expect(0);
    assert_eq!((std::fs::read(&key).unwrap(), is_there(&next)), (new, false));
}
