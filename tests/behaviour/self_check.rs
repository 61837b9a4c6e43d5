//! The daemon's own check of its store and newest backup: what it finds, what it mends, and who is told.
//!
//! Must never wait for a check that is not due within moments. Run by `cargo test`.

use crate::fsck::{flip, flip_in_a_record, newest};
use crate::harness::wire::Wire;
use crate::harness::{Daemon, Installation, KEYCTL, KEYD, block_on, cell, eventually, is_root, name, not_run};
use servos_keyd::client::error::Error;
use servos_keyd::proto::v1::{SelfCheck, SelfCheckResult};
use servos_keyd::store::backup_file;
use tonic_health::pb as health;
use tonic_health::pb::health_check_response::ServingStatus;

/// One that checks itself all the time; none where nobody may ask it for its status.
fn serving() -> Option<(Installation, Daemon)> {
    if !is_root() {
        not_run("only root may ask a daemon with a configuration for its status");
        return None;
    }
    let mut installation = Installation::made();
    installation.self_check = Some("1s");
    let daemon = installation.serve();
    Some((installation, daemon))
}

fn self_check(daemon: &Daemon) -> SelfCheck {
    block_on(async { daemon.admin().status().await }).unwrap().self_check.unwrap()
}

/// Waits until a check came to this.
#[track_caller]
fn comes_to(daemon: &Daemon, what: &str, is_it: impl Fn(&SelfCheck) -> bool) -> SelfCheck {
    let mut found = None;
    eventually(what, || {
        found = Some(self_check(daemon)).filter(|check| is_it(check));
        found.is_some()
    });
    found.unwrap()
}

fn rotate(daemon: &Daemon) -> Result<u32, Error> {
    block_on(async { daemon.admin().rotate_key(&name("default")).await }).map(|rotated| rotated.version)
}

fn health(daemon: &Daemon, service: &str) -> ServingStatus {
    let request = health::HealthCheckRequest { service: service.to_owned() };
    block_on(async {
        let wire = Wire::connect(&daemon.admin_socket).await;
        let answer = wire.call("grpc.health.v1.Health", "Check", &request).await;
        answer.message::<health::HealthCheckResponse>().status()
    })
}

const ADMIN: &str = "servos.keyd.v1.KeyAdmin";

#[test]
fn a_good_store_is_said_to_be_good_and_the_check_changes_nothing() {
    let Some((installation, daemon)) = serving() else { return };
    let before = installation.files();
    assert!(self_check(&daemon).next > 0);
    let check = comes_to(&daemon, "a check", |check| check.result() == SelfCheckResult::Sound);
    // Those of root, canary and identity and of 8 versions, in the store and in the backup.
    assert_eq!((check.seals, check.generation), (22, installation.records().generation));
    assert_eq!(check.backup, newest(&installation).to_str().unwrap());
    assert!(check.at > 0 && check.problems.is_empty() && check.mended.is_empty());
    comes_to(&daemon, "another", |later| later.at > check.at);
    assert_eq!(installation.files(), before);
    daemon.keyctl(&["status"]).run(KEYCTL).expect(0).saying(&["self-check", "good at", "22 seals"]);
    let said = daemon.stop().expect(0).said();
    assert!(said.contains("self_check.passed") && !said.contains("self_check.failed"), "{said}");
}

#[test]
fn a_damaged_newest_backup_is_kept_and_a_new_one_is_written() {
    let Some((installation, daemon)) = serving() else { return };
    // Its name is that of the generation that the store is at.
    let same = newest(&installation);
    flip(&same, |length| length / 2);
    let damaged = std::fs::read(&same).unwrap();
    let check = comes_to(&daemon, "it is mended", |check| !check.mended.is_empty());
    assert!(check.result() == SelfCheckResult::Sound);
    assert!(
        check.mended[0].contains("is damaged") && check.mended[0].contains("a new backup was written"),
        "{:?} {:?}",
        check.problems,
        check.mended
    );
    assert_eq!(std::fs::read(format!("{}.damaged", same.display())).unwrap(), damaged);
    assert!(backup_file::read(&same).is_ok());
    // Another one: the store has gone on since.
    rotate(&daemon).unwrap();
    let older = backup_file::list(&installation.path("backup")).unwrap().pop().unwrap();
    flip(&older, |length| length / 2);
    let damaged = std::fs::read(&older).unwrap();
    let check = comes_to(&daemon, "it is mended", |check| check.mended.iter().any(|said| said.contains("00002.skb1")));
    assert_eq!(std::fs::read(&older).unwrap(), damaged);
    assert_ne!(check.backup, older.to_str().unwrap());
    assert!(backup_file::read(check.backup.as_ref()).is_ok());
    daemon.stop().expect(0).saying(&["self_check.mended"]).not_saying(&["self_check.failed"]);
    // The one that is put aside is nobody's backup; the other waits for the operator.
    installation.command("fsck", &[]).run(KEYD).expect(1).saying(&["other backups  PROBLEM", "1 file, whole"]);
}

