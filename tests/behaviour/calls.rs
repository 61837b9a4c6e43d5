//! Every RPC once, over the real socket, and a thousand of them at a time.
//!
//! Must never check only that an answer came: each field of it is looked at. Run by `cargo test`.

use crate::harness::wire::{KEY_ADMIN, KEY_SERVICE, Wire, soon};
use crate::harness::{Installation, block_on};
use servos_keyd::proto::v1;
use std::collections::HashMap;
use tonic::Code;

/// Messages and enums of the contract have no `Debug`.
macro_rules! same {
    ($left:expr, $right:expr $(,)?) => {
        assert!($left == $right, "{} is not as expected", stringify!($left))
    };
}

fn context(id: &str) -> HashMap<String, String> {
    [("table".to_owned(), "servers".to_owned()), ("id".to_owned(), id.to_owned())].into()
}

fn encrypt(key: &str, plaintext: &[u8], id: &str) -> v1::EncryptRequest {
    let (key, plaintext) = (key.to_owned(), plaintext.to_vec());
    v1::EncryptRequest { key, plaintext, context: context(id), allow_nested: false }
}

fn decrypt(key: &str, ciphertext: &[u8], id: &str) -> v1::DecryptRequest {
    let (key, ciphertext) = (key.to_owned(), ciphertext.to_vec());
    v1::DecryptRequest { key, ciphertext, context: context(id), allow_legacy: false }
}

fn request_id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

#[test]
fn every_ciphertext_that_does_not_open_gets_the_same_answer_wherever_it_is_wrong() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async {
        let wire = Wire::connect(&daemon.component_socket).await;
        let sealed: v1::EncryptResponse =
            wire.call(KEY_SERVICE, "Encrypt", &encrypt("ssh-keys", b"secret", "1")).await.message();
        let whole = sealed.ciphertext;
        // Salt, commitment, body and tag; what stands before them says which version it is of.
        let mut wrong: Vec<v1::DecryptRequest> = (12..whole.len())
            .map(|at| {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << (at % 8);
                decrypt("ssh-keys", &damaged, "1")
            })
            .collect();
        wrong.push(decrypt("ssh-keys", &whole[..whole.len() - 1], "1"));
        wrong.push(decrypt("ssh-keys", &[&whole[..], &[0]].concat(), "1"));
        wrong.push(decrypt("ssh-keys", &whole, "2"));
        wrong.push(decrypt("default", &whole, "1"));
        assert_eq!(wrong.len(), 90);
        for (n, request) in wrong.iter().enumerate() {
            let answer = wire.call(KEY_SERVICE, "Decrypt", request).await;
            assert_eq!(answer.refused(Code::InvalidArgument), "ciphertext rejected", "{n}");
        }
        let opened = wire.call(KEY_SERVICE, "Decrypt", &decrypt("ssh-keys", &whole, "1")).await;
        assert_eq!(opened.message::<v1::DecryptResponse>().plaintext, b"secret");
    });
}

