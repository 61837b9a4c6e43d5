//! What a run waits for: a person, a daemon that restarts, and a unit that says where its key comes from.
//!
//! Must never pass a run that took silence for done. Run by `cargo test`.

use crate::harness::rotation::{
    fingerprint_in, key_in, rotate, rotate_run as run, shows_no_key, stopped_before_its_key_is_replaced, text,
};
use crate::harness::{
    Daemon, Installation, KEYCTL, KeyFile, Outcome, eventually, fingerprint, hex, is_root, is_there, not_run,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Child;

/// One whose daemon opens no file, and the file that its key comes from.
fn given_its_key() -> (Installation, PathBuf) {
    let mut installation = Installation::made();
    installation.key_file = KeyFile::None;
    let file = installation.write_private("given.key", hex(&installation.key).as_bytes());
    (installation, file)
}

/// A directory with something in systemctl's place: it says what the unit says, and passes the wish to restart on.
fn systemctl(installation: &Installation, unit: &str, file: &Path) -> PathBuf {
    let (tools, wanted) = (installation.path("tools"), installation.path("restart-wanted"));
    std::fs::create_dir(&tools).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n'cat -- {unit}') echo '[Service]'; echo 'LoadCredential=servos_master_key:{0}' ;;\n\
         'is-active --quiet -- {unit}') ;;\n'restart {unit}') touch {1}; while [ -e {1} ]; do sleep 0.01; done ;;\n\
         *) echo \"no: $*\" >&2; exit 1 ;;\nesac\n",
        file.display(),
        wanted.display()
    );
    std::fs::write(tools.join("systemctl"), script).unwrap();
    std::fs::set_permissions(tools.join("systemctl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    tools
}

/// A run that goes on while the test does something.
struct Running {
    child: Child,
    words: tempfile::TempDir,
}

impl Running {
    fn start(daemon: &Daemon, arguments: &[&str], path: Option<&Path>) -> Self {
        let words = tempfile::tempdir().unwrap();
        let mut invocation = daemon.keyctl(&[&["rotate", "run"], arguments].concat());
        if let Some(path) = path {
            let all = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
            invocation = invocation.variable("PATH", all);
        }
        Self { child: invocation.spawn(KEYCTL, words.path()), words }
    }

    fn waits_for(&mut self, what: &str) {
        eventually(what, || Outcome::read(None, self.words.path()).stderr.contains(what));
    }

    fn ends(mut self) -> Outcome {
        let status = self.child.wait().unwrap();
        Outcome::read(Some(status), self.words.path())
    }
}

#[test]
fn a_file_that_cannot_be_replaced_is_waited_for_and_nothing_is_lost_when_nobody_comes() {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let (installation, daemon, second) = stopped_before_its_key_is_replaced();
    let key = installation.path("master.key");
    let mut running = Running::start(&daemon, &["--resume", "--yes"], None);
    running.waits_for("To be done by you now");
    let new = key_in(&installation.path("master.key.next"));
    std::fs::write(&key, format!("{new}\n")).unwrap();
    running.ends().expect(0).saying(&["rotated"]);
    assert_eq!(key_in(&second), new);
    assert!(!is_there(&installation.path("master.key.next")));
    daemon.stop().expect(0);
    installation.serve().stop().expect(0);
}

#[test]
fn what_no_file_holds_is_done_by_hand_and_waited_for() {
    if !is_root() {
        return not_run("only root administers a daemon that opens no key file");
    }
    let mut installation = Installation::made();
    installation.key_file = KeyFile::None;
    let serve =
        |key: &str| installation.serve_with(&installation.command("serve", &[]).variable("SERVOS_MASTER_KEY", key));
    let daemon = serve(&hex(&installation.key));
    let next = installation.path("new.key");
    run(&daemon, &["--yes"]).expect(64).saying(&["cannot be told which file", "--key-file FILE", "--by-hand FILE"]);
    let by_hand = ["--yes", "--by-hand", text(&next)];
    run(&daemon, &[&by_hand[..], &["--dry-run"]].concat()).expect(0).saying(&[
        "Tell you to put the new key where environment SERVOS_MASTER_KEY comes from",
        "is not kept by this command",
    ]);
    assert!(!is_there(&next));
    let mut running = Running::start(&daemon, &by_hand, None);
    running.waits_for("put the key from");
    daemon.stop().expect(0);
    // Without a daemon nothing goes on, and nothing is lost.
    let gone = running.ends().expect(69);
    gone.saying(&["--resume", &format!("--by-hand {}", next.display())]);
    assert_eq!(next.metadata().unwrap().mode() & 0o7777, 0o600);
    let daemon = serve(&key_in(&next));
    let rotated = run(&daemon, &[&by_hand[..], &["--resume"]].concat()).expect(0);
    shows_no_key(rotated, &[&next]).saying(&["rotated", &format!("Remove {}", next.display())]);
    assert!(is_there(&next), "the only file with the new key");
}

#[test]
fn the_unit_tells_where_a_credential_comes_from_and_is_restarted() {
    if !is_root() {
        return not_run("only root administers a daemon that opens no key file");
    }
    let (installation, file) = given_its_key();
    let credentials = installation.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let serve = || {
        std::fs::copy(&file, credentials.join("servos_master_key")).unwrap();
        installation.serve_with(&installation.command("serve", &[]).variable("CREDENTIALS_DIRECTORY", &credentials))
    };
    let daemon = serve();
    let wanted = installation.path("restart-wanted");
    let tools = systemctl(&installation, "keyd.service", &file);
    let running = Running::start(&daemon, &["--yes", "--unit", "keyd.service"], Some(&tools));
    eventually("it asks for a restart", || is_there(&wanted));
    daemon.stop().expect(0);
    let daemon = serve();
    std::fs::remove_file(&wanted).unwrap();
    running.ends().expect(0).saying(&["Restarting the daemon: systemctl restart keyd.service", "rotated"]);
    assert_ne!(fingerprint_in(&file), fingerprint(installation.key));
    daemon.stop().expect(0);
    serve().stop().expect(0);
}

#[test]
fn what_the_daemon_cannot_see_of_its_credentials_file_the_tool_looks_at() {
    if !is_root() {
        return not_run("only root administers a daemon that opens no key file");
    }
    let (installation, file) = given_its_key();
    let serve =
        |key: String| installation.serve_with(&installation.command("serve", &[]).variable("SERVOS_MASTER_KEY", key));
    let daemon = serve(key_in(&file));
    let tools = systemctl(&installation, "servos-keyd.service", &file);
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let keyctl = |arguments: &[&str]| daemon.keyctl(arguments).variable("PATH", &path).run(KEYCTL);
    let failed = keyctl(&["rotate", "run", "--yes", "--restart", "false"]).expect(69);
    failed.saying(&["ended with exit status: 1", "--resume", "--undo"]);
    keyctl(&["rotate", "status"]).expect(0).saying(&["given.key.rotation is there", "--resume", "--undo", text(&file)]);
    // After an abort, what the file holds would open nothing.
    let refused = keyctl(&["rotate", "abort", "--yes"]).expect(65);
    refused.saying(&[text(&file), "would open nothing after an abort", "rotate run --undo --key-file"]);
    let refused = rotate(&daemon, &["abort", "--yes", "--key-file", text(&file)]).expect(65);
    refused.saying(&["would open nothing after an abort"]);
    keyctl(&["rotate", "run", "--undo"]).expect(0).saying(&["undone"]);
    assert_eq!(fingerprint_in(&file), fingerprint(installation.key));
    daemon.stop().expect(0);
    serve(key_in(&file)).stop().expect(0);
}

#[test]
fn a_restart_that_fails_leaves_a_run_that_goes_on() {
    if !is_root() {
        return not_run("only root administers a daemon that opens no key file");
    }
    let (installation, file) = given_its_key();
    let serve = || {
        let key = key_in(&file);
        installation.serve_with(&installation.command("serve", &[]).variable("SERVOS_MASTER_KEY", key))
    };
    let daemon = serve();
    let all = ["--yes", "--key-file", text(&file)];
    let failed = run(&daemon, &[&all[..], &["--restart", "echo broken >&2; exit 3"]].concat()).expect(69);
    failed.saying(&["broken", "ended with exit status: 3", "--resume"]);
    daemon.stop().expect(0);
    let daemon = serve();
    run(&daemon, &[&all[..], &["--resume"]].concat()).expect(0).saying(&["rotated"]);
}
