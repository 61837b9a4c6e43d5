//! Tests of `store`.
//!
//! Must never need a file system of another kind: the machine tells.
//! Run by `cargo test`.

use super::*;
use crate::cli::keyctl::doctor::case::Configured;
use crate::cli::keyctl::doctor::machine::{Mount, UserEntry};
use crate::cli::keyctl::doctor::planted::{KEY, Planted, chmod, fingerprint};
use crate::store::backup_file::{Backup, write_durably};
use crate::store::port::Snapshot;
use std::io::Write as _;

fn on(mount: Mount) -> Planted {
    let mut planted = Planted::well();
    planted.case.machine.mount = Box::new(move |_| Some(mount.clone()));
    planted
}

#[test]
fn a_disk_that_does_not_keep_the_store_is_told() {
    let room = Mount { free_bytes: 1 << 30, ..Mount::default() };
    let found = on(Mount { network: Some("nfs".into()), ..room.clone() })
        .sees("store-network-file-system", "cp -a --backup=numbered ");
    let mend = found.mend.unwrap();
    for file in ["keyd.redb", "keyd.redb.mark"] {
        let free = format!("test ! -e /var/lib/servos-keyd/{file} && ");
        assert!(mend.find(&free) < mend.find("systemctl stop") && mend.contains(&free), "{mend}");
    }
    assert!(found.text.contains("is on nfs, a network file system"), "{}", found.text);
    on(Mount { is_read_only: true, ..room.clone() }).sees("store-read-only", "mount -o remount,rw ");
    on(Mount { free_bytes: 4096, ..room.clone() }).sees("store-full", "df -h ");
    assert!(on(room).ids().is_empty());
    let mut unknown = Planted::well();
    unknown.case.machine.mount = Box::new(|_| None);
    assert!(unknown.not_made().contains("store: what "), "{}", unknown.not_made());
}

#[test]
fn modes_that_let_others_change_the_store_are_told_with_chmod() {
    let planted = Planted::well();
    planted.write("state/keyd.redb", "");
    planted.write("state/keyd.redb.mark", "");
    assert!(planted.ids().is_empty(), "{:?}", planted.ids());
    for (name, mode, good) in
        [("state", 0o777, 0o700), ("state/keyd.redb", 0o666, 0o600), ("state/keyd.redb.mark", 0o606, 0o600)]
    {
        chmod(&planted.at(name), mode);
        let found = planted.sees("store-modes", "chmod ");
        assert!(found.severity == Severity::Problem && found.text.contains(&format!("{mode:04o}")), "{}", found.text);
        assert!(found.mend.unwrap().starts_with("chmod "));
        chmod(&planted.at(name), good);
    }
    // What has no command has none made of its sentence.
    planted.write("state/backup", "a file");
    let found = planted.examined().found;
    assert!(
        found.len() == 1 && found[0].text.ends_with("it is not a directory") && found[0].mend.is_none(),
        "{found:?}"
    );
    std::fs::remove_file(planted.at("state/backup")).unwrap();
    chmod(&planted.at("state/keyd.redb"), 0o644);
    assert_eq!(planted.sees("store-modes", "chmod 600 ").severity, Severity::Advice);
}

#[test]
fn a_store_that_is_not_there_is_told_with_what_brings_it_back() {
    let mut planted = Planted::silent();
    planted.config().store.create = false;
    planted.sees("store-missing", "servos-keyd init --config ");
    write_durably(&planted.at("state/backup"), &Backup::of([7; 16], 1, Snapshot::default())).unwrap();
    let found = planted.sees("store-missing", "servos-keyd restore ");
    assert!(found.text.contains("is gone, but"), "{}", found.text);
    planted.write("state/keyd.redb", "");
    planted.sees("store-missing", "servos-keyd accept --config ");
    planted.case.claimed = Claimed::Keys { fingerprints: vec![fingerprint(KEY)], generation: 9 };
    planted.sees("store-missing", "--generation 9");
    planted.case.claimed = Claimed::Damaged("the store is damaged".to_owned());
    let mend = planted.sees("store-damaged", "servos-keyd restore --config ").mend.unwrap();
    assert!(mend.ends_with(".skb1"), "{mend}");
    planted.case.claimed = Claimed::Unread("a process has it".to_owned());
    assert!(planted.not_made().contains("what the store says of its keys: a process has it"));
}