#[test]
fn each_call_of_the_key_service_answers_with_every_field() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async {
        let wire = Wire::connect(&daemon.component_socket).await;
        let sealed: v1::EncryptResponse =
            wire.call(KEY_SERVICE, "Encrypt", &encrypt("ssh-keys", b"secret", "1")).await.message();
        assert_eq!(
            (sealed.ciphertext.len(), sealed.key.as_str(), sealed.version, sealed.keyring),
            (98, "ssh-keys", 1, 1)
        );

        let request = decrypt("ssh-keys", &sealed.ciphertext, "1");
        let opened: v1::DecryptResponse = wire.call(KEY_SERVICE, "Decrypt", &request).await.message();
        assert_eq!((opened.plaintext.as_slice(), opened.key.as_str()), (&b"secret"[..], "ssh-keys"));
        same!((opened.version, opened.primary, opened.format()), (1, true, v1::Format::Skd1));
        for refused in [decrypt("ssh-keys", &sealed.ciphertext, "2"), decrypt("default", &sealed.ciphertext, "1")] {
            let answer = wire.call(KEY_SERVICE, "Decrypt", &refused).await;
            assert_eq!(answer.refused(Code::InvalidArgument), "ciphertext rejected");
        }

        let moved = v1::ReEncryptRequest {
            ciphertext: sealed.ciphertext.clone(),
            context: context("1"),
            relabel: Some(v1::Relabel { key: "env-vars".to_owned(), context: context("2") }),
            ..v1::ReEncryptRequest::default()
        };
        let moved: v1::ReEncryptResponse = wire.call(KEY_SERVICE, "ReEncrypt", &moved).await.message();
        same!((moved.key.as_str(), moved.version, moved.format()), ("env-vars", 1, v1::Format::Skd1));
        let request = decrypt("env-vars", &moved.ciphertext, "2");
        let opened: v1::DecryptResponse = wire.call(KEY_SERVICE, "Decrypt", &request).await.message();
        assert_eq!(opened.plaintext, b"secret");

        let issued: v1::IssueCanaryResponse =
            wire.call(KEY_SERVICE, "IssueCanary", &v1::IssueCanaryRequest {}).await.message();
        assert_eq!(issued.canary.len(), 64);
        for canary in [issued.canary, Vec::new()] {
            let request = v1::VerifyCanaryRequest { canary };
            let found: v1::VerifyCanaryResponse = wire.call(KEY_SERVICE, "VerifyCanary", &request).await.message();
            same!((found.result(), found.generation, found.keyring), (v1::CanaryResult::Opens, 1, 1));
            assert_eq!((found.fingerprint.len(), found.store_id.len()), (16, 32));
            assert!(found.since > 1_700_000_000);
        }
        let request = v1::VerifyCanaryRequest { canary: vec![0; 64] };
        let found: v1::VerifyCanaryResponse = wire.call(KEY_SERVICE, "VerifyCanary", &request).await.message();
        same!(found.result(), v1::CanaryResult::Damaged);

        let export = wire.call(KEY_SERVICE, "ExportKeyring", &v1::ExportKeyringRequest {}).await;
        let pieces: Vec<v1::ExportKeyringResponse> =
            export.messages.iter().map(|piece| prost::Message::decode(piece.as_slice()).unwrap()).collect();
        let (last, before) = pieces.split_last().unwrap();
        assert!(last.complete && before.iter().all(|piece| !piece.complete && piece.data.len() <= 65_536));
        assert!(pieces[0].data.starts_with(b"SKB1") && pieces.iter().all(|piece| piece.generation == 1));

        let me: v1::WhoAmIResponse = wire.call(KEY_SERVICE, "WhoAmI", &v1::WhoAmIRequest {}).await.message();
        assert_eq!(me.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(me.uid, nix::unistd::geteuid().as_raw());
        assert!(me.operations.is_sorted() && me.operations.contains(&"Decrypt".to_owned()));
        assert!(me.socket() != v1::Socket::Unspecified);
        assert_eq!(me.administrator, me.operations.contains(&"CreateKey".to_owned()));
    });
    daemon.stop().expect(0);
}

