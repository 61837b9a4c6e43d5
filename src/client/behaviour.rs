//! How the client behaves against a daemon that restarts, goes away, hangs, refuses and lies.
//!
//! Must never need a real daemon, a fixed path or a pause of its own.
//! Called by `cargo test`.

use super::context::Context;
use super::error::Error;
use super::fake_daemon::{FakeDaemon, lock};
use super::key_admin::{AdminClient, KeyFilter};
use super::key_name::KeyName;
use super::key_service::Client;
use super::value::Format;
use crate::proto::v1::{BackupInfo, BackupResponse, ExportKeyringResponse};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::Code;

fn key() -> KeyName {
    KeyName::new("ssh-keys").unwrap()
}

fn cell() -> Context {
    Context::new("table", "servers").with("id", "7f3e")
}

fn start() -> (TempDir, FakeDaemon, Client) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(&dir.path().join("keyd.sock"));
    let client = Client::new(&daemon.socket);
    (dir, daemon, client)
}

fn piece(data: &[u8], generation: u64, complete: bool) -> ExportKeyringResponse {
    ExportKeyringResponse { data: data.to_vec(), generation, complete }
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn a_secret_goes_there_and_back() {
    let (_dir, _daemon, client) = start();
    let sealed = client.encrypt(&key(), b"secret", &cell()).await.unwrap();
    let opened = client.decrypt_base64(&key(), &format!(" {}\n", sealed.to_base64()), &cell()).await.unwrap();
    assert_eq!(opened.plaintext.as_slice(), b"secret");
    assert!(!format!("{opened:?}").contains("115"), "the bytes show in {opened:?}");
}

#[tokio::test]
async fn a_component_may_spawn_the_calls() {
    let (_dir, _daemon, client) = start();
    let (key, cell) = (key(), cell());
    assert_send(client.encrypt_keeping_keyring(&key, b"s", &cell, 0, |_, _| Ok::<_, Error>(()))).await.unwrap();
    assert_send(client.decrypt(&key, b"s", &cell)).await.unwrap();
    assert_send(AdminClient::new(&client).create_key(&key)).await.unwrap();
}

#[tokio::test]
async fn a_restarted_daemon_is_found_again() {
    let (_dir, daemon, client) = start();
    client.encrypt(&key(), b"1", &cell()).await.unwrap();
    let (socket, rules) = (daemon.socket.clone(), daemon.rules.clone());
    daemon.kill().await;
    // The call begins while nobody listens, and is answered by the next daemon.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.encrypt(&key(), b"2", &cell()).await }
    });
    tokio::task::yield_now().await;
    let daemon = FakeDaemon::start_with(&socket, rules);
    waiting.await.unwrap().unwrap();
    assert_eq!(daemon.rules.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn calls_go_on_over_goaway_and_over_cut_connections() {
    let (_dir, daemon, client) = start();
    for round in 0..20 {
        client.encrypt(&key(), b"1", &cell()).await.unwrap();
        if round % 2 == 0 { daemon.say_goaway() } else { daemon.cut_connections() }
    }
    let connections = daemon.rules.connections.load(Ordering::SeqCst);
    assert!(connections >= 5, "{connections} connections: the orders did not arrive");
}

#[tokio::test]
async fn no_call_of_many_at_once_is_lost_to_goaway() {
    let (_dir, daemon, client) = start();
    for _ in 0..10 {
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.encrypt(&key(), b"1", &cell()).await })
            })
            .collect();
        tokio::task::yield_now().await;
        daemon.say_goaway();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn an_absurd_deadline_is_cut_to_what_grpc_can_say() {
    let (_dir, _daemon, client) = start();
    client.with_deadline(Duration::MAX).encrypt(&key(), b"1", &cell()).await.unwrap();
}

#[tokio::test]
async fn calls_in_flight_when_the_connection_is_cut_are_sent_again() {
    let (_dir, daemon, client) = start();
    let client = client.with_deadline(Duration::from_secs(5));
    let hanging = tokio::spawn({
        let client = client.clone();
        async move { client.encrypt(&key(), b"1", &cell().with("answer", "hang")).await }
    });
    while daemon.rules.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    daemon.cut_connections();
    while daemon.rules.calls.load(Ordering::SeqCst) == 1 {
        tokio::task::yield_now().await;
    }
    hanging.abort();
}

