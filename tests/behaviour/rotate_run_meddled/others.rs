//! `servos-keyctl rotate run` when somebody ends, begins or aborts a rotation meanwhile, or starts the daemon.
//!
//! Must never pass a run that took away the only copy of a key. Run by `cargo test`.

use super::*;

#[test]
fn a_rotation_that_was_finished_by_hand_meanwhile_is_brought_to_its_end() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    for is_early in [false, true] {
        let (installation, daemon) = match is_early {
            false => stopped_before_replace(),
            true => {
                let (installation, daemon, sealed) = stopped_before_begin();
                std::fs::remove_file(sealed).unwrap();
                rotate(&daemon, &["begin", "--yes"]).expect(0);
                (installation, daemon)
            }
        };
        let (key, next) = (installation.path("master.key"), installation.path("master.key.next"));
        let sealed = seal(&daemon);
        let new = fingerprint_in(&next);
        std::fs::copy(&next, &key).unwrap();
        rotate(&daemon, &["finish", "--yes"]).expect(0);
        assert!(!is_there(&next));
        let before = installation.files();
        run(&daemon, &["--undo", "--yes"]).expect(65).saying(&["nothing takes that back", "--resume"]);
        assert_eq!(installation.files(), before, "a refused --undo changed something");
        let told = run(&daemon, &["--resume", "--yes"]).expect(0);
        // Nothing is said to be kept that is not there.
        let kept = installation.path(&format!("master.key.old-{}", fingerprint(installation.key)));
        assert_eq!(told.stdout.contains(text(&kept)), is_there(&kept), "{told:#?}");
        assert!(!is_there(&installation.path("master.key.rotation")));
        assert_eq!((fingerprint_in(&key), in_use(&daemon)), (new.clone(), new));
        starts(&installation, daemon, &sealed);
    }
}

#[test]
fn a_rotation_that_was_begun_by_hand_with_the_runs_key_is_aborted_by_its_undoing() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    for is_put in [false, true] {
        let (installation, daemon, bad) = stopped_before_begin();
        std::fs::remove_file(bad).unwrap();
        let (key, next) = (installation.path("master.key"), installation.path("master.key.next"));
        let (sealed, new) = (seal(&daemon), fingerprint_in(&next));
        rotate(&daemon, &["begin", "--yes"]).expect(0);
        if is_put {
            // Nothing of the run keeps the old key yet.
            std::fs::copy(&next, &key).unwrap();
            run(&daemon, &["--undo", "--wait", "1ms"]).expect(75).saying(&["Put the old key", "master.key"]);
            assert!(is_there(&next));
            installation.write_private("master.key", format!("{}\n", hex(&installation.key)).as_bytes());
        }
        run(&daemon, &["--undo"]).expect(0);
        assert!(block_on(daemon.admin().status()).unwrap().rotation.is_none());
        // What was in its place may have sealed something.
        assert_eq!(is_there(&installation.path(&format!("master.key.next.aborted-{new}"))), is_put);
        assert!(!is_there(&next));
        starts(&installation, daemon, &sealed);
    }
}

/// What an undoing says where no daemon answers.
fn undone_without_a_daemon(installation: &Installation, key_file: &Path) -> Outcome {
    let socket = installation.path("keyd-admin.sock");
    let arguments = ["--socket", text(&socket), "rotate", "run", "--undo", "--key-file", text(key_file)];
    crate::harness::Invocation::new(arguments).run(KEYCTL).expect(69)
}

#[test]
fn without_the_daemon_nothing_is_undone_for_somebody_may_have_begun() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let (installation, daemon, _) = stopped_before_begin();
    daemon.stop().expect(0);
    let before = installation.files();
    let gone = undone_without_a_daemon(&installation, &installation.path("master.key"));
    gone.saying(&["start the daemon first", "--undo"]);
    assert_eq!(installation.files(), before);
}

