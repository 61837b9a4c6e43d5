//! `servos-keyctl doctor` over the binaries: each mistake is planted, found by its id, and gone after the command it names.
//!
//! Must never let what the machine of the tests is like decide: what it finds there is left out.
//! Run by `cargo test`.

use crate::harness::rotation::text;
use crate::harness::{
    Daemon, Installation, Invocation, KEYCTL, KEYD, NOBODY, Outcome, block_on, eventually, fingerprint, hex, is_root,
    name, not_run, random_key,
};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What is so of the machine, whatever the installation is like.
const OF_THE_MACHINE: [&str; 8] = [
    "clock-ahead",
    "clock-behind",
    "hibernation",
    "in-container",
    "memfd-secret-missing",
    "peers-unmapped",
    "store-in-container",
    "swap-unprotected",
];

/// What doctor said.
struct Seen {
    value: Value,
    said: String,
    code: Option<i32>,
}

impl Seen {
    fn of(outcome: &Outcome) -> Self {
        let value: Value =
            serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:#?}"));
        let problems = value["to_mend"].as_array().unwrap().len();
        assert_eq!(outcome.code, Some(i32::from(problems > 0)), "{outcome:#?}");
        assert_eq!(value["well"], Value::from(problems == 0));
        Self { value, said: outcome.said(), code: outcome.code }
    }

    fn found(&self) -> Vec<&Value> {
        let lists = ["to_mend", "advice"].map(|list| self.value[list].as_array().unwrap());
        let is_here = |found: &&Value| !OF_THE_MACHINE.contains(&found["id"].as_str().unwrap());
        lists.into_iter().flatten().filter(is_here).collect()
    }

    fn ids(&self) -> Vec<&str> {
        self.found().into_iter().map(|found| found["id"].as_str().unwrap()).collect()
    }

    #[track_caller]
    fn mend(&self, id: &str) -> &str {
        let found = self.found().into_iter().find(|found| found["id"] == id);
        let found = found.unwrap_or_else(|| panic!("no {id}: {}", self.said));
        assert!(!found["why"].as_str().unwrap().is_empty() && !found["text"].as_str().unwrap().is_empty());
        found["mend"].as_str().unwrap_or_default()
    }
}

fn arguments(installation: &Installation) -> Vec<String> {
    let configuration = installation.write_configuration();
    ["doctor", "--json", "--config", text(&configuration)].map(str::to_owned).to_vec()
}

/// With the daemon that serves it. One that `--dev` serves has no configuration.
fn beside(daemon: &Daemon, installation: &Installation) -> Seen {
    let arguments = if is_root() { arguments(installation) } else { vec!["doctor".to_owned(), "--json".to_owned()] };
    let socket = ["--socket".to_owned(), daemon.admin_socket.display().to_string()];
    Seen::of(&Invocation::new([arguments, socket.to_vec()].concat()).run(KEYCTL))
}

/// Without a daemon.
fn alone(installation: &Installation) -> Seen {
    let seen = Seen::of(&Invocation::new(arguments(installation)).run(KEYCTL));
    assert_eq!((seen.ids()[0], seen.code), ("no-daemon", Some(1)), "{}", seen.said);
    assert!(!seen.said.contains(&hex(&installation.key)), "a key is shown: {}", seen.said);
    seen
}

/// Runs a command that was named.
#[track_caller]
fn shell(command: &str) {
    assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn where_nothing_is_wrong_nothing_is_found() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let seen = beside(&daemon, &installation);
    assert!(seen.ids().is_empty(), "{}", seen.said);
    assert!(seen.value["checks"].as_array().unwrap().len() > 10);
    let shown = daemon.keyctl(&["doctor"]).run(KEYCTL);
    assert_eq!(shown.stdout.starts_with("Nothing to mend.\n"), shown.code == Some(0), "{shown:#?}");
    shown.not_saying(&[&hex(&installation.key)]);
}

