//! Drills and the age of backups over the socket: kept through starts, told by status, warned of when they are due.
//!
//! Must never wait longer than an interval of a second takes.
//! Run by `cargo test`.

use crate::harness::{
    Daemon, Installation, Invocation, KEYCTL, block_on, eventually, fingerprint, hex, is_root, not_run, random_key,
};
use serde_json::Value;
use servos_keyd::client::error::Error;
use servos_keyd::proto::v1::DrillKind;

fn status(daemon: &Daemon) -> Value {
    let shown = daemon.keyctl(&["status", "--json"]).run(KEYCTL).expect(0);
    serde_json::from_str(&shown.stdout).unwrap()
}

fn warns(daemon: &Daemon, words: &str) -> bool {
    status(daemon)["warnings"].as_array().unwrap().iter().any(|warning| warning.as_str().unwrap().contains(words))
}

const UNTRIED: &str = "No copy of the master key";
const OLD_BACKUP: &str = "The newest backup in ";

#[test]
fn a_drill_survives_starts_and_is_told_with_the_key_it_was_of() {
    let installation = Installation::made();
    let key = fingerprint(installation.key);
    let daemon = installation.serve_for_admin();
    assert!(status(&daemon)["drills"]["key"].is_null());
    let at = block_on(async { daemon.admin().record_drill(DrillKind::Key, &key).await.unwrap() });
    let restored = block_on(async { daemon.admin().record_drill(DrillKind::Restore, &key).await.unwrap() });
    assert!(restored >= at);
    let before = status(&daemon)["drills"].clone();
    daemon.kill();
    let daemon = installation.serve_for_admin();
    let told = status(&daemon)["drills"].clone();
    assert_eq!(told, before);
    assert_eq!((&told["key"]["fingerprint"], &told["overdue"]), (&Value::from(key), &Value::from(false)));
    assert!(!told["restore"]["at"].is_null() && !told["due"].is_null());
    assert!(!warns(&daemon, UNTRIED) && !warns(&daemon, OLD_BACKUP));
    // What the drills changed is no change that a restore of the newest backup would lose.
    daemon.stop().expect(0);
    let newest = installation.backups().pop().unwrap();
    std::fs::remove_file(installation.store()).unwrap();
    installation.restore(&newest).expect(0);
    let daemon = installation.serve_for_admin();
    assert_eq!(status(&daemon)["drills"], told);
}

#[test]
fn a_drill_of_another_key_is_refused_and_says_so() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let refused =
        block_on(async { daemon.admin().record_drill(DrillKind::Key, "0011223344556677").await.unwrap_err() });
    assert!(matches!(refused, Error::Precondition { .. }), "{refused}");
    assert!(refused.to_string().contains("does not open the store"), "{refused}");
    assert!(status(&daemon)["drills"]["key"].is_null());
}

#[test]
fn status_warns_of_a_key_that_nobody_tried_until_somebody_does_and_of_an_old_backup_until_there_is_a_newer_one() {
    let mut installation = Installation::made();
    installation.more = "[drill]\ninterval = \"1s\"\n".to_owned();
    installation.backup_interval = Some("1s");
    let key = fingerprint(installation.key);
    // `--dev` takes no configuration.
    if !is_root() {
        return not_run("intervals are configured, and only root administers on the admin socket");
    }
    let daemon = installation.serve();
    eventually("a warning of the key", || warns(&daemon, UNTRIED));
    assert!(!warns(&daemon, OLD_BACKUP), "the backup holds the store as it stands");
    block_on(async { daemon.admin().delete_key(&crate::harness::name("backups")).await.unwrap() });
    eventually("a warning of the backup", || warns(&daemon, OLD_BACKUP));
    let shown = daemon.keyctl(&["status"]).run(KEYCTL).expect(0);
    shown.saying(&[": OVERDUE", "servos-keyctl backup makes one", "servos-keyctl check-key --key-file FILE"]);
    daemon.keyctl(&["backup"]).run(KEYCTL).expect(0);
    assert!(!warns(&daemon, OLD_BACKUP));
    daemon.stop().expect(0);
    // The age is known from the files at a start, and from the drill that the store tells of.
    installation.more = "[drill]\ninterval = \"1h\"\n".to_owned();
    let daemon = installation.serve();
    assert!(!warns(&daemon, UNTRIED));
    block_on(async { daemon.admin().record_drill(DrillKind::Key, &key).await.unwrap() });
    let told = status(&daemon);
    assert!(
        !told["backup"]["newest"].is_null() && told["backup"]["overdue"] == false && told["drills"]["overdue"] == false
    );
}

#[test]
fn metrics_are_printed_whole_or_not_at_all() {
    let installation = Installation::made();
    let key = fingerprint(installation.key);
    let daemon = installation.serve_for_admin();
    let at = block_on(async { daemon.admin().record_drill(DrillKind::Restore, &key).await.unwrap() });
    let shown = daemon.keyctl(&["metrics"]).run(KEYCTL).expect(0);
    assert!(shown.stdout.starts_with("# TYPE servos_keyd_") && shown.stdout.ends_with("\n# EOF\n"), "{shown:?}");
    for line in [
        &format!("servos_keyd_last_drill_timestamp_seconds{{kind=\"restore\"}} {at}\n"),
        "servos_keyd_last_drill_timestamp_seconds{kind=\"key\"} 0\n",
        "servos_keyd_drill_interval_seconds 15552000\n",
        "servos_keyd_drill_overdue 0\n",
        "servos_keyd_backup_interval_seconds 2592000\n",
        "servos_keyd_backup_overdue 0\n",
        "servos_keyd_rotation_pending 0\n",
    ] {
        assert!(shown.stdout.contains(line), "{line}: {}", shown.stdout);
    }
    let json = daemon.keyctl(&["metrics", "--json"]).run(KEYCTL).expect(0);
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(value["metrics"].as_array().unwrap().len() > 10);
    daemon.stop().expect(0);
    let none = Invocation::new(["metrics", "--socket", installation.path("keyd.sock").to_str().unwrap()]).run(KEYCTL);
    assert_eq!(none.expect(69).stdout, "");
}