#[test]
fn each_call_of_the_key_admin_answers_with_every_field() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async {
        let wire = Wire::connect(&daemon.admin_socket).await;
        let create = v1::CreateKeyRequest {
            name: "mine".to_owned(),
            purpose: v1::KeyPurpose::Encrypt.into(),
            request_id: request_id(1),
        };
        let made: v1::CreateKeyResponse = wire.call(KEY_ADMIN, "CreateKey", &create).await.message();
        let key = made.key.clone().unwrap();
        assert_eq!((key.name.as_str(), key.id.len(), key.primary), ("mine", 16, 1));
        same!((key.state(), key.purpose()), (v1::KeyState::Active, v1::KeyPurpose::Encrypt));
        same!((key.versions.len(), key.versions[0].state()), (1, v1::VersionState::Primary));
        let again: v1::CreateKeyResponse = wire.call(KEY_ADMIN, "CreateKey", &create).await.message();
        assert!(again == made, "the same id, the same answer");
        let other = v1::CreateKeyRequest { name: "other".to_owned(), ..create.clone() };
        let text = wire.call(KEY_ADMIN, "CreateKey", &other).await.refused(Code::InvalidArgument);
        assert!(text.starts_with("request_id: "), "{text}");
        let taken = v1::CreateKeyRequest { request_id: String::new(), ..create };
        wire.call(KEY_ADMIN, "CreateKey", &taken).await.refused(Code::AlreadyExists);

        let rotate = v1::RotateKeyRequest { key: "mine".to_owned(), request_id: request_id(2) };
        for _ in 0..2 {
            let rotated: v1::RotateKeyResponse = wire.call(KEY_ADMIN, "RotateKey", &rotate).await.message();
            assert_eq!((rotated.key.as_str(), rotated.version), ("mine", 2));
        }

        let list = v1::ListKeysRequest { key: "mine".to_owned(), ..v1::ListKeysRequest::default() };
        let listed: v1::ListKeysResponse = wire.call(KEY_ADMIN, "ListKeys", &list).await.message();
        let states: Vec<_> = listed.keys[0].versions.iter().map(|v| (v.number, v.state())).collect();
        same!(states, [(2, v1::VersionState::Primary), (1, v1::VersionState::Enabled)]);
        assert!(listed.next_page_token.is_empty());

        let text = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let adopt = v1::AdoptLegacyKeyRequest { legacy_key: text.into(), request_id: request_id(3) };
        let adopted: v1::AdoptLegacyKeyResponse = wire.call(KEY_ADMIN, "AdoptLegacyKey", &adopt).await.message();
        // The daemon closes a connection behind a call that carried a key.
        let wire = Wire::connect(&daemon.admin_socket).await;
        let status: v1::GetStatusResponse = wire.call(KEY_ADMIN, "GetStatus", &v1::GetStatusRequest {}).await.message();
        assert_eq!(status.legacy_keys[0].fingerprint, adopted.fingerprint);
        assert_eq!((status.keys, status.versions), (9, 10));
        assert!(status.warnings.iter().any(|warning| warning.contains("legacy")));
        assert!(status.memory_protection() != v1::MemoryProtection::Unspecified);
        assert!(status.sandbox.as_ref().unwrap().seccomp() == v1::Confinement::Enforced);
        let store = status.store.unwrap();
        assert_eq!((store.generation, store.mark_generation), (6, 6));

        let retire = v1::RetireLegacyKeyRequest { fingerprint: adopted.fingerprint, request_id: request_id(4) };
        let retired: v1::RetireLegacyKeyResponse = wire.call(KEY_ADMIN, "RetireLegacyKey", &retire).await.message();
        assert_eq!(retired.remaining, 0);
        let unknown = v1::RetireLegacyKeyRequest { request_id: String::new(), ..retire };
        wire.call(KEY_ADMIN, "RetireLegacyKey", &unknown).await.refused(Code::NotFound);

        let delete = v1::DeleteKeyRequest { key: "mine".to_owned(), request_id: request_id(5) };
        for _ in 0..2 {
            let deleted: v1::DeleteKeyResponse = wire.call(KEY_ADMIN, "DeleteKey", &delete).await.message();
            assert_eq!((deleted.key.as_str(), deleted.id.as_str(), deleted.versions), ("mine", key.id.as_str(), 2));
        }
        let gone = v1::DeleteKeyRequest { request_id: String::new(), ..delete };
        wire.call(KEY_ADMIN, "DeleteKey", &gone).await.refused(Code::NotFound);
    });
    daemon.stop().expect(0);
}

#[test]
fn a_thousand_calls_at_a_time_over_eight_connections_get_their_own_answers() {
    let installation = Installation::made();
    let daemon = installation.serve();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut wires = Vec::new();
        for _ in 0..8 {
            wires.push(Wire::connect(&daemon.component_socket).await);
        }
        let calls: Vec<_> = (0..1000)
            .map(|n: usize| {
                let wire = wires[n % wires.len()].clone();
                tokio::spawn(async move {
                    let secret = format!("secret {n} ").repeat(1 + n % 200);
                    let id = n.to_string();
                    let request = encrypt("default", secret.as_bytes(), &id);
                    let sealed: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &request).await.message();
                    let request = decrypt("default", &sealed.ciphertext, &id);
                    let opened: v1::DecryptResponse = wire.call(KEY_SERVICE, "Decrypt", &request).await.message();
                    assert_eq!(opened.plaintext, secret.as_bytes(), "call {n}");
                    let request = decrypt("default", &sealed.ciphertext, &format!("{id}0"));
                    wire.call(KEY_SERVICE, "Decrypt", &request).await.refused(Code::InvalidArgument);
                })
            })
            .collect();
        for call in calls {
            soon(call).await.unwrap();
        }
    });
    daemon.stop().expect(0);
}