#[test]
fn an_undoing_that_a_start_was_faster_than_goes_on_to_the_new_key() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let given = Given::made();
    let daemon = given.serve();
    let sealed = seal(&daemon);
    given.run(&daemon, &["--yes", "--restart", "exit 3"]).expect(69);
    let new = fingerprint_in(&given.file);
    let other = given.installation.path("another name");
    std::fs::hard_link(&given.file, &other).unwrap();
    given.run(&daemon, &["--undo", "--wait", "1ms"]).expect(75).saying(&["has 2 names"]);
    std::fs::remove_file(other).unwrap();
    // While the old key opens the store, only the way back is open.
    given.run(&daemon, &["--resume", "--yes"]).expect(65).saying(&["is being undone", "--undo"]);
    daemon.stop().expect(0);
    let daemon = given.serve();
    assert_eq!(in_use(&daemon), new);
    given.run(&daemon, &["--undo"]).expect(65).saying(&["nothing takes that back", "--resume"]);
    given.run(&daemon, &["--resume", "--yes"]).expect(0).saying(&["rotated"]);
    assert_eq!(fingerprint_in(&given.file), new);
    assert!(!is_there(&given.installation.path("given.key.rotation")));
    daemon.stop().expect(0);
    opens(&given.serve(), &sealed);
}

#[test]
fn a_run_that_another_rotation_overtook_is_given_up_with_the_command_that_it_tells() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let (installation, daemon) = stopped_before_replace();
    let (key, next) = (installation.path("master.key"), installation.path("master.key.next"));
    rotate(&daemon, &["abort", "--yes"]).expect(0);
    std::fs::rename(&next, installation.path("mine")).unwrap();
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0);
    for way in ["--resume", "--undo"] {
        run(&daemon, &[way, "--yes"]).expect(65).saying(&["another rotation is under way", "rotate status"]);
    }
    std::fs::copy(&next, &key).unwrap();
    rotate(&daemon, &["finish", "--yes"]).expect(0);
    for way in ["--resume", "--undo"] {
        run(&daemon, &[way, "--yes"]).expect(65).saying(&["the daemon uses the key", "neither", "mv "]);
    }
    let told = run(&daemon, &["--undo"]).expect(65);
    follow(&daemon, command_in(&told, "mv "));
    run(&daemon, &["--yes"]).expect(0);
    assert!(is_there(&installation.path(&format!("master.key.old-{}", fingerprint(installation.key)))));
}

#[test]
fn an_aborted_key_in_the_file_of_a_daemon_that_does_not_start_is_put_back_as_it_is_told() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let given = Given::made();
    let daemon = given.serve();
    let sealed = seal(&daemon);
    given.run(&daemon, &["--yes", "--restart", "exit 3"]).expect(69);
    // The running daemon still has the old key: it does not know what the file holds.
    rotate(&daemon, &["abort", "--yes"]).expect(0);
    daemon.stop().expect(0);
    let gone = undone_without_a_daemon(&given.installation, &given.file);
    let kept = given.installation.path(&format!("given.key.old-{}", fingerprint(given.installation.key)));
    gone.saying(&["start the daemon first", "if it does not start", text(&kept)]);
    std::fs::copy(&kept, &given.file).unwrap();
    let daemon = given.serve();
    given.run(&daemon, &["--undo"]).expect(0);
    opens(&daemon, &sealed);
}

#[test]
fn the_commands_that_go_on_and_back_work_as_they_are_printed() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    for way in ["--resume", "--undo"] {
        let installation = Installation::made();
        let (key, other) = (installation.path("master.key"), installation.path("another name"));
        std::fs::hard_link(&key, &other).unwrap();
        let daemon = installation.serve();
        let socket = installation.path("keyd-admin.sock");
        let run = ["--socket", text(&socket), "rotate", "run", "--yes", "--wait", "1ms"];
        let told = crate::harness::Invocation::new(run).run(KEYCTL).expect(75);
        std::fs::remove_file(other).unwrap();
        follow(&daemon, command_in(&told, way));
        assert_eq!(fingerprint_in(&key) == fingerprint(installation.key), way == "--undo");
        assert!(!is_there(&installation.path("master.key.rotation")));
    }
}