#[test]
fn without_a_daemon_that_is_the_first_finding_and_the_rest_is_looked_at() {
    let installation = Installation::made();
    let seen = alone(&installation);
    assert_eq!(seen.ids(), ["no-daemon"], "{}", seen.said);
    assert!(seen.said.contains(text(&installation.path("keyd-admin.sock"))), "{}", seen.said);
    assert!(seen.said.contains("`servos-keyd serve --config FILE`"), "{}", seen.said);
    assert!(seen.value["not_made"][0]["reason"].as_str().unwrap().contains("did not answer"), "{}", seen.said);
    // A socket that the configuration does not know: what only it tells is left out, and said to be.
    let stranger = installation.path("other.sock");
    let seen = Seen::of(&Invocation::new(["doctor", "--json", "--socket", text(&stranger)]).run(KEYCTL));
    let left_out = seen.value["not_made"].to_string();
    assert_eq!(seen.ids(), ["no-daemon"], "{}", seen.said);
    assert!(left_out.contains("name the configuration with --config FILE"), "{left_out}");
}

#[test]
fn a_key_that_is_nearly_one_is_found_before_a_start_and_mended_by_the_command() {
    let installation = Installation::made();
    let key = hex(&installation.key);
    for (wrong, said) in [
        (format!("\"{key}\"\n"), "in quotes"),
        (format!("0x{key}\n"), "0x"),
        (format!("{}\n{}\n", &key[..20], &key[20..]), "neither a key"),
    ] {
        installation.write_private("master.key", wrong.as_bytes());
        let seen = alone(&installation);
        assert_eq!(seen.ids(), ["no-daemon", "key-malformed"], "{}", seen.said);
        assert!(seen.said.contains(said), "{}", seen.said);
        shell(seen.mend("key-malformed"));
        assert_eq!(alone(&installation).ids(), ["no-daemon"]);
        assert_eq!(std::fs::read_to_string(installation.path("master.key")).unwrap().trim_end(), key);
    }
    installation.serve_for_admin().stop().expect(0);
}

#[test]
fn two_sources_that_disagree_are_found_and_the_store_knows_which_is_wrong() {
    let installation = Installation::made();
    let other = random_key();
    let file = installation.write_private("other.key", hex(&other).as_bytes());
    let run = Invocation::new(arguments(&installation)).variable("SERVOS_MASTER_KEY_FILE", &file).run(KEYCTL);
    let seen = Seen::of(&run);
    assert_eq!(seen.ids(), ["no-daemon", "keys-disagree"], "{}", seen.said);
    for fingerprint in [fingerprint(installation.key), fingerprint(other)] {
        assert!(seen.said.contains(&fingerprint), "{}", seen.said);
    }
    assert_eq!(seen.mend("keys-disagree"), "unset SERVOS_MASTER_KEY_FILE ACT_MASTER_KEY_FILE");
    run.not_saying(&[&hex(&other), &hex(&installation.key)]);
    // The only source holds another key than the store's.
    installation.write_key(other);
    assert_eq!(alone(&installation).ids(), ["no-daemon", "key-not-in-use"]);
}

#[test]
fn modes_that_are_too_open_are_found_and_mended_by_the_command() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    for (name, id) in [("master.key", "key-exposed"), ("keyd.redb", "store-modes"), ("keyd.sock", "socket-mode")] {
        if id == "socket-mode" && !is_root() {
            not_run("a socket of components alone is only there for root");
            continue;
        }
        let path = installation.path(name);
        chmod(&path, 0o666);
        let seen = beside(&daemon, &installation);
        assert_eq!(seen.ids(), [id], "{name}: {}", seen.said);
        shell(seen.mend(id));
        assert!(beside(&daemon, &installation).ids().is_empty(), "{name}");
        assert_ne!(path.metadata().unwrap().permissions().mode() & 0o777, 0o666);
    }
    // Without the daemon too; only where its group or all can read it.
    daemon.stop().expect(0);
    chmod(&installation.path("master.key"), 0o644);
    assert_eq!(alone(&installation).ids(), ["no-daemon", "key-exposed"]);
}

#[test]
fn a_key_file_that_is_gone_or_was_left_over_is_found() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    installation.write_private("master.key.next", b"left over\n");
    let seen = beside(&daemon, &installation);
    assert_eq!(seen.ids(), ["next-key-left"]);
    shell(seen.mend("next-key-left"));
    std::fs::remove_file(installation.path("master.key")).unwrap();
    let seen = beside(&daemon, &installation);
    assert_eq!(seen.ids(), ["key-missing"]);
    assert!(seen.said.contains("is gone: the daemon serves from memory"), "{}", seen.said);
    daemon.stop().expect(0);
    assert_eq!(alone(&installation).ids(), ["no-daemon", "key-missing"]);
}

