//! `servos-keyctl rotate run` when people and other commands meddle with its files and its rotation meanwhile.
//!
//! Must never pass a run that took away the only copy of a key, or that nothing brings to an end. Run by `cargo test`.

use crate::harness::rotation::{fingerprint_in, key_in, opens, rotate, seal, text};
use crate::harness::{
    Daemon, Installation, KEYCTL, KeyFile, Outcome, block_on, fingerprint, hex, is_root, is_there, not_run, random_key,
};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const NOT_ROOT: &str = "only root administers a daemon that is no --dev";

fn run(daemon: &Daemon, arguments: &[&str]) -> Outcome {
    rotate(daemon, &[&["run"], arguments].concat())
}

/// A run that stopped where the new key was to take the old one's place: both keys open, and the file holds the old one.
fn stopped_before_replace() -> (Installation, Daemon) {
    let installation = Installation::made();
    let other = installation.path("another name");
    std::fs::hard_link(installation.path("master.key"), &other).unwrap();
    let daemon = installation.serve();
    run(&daemon, &["--yes", "--wait", "1ms"]).expect(75);
    std::fs::remove_file(other).unwrap();
    (installation, daemon)
}

/// A run over an adopted key that stopped before it began: where the old text is to be sealed, something else lies.
fn stopped_before_begin() -> (Installation, Daemon, PathBuf) {
    let installation = Installation::new();
    installation.init(&["--adopt-legacy"]).expect(0);
    let daemon = installation.serve();
    let sealed = installation.path(&format!("former-master-key-{}.skd1", fingerprint(installation.key)));
    std::fs::write(&sealed, "U0tEMQ==\n").unwrap();
    run(&daemon, &["--yes"]).expect(73);
    (installation, daemon, sealed)
}

/// A daemon that has its key as a credential, from a file beside it.
struct Given {
    installation: Installation,
    file: PathBuf,
}

impl Given {
    fn made() -> Self {
        let mut installation = Installation::made();
        installation.key_file = KeyFile::None;
        let file = installation.write_private("given.key", format!("{}\n", hex(&installation.key)).as_bytes());
        std::fs::create_dir(installation.path("credentials")).unwrap();
        Self { installation, file }
    }

    fn serve(&self) -> Daemon {
        let credentials = self.installation.path("credentials");
        std::fs::copy(&self.file, credentials.join("servos_master_key")).unwrap();
        let serve = self.installation.command("serve", &[]);
        self.installation.serve_with(&serve.variable("CREDENTIALS_DIRECTORY", credentials))
    }

    fn run(&self, daemon: &Daemon, arguments: &[&str]) -> Outcome {
        run(daemon, &[&["--key-file", text(&self.file)], arguments].concat())
    }
}

fn in_use(daemon: &Daemon) -> String {
    block_on(daemon.admin().status()).unwrap().master_key.unwrap().fingerprint
}

/// The file is what it seems: the daemon starts with it, and opens what was sealed.
#[track_caller]
fn starts(installation: &Installation, daemon: Daemon, sealed: &[u8]) -> Daemon {
    daemon.stop().expect(0);
    let daemon = installation.serve();
    opens(&daemon, sealed);
    daemon
}

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

#[test]
fn without_the_daemon_nothing_is_undone_for_somebody_may_have_begun() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let (installation, daemon, _) = stopped_before_begin();
    daemon.stop().expect(0);
    let before = installation.files();
    let socket = installation.path("keyd-admin.sock");
    let key = installation.path("master.key");
    let arguments = ["--socket", text(&socket), "rotate", "run", "--undo", "--key-file", text(&key)];
    let gone = crate::harness::Invocation::new(arguments).run(KEYCTL).expect(69);
    gone.saying(&["start the daemon first", "--undo"]);
    assert_eq!(installation.files(), before);
}

#[test]
fn the_new_keys_file_that_somebody_removed_keeps_nothing_from_ending() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    for way in ["--resume", "--undo"] {
        let given = Given::made();
        let daemon = given.serve();
        given.run(&daemon, &["--yes", "--restart", "exit 3"]).expect(65);
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
fn an_undoing_that_a_start_was_faster_than_goes_on_to_the_new_key() {
    if !is_root() {
        return not_run(NOT_ROOT);
    }
    let given = Given::made();
    let daemon = given.serve();
    let sealed = seal(&daemon);
    given.run(&daemon, &["--yes", "--restart", "exit 3"]).expect(65);
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
    given.run(&daemon, &["--yes", "--restart", "exit 3"]).expect(65);
    // The running daemon still has the old key: it does not know what the file holds.
    rotate(&daemon, &["abort", "--yes"]).expect(0);
    let socket = given.installation.path("keyd-admin.sock");
    daemon.stop().expect(0);
    let arguments = ["--socket", text(&socket), "rotate", "run", "--undo", "--key-file", text(&given.file)];
    let gone = crate::harness::Invocation::new(arguments).run(KEYCTL).expect(69);
    let kept = given.installation.path(&format!("given.key.old-{}", fingerprint(given.installation.key)));
    gone.saying(&["start the daemon first", "if it does not start", text(&kept)]);
    std::fs::copy(&kept, &given.file).unwrap();
    let daemon = given.serve();
    given.run(&daemon, &["--undo"]).expect(0);
    opens(&daemon, &sealed);
}

/// What a refusal has between backticks, from this word on.
#[track_caller]
fn command_in<'t>(told: &'t Outcome, word: &str) -> &'t str {
    told.stderr.split('`').skip(1).step_by(2).find(|one| one.contains(word)).unwrap_or_else(|| panic!("{told:#?}"))
}

/// Follows a command as it was printed, where the tool is found and nothing else names the daemon.
#[track_caller]
fn follow(_: &Daemon, command: &str) {
    let tools = Path::new(KEYCTL).parent().unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let ended = Command::new("/bin/sh").args(["-c", command]).env_clear().env("PATH", path).output().unwrap();
    assert!(ended.status.success(), "{command}: {}", String::from_utf8_lossy(&ended.stderr));
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
    given.run(&daemon, &["--yes", "--components-migrated", "--restart", "exit 3"]).expect(65);
    daemon.stop().expect(0);
    let daemon = serve();
    let told = given.run(&daemon, &["--resume", "--yes"]).expect(0);
    let told = told.saying(&["The old key's text still stands in", "given.key, line 2"]);
    assert!(!told.said().contains(&old), "a key is shown");
}
