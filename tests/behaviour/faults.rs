//! Faults under a running daemon: no room for a backup, a store that is moved away, a request that comes twice.
//!
//! Must never take a refused change for one that left nothing behind without looking. Run by `cargo test`.

use crate::harness::{Daemon, Installation, admin_stub, block_on, cell, eventually, is_there, name};
use servos_keyd::client::error::Error;
use servos_keyd::client::key_admin::KeyFilter;
use servos_keyd::proto::v1::{CreateKeyRequest, KeyPurpose, RotateKeyRequest};
use tonic::{Code, Status};

/// The primary version of a key.
fn primary(daemon: &Daemon, key: &str) -> u32 {
    let filter = KeyFilter { key: Some(name(key)), include_deleted: false };
    block_on(async { daemon.admin().list_keys(&filter).await.unwrap()[0].primary })
}

fn versions(daemon: &Daemon, key: &str) -> usize {
    let filter = KeyFilter { key: Some(name(key)), include_deleted: false };
    block_on(async { daemon.admin().list_keys(&filter).await.unwrap()[0].versions.len() })
}

fn rotate(daemon: &Daemon, key: &str) -> Result<u32, Error> {
    block_on(async { daemon.admin().rotate_key(&name(key)).await.map(|rotated| rotated.version) })
}

/// The version that a value is sealed under now.
fn sealing(daemon: &Daemon, key: &str) -> u32 {
    block_on(async { daemon.component().encrypt(&name(key), b"x", &cell("1")).await.unwrap().version })
}

#[test]
fn a_version_that_is_in_no_backup_never_seals() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    installation.break_backups();
    for _ in 0..3 {
        let refused = rotate(&daemon, "default").unwrap_err();
        assert!(matches!(refused, Error::StoreUnavailable { .. }), "{refused:?}");
        assert_eq!((primary(&daemon, "default"), sealing(&daemon, "default")), (1, 1));
    }
    // However often it was tried, one version waits, and the next call takes it up.
    assert_eq!(versions(&daemon, "default"), 2);
    installation.mend_backups();
    assert_eq!(rotate(&daemon, "default").unwrap(), 2);
    assert_eq!((primary(&daemon, "default"), sealing(&daemon, "default")), (2, 2));
}

#[test]
fn a_key_whose_first_version_is_in_no_backup_does_not_seal_until_it_is() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    installation.break_backups();
    let refused = block_on(async { daemon.admin().create_key(&name("new")).await.map(drop).unwrap_err() });
    assert!(matches!(refused, Error::StoreUnavailable { .. }), "{refused:?}");
    let sealed = block_on(async { daemon.component().encrypt(&name("new"), b"x", &cell("1")).await });
    assert!(sealed.is_err(), "sealed under a version that is in no backup");
    daemon.kill();
    // A start finishes what broke off, once it can.
    installation.mend_backups();
    let daemon = installation.serve_for_admin();
    eventually("the key seals", || primary(&daemon, "new") == 1);
    assert_eq!(sealing(&daemon, "new"), 1);
}

#[test]
fn sealing_goes_on_while_the_store_is_away_and_changes_are_refused() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let away = installation.path("away.redb");
    std::fs::rename(installation.store(), &away).unwrap();
    assert_eq!(sealing(&daemon, "default"), 1);
    let refused = rotate(&daemon, "default").unwrap_err();
    assert!(matches!(refused, Error::StoreUnavailable { .. }), "{refused:?}");
    assert!(!is_there(&installation.store()), "a store was made");
    // Another file in its place is not gone on with, nor changed.
    let other = Installation::made();
    std::fs::copy(other.store(), installation.store()).unwrap();
    let before = std::fs::read(installation.store()).unwrap();
    let refused = rotate(&daemon, "default").unwrap_err();
    assert!(matches!(refused, Error::StoreUnavailable { .. } | Error::DataLoss { .. }), "{refused:?}");
    assert_eq!(std::fs::read(installation.store()).unwrap(), before);
    assert_eq!(sealing(&daemon, "default"), 1);
    std::fs::rename(&away, installation.store()).unwrap();
    assert_eq!(rotate(&daemon, "default").unwrap(), 2);
    assert_eq!(sealing(&daemon, "default"), 2);
}

/// Rotates a key in a request of this id.
fn rotate_as(daemon: &Daemon, key: &str, request_id: &str) -> Result<u32, Status> {
    let request = RotateKeyRequest { key: key.to_owned(), request_id: request_id.to_owned() };
    block_on(async { Ok(admin_stub(&daemon.admin_socket).rotate_key(request).await?.into_inner().version) })
}

const FIRST: &str = "9f3c2e70-1111-4222-8333-000000000001";
const SECOND: &str = "9f3c2e70-1111-4222-8333-000000000002";
const THIRD: &str = "9f3c2e70-1111-4222-8333-000000000003";

#[test]
fn the_same_request_again_gives_the_same_answer_over_restarts_too() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    assert_eq!(rotate_as(&daemon, "default", FIRST).unwrap(), 2);
    assert_eq!(rotate_as(&daemon, "default", FIRST).unwrap(), 2);
    daemon.kill();
    let daemon = installation.serve_for_admin();
    assert_eq!(rotate_as(&daemon, "default", FIRST).unwrap(), 2);
    assert_eq!(rotate_as(&daemon, "default", SECOND).unwrap(), 3);
    assert_eq!(rotate_as(&daemon, "default", FIRST).unwrap(), 2);
    assert_eq!(versions(&daemon, "default"), 3);
    // With other contents, or for another call, the id is refused.
    let refused = rotate_as(&daemon, "backups", FIRST).unwrap_err();
    assert_ne!(refused.code(), Code::Ok);
    let request = CreateKeyRequest {
        name: "other".to_owned(),
        purpose: KeyPurpose::Encrypt.into(),
        request_id: FIRST.to_owned(),
    };
    let refused = block_on(async { admin_stub(&daemon.admin_socket).create_key(request).await.map(drop).unwrap_err() });
    assert_eq!(refused.code(), rotate_as(&daemon, "backups", SECOND).unwrap_err().code());
    assert_eq!(versions(&daemon, "backups"), 1);
}

#[test]
fn a_request_that_takes_up_a_waiting_version_is_remembered_like_any_other() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    installation.break_backups();
    assert_eq!(rotate_as(&daemon, "default", FIRST).unwrap_err().code(), Code::Unavailable);
    assert_eq!(rotate_as(&daemon, "default", SECOND).unwrap_err().code(), Code::Unavailable);
    installation.mend_backups();
    for id in [SECOND, SECOND, FIRST, SECOND] {
        assert_eq!(rotate_as(&daemon, "default", id).unwrap(), 2, "{id}");
    }
    assert_eq!(versions(&daemon, "default"), 2);
    assert_eq!(rotate_as(&daemon, "default", THIRD).unwrap(), 3);
}
