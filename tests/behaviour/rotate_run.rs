//! `servos-keyctl rotate run`: what it refuses, what it keeps of a file, and what it waits for. That it survives being killed
//! is shown by `tests/rotate_run`.
//!
//! Must never pass a refusal that changed something. Run by `cargo test`.

use crate::harness::rotation::{fingerprint_in, key_in, rotate, shows_no_key, text};
use crate::harness::{
    Daemon, Installation, Invocation, KEYCTL, KeyFile, Outcome, eventually, fingerprint, hex, is_root, is_there,
    not_run, random_key,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Child;
use xattr::FileExt as _;

/// One with an env file beside its key file, served.
fn with_env_file() -> (Installation, Daemon, PathBuf) {
    let mut installation = Installation::made();
    let lines = format!("# first\nSERVOS_MASTER_KEY={}\nLAST=1\n", hex(&installation.key));
    let env = installation.write_private("servos.env", lines.as_bytes());
    installation.key_file = KeyFile::At(env.clone());
    let daemon = installation.serve();
    (installation, daemon, env)
}

/// One whose daemon opens no file, and the file that its key comes from.
fn given_its_key() -> (Installation, PathBuf) {
    let mut installation = Installation::made();
    installation.key_file = KeyFile::None;
    let file = installation.write_private("given.key", hex(&installation.key).as_bytes());
    (installation, file)
}

/// One whose key file has two names, so that a run stops before it is replaced: served, with the second name.
fn stopped_before_its_key_is_replaced() -> (Installation, Daemon, PathBuf) {
    let installation = Installation::made();
    let (key, second) = (installation.path("master.key"), installation.path("another name"));
    std::fs::hard_link(&key, &second).unwrap();
    let daemon = installation.serve();
    let late = run(&daemon, &["--yes", "--wait", "1ms"]).expect(75);
    shows_no_key(late, &[]).saying(&["has 2 names", "Put the key from", "--resume", "--undo"]);
    assert_eq!(fingerprint_in(&key), fingerprint(installation.key));
    (installation, daemon, second)
}

fn run(daemon: &Daemon, arguments: &[&str]) -> Outcome {
    rotate(daemon, &[&["run"], arguments].concat())
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
fn of_a_file_that_is_replaced_everything_but_the_key_stays() {
    if !is_root() {
        return not_run("only root gives files away");
    }
    let mut installation = Installation::made();
    installation.allow_readable = true;
    let lines = format!(
        "# a\nexport SERVOS_MASTER_KEY=\"{}\"\nRESTIC_PASSWORD={}\n",
        hex(&installation.key),
        hex(&installation.key)
    );
    std::fs::create_dir(installation.path("real")).unwrap();
    let real = installation.write_private("real/servos.env", lines.as_bytes());
    let link = installation.path("servos.env");
    std::os::unix::fs::symlink("real/servos.env", &link).unwrap();
    installation.key_file = KeyFile::At(link.clone());
    std::os::unix::fs::chown(&real, Some(0), Some(12_345)).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    let noted = std::fs::File::open(&real).unwrap().set_xattr("user.note", b"of the panel");
    // User 4321 may read it, and the mask lets that pass: version 2, then tag, rights and id of each entry.
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 4321), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let listed = std::fs::File::open(&real).unwrap().set_xattr("system.posix_acl_access", &list);
    if noted.is_err() || listed.is_err() {
        not_run("extended attributes of a key file: this system refuses them");
    }
    let (before, inode) = (real.metadata().unwrap(), real.metadata().unwrap().ino());
    let daemon = installation.serve();
    let rotated = shows_no_key(run(&daemon, &["--yes", "--components-migrated"]).expect(0), &[]);
    rotated.saying(&["The old key's text still stands in", "line 3"]);
    let after = real.metadata().unwrap();
    assert_ne!(after.ino(), inode, "it was written in place");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert!(link.symlink_metadata().unwrap().is_symlink());
    let file = std::fs::File::open(&real).unwrap();
    if noted.is_ok() {
        assert_eq!(file.get_xattr("user.note").unwrap().unwrap(), b"of the panel");
    }
    if listed.is_ok() {
        assert_eq!(file.get_xattr("system.posix_acl_access").unwrap().unwrap(), list);
    }
    let content = std::fs::read_to_string(&link).unwrap();
    let new =
        content.lines().nth(1).unwrap().strip_prefix("export SERVOS_MASTER_KEY=\"").unwrap().strip_suffix('"').unwrap();
    assert_ne!(new, hex(&installation.key));
    assert_eq!(content, lines.replacen(&hex(&installation.key), new, 1));
    let beside: Vec<String> = std::fs::read_dir(installation.path("real"))
        .unwrap()
        .map(|one| one.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(beside, ["servos.env"], "something was left");
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

#[test]
fn the_text_of_an_adopted_key_is_sealed_before_the_first_rotation_begins_and_no_later_one_is() {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let installation = Installation::new();
    installation.init(&["--adopt-legacy"]).expect(0);
    let daemon = installation.serve();
    let old = fingerprint(installation.key);
    let sealed = installation.path(&format!("former-master-key-{old}.skd1"));
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0).saying(&[
        "is sealed in",
        "servos-api gets it",
        text(&sealed),
    ]);
    rotate(&daemon, &["abort", "--yes"]).expect(0);
    let kept = std::fs::read(&sealed).unwrap();
    // What opens is taken as it is; what does not is not written over.
    std::fs::remove_file(installation.path("master.key.next")).unwrap();
    std::fs::write(&sealed, "U0tEMQ==\n").unwrap();
    run(&daemon, &["--yes"]).expect(73).saying(&["does not open to the text of the key", "mv ", "--resume"]);
    assert_eq!(std::fs::read(&sealed).unwrap(), b"U0tEMQ==\n");
    std::fs::write(&sealed, &kept).unwrap();
    let rotated = shows_no_key(run(&daemon, &["--resume", "--yes"]).expect(0), &[]);
    rotated.saying(&["Restic", text(&sealed), "servos-keyctl decrypt --key backups --base64"]);
    assert_eq!(std::fs::read(&sealed).unwrap(), kept);

    // The command that was told opens it.
    let context = format!("fingerprint={old}");
    let opened = Invocation::new([
        "--socket",
        text(&installation.path("keyd.sock")),
        "decrypt",
        "--key",
        "backups",
        "--base64",
        "--context",
        "use=former-master-key",
        "--context",
        &context,
        "--in",
        text(&sealed),
    ]);
    assert_eq!(opened.run(KEYCTL).expect(0).stdout, hex(&installation.key));
    assert_eq!(sealed.metadata().unwrap().mode() & 0o7777, 0o644);

    // A key that was made by a rotation is nobody's password.
    let second = fingerprint_in(&installation.path("master.key"));
    run(&daemon, &["--yes"]).expect(0).not_saying(&["Restic's repositories that have it"]);
    assert!(!is_there(&installation.path(&format!("former-master-key-{second}.skd1"))));
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
