//! A bug in one call: INTERNAL with an id for that call alone, on a worker's thread and on the writer's.
//!
//! Must never need a real bug: randomness that panics on demand stands for one. Run by `cargo test`.

use crate::harness::wire::{KEY_ADMIN, KEY_SERVICE, Wire, soon};
use crate::harness::{DEADLINE, InProcess, block_on};
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

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[test]
fn sealing_and_opening_never_wait_for_the_writer_and_what_does_meets_its_deadline() {
    block_on(async {
        let daemon = InProcess::start();
        let wire = Wire::connect(&daemon.socket).await;
        let (go, wait) = channel::<()>();
        let (begun, has_begun) = channel::<()>();
        let blocker = move |_: &mut _| {
            begun.send(()).unwrap();
            wait.recv().unwrap_or_default();
        };
        daemon.writer.submit(Box::new(blocker)).unwrap();
        has_begun.recv_timeout(DEADLINE).unwrap();
        let sealed: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &encrypt(b"x")).await.message();
        let request = v1::DecryptRequest { ciphertext: sealed.ciphertext, ..v1::DecryptRequest::default() };
        let opened: v1::DecryptResponse = wire.call(KEY_SERVICE, "Decrypt", &request).await.message();
        assert_eq!(opened.plaintext, b"x");
        let _: v1::GetStatusResponse = wire.call(KEY_ADMIN, "GetStatus", &v1::GetStatusRequest {}).await.message();
        let late = wire.call_with(KEY_SERVICE, "VerifyCanary", &[], &[("grpc-timeout", "200m")]).await;
        assert_eq!(late.refused(Code::DeadlineExceeded), "deadline passed");
        // The look that gave up still has its place among those that may wait; what is beyond them is told so at once.
        let calls: Vec<_> = (0..40)
            .map(|_| {
                let again = wire.clone();
                tokio::spawn(async move { again.call_with(KEY_SERVICE, "VerifyCanary", &[], &[]).await })
            })
            .collect();
        let refused = 40 - 31;
        eventually("the rest is refused", || calls.iter().filter(|call| call.is_finished()).count() == refused).await;
        go.send(()).unwrap();
        let mut codes = Vec::new();
        for call in calls {
            let answer = soon(call).await.unwrap();
            assert!(answer.code == Some(Code::Ok) || answer.text == "too many changes are waiting: try again");
            codes.push(answer.code);
        }
        assert_eq!(codes.iter().filter(|code| **code == Some(Code::ResourceExhausted)).count(), refused);
        let rotated: v1::RotateKeyResponse = wire.call(KEY_ADMIN, "RotateKey", &rotate()).await.message();
        assert_eq!(rotated.version, 2);
    });
}