#[test]
fn a_rotation_that_is_pending_is_found_with_the_daemon_and_without() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    installation.begin_rotation(&daemon, random_key());
    let seen = beside(&daemon, &installation);
    assert_eq!((seen.ids(), seen.mend("rotation-pending")), (vec!["rotation-pending"], "servos-keyctl rotate status"));
    daemon.kill();
    // One of `--dev` is for its owner alone.
    std::fs::remove_file(installation.path("keyd.sock")).unwrap();
    let seen = alone(&installation);
    assert_eq!(seen.ids(), ["no-daemon", "rotation-pending"], "{}", seen.said);
}

#[test]
fn an_adopted_key_and_legacy_values_that_still_open_are_found_until_they_are_mended() {
    let installation = Installation::new();
    installation.write_private("master.key", format!("SERVOS_MASTER_KEY={}\n", hex(&installation.key)).as_bytes());
    installation.init(&["--adopt-legacy"]).expect(0);
    let daemon = installation.serve_for_admin();
    let seen = beside(&daemon, &installation);
    assert_eq!(seen.ids(), ["legacy-open", "key-shared"], "{}", seen.said);
    assert_eq!(seen.mend("key-shared"), "servos-keyctl rotate run");
    let retire = format!("servos-keyctl legacy retire {}", fingerprint(installation.key));
    // Not at once: values that have not moved would open no more.
    let mend = seen.mend("legacy-open");
    let (first, then) = mend.split_once(" # ").unwrap();
    assert!(first.starts_with("servos-keyctl reencrypt") && then.ends_with(&retire), "{mend}");
    let arguments: Vec<&str> = retire.split(' ').skip(1).chain(["--yes"]).collect();
    daemon.keyctl(&arguments).run(KEYCTL).expect(0);
    assert_eq!(beside(&daemon, &installation).ids(), ["key-shared"]);
}

#[test]
fn a_backup_and_a_drill_that_are_too_old_are_found_once_each() {
    if !is_root() {
        return not_run("intervals are configured, and only root administers on the admin socket");
    }
    let mut installation = Installation::made();
    installation.more = "[drill]\ninterval = \"1s\"\n".to_owned();
    installation.backup_interval = Some("1s");
    let daemon = installation.serve();
    block_on(async { daemon.admin().delete_key(&name("backups")).await.unwrap() });
    eventually("both", || beside(&daemon, &installation).ids().len() == 2);
    let seen = beside(&daemon, &installation);
    assert_eq!(seen.ids(), ["backup-overdue", "drill-overdue"], "{}", seen.said);
    assert!(seen.mend("drill-overdue").starts_with("servos-keyctl check-key --typed # "), "{}", seen.said);
    let mend: Vec<&str> = seen.mend("backup-overdue").split(' ').skip(1).collect();
    daemon.keyctl(&mend).run(KEYCTL).expect(0);
    assert_eq!(beside(&daemon, &installation).ids(), ["drill-overdue"]);
    daemon.stop().expect(0);
}

#[test]
fn a_store_that_is_gone_or_damaged_is_found_with_the_backup_that_brings_it_back() {
    let installation = Installation::made();
    let newest = installation.backups().pop().unwrap();
    std::fs::write(installation.store(), b"not a store").unwrap();
    assert_eq!(alone(&installation).ids(), ["no-daemon", "store-damaged"]);
    std::fs::remove_file(installation.store()).unwrap();
    let seen = alone(&installation);
    assert_eq!(seen.ids(), ["no-daemon", "store-missing"], "{}", seen.said);
    let configuration = installation.path("keyd.toml");
    let restore = format!("servos-keyd restore --config {} {}", configuration.display(), newest.display());
    assert_eq!(seen.mend("store-missing"), restore);
    installation.restore(&newest).expect(0);
    assert_eq!(alone(&installation).ids(), ["no-daemon"]);
    // A process that has the store is waited for by nobody.
    let daemon = installation.serve_for_admin();
    let socket = installation.path("none.sock");
    let seen = Seen::of(
        &Invocation::new([arguments(&installation), vec!["--socket".into(), text(&socket).into()]].concat())
            .run(KEYCTL),
    );
    assert!(seen.value["not_made"].to_string().contains("a process has it"), "{}", seen.said);
    daemon.stop().expect(0);
}

