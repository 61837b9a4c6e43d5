//! The calls of a rotation on the wire: what each moment tells, what goes on and what waits, and whose connection closes.
//!
//! Must never take a connection for closed that nobody closed, nor a silent log for a clean one. Run by `cargo test`.

use crate::harness::wire::{Answer, KEY_ADMIN, KEY_SERVICE, Wire};
use crate::harness::{DEADLINE, Daemon, Installation, block_on, fingerprint, hex, is_root, random_key};
use hyper_util::rt::TokioIo;
use prost::Message;
use servos_keyd::proto::v1;
use servos_keyd::proto::v1::key_admin_client::KeyAdminClient;
use std::error::Error as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Endpoint, Uri};

fn rotate(new: [u8; 32]) -> v1::RotateRequest {
    let (new_key_fingerprint, new_key) = (fingerprint(new), hex(&new).into_bytes());
    v1::RotateRequest { new_key_fingerprint, new_key, ..v1::RotateRequest::default() }
}

fn finish(new: [u8; 32]) -> v1::FinishRotationRequest {
    v1::FinishRotationRequest { new_key_fingerprint: fingerprint(new), ..v1::FinishRotationRequest::default() }
}

fn abort(new: [u8; 32]) -> v1::AbortRotationRequest {
    v1::AbortRotationRequest { new_key_fingerprint: fingerprint(new), ..v1::AbortRotationRequest::default() }
}

fn adopt(key: [u8; 32]) -> v1::AdoptLegacyKeyRequest {
    v1::AdoptLegacyKeyRequest { legacy_key: hex(&key).into_bytes(), ..v1::AdoptLegacyKeyRequest::default() }
}

async fn admin(daemon: &Daemon, method: &str, request: &impl Message) -> Answer {
    Wire::connect(&daemon.admin_socket).await.call(KEY_ADMIN, method, request).await
}

async fn status(daemon: &Daemon) -> v1::GetStatusResponse {
    status_on(&Wire::connect(&daemon.admin_socket).await).await
}

async fn status_on(wire: &Wire) -> v1::GetStatusResponse {
    wire.call(KEY_ADMIN, "GetStatus", &v1::GetStatusRequest {}).await.message()
}

/// Waits until a condition holds, while the runtime goes on.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within {DEADLINE:?}: {what}");
}