#[test]
fn a_slip_in_the_stores_path_is_told_with_its_line_before_anything_is_made_or_brought_back() {
    let mut planted = Planted::silent();
    planted.config().store.create = false;
    let right = planted.write("state/keyd.redb", "");
    planted.write("state/keyd.redb.mark", "");
    // The backups are there, and would be restored to the wrong place.
    write_durably(&planted.at("state/backup"), &Backup::of([7; 16], 1, Snapshot::default())).unwrap();
    for wrong in ["state/stor.redb", "stat/keyd.redb"] {
        let wrong = planted.at(wrong);
        planted.write("keyd.toml", format!("[store]\npath = \"{}\"\n", wrong.display()));
        planted.config().store.path = wrong.clone();
        planted.config().store.mark = crate::config::settings::mark_beside(&wrong);
        let found = planted.sees("store-missing", "sed -i '2s|");
        for words in ["one stands at", &right.display().to_string(), "line 2 of "] {
            assert!(found.text.contains(words), "{}", found.text);
        }
        let mend = found.mend.unwrap();
        assert!(!mend.contains("restore") && !mend.contains("init"), "{mend}");
        assert!(!planted.ids().contains(&"store-modes"), "{:?}", planted.ids());
    }
}

#[test]
fn what_comes_first_on_a_packaged_machine_is_what_its_next_command_says() {
    let mut planted = Planted::silent().unit("LoadCredential=servos.env:/etc/servos/servos.env\n");
    planted.config().store.create = false;
    planted.config().master_key.file = None;
    planted.sees("store-missing", "servos-keyctl generate-key /etc/servos/master.key");
    let key = planted.write("etc/servos/master.key", KEY);
    let said = |planted: &Planted| planted.sees("store-missing", "").mend.unwrap();
    assert_eq!(said(&planted), format!("SERVOS_MASTER_KEY_FILE={} servos-keyd init", key.display()));
    let env = planted.write("etc/servos/servos.env", format!("SERVOS_MASTER_KEY={KEY}\n"));
    assert_eq!(said(&planted), format!("SERVOS_MASTER_KEY_FILE={} servos-keyd init --adopt-legacy", env.display()));
    // A mark tells of a store that was lost: that is no new installation.
    planted.write("state/keyd.redb.mark", "");
    let mend = said(&planted);
    assert!(mend.contains(&format!("SERVOS_MASTER_KEY_FILE={} servos-keyd restore FILE", env.display())), "{mend}");
    let units = "servos-keyd.socket servos-keyd-admin.socket servos-keyd";
    assert!(mend.starts_with(&format!("systemctl stop {units} && ")), "{mend}");
    assert!(mend.ends_with(&format!("; systemctl start {units}")), "{mend}");
    planted.write("etc/systemd/system/sockets.target.wants/servos-keyd-metrics.socket", "");
    assert!(
        said(&planted).ends_with("servos-keyd-metrics.socket servos-keyd"),
        "a socket that was open is opened again"
    );
}