#[test]
fn a_user_outside_the_group_is_found() {
    let installation = Installation::made();
    installation.write_configuration();
    let configuration = installation.path("keyd.toml");
    let text = std::fs::read_to_string(&configuration).unwrap().replace("group = \"\"", "group = \"daemon\"");
    std::fs::write(&configuration, text).unwrap();
    let path = configuration.to_str().unwrap();
    let told =
        Invocation::new(["doctor", "--json", "--config", path, "--user", "nobody", "--user", "root"]).run(KEYCTL);
    let seen = Seen::of(&told);
    assert_eq!(seen.mend("user-not-in-group"), "usermod -aG daemon nobody", "{}", seen.said);
    assert_eq!(seen.ids().iter().filter(|id| **id == "user-not-in-group").count(), 1, "{}", seen.said);
}

#[test]
fn a_component_that_runs_as_nobody_is_taken_for_one_that_is_not_mapped() {
    if !is_root() {
        return not_run("only root runs a process as another user");
    }
    let installation = Installation::made();
    let daemon = installation.serve();
    chmod(installation.directory(), 0o755);
    chmod(&daemon.component_socket, 0o666);
    let socket = text(&daemon.component_socket).to_owned();
    let run = Invocation::new(["doctor", "--json", "--socket", &socket]).run_as(NOBODY).run(KEYCTL);
    let value: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, value["to_mend"][0]["id"].as_str()), (Some(1), Some("peers-unmapped")), "{run:#?}");
    daemon.stop().expect(0);
}

#[test]
fn a_configuration_that_a_start_refuses_is_found() {
    let installation = Installation::made();
    let path = installation.write_private("broken.toml", b"[sockets]\n");
    let told = Invocation::new(["doctor", "--json", "--config", text(&path)]).run(KEYCTL);
    let seen = Seen::of(&told);
    assert!(seen.ids().contains(&"configuration"), "{}", seen.said);
    Invocation::new(["serve", "--config", text(&path)]).run(KEYD).expect(78);
}

#[test]
fn the_unit_of_the_service_tells_where_its_key_lies_and_systemd_why_it_does_not_run() {
    // Where the service is looked for when nothing else is said.
    if ["/etc/servos/keyd.toml", "/run/servos/keyd-admin.sock"].iter().any(|place| Path::new(place).exists()) {
        return not_run("this machine has a servos-keyd of its own");
    }
    let installation = Installation::new();
    let key = installation.write_private("unit.key", format!("'{}'\n", hex(&installation.key)).as_bytes());
    std::fs::create_dir(installation.path("tools")).unwrap();
    let tool = installation.write_private(
        "tools/systemctl",
        format!(
            "#!/bin/sh\ncase \"$1\" in\ncat) printf '[Service]\\nLoadCredential=servos_master_key:{}\\nPrivateUsers=yes\\n\
             LimitMEMLOCK=64K\\n' ;;\nshow) echo ActiveState=failed; echo ExecMainStatus=78; echo StatusText= ;;\n*) exit 1 ;;\nesac\n",
            key.display()
        )
        .as_bytes(),
    );
    chmod(&tool, 0o755);
    let run = Invocation::new(["doctor", "--json"]).variable("PATH", installation.path("tools")).run(KEYCTL);
    let seen = Seen::of(&run);
    for id in ["no-daemon", "key-malformed", "memlock-limit"] {
        seen.mend(id);
    }
    assert!(seen.said.contains("PrivateUsers=yes") && seen.said.contains("peers-unmapped"), "{}", seen.said);
    assert!(
        seen.said.contains("systemd says of servos-keyd.service: ActiveState=failed, ExecMainStatus=78"),
        "{}",
        seen.said
    );
    run.not_saying(&[&hex(&installation.key)]);
}