#[test]
fn a_connection_that_carried_a_key_is_closed_behind_the_answer_and_no_other() {
    let (mut installation, new, legacy) = (Installation::made(), random_key(), random_key());
    // None is closed for being idle.
    installation.more = "[limits]\nidle_connection = \"10m\"\n".to_owned();
    let daemon = installation.serve_for_admin();
    let cut = v1::RotateRequest { new_key: hex(&new)[..63].into(), ..rotate(new) };
    let misnamed = v1::RotateRequest { new_key_fingerprint: "0011223344556677".to_owned(), ..rotate(new) };
    let unnamed = v1::RotateRequest { new_key_fingerprint: "no fingerprint".to_owned(), ..rotate(new) };
    let rehearsed = v1::RotateRequest { dry_run: true, ..rotate(new) };
    let unknown_id = v1::AdoptLegacyKeyRequest { request_id: "no UUID".to_owned(), ..adopt(legacy) };
    let long = v1::AdoptLegacyKeyRequest { legacy_key: vec![b'7'; 63], ..adopt(legacy) };
    let malformed = [rotate(new).encode_to_vec(), b"\xff\xff".to_vec()].concat();
    let cases: [(&str, &str, Vec<u8>, Code); 10] = [
        ("a key that is cut off", "Rotate", cut.encode_to_vec(), Code::InvalidArgument),
        ("a key under another name", "Rotate", misnamed.encode_to_vec(), Code::InvalidArgument),
        ("a name that is none", "Rotate", unnamed.encode_to_vec(), Code::InvalidArgument),
        ("a message that does not parse", "Rotate", malformed, Code::InvalidArgument),
        ("a dry run", "Rotate", rehearsed.encode_to_vec(), Code::Ok),
        ("a legacy key that is cut off", "AdoptLegacyKey", long.encode_to_vec(), Code::InvalidArgument),
        ("a legacy key under an id that is none", "AdoptLegacyKey", unknown_id.encode_to_vec(), Code::InvalidArgument),
        ("a legacy key", "AdoptLegacyKey", adopt(legacy).encode_to_vec(), Code::Ok),
        ("a begin", "Rotate", rotate(new).encode_to_vec(), Code::Ok),
        (
            "a legacy key while a rotation is pending",
            "AdoptLegacyKey",
            adopt(new).encode_to_vec(),
            Code::FailedPrecondition,
        ),
    ];
    block_on(async {
        let (bystander, quiet) = Wire::connect_and_listen(&daemon.admin_socket).await;
        let (component, peace) = Wire::connect_and_listen(&daemon.component_socket).await;
        let mut closing = Vec::new();
        for (what, method, bytes, code) in cases {
            let (wire, heard) = Wire::connect_and_listen(&daemon.admin_socket).await;
            let answer = wire.call_with(KEY_ADMIN, method, &bytes, &[]).await;
            assert_eq!(answer.code, Some(code), "{what}: {answer:?}");
            closing.push((what, heard, wire));
        }
        if daemon.component_socket != daemon.admin_socket {
            let (wire, heard) = Wire::connect_and_listen(&daemon.component_socket).await;
            wire.call(KEY_ADMIN, "Rotate", &rotate(new)).await.refused(Code::Unimplemented);
            closing.push(("a begin on the wrong socket", heard, wire));
        }
        // What carries no key does not close the connection.
        for (method, request) in [
            ("GetStatus", Vec::new()),
            ("FinishRotation", finish(new).encode_to_vec()),
            ("AbortRotation", abort(legacy).encode_to_vec()),
            ("RetireLegacyKey", v1::RetireLegacyKeyRequest::default().encode_to_vec()),
        ] {
            assert!(bystander.call_with(KEY_ADMIN, method, &request, &[]).await.code.is_some());
        }
        component.call(KEY_SERVICE, "WhoAmI", &v1::WhoAmIRequest {}).await.message::<v1::WhoAmIResponse>();
        for (what, heard, _wire) in closing {
            until(what, async || heard.is_closed()).await;
            assert!(heard.says_goaway(), "{what}: closed without a word");
        }
        for heard in [&quiet, &peace] {
            assert!(!heard.says_goaway() && !heard.is_closed());
        }
        component.call(KEY_SERVICE, "WhoAmI", &v1::WhoAmIRequest {}).await.message::<v1::WhoAmIResponse>();
        assert!(status_on(&bystander).await.rotation.is_some());
    });
    daemon.stop().expect(0);
}

