//! Tests of `daemon`.
//!
//! Must never hold the daemon's words to more than how a warning begins.
//! Run by `cargo test`.

use super::*;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::doctor::planted::Planted;
use crate::cli::keyctl::doctor::unit::ServiceState;
use crate::proto::v1::{BackupStatus, DrillStatus, LegacyKeyStatus, Rotation, SandboxStatus, SelfCheck};

#[test]
fn a_daemon_that_does_not_answer_is_the_first_finding_and_everything_else_is_still_looked_at() {
    let mut planted = Planted::silent().unit("LoadCredential=servos_master_key:/no/such/file\n");
    let words = "ActiveState=failed, ExecMainStatus=78".to_owned();
    let last_words = Some("no store at /var/lib".to_owned());
    planted.case.state = Some(ServiceState { words, is_failed: true, last_words, ..ServiceState::default() });
    let found = planted.sees("no-daemon", "journalctl -u servos-keyd -n 20 # says why");
    for words in
        ["no daemon answers: start it", "ActiveState=failed, ExecMainStatus=78", "it said: no store at /var/lib"]
    {
        assert!(found.text.contains(words), "{}", found.text);
    }
    assert_eq!(planted.ids()[0], "no-daemon");
    assert!(planted.ids().contains(&"key-missing"), "{:?}", planted.ids());
    assert!(planted.not_made().contains("daemon: what the daemon alone knows"), "{}", planted.not_made());
    assert_eq!(Planted::silent().ids(), ["no-daemon"]);
}

#[test]
fn what_keeps_a_daemon_from_answering_is_told_apart_by_the_command_that_helps() {
    let mut planted = Planted::silent().unit("");
    let state = |closed: &[&str]| {
        let closed_sockets = closed.iter().map(|name| (*name).to_owned()).collect();
        Some(ServiceState { words: "ActiveState=inactive".to_owned(), closed_sockets, ..ServiceState::default() })
    };
    planted.case.state = state(&["servos-keyd-admin.socket"]);
    planted.sees("no-daemon", "systemctl enable --now servos-keyd.socket servos-keyd-admin.socket");
    planted.case.state = state(&[]);
    planted.sees("no-daemon", "systemctl try-restart 'servos-keyd*.socket' servos-keyd");
    planted.write("run/keyd-admin.sock", "");
    planted.sees("no-daemon", "systemctl restart servos-keyd; journalctl");
    // systemd runs, and was given no unit.
    planted.case.unit = Err("No files found for servos-keyd.service.".to_owned());
    planted.write("run/systemd/system/x", "");
    let found = planted.sees("no-daemon", "systemctl daemon-reload; ");
    assert!(found.text.contains("systemd runs this machine, and has no servos-keyd.service"), "{}", found.text);
    // No systemd at all.
    let mut planted = Planted::silent();
    let config = planted.at("keyd.toml");
    planted.sees("no-daemon", &format!("servos-keyd serve --config {}", config.display()));
    planted.case.is_service = true;
    assert_eq!(planted.sees("no-daemon", "").mend.as_deref(), Some("servos-keyd serve"));
}

#[test]
fn a_daemon_that_may_not_be_asked_is_told_apart_from_one_that_is_not_there() {
    let mut planted = Planted::silent();
    planted.case.daemon = Daemon::Closed(Failure::say(exit::NOT_PERMITTED, "administration is for root"));
    planted.sees("daemon-not-asked", "sudo servos-keyctl doctor");
    planted.case.socket = planted.at("run/keyd.sock");
    planted.sees("daemon-not-asked", "servos-keyctl doctor --socket ");
    planted.case.daemon = Daemon::Unmapped(Failure::say(exit::NOT_PERMITTED, "the kernel did not tell who is calling"));
    planted.case.machine.euid = 4242;
    planted.sees("peers-unmapped", "PrivateUsers=no");
    planted.case.machine.euid = NOBODY;
    planted.sees("peers-unmapped", "useradd --system --groups servos USER");
}