#[test]
fn what_root_left_closed_to_the_daemons_user_is_told_to_root() {
    let mut planted = Planted::silent();
    if planted.case.machine.euid != 0 {
        let _ = writeln!(std::io::stderr(), "NOT RUN: what is closed to the daemon's user: only root gives files away");
        return;
    }
    let chown = |path: &std::path::Path, id| std::os::unix::fs::chown(path, Some(id), Some(id)).unwrap();
    let (store, mark) = (planted.write("state/keyd.redb", ""), planted.write("state/keyd.redb.mark", ""));
    let backups = planted.at("state/backup");
    std::fs::create_dir(&backups).unwrap();
    chmod(&backups, 0o700);
    for path in [&planted.at("state"), &planted.at("master.key"), &store, &mark, &backups] {
        chown(path, 4711);
    }
    assert_eq!(planted.ids(), ["no-daemon"]);
    for (path, mode) in [(&store, "600"), (&mark, "600"), (&backups, "700")] {
        chown(path, 0);
        let command = planted.sees("store-modes", "").mend.unwrap();
        let path = path.display();
        let as_user = "setpriv --reuid 4711 --regid 4711 --clear-groups";
        assert_eq!(command, format!("chown -h 4711:4711 {path} && {as_user} chmod {mode} {path}"));
        assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success());
        assert_eq!(planted.ids(), ["no-daemon"], "{path}");
    }
    planted.case.machine.euid = 4711;
    assert_eq!(planted.ids(), ["no-daemon"]);
}

#[test]
fn a_configuration_that_the_services_user_cannot_read_is_told_to_root() {
    let mut planted = Planted::silent().unit("");
    let file = planted.write("keyd.toml", "");
    planted.case.machine.euid = 0;
    planted.case.machine.user = Box::new(|_| Ok(Some(UserEntry { uid: 4712, gids: vec![4712] })));
    let found = planted.sees("configuration", &format!("chmod o+r {}", file.display()));
    assert!(found.text.contains("the daemon's user, servos-keyd, cannot read"), "{}", found.text);
    chmod(&file, 0o644);
    let ids = planted.ids();
    // What lies above the tests' own directory may be closed too.
    assert!(!ids.contains(&"configuration") || std::env::temp_dir() != std::path::Path::new("/tmp"), "{ids:?}");
}

#[test]
fn an_old_backup_is_told_without_the_daemon_where_the_store_went_on() {
    let mut planted = Planted::silent();
    planted.write("state/keyd.redb", "");
    planted.write("state/keyd.redb.mark", "");
    let made = u64::try_from(planted.case.machine.now - 40 * 86_400).unwrap();
    let snapshot = Snapshot { generation: 4, ..Snapshot::default() };
    write_durably(&planted.at("state/backup"), &Backup::of([7; 16], made, snapshot)).unwrap();
    planted.case.claimed = Claimed::Keys { fingerprints: vec![fingerprint(KEY)], generation: 5 };
    assert_eq!(planted.sees("backup-overdue", "servos-keyctl backup").severity, Severity::Advice);
    planted.case.claimed = Claimed::Keys { fingerprints: vec![fingerprint(KEY)], generation: 4 };
    assert_eq!(planted.ids(), ["no-daemon"]);
}

#[test]
fn what_another_users_directory_holds_is_said_to_be_unseen() {
    let mut planted = Planted::silent();
    planted.case.machine.euid = 4242;
    assert!(planted.not_made().contains("only root and the daemon's own user can: sudo servos-keyctl doctor"));
    planted.case.configured = Configured::Unknown("x is not a socket of y".to_owned());
    assert!(planted.not_made().contains("store: the store's place: x is not a socket of y"));
}

#[test]
fn a_configuration_that_cannot_be_read_or_is_not_the_daemons_is_told() {
    let mut planted = Planted::well();
    planted.status().store.as_mut().unwrap().path = planted.at("other/keyd.redb").display().to_string();
    assert_eq!(planted.sees("configuration", "systemctl restart servos-keyd").severity, Severity::Advice);
    let text = "keyd.toml: line 3: there is no key `sockets`".to_owned();
    planted.case.configured = Configured::Invalid { text, mend: "vi +3 keyd.toml".to_owned() };
    let found = planted.sees("configuration", "vi +3 keyd.toml");
    assert!(found.severity == Severity::Problem && found.text.contains("line 3"));
}