#[test]
fn calls_on_the_same_channel_go_on_over_a_new_connection() {
    let (installation, new) = (Installation::made(), random_key());
    let daemon = installation.serve_for_admin();
    let connected = Arc::new(AtomicUsize::new(0));
    let (counter, socket) = (Arc::clone(&connected), daemon.admin_socket.clone());
    let connect = tower::service_fn(move |_: Uri| {
        counter.fetch_add(1, Ordering::SeqCst);
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    block_on(async {
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect);
        let mut stub = KeyAdminClient::new(channel);
        stub.get_status(v1::GetStatusRequest {}).await.unwrap();
        stub.rotate(rotate(new)).await.unwrap();
        assert_eq!(connected.load(Ordering::SeqCst), 1);
        // The very next calls: the daemon is about to close, is closing, has closed.
        let mut given_up = 0;
        while connected.load(Ordering::SeqCst) == 1 {
            match stub.get_status(v1::GetStatusRequest {}).await {
                Ok(_) => {}
                // The library's own: a call that waits for the connection as it closes is given up before it is sent.
                Err(status) if status.code() == Code::Cancelled && status.source().is_some() => given_up += 1,
                Err(status) => panic!("{status:?}"),
            }
        }
        assert!(given_up <= 1, "{given_up}");
        stub.abort_rotation(abort(new)).await.unwrap();
        assert_eq!(connected.load(Ordering::SeqCst), 2);
    });
    daemon.stop().expect(0);
}

/// The calls that only an administrator makes, with requests that one could make.
fn calls(new: [u8; 32]) -> [(&'static str, Vec<u8>); 4] {
    [
        ("FinishRotation", finish(new).encode_to_vec()),
        ("AbortRotation", abort(new).encode_to_vec()),
        ("GetStatus", Vec::new()),
        ("Rotate", rotate(new).encode_to_vec()),
    ]
}

#[test]
fn components_do_not_rotate() {
    let installation = Installation::made();
    let daemon = installation.serve();
    let before = installation.files();
    block_on(async {
        let wire = Wire::connect(&daemon.component_socket).await;
        for (method, bytes) in calls(random_key()) {
            let text = wire.call_with(KEY_ADMIN, method, &bytes, &[]).await.refused(Code::Unimplemented);
            assert_eq!(text, "KeyAdmin is served on the admin socket", "{method}");
        }
    });
    assert_eq!(installation.files(), before);
}

/// Names the socket to the process of another user.
const SOCKET: &str = "SOCKET_OF_ANOTHER_USER";

/// A user that is neither root nor the one that stands for nobody.
const STRANGER: u32 = 54_321;

#[test]
fn users_but_root_do_not_rotate() {
    let installation = Installation::made();
    let daemon = installation.serve();
    let before = installation.files();
    if is_root() {
        // The door stands open, and the kernel's word still counts.
        std::fs::set_permissions(installation.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&daemon.admin_socket, std::fs::Permissions::from_mode(0o666)).unwrap();
        // This very program, wherever it lies, as another user.
        let mut other = Command::new("/proc/self/exe");
        other.args(["--exact", "rotation_calls::every_call_is_denied", "--ignored", "--nocapture"]);
        other.env_clear().env(SOCKET, &daemon.admin_socket).current_dir("/").uid(STRANGER).gid(STRANGER);
        let said = other.output().unwrap();
        assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("1 passed"), "{said:#?}");
    } else {
        are_denied(&daemon.admin_socket);
    }
    assert_eq!(installation.files(), before);
    daemon.stop().expect(0).saying(&["call.refused", "rpc=\"Rotate\"", "rpc=\"AbortRotation\""]);
}

#[test]
#[ignore = "run by users_but_root_do_not_rotate, as another user"]
fn every_call_is_denied() {
    are_denied(std::env::var_os(SOCKET).expect("a socket").as_ref());
}

fn are_denied(socket: &Path) {
    block_on(async {
        let wire = Wire::connect(socket).await;
        for (method, bytes) in calls(random_key()) {
            let text = wire.call_with(KEY_ADMIN, method, &bytes, &[]).await.refused(Code::PermissionDenied);
            assert_eq!(text, "not permitted", "{method}");
        }
    });
}

/// What GetStatus must tell of a rotation: its state, its step, the keys that open the store, words of the warning and of
/// what comes next.
struct Moment<'m> {
    state: v1::RotationState,
    step: v1::RotationStep,
    opens: &'m [&'m str],
    warning: &'m str,
    next: &'m [&'m str],
}

/// Holds GetStatus to a moment; answers the rotation.
async fn is_at(daemon: &Daemon, moment: &Moment<'_>) -> v1::Rotation {
    let status = status(daemon).await;
    let rotation = status.rotation.expect("a rotation");
    assert!(rotation.state() == moment.state && rotation.step() == moment.step, "{}", rotation.step().as_str_name());
    assert_eq!(rotation.opens, moment.opens);
    assert!(status.warnings.iter().any(|warning| warning.contains(moment.warning)), "{:?}", status.warnings);
    let next = rotation.next.join(" ");
    assert!(moment.next.iter().all(|words| next.contains(words)), "{next}");
    rotation
}