#[test]
fn every_warning_has_the_id_of_what_it_warns_of_once_and_the_rest_is_kept() {
    let mut planted = Planted::well();
    let status = planted.status();
    status.salvage = true;
    status.store.as_mut().unwrap().state = StoreState::Suspended.into();
    status.self_check = Some(SelfCheck { result: SelfCheckResult::Faulty.into(), ..SelfCheck::default() });
    status.rotation = Some(Rotation::default());
    status.legacy_keys = vec![LegacyKeyStatus { fingerprint: "00aa".into(), ..LegacyKeyStatus::default() }];
    status.master_key.as_mut().unwrap().shared = true;
    status.backup = Some(BackupStatus { overdue: true, ..status.backup.clone().unwrap() });
    status.drills = Some(DrillStatus { overdue: true, ..DrillStatus::default() });
    status.sandbox = Some(SandboxStatus { seccomp: Confinement::Unavailable.into(), ..SandboxStatus::default() });
    status.unopened_records = vec!["key/00".into()];
    let expected = [
        ("salvage", "servos-keyd restore --config "),
        ("store-not-writable", "systemctl restart servos-keyd"),
        ("self-check", "journalctl -u servos-keyd -g self_check"),
        ("rotation-pending", "servos-keyctl rotate status"),
        ("legacy-open", "servos-keyctl legacy retire 00aa"),
        ("key-shared", "servos-keyctl rotate run"),
        ("backup-overdue", "servos-keyctl backup"),
        ("drill-overdue", "servos-keyctl check-key --typed"),
        ("sandbox", "cat /sys/kernel/security/lsm"),
        ("records-unopened", " FILE"),
    ];
    // What the status says is told without a warning too.
    for (id, mend) in expected {
        let command = planted.sees(id, mend).mend.unwrap();
        assert!(command != "servos-keyctl status", "{id} came from there");
    }
    planted.status().warnings = [
        "Salvage: the daemon only opens.",
        "No change is possible: x",
        "The self-check found a problem at y",
        "A rotation of the master key is pending: z",
        "Legacy values open: z",
        "The master key is shared: z",
        "The newest backup in /b is of z",
        "No copy of the master key z was tried",
        "The sandbox is without seccomp: z",
        NO_MEMFD_SECRET,
        "Something that is new.",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut ids: Vec<&str> = expected.iter().map(|(id, _)| *id).collect();
    ids.insert(9, "daemon-warning");
    assert_eq!(planted.ids(), ids);
}

#[test]
fn a_store_that_does_not_say_that_it_is_well_is_not_taken_for_well() {
    for state in [StoreState::Unspecified, StoreState::Failing] {
        let mut planted = Planted::well();
        planted.status().store.as_mut().unwrap().state = state.into();
        let store = planted.config().store.path.clone();
        std::fs::write(&store, "").unwrap();
        planted.sees("store-not-writable", "df -h ");
        // What is gone from the disk, the daemon has until it ends.
        std::fs::remove_file(&store).unwrap();
        planted.sees("store-not-writable", "servos-keyctl backup /root/keyd-saved.skb1");
    }
}

#[test]
fn a_daemon_that_runs_and_does_not_answer_is_not_ended_while_its_key_is_nowhere_else() {
    let mut planted = Planted::silent().unit("");
    std::fs::remove_file(planted.at("master.key")).unwrap();
    let state =
        |is_running| Some(ServiceState { words: "ActiveState=x".to_owned(), is_running, ..ServiceState::default() });
    planted.case.state = state(true);
    let command = planted.sees("no-daemon", "systemctl try-restart").mend.unwrap();
    assert!(command.starts_with("# once the next start has its key"), "{command}");
    planted.case.state = state(false);
    let command = planted.sees("no-daemon", "systemctl try-restart").mend.unwrap();
    assert!(command.starts_with("systemd-tmpfiles "), "{command}");
}

#[test]
fn a_socket_whose_file_is_gone_is_made_anew_by_whoever_made_it() {
    let mut planted = Planted::well();
    planted.status().warnings =
        vec!["The socket /run/servos/keyd.sock is gone, or another lies in its place: x".to_owned()];
    planted.case.is_service = true;
    planted.sees("socket-gone", "systemctl try-restart 'servos-keyd*.socket' servos-keyd");
    planted.case.is_service = false;
    planted.sees("socket-gone", "kill -TERM");
    // Whether the daemon says so or not.
    planted.status().warnings.clear();
    assert!(planted.ids().is_empty());
    std::fs::remove_file(planted.at("run/keyd.sock")).unwrap();
    let found = planted.sees("socket-gone", "kill -TERM");
    assert!(found.text.contains("run/keyd.sock"), "{}", found.text);
    // Who has the only store is not ended.
    std::fs::remove_file(planted.at("state/keyd.redb")).unwrap();
    let command = planted.sees("socket-gone", "kill -TERM").mend.unwrap();
    assert!(command.starts_with("# once what the daemon holds is saved"), "{command}");
}

#[test]
fn every_beginning_that_a_warning_is_known_by_is_one_of_the_daemons() {
    let words = [include_str!("../../../operations/status.rs"), include_str!("../../../operations/due.rs")].concat();
    for begin in TOLD.iter().flat_map(|told| told.begins).chain([&OF_SANDBOX]) {
        let is_said = ["\"", "= \"", "(\""].iter().any(|before| words.contains(&format!("{before}{begin}")));
        assert!(is_said, "no warning begins with {begin:?}");
    }
}
