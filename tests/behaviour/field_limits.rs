//! Every limit of a field: at it a call goes through, one above it names field and limit, and nothing of the content.
//!
//! Must never leave a limit of the contract out. Run by `cargo test`.

use crate::harness::wire::{KEY_ADMIN, KEY_SERVICE, Wire};
use crate::harness::{Installation, block_on};
use prost::Message;
use servos_keyd::proto::v1;
use std::collections::HashMap;
use std::future::Future;
use tonic::Code;

const MIB: usize = 1 << 20;
/// The bytes that a message adds to its plaintext.
const OVERHEAD: usize = 92;

/// Runs a test with a connection to the socket that serves everything.
fn with_daemon<F: Future<Output = ()>>(test: impl FnOnce(Wire) -> F) {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async { test(Wire::connect(&daemon.admin_socket).await).await });
    daemon.stop().expect(0);
}

fn sealing(key: &str, plaintext: Vec<u8>, context: HashMap<String, String>) -> v1::EncryptRequest {
    v1::EncryptRequest { key: key.to_owned(), plaintext, context, allow_nested: false }
}

fn creating(name: &str) -> v1::CreateKeyRequest {
    let purpose = v1::KeyPurpose::Encrypt.into();
    v1::CreateKeyRequest { name: name.to_owned(), purpose, request_id: String::new() }
}

async fn refusal(wire: &Wire, method: &str, request: &impl Message) -> String {
    let administers = (method.contains("Key") && method != "ExportKeyring") || method == "RecordDrill";
    let service = if administers { KEY_ADMIN } else { KEY_SERVICE };
    wire.call(service, method, request).await.refused(Code::InvalidArgument)
}

#[test]
fn a_key_name_has_63_bytes_of_its_alphabet() {
    with_daemon(|wire| async move {
        let longest = "k".repeat(63);
        let _: v1::CreateKeyResponse = wire.call(KEY_ADMIN, "CreateKey", &creating(&longest)).await.message();
        let _: v1::EncryptResponse =
            wire.call(KEY_SERVICE, "Encrypt", &sealing(&longest, vec![], HashMap::new())).await.message();
        let too_long = "k".repeat(64);
        assert_eq!(refusal(&wire, "CreateKey", &creating(&too_long)).await, "name: must have at most 63 bytes");
        let request = sealing(&too_long, vec![], HashMap::new());
        assert_eq!(refusal(&wire, "Encrypt", &request).await, "key: must have at most 63 bytes");
        let request = v1::DecryptRequest { key: too_long.clone(), ..v1::DecryptRequest::default() };
        assert_eq!(refusal(&wire, "Decrypt", &request).await, "key: must have at most 63 bytes");
        let relabel = Some(v1::Relabel { key: too_long, context: HashMap::new() });
        let request = v1::ReEncryptRequest { relabel, ..v1::ReEncryptRequest::default() };
        assert_eq!(refusal(&wire, "ReEncrypt", &request).await, "relabel.key: must have at most 63 bytes");
        for bad in ["", "Upper", "-x", "a b", "a/b", "legacy", "schl\u{fc}ssel"] {
            let text = refusal(&wire, "CreateKey", &creating(bad)).await;
            assert!(text.starts_with("name: "), "{bad:?}: {text}");
        }
        wire.call(KEY_SERVICE, "Encrypt", &sealing("nobody", vec![], HashMap::new())).await.refused(Code::NotFound);
    });
}

/// A context of this many pairs, with keys and values of these lengths.
fn context(pairs: usize, key: usize, value: usize) -> HashMap<String, String> {
    (0..pairs).map(|n| (format!("{n:0key$}"), "v".repeat(value))).collect()
}

#[test]
fn a_context_has_64_pairs_of_256_and_4096_bytes_and_8192_encoded() {
    with_daemon(|wire| async move {
        // Encoded: 4 bytes, and 8 more for each pair.
        let at_the_limit = [
            context(64, 2, 1),
            context(1, 256, 1),
            context(1, 1, 4096),
            context(2, 6, 4096 - 16),
            [("k".repeat(8), "v".repeat(4096)), ("l".repeat(8), "v".repeat(8192 - 4 - 16 - 16 - 4096))].into(),
        ];
        for context in at_the_limit {
            let request = sealing("default", b"x".to_vec(), context.clone());
            let sealed: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &request).await.message();
            let (ciphertext, key) = (sealed.ciphertext, "default".to_owned());
            let request = v1::DecryptRequest { key, ciphertext, context, allow_legacy: false };
            let opened: v1::DecryptResponse = wire.call(KEY_SERVICE, "Decrypt", &request).await.message();
            assert_eq!(opened.plaintext, b"x");
        }
        let above = [
            (context(65, 2, 1), "64"),
            (context(1, 257, 1), "256"),
            (context(1, 1, 4097), "4096"),
            (
                [("k".repeat(8), "v".repeat(4096)), ("l".repeat(8), "v".repeat(8193 - 4 - 16 - 16 - 4096))].into(),
                "8192",
            ),
        ];
        for (context, limit) in above {
            let text = refusal(&wire, "Encrypt", &sealing("default", b"x".to_vec(), context.clone())).await;
            assert!(text.starts_with("context: ") && text.contains(limit), "{text}");
            assert!(!text.contains("vvv") && !text.contains("000"), "{text}");
            let request = v1::DecryptRequest { context: context.clone(), ..v1::DecryptRequest::default() };
            assert!(refusal(&wire, "Decrypt", &request).await.starts_with("context: "));
            let relabel = Some(v1::Relabel { key: "default".to_owned(), context });
            let request = v1::ReEncryptRequest { relabel, ..v1::ReEncryptRequest::default() };
            assert!(refusal(&wire, "ReEncrypt", &request).await.starts_with("relabel.context: "));
        }
    });
}

