//! A bug in one call: INTERNAL with an id for that call alone, on a worker's thread and on the writer's.
//!
//! Must never need a real bug: randomness that panics on demand stands for one. Run by `cargo test`.

use crate::harness::wire::{KEY_ADMIN, KEY_SERVICE, Wire, soon};
use crate::harness::{InProcess, block_on};
use servos_keyd::proto::v1;
use std::sync::mpsc::channel;
use tonic::Code;

fn encrypt(plaintext: &[u8]) -> v1::EncryptRequest {
    v1::EncryptRequest { key: "default".to_owned(), plaintext: plaintext.to_vec(), ..v1::EncryptRequest::default() }
}

fn rotate() -> v1::RotateKeyRequest {
    v1::RotateKeyRequest { key: "default".to_owned(), ..v1::RotateKeyRequest::default() }
}

/// The id that a broken call's answer names.
#[track_caller]
fn id_of(text: &str) -> String {
    let id = text.strip_prefix("internal error ").and_then(|rest| rest.strip_suffix(": see the daemon's log"));
    let id = id.unwrap_or_else(|| panic!("{text:?}"));
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    id.to_owned()
}

#[test]
fn a_panic_in_a_call_is_that_calls_alone() {
    block_on(async {
        let daemon = InProcess::start();
        let wire = Wire::connect(&daemon.socket).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            daemon.break_next();
            let broken = wire.call(KEY_SERVICE, "Encrypt", &encrypt(b"a marker in the clear")).await;
            let text = broken.refused(Code::Internal);
            assert!(!text.contains("planted") && !text.contains("marker"), "{text}");
            ids.push(id_of(&text));
            let sealed: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &encrypt(b"x")).await.message();
            assert_eq!((sealed.ciphertext.len(), sealed.version), (93, 1));
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3);
    });
}

#[test]
fn a_panic_in_a_change_is_that_changes_alone() {
    block_on(async {
        let daemon = InProcess::start();
        let wire = Wire::connect(&daemon.socket).await;
        daemon.break_next();
        id_of(&wire.call(KEY_ADMIN, "RotateKey", &rotate()).await.refused(Code::Internal));
        let rotated: v1::RotateKeyResponse = wire.call(KEY_ADMIN, "RotateKey", &rotate()).await.message();
        assert_eq!(rotated.version, 2);
        let sealed: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &encrypt(b"x")).await.message();
        assert_eq!(sealed.version, 2);
    });
}

#[test]
fn sealing_and_opening_never_wait_for_the_writer_and_what_does_meets_its_deadline() {
    block_on(async {
        let daemon = InProcess::start();
        let wire = Wire::connect(&daemon.socket).await;
        let (go, wait) = channel::<()>();
        daemon.writer.submit(Box::new(move |_| wait.recv().unwrap_or_default())).unwrap();
        let sealed: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &encrypt(b"x")).await.message();
        let request = v1::DecryptRequest { ciphertext: sealed.ciphertext, ..v1::DecryptRequest::default() };
        let opened: v1::DecryptResponse = wire.call(KEY_SERVICE, "Decrypt", &request).await.message();
        assert_eq!(opened.plaintext, b"x");
        let _: v1::GetStatusResponse = wire.call(KEY_ADMIN, "GetStatus", &v1::GetStatusRequest {}).await.message();
        let late = wire.call_with(KEY_SERVICE, "VerifyCanary", &[], &[("grpc-timeout", "200m")]).await;
        assert_eq!(late.refused(Code::DeadlineExceeded), "deadline passed");
        // 64 changes wait behind the one that stands still; one more is told so at once.
        let mut waiting = Vec::new();
        let full = loop {
            let again = wire.clone();
            let mut call = tokio::spawn(async move {
                again.call_with(KEY_ADMIN, "RotateKey", b"\x0a\x07default", &[("grpc-timeout", "20S")]).await
            });
            let time = std::time::Duration::from_millis(if waiting.len() < 63 { 5 } else { 500 });
            match tokio::time::timeout(time, &mut call).await {
                Ok(answer) => break answer.unwrap(),
                Err(_) => waiting.push(call),
            }
            assert!(waiting.len() < 100, "nothing is refused");
        };
        assert_eq!(full.refused(Code::ResourceExhausted), "too many changes are waiting: try again");
        go.send(()).unwrap();
        for call in waiting {
            let _: v1::RotateKeyResponse = soon(call).await.unwrap().message();
        }
    });
}