/// What `check-key` told, as JSON.
fn checked(daemon: &Daemon, arguments: &[&str], code: i32) -> Value {
    let run = daemon.keyctl(&[&["check-key", "--json"], arguments].concat()).run(KEYCTL).expect(code);
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn check_key_records_a_copy_that_was_named_and_is_the_right_one_and_nothing_else() {
    let installation = Installation::made();
    let text = hex(&installation.key);
    let path = |name: &str, text: &str| {
        installation.write_private(name, format!("{text}\n").as_bytes()).to_str().unwrap().to_owned()
    };
    let (copy, other) = (path("copy.key", &text), path("other.key", &hex(&random_key())));
    let own = installation.path("master.key").to_str().unwrap().to_owned();
    let backup = installation.backups().pop().unwrap().to_str().unwrap().to_owned();
    let daemon = installation.serve_for_admin();
    let kept = || status(&daemon)["drills"]["key"].clone();

    assert_eq!(checked(&daemon, &["--key-file", &other], 1)["recorded"], Value::Null);
    let quiet = checked(&daemon, &["--key-file", &copy, "--no-record"], 0);
    assert_eq!(
        (&quiet["opens"], &quiet["recorded"], &quiet["not_recorded"]),
        (&true.into(), &Value::Null, &Value::Null)
    );
    // What the daemon itself reads is no copy, whatever path leads there.
    std::os::unix::fs::symlink(&own, installation.path("link.key")).unwrap();
    std::fs::hard_link(&own, installation.path("second-name.key")).unwrap();
    let names = [own.clone(), installation.path("link.key").display().to_string()];
    let names = names.into_iter().chain([installation.path("second-name.key").display().to_string()]);
    for (option, file) in names.flat_map(|file| [("--key-file", file.clone()), ("--share", file)]) {
        let told = checked(&daemon, &[option, &file], 0);
        assert!(told["not_recorded"].as_str().unwrap().contains("what the daemon itself reads, and no copy"), "{told}");
    }
    for arguments in [["--typed"].as_slice(), &["--share", "-"]] {
        let redirected = std::process::Command::new(KEYCTL)
            .args([&["check-key", "--json"], arguments].concat())
            .env_clear()
            .env("SERVOS_KEYD_SOCKET", &daemon.admin_socket)
            .stdin(std::fs::File::open(&own).unwrap())
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&redirected.stdout).unwrap();
        assert!(told["not_recorded"].as_str().unwrap().contains("/dev/stdin is what the daemon itself"), "{told}");
    }
    let by_itself = daemon.keyctl(&["check-key", "--json"]).variable("SERVOS_MASTER_KEY_FILE", &copy).run(KEYCTL);
    let by_itself: Value = serde_json::from_str(&by_itself.expect(0).stdout).unwrap();
    assert_eq!((&by_itself["opens"], &by_itself["recorded"]), (&true.into(), &Value::Null));
    let of_backup = checked(&daemon, &["--key-file", &copy, "--backup", &backup], 0);
    assert_eq!((&of_backup["recorded"], &of_backup["not_recorded"]), (&Value::Null, &Value::Null));
    assert!(kept().is_null());

    let told = checked(&daemon, &["--key-file", &copy], 0);
    assert_eq!(told["recorded"], kept()["at"]);
    assert_eq!(kept()["fingerprint"], Value::from(fingerprint(installation.key)));
    let shown = daemon.keyctl(&["check-key", "--share", &copy]).run(KEYCTL).expect(0);
    shown.saying(&["drill ", "recorded 2"]).not_saying(&[&text]);
    daemon.stop().expect(0);
    // The store's file alone is not written to.
    let before = installation.files();
    let store = installation.store().to_str().unwrap().to_owned();
    let offline = installation.keyctl(&["check-key", "--key-file", &copy, "--store", &store, "--json"]).expect(0);
    let offline: Value = serde_json::from_str(&offline.stdout).unwrap();
    assert_eq!((&offline["opens"], &offline["recorded"]), (&true.into(), &Value::Null));
    assert!(before == installation.files());
}

#[test]
fn a_check_on_the_components_socket_or_under_salvage_says_why_it_was_not_recorded_and_is_no_failure() {
    let installation = Installation::made();
    let text = hex(&installation.key);
    let copy = installation.write_private("copy.key", text.as_bytes()).to_str().unwrap().to_owned();
    if is_root() {
        let daemon = installation.serve();
        let socket = daemon.component_socket.to_str().unwrap().to_owned();
        let told = installation.keyctl(&["check-key", "--socket", &socket, "--key-file", &copy]).expect(0);
        told.saying(&["drill ", "not recorded: "]);
        daemon.stop().expect(0);
        let daemon = installation.serve_with(&installation.command("serve", &["--salvage"]));
        let told = checked(&daemon, &["--key-file", &copy], 0);
        assert!(told["not_recorded"].as_str().unwrap().contains("--salvage"), "{told}");
    } else {
        not_run("a socket of components alone, and one for administration, are only there for root");
    }
}