#[tokio::test]
async fn a_missing_daemon_is_named_at_once_if_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let client = Client::new(&socket).with_wait_for_daemon(Duration::ZERO);
    let started = Instant::now();
    match client.encrypt(&key(), b"1", &cell()).await {
        Err(Error::Unavailable { socket: tried, source }) => {
            assert_eq!(tried, socket);
            assert_eq!(source.downcast::<std::io::Error>().unwrap().kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_missing_daemon_is_waited_for_no_longer_than_the_deadline() {
    let client = Client::new("does-not-exist.sock").with_deadline(Duration::from_millis(60));
    let error = client.encrypt(&key(), b"1", &cell()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn the_deadline_is_sent_and_held() {
    let (_dir, daemon, client) = start();
    let client = client.with_deadline(Duration::from_millis(80));
    let error = client.encrypt(&key(), b"1", &cell().with("answer", "hang")).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
    assert_eq!(
        lock(&daemon.rules.timeouts).len(),
        1,
        "the daemon was told the deadline, and the call was not repeated"
    );
}

#[tokio::test]
async fn aborted_is_tried_again_a_few_times_and_other_answers_are_not() {
    let (_dir, daemon, client) = start();
    let calls = || daemon.rules.calls.swap(0, Ordering::SeqCst);
    daemon.rules.conflicts.store(2, Ordering::SeqCst);
    client.encrypt(&key(), b"1", &cell()).await.unwrap();
    assert_eq!(calls(), 3);
    daemon.rules.conflicts.store(100, Ordering::SeqCst);
    assert!(matches!(client.encrypt(&key(), b"1", &cell()).await, Err(Error::Conflict { .. })));
    assert_eq!(calls(), 5);
    daemon.rules.conflicts.store(0, Ordering::SeqCst);
    for code in 1..=16 {
        if code == Code::Aborted as i32 {
            continue;
        }
        let error = client.encrypt(&key(), b"1", &cell().with("answer", code.to_string())).await.unwrap_err();
        assert_eq!(error.code() as i32, code, "{error:?}");
        assert_eq!(calls(), 1, "{error:?}");
    }
}

#[tokio::test]
async fn a_rejected_ciphertext_is_an_error_of_its_own() {
    let (_dir, _daemon, client) = start();
    let error = client.decrypt(&key(), b"x", &cell().with("answer", "rejected")).await.unwrap_err();
    assert!(matches!(error, Error::Rejected), "{error:?}");
}

#[tokio::test]
async fn answers_against_the_contract_are_errors() {
    let (_dir, daemon, client) = start();
    for format in [0, 2, 9] {
        *lock(&daemon.rules.format) = Some(format);
        assert!(matches!(client.decrypt(&key(), b"x", &cell()).await, Err(Error::Unexpected { .. })), "{format}");
    }
    *lock(&daemon.rules.format) = None;
    *lock(&daemon.rules.other_key) = Some("legacy".to_owned());
    assert!(matches!(client.decrypt(&key(), b"x", &cell()).await, Err(Error::Unexpected { .. })));
    assert!(matches!(client.encrypt(&key(), b"x", &cell()).await, Err(Error::Unexpected { .. })));
    *lock(&daemon.rules.format) = Some(2);
    let opened = client.danger_decrypt_legacy(&key(), b"x", &cell()).await.unwrap();
    assert_eq!(opened.format, Format::Legacy);
}

#[tokio::test]
async fn what_is_wrong_before_it_is_sent_is_not_sent() {
    let (_dir, daemon, client) = start();
    let twice = Context::new("id", "1").with("id", "2");
    assert!(matches!(client.encrypt(&key(), b"x", &twice).await, Err(Error::Invalid { .. })));
    assert!(matches!(client.relabel(&key(), b"x", &cell(), &key(), &twice).await, Err(Error::Invalid { .. })));
    for text in ["U0tEMQ", "U0tEMQ=", "U0tE MQ==", "U0tEMQ==\0", "-_-_"] {
        assert!(matches!(client.decrypt_base64(&key(), text, &cell()).await, Err(Error::NotBase64)), "{text:?}");
    }
    assert_eq!(daemon.rules.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_an_opening_canary_is_ok_and_a_lost_one_does_not_pass_for_the_daemons_own() {
    let (_dir, _daemon, client) = start();
    client.verify_own_canary().await.unwrap();
    client.verify_canary(&[1; 64]).await.unwrap();
    for result in 2..=4 {
        assert!(matches!(client.verify_canary(&[result; 64]).await, Err(Error::Canary(_))), "{result}");
    }
    assert!(matches!(client.verify_canary(&[0; 64]).await, Err(Error::Unexpected { .. })));
    assert!(matches!(client.verify_canary(&[]).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn an_export_that_ends_early_is_an_error() {
    let (_dir, daemon, client) = start();
    let bad: [Vec<ExportKeyringResponse>; 5] = [
        vec![],
        vec![piece(b"SKB1", 7, false)],
        vec![piece(b"", 7, true)],
        vec![piece(b"SK", 7, false), piece(b"B1", 8, true)],
        vec![piece(b"SKB1", 7, true), piece(b"more", 7, true)],
    ];
    for pieces in bad {
        *lock(&daemon.rules.export) = pieces;
        assert!(matches!(client.export_keyring().await, Err(Error::IncompleteExport { .. })));
    }
    *lock(&daemon.rules.export) = vec![piece(b"SK", 7, false), piece(b"B1", 7, true)];
    let export = client.export_keyring().await.unwrap();
    assert_eq!((export.bytes.as_slice(), export.generation), (b"SKB1".as_slice(), 7));
}

#[tokio::test]
async fn a_backup_that_ends_early_is_an_error() {
    let (_dir, daemon, client) = start();
    let admin = AdminClient::new(&client);
    let first = |bytes, path: &str| {
        let info = BackupInfo { bytes, path: path.to_owned(), ..BackupInfo::default() };
        BackupResponse { info: Some(info), chunk: Vec::new() }
    };
    let piece = |chunk: &[u8]| BackupResponse { info: None, chunk: chunk.to_vec() };
    let bad: [Vec<BackupResponse>; 7] = [
        vec![],
        vec![first(4, "")],
        vec![first(0, "")],
        vec![piece(b"SKB1")],
        vec![first(4, ""), piece(b"SKB")],
        vec![first(4, ""), piece(b"SKB1"), piece(b"more")],
        vec![first(4, ""), piece(b"SK"), first(4, ""), piece(b"B1")],
    ];
    for (case, messages) in bad.into_iter().enumerate() {
        *lock(&daemon.rules.backup) = messages;
        assert!(matches!(admin.fetch_backup().await, Err(Error::IncompleteBackup { .. })), "{case}");
        assert!(matches!(admin.back_up().await, Err(Error::Unexpected { .. })), "{case}");
    }
    *lock(&daemon.rules.backup) = vec![first(4, ""), piece(b"SK"), piece(b"B1")];
    assert_eq!(admin.fetch_backup().await.unwrap().bytes, b"SKB1");
    *lock(&daemon.rules.backup) = vec![first(4, "/b")];
    assert_eq!(admin.back_up().await.unwrap().path, "/b");
}

#[tokio::test]
async fn the_keyring_is_kept_only_if_what_is_held_is_older() {
    let (_dir, daemon, client) = start();
    daemon.rules.keyring.store(7, Ordering::SeqCst);
    *lock(&daemon.rules.export) = vec![piece(b"SKB1", 9, true)];
    let mut kept = None;
    let keep = |bytes: &[u8], generation| {
        kept = Some((bytes.to_vec(), generation));
        Ok::<_, std::io::Error>(())
    };
    client.encrypt_keeping_keyring(&key(), b"x", &cell(), 6, keep).await.unwrap();
    assert_eq!(kept, Some((b"SKB1".to_vec(), 9)));

    let never = |_: &[u8], _| -> Result<(), std::io::Error> { panic!("what is held is new enough") };
    client.encrypt_keeping_keyring(&key(), b"x", &cell(), 7, never).await.unwrap();

    let fail = |_: &[u8], _| Err(std::io::Error::other("disk full"));
    let error = client.encrypt_keeping_keyring(&key(), b"x", &cell(), 0, fail).await.unwrap_err();
    assert!(matches!(error, Error::NotKept(_)), "{error:?}");

    *lock(&daemon.rules.export) = vec![piece(b"SKB1", 6, true)];
    let error = client.encrypt_keeping_keyring(&key(), b"x", &cell(), 0, |_, _| Ok::<_, Error>(())).await.unwrap_err();
    assert!(matches!(error, Error::IncompleteExport { .. }), "{error:?}");
}

#[tokio::test]
async fn a_change_keeps_its_request_id_over_retries_and_gets_another_the_next_time() {
    let (_dir, daemon, client) = start();
    let admin = AdminClient::new(&client);
    daemon.rules.conflicts.store(2, Ordering::SeqCst);
    admin.create_key(&key()).await.unwrap();
    admin.rotate_key(&key()).await.unwrap();
    let ids = lock(&daemon.rules.request_ids).clone();
    assert_eq!(ids.len(), 4);
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3] && !ids[3].is_empty(), "{ids:?}");
}

#[tokio::test]
async fn pages_of_keys_become_one_list() {
    let (_dir, _daemon, client) = start();
    let keys = AdminClient::new(&client).list_keys(&KeyFilter::default()).await.unwrap();
    let list: Vec<_> = keys.iter().map(|k| (k.name.as_str(), k.versions.len())).collect();
    assert_eq!(list, [("a", 1), ("b", 2), ("c", 1)]);
}

#[tokio::test]
async fn a_socket_that_accepts_and_hangs_up_is_given_up_after_a_few_tries() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("keyd.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let error = Client::new(&socket).encrypt(&key(), b"1", &cell()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_not_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyd.sock");
    std::fs::write(&path, b"").unwrap();
    let client = Client::new(Path::new(&path)).with_wait_for_daemon(Duration::ZERO);
    assert!(matches!(client.issue_canary().await, Err(Error::Unavailable { .. })));
}