#[test]
fn a_backup_that_is_gone_or_cannot_be_written_is_told() {
    let Some((installation, daemon)) = serving() else { return };
    std::fs::remove_file(newest(&installation)).unwrap();
    let check = comes_to(&daemon, "it is mended", |check| !check.mended.is_empty());
    assert_eq!(check.backup, newest(&installation).to_str().unwrap());
    installation.break_backups();
    let check = comes_to(&daemon, "it is told", |check| check.result() == SelfCheckResult::Faulty);
    assert!(
        check.problems.concat().contains("a new backup could not be written"),
        "{:?} {:?}",
        check.problems,
        check.mended
    );
    assert_eq!(health(&daemon, ADMIN), ServingStatus::Serving, "the store is good");
    daemon.keyctl(&["status"]).run(KEYCTL).expect(0).saying(&["The self-check found a problem", "PROBLEMS at"]);
    // The backups go, and so does what is in the way.
    std::fs::remove_dir_all(installation.path("backup.away")).unwrap();
    std::fs::remove_file(installation.path("backup")).unwrap();
    comes_to(&daemon, "it is mended", |check| check.result() == SelfCheckResult::Sound);
    assert_eq!(backup_file::list(&installation.path("backup")).unwrap().len(), 1);
    daemon.stop().expect(0).saying(&["self_check.failed"]);
}

#[test]
fn a_mark_that_is_gone_or_another_is_written_anew() {
    let Some((installation, daemon)) = serving() else { return };
    let whole = installation.marked_state();
    let changes: [fn(&Installation); 3] = [
        |i| std::fs::remove_file(i.mark()).unwrap(),
        |i| std::fs::write(i.mark(), b"SKH1\n").unwrap(),
        |i| i.write_mark(Some(servos_keyd::store::mark::State { generation: 99, ..i.marked_state() }), None),
    ];
    for change in changes {
        change(&installation);
        eventually("it is written anew", || {
            servos_keyd::store::mark::read(&installation.mark())
                .is_ok_and(|mark| mark.is_some_and(|m| m.now == Some(whole)))
        });
        comes_to(&daemon, "it is told", |check| check.mended.concat().contains("it was written anew"));
    }
    daemon.stop().expect(0);
}

#[test]
fn damage_under_a_running_daemon_stops_changes_alone_until_it_is_gone() {
    let Some((installation, daemon)) = serving() else { return };
    let seal = || block_on(async { daemon.component().encrypt(&name("default"), b"x", &cell("1")).await });
    let before = seal().unwrap().ciphertext;
    let files = backup_file::list(&installation.path("backup")).unwrap();
    flip_in_a_record(&installation);
    let check = comes_to(&daemon, "it is found", |check| check.result() == SelfCheckResult::Faulty);
    let said = check.problems.concat();
    assert!(said.contains("damaged") && said.contains("`servos-keyd restore "), "{said}");
    assert!(said.contains(files[0].to_str().unwrap()), "{said}");
    assert_eq!(health(&daemon, ADMIN), ServingStatus::NotServing);
    assert_eq!(health(&daemon, ""), ServingStatus::Serving);
    assert_eq!(health(&daemon, "servos.keyd.v1.KeyService"), ServingStatus::Serving);
    daemon.keyctl(&["health", "--service", ADMIN]).run(KEYCTL).expect(1).saying(&["does not serve"]);
    daemon.keyctl(&["health"]).run(KEYCTL).expect(0);
    assert!(matches!(rotate(&daemon), Err(Error::DataLoss { .. })));
    let told = daemon.keyctl(&["status"]).run(KEYCTL).expect(0);
    told.saying(&["The self-check found the store damaged", "PROBLEMS at"]);
    // What is in memory goes on, and no backup is made of damage.
    seal().unwrap();
    let opened = block_on(async { daemon.component().decrypt(&name("default"), &before, &cell("1")).await }).unwrap();
    assert_eq!(opened.plaintext.as_slice(), b"x");
    assert_eq!(backup_file::list(&installation.path("backup")).unwrap(), files);
    flip_back(&installation);
    comes_to(&daemon, "it is good again", |check| check.result() == SelfCheckResult::Sound);
    eventually("health follows", || health(&daemon, ADMIN) == ServingStatus::Serving);
    assert_eq!(rotate(&daemon).unwrap(), 2);
    daemon.stop().expect(0).saying(&["self_check.failed", "self_check.passed"]);
}

/// The same bytes once more.
fn flip_back(installation: &Installation) {
    let backup = backup_file::read(&newest(installation)).unwrap();
    let value = backup.records.iter().find(|(name, _)| name.starts_with("version/")).unwrap().1;
    let mut needle = value[value.len() - 20..].to_vec();
    needle[0] ^= 1;
    let file = std::fs::read(installation.store()).unwrap();
    let found = file.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
    for (at, _) in found.collect::<Vec<_>>() {
        flip(&installation.store(), |_| at);
    }
}

#[test]
fn a_store_that_was_moved_away_is_no_damage_and_is_told() {
    let Some((installation, daemon)) = serving() else { return };
    std::fs::rename(installation.store(), installation.path("away")).unwrap();
    // By a check, or by the look that the daemon takes at its files: whichever comes first.
    let warnings = || block_on(async { daemon.admin().status().await }).unwrap().warnings.concat();
    eventually("it is found", || warnings().contains("the open store was moved away or removed"));
    assert!(!warnings().contains("damaged"), "{}", warnings());
    std::fs::rename(installation.path("away"), installation.store()).unwrap();
    comes_to(&daemon, "it is good again", |check| check.result() == SelfCheckResult::Sound);
    assert_eq!(rotate(&daemon).unwrap(), 2);
    daemon.stop().expect(0);
}