/// Every change of keys is refused while a rotation is under way, and the refusal names both its keys; all of KeyService
/// goes on.
async fn others_wait(daemon: &Daemon, old: &str, new: &str) {
    let under_way = format!("a rotation of the master key from {old} to {new} is under way");
    let key = || "ssh-keys".to_owned();
    let create = v1::CreateKeyRequest { name: "made-meanwhile".to_owned(), purpose: 1, ..Default::default() };
    let changes: [(&str, Vec<u8>); 6] = [
        ("CreateKey", create.encode_to_vec()),
        ("RotateKey", v1::RotateKeyRequest { key: key(), ..Default::default() }.encode_to_vec()),
        ("DeleteKey", v1::DeleteKeyRequest { key: key(), ..Default::default() }.encode_to_vec()),
        ("AdoptLegacyKey", adopt(random_key()).encode_to_vec()),
        (
            "RetireLegacyKey",
            v1::RetireLegacyKeyRequest { fingerprint: old.to_owned(), ..Default::default() }.encode_to_vec(),
        ),
        ("Rotate", rotate(random_key()).encode_to_vec()),
    ];
    for (method, bytes) in changes {
        let wire = Wire::connect(&daemon.admin_socket).await;
        let text = wire.call_with(KEY_ADMIN, method, &bytes, &[]).await.refused(Code::FailedPrecondition);
        assert!(text.starts_with(&under_way), "{method}: {text}");
    }
    let wire = Wire::connect(&daemon.component_socket).await;
    let context = || [("id".to_owned(), "1".to_owned())].into();
    let request = v1::EncryptRequest { key: key(), plaintext: b"x".into(), context: context(), ..Default::default() };
    let sealed: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &request).await.message();
    let ciphertext = sealed.ciphertext;
    let request = v1::ReEncryptRequest { ciphertext, context: context(), ..Default::default() };
    let moved: v1::ReEncryptResponse = wire.call(KEY_SERVICE, "ReEncrypt", &request).await.message();
    let ciphertext = moved.ciphertext;
    let request = v1::DecryptRequest { key: key(), ciphertext, context: context(), ..Default::default() };
    let opened: v1::DecryptResponse = wire.call(KEY_SERVICE, "Decrypt", &request).await.message();
    assert_eq!(opened.plaintext, b"x");
    let issued: v1::IssueCanaryResponse =
        wire.call(KEY_SERVICE, "IssueCanary", &v1::IssueCanaryRequest {}).await.message();
    for canary in [issued.canary, Vec::new()] {
        let request = v1::VerifyCanaryRequest { canary };
        let found: v1::VerifyCanaryResponse = wire.call(KEY_SERVICE, "VerifyCanary", &request).await.message();
        assert!(found.result() == v1::CanaryResult::Opens);
    }
    let exported = wire.call(KEY_SERVICE, "ExportKeyring", &v1::ExportKeyringRequest {}).await;
    assert!(exported.code == Some(Code::Ok) && !exported.messages.is_empty(), "{exported:?}");
    wire.call(KEY_SERVICE, "WhoAmI", &v1::WhoAmIRequest {}).await.message::<v1::WhoAmIResponse>();
    let listed = admin(daemon, "ListKeys", &v1::ListKeysRequest::default()).await;
    assert_eq!(listed.message::<v1::ListKeysResponse>().keys.len(), 8);
}