#[test]
fn a_plaintext_has_1_mib_and_a_ciphertext_92_bytes_more() {
    with_daemon(|wire| async move {
        let request = sealing("default", vec![7; MIB], HashMap::new());
        let sealed: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &request).await.message();
        assert_eq!(sealed.ciphertext.len(), MIB + OVERHEAD);
        let mut request = v1::DecryptRequest { ciphertext: sealed.ciphertext, ..v1::DecryptRequest::default() };
        let opened: v1::DecryptResponse = wire.call(KEY_SERVICE, "Decrypt", &request).await.message();
        assert!(opened.plaintext == vec![7; MIB]);

        let text = refusal(&wire, "Encrypt", &sealing("default", vec![7; MIB + 1], HashMap::new())).await;
        assert_eq!(text, "plaintext: must have at most 1048576 bytes, has 1048577");
        request.ciphertext.push(0);
        let text = refusal(&wire, "Decrypt", &request).await;
        assert_eq!(text, "ciphertext: must have at most 1048668 bytes, has 1048669");
        let request = v1::ReEncryptRequest { ciphertext: request.ciphertext, ..v1::ReEncryptRequest::default() };
        assert_eq!(refusal(&wire, "ReEncrypt", &request).await, text);
    });
}

#[test]
fn a_message_has_4_mib_and_the_fields_limits_are_met_first() {
    with_daemon(|wire| async move {
        let mut request = sealing("default", vec![7; 4 * MIB], HashMap::new());
        let beyond = request.encoded_len() - 4 * MIB;
        request.plaintext.truncate(4 * MIB - beyond);
        assert_eq!(request.encoded_len(), 4 * MIB);
        assert!(refusal(&wire, "Encrypt", &request).await.starts_with("plaintext: "));
        request.plaintext.push(7);
        let text = wire.call(KEY_SERVICE, "Encrypt", &request).await.refused(Code::OutOfRange);
        assert!(!text.contains("plaintext"), "{text}");
        // The connection is none the worse for it.
        let request = sealing("default", b"x".to_vec(), HashMap::new());
        let _: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &request).await.message();
    });
}

#[test]
fn the_other_fields_are_held_to_their_form() {
    with_daemon(|wire| async move {
        for length in [1, 63, 65] {
            let request = v1::VerifyCanaryRequest { canary: vec![0; length] };
            let text = wire.call(KEY_SERVICE, "VerifyCanary", &request).await.refused(Code::InvalidArgument);
            assert_eq!(text, "canary: must be empty or have 64 bytes");
        }
        let list = |page_size, page_token: &str| v1::ListKeysRequest {
            page_size,
            page_token: page_token.to_owned(),
            ..v1::ListKeysRequest::default()
        };
        let _: v1::ListKeysResponse = wire.call(KEY_ADMIN, "ListKeys", &list(1000, "")).await.message();
        assert_eq!(refusal(&wire, "ListKeys", &list(1001, "")).await, "page_size: must be at most 1000");
        let text = refusal(&wire, "ListKeys", &list(0, "hostile/../token")).await;
        assert_eq!(text, "page_token: must be the next_page_token of an answer");
        for request_id in ["x", "00000000-0000-4000-8000-00000000000", "00000000000040008000000000000000000000"] {
            let request = v1::RotateKeyRequest { key: "default".to_owned(), request_id: request_id.to_owned() };
            assert!(refusal(&wire, "RotateKey", &request).await.starts_with("request_id: "), "{request_id}");
        }
        let request = v1::CreateKeyRequest { purpose: 0, ..creating("mine") };
        assert!(refusal(&wire, "CreateKey", &request).await.starts_with("purpose: "));
        let request = v1::CreateKeyRequest { purpose: 99, ..creating("mine") };
        assert!(refusal(&wire, "CreateKey", &request).await.starts_with("purpose: "));
        for fingerprint in ["", "0011", "zz11223344556677", "00112233445566778"] {
            let request = v1::RetireLegacyKeyRequest { fingerprint: fingerprint.to_owned(), ..Default::default() };
            assert_eq!(refusal(&wire, "RetireLegacyKey", &request).await, "fingerprint: must be 16 hex digits");
        }
        let drill = |kind: i32, fingerprint: &str| v1::RecordDrillRequest {
            kind,
            fingerprint: fingerprint.to_owned(),
            request_id: String::new(),
        };
        for kind in [0, 3, -1] {
            let text = refusal(&wire, "RecordDrill", &drill(kind, "0011223344556677")).await;
            assert_eq!(text, "kind: must be DRILL_KIND_KEY or DRILL_KIND_RESTORE", "{kind}");
        }
        let text = refusal(&wire, "RecordDrill", &drill(1, "00112233445566778")).await;
        assert_eq!(text, "fingerprint: must be 16 hex digits");
        let request = v1::AdoptLegacyKeyRequest { legacy_key: vec![b'x'; 64], ..Default::default() };
        let text = refusal(&wire, "AdoptLegacyKey", &request).await;
        assert!(text.starts_with("legacy_key: ") && !text.contains("xxx"), "{text}");
    });
}