#[test]
fn status_tells_each_moment_and_changes_of_keys_wait_for_the_last_step() {
    use v1::{RotationState as State, RotationStep as Step};
    for aborting in [false, true] {
        let (installation, new_key) = (Installation::made(), random_key());
        let (old, new) = (&*fingerprint(installation.key), &*fingerprint(new_key));
        let daemon = installation.serve_for_admin();
        block_on(async {
            assert!(status(&daemon).await.rotation.is_none());
            let begun: v1::RotateResponse = admin(&daemon, "Rotate", &rotate(new_key)).await.message();
            assert_eq!(begun.rotation.unwrap().opens, [old, new]);
            let pending = Moment {
                state: State::Pending,
                step: Step::Waiting,
                opens: &[old, new],
                warning: "is pending",
                next: &["Put the new key", "servos-keyctl rotate finish", "servos-keyctl rotate abort"],
            };
            let rotation = is_at(&daemon, &pending).await;
            assert_eq!((rotation.old_fingerprint.as_str(), rotation.new_fingerprint.as_str()), (old, new));
            assert!(rotation.new_data_keys && rotation.begun > 1_700_000_000 && rotation.problem.is_empty());
            others_wait(&daemon, old, new).await;

            // No source holds the new key yet: what is refused changes nothing.
            let text = admin(&daemon, "FinishRotation", &finish(new_key)).await.refused(Code::FailedPrecondition);
            assert!(text.contains(&format!("holds {old}: put the new key {new} there")), "{text}");
            let text = admin(&daemon, "FinishRotation", &finish(random_key())).await.refused(Code::FailedPrecondition);
            assert!(text.starts_with(&format!("the rotation that is pending is one to {new}, not to ")), "{text}");
            is_at(&daemon, &pending).await;

            // The last step cannot be done: it waits, and says why.
            installation.break_backups();
            if !aborting {
                installation.write_key(new_key);
            }
            let (call, other, request, opposite) = match aborting {
                false => {
                    ("FinishRotation", "AbortRotation", finish(new_key).encode_to_vec(), abort(new_key).encode_to_vec())
                }
                true => {
                    ("AbortRotation", "FinishRotation", abort(new_key).encode_to_vec(), finish(new_key).encode_to_vec())
                }
            };
            let (state, opens, warning, done) = match aborting {
                false => (State::Finishing, new, "is being finished", "already being finished"),
                true => (State::Aborting, old, "is being aborted", "already being aborted"),
            };
            let end = async |method, bytes: &[u8]| {
                Wire::connect(&daemon.admin_socket).await.call_with(KEY_ADMIN, method, bytes, &[]).await
            };
            assert_eq!(end(call, &request).await.code, Some(Code::Ok));
            until("it waits for the backup", async || {
                status(&daemon).await.rotation.is_some_and(|rotation| !rotation.problem.is_empty())
            })
            .await;
            let waiting = Moment { state, step: Step::Backup, opens: &[opens], warning, next: &["Nothing", opens] };
            let rotation = is_at(&daemon, &waiting).await;
            assert!(rotation.problem.contains("backup"), "{}", rotation.problem);
            is_at(&daemon, &Moment { warning: "It waits, and is tried again every minute", ..waiting }).await;
            others_wait(&daemon, old, new).await;
            let text = end(other, &opposite).await.refused(Code::FailedPrecondition);
            assert!(text.contains(done), "{text}");

            // Asked again, it does not wait for the minute to pass.
            installation.mend_backups();
            assert_eq!(end(call, &request).await.code, Some(Code::Ok));
            until("the rotation is over", async || status(&daemon).await.rotation.is_none()).await;
            let over = status(&daemon).await;
            assert_eq!(over.master_key.unwrap().fingerprint, opens);
            assert!(!over.warnings.iter().any(|warning| warning.contains("rotation")), "{:?}", over.warnings);
            let create = v1::CreateKeyRequest { name: "made-after".to_owned(), purpose: 1, ..Default::default() };
            admin(&daemon, "CreateKey", &create).await.message::<v1::CreateKeyResponse>();
        });
        daemon.stop().expect(0);
    }
}
