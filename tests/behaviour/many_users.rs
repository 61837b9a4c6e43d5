//! Many users of the components' socket who together send more than there is memory for: it has one bound over all of them.
//!
//! Must never judge by a time, nor count as run where this process cannot be several users.
//! Run by `cargo test`.

use crate::harness::wire::{Answer, KEY_SERVICE, Wire, framed, soon};
use crate::harness::{Installation, block_on, is_root, not_run};
use hyper::body::Bytes;
use servos_keyd::proto::v1;
use servos_keyd::server::limits::CALL_BYTES;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::Code;

const ENCRYPT: &str = "/servos.keyd.v1.KeyService/Encrypt";
const USERS: std::ops::Range<u32> = 61_001..61_011;
/// Messages that each of them begins.
const MESSAGES: usize = 16;
const MESSAGE_BYTES: usize = 3 << 20;
type Call = JoinHandle<Option<Answer>>;

/// What the daemon may have beside what calls hold: itself, and what the connections' windows let in.
const BESIDE_BYTES: usize = 96 << 20;

/// A connection of this user. The kernel takes the user of the thread that connects.
async fn connected_as(user: u32, socket: PathBuf) -> Wire {
    let connect = move || {
        let user = rustix::process::Uid::from_raw(user);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        std::os::unix::net::UnixStream::connect(socket).unwrap()
    };
    let stream = std::thread::spawn(connect).join().unwrap();
    stream.set_nonblocking(true).unwrap();
    Wire::over(UnixStream::from_std(stream).unwrap()).await.0
}

fn request(bytes: usize) -> v1::EncryptRequest {
    v1::EncryptRequest { key: "default".to_owned(), plaintext: vec![7; bytes], ..v1::EncryptRequest::default() }
}

async fn works(wire: &Wire, bytes: usize) {
    let _: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &request(bytes)).await.message();
}

fn resident_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Begins messages of this user that are sent but for their last byte, until one more is refused.
async fn half_send(user: u32, socket: &Path) -> (Vec<Wire>, Vec<Call>) {
    let whole = framed(&vec![7; MESSAGE_BYTES]);
    let most = Bytes::from(whole.clone()).slice(..whole.len() - 1);
    let (mut wires, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..MESSAGES {
        let wire = connected_as(user, socket.to_owned()).await;
        calls.push(wire.begin(ENCRYPT, most.clone()));
        wires.push(wire);
    }
    let wire = connected_as(user, socket.to_owned()).await;
    soon(async {
        while wire.send(ENCRYPT, whole.clone(), &[]).await.unwrap().code != Some(Code::ResourceExhausted) {}
    })
    .await;
    (wires, calls)
}

#[test]
fn what_many_users_half_send_has_one_bound_and_others_and_the_operators_are_answered_meanwhile() {
    if !is_root() {
        return not_run("only root can be several users");
    }
    let installation = Installation::made();
    // The other users reach the socket.
    std::fs::set_permissions(installation.directory(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let daemon = installation.serve();
    block_on(async {
        let (mut wires, mut calls) = (Vec::new(), Vec::new());
        for user in USERS {
            let (more, begun) = half_send(user, &daemon.component_socket).await;
            wires.extend(more);
            calls.extend(begun);
        }
        let resident = resident_bytes(daemon.id());
        assert!(resident < CALL_BYTES + BESIDE_BYTES, "{resident} bytes");
        // Another user, and the operators.
        let other = connected_as(USERS.end, daemon.component_socket.clone()).await;
        works(&other, 1 << 20).await;
        works(&Wire::connect(&daemon.admin_socket).await, 1 << 20).await;
        // Refused were those that did not fit, and nothing else was; what was held is there again when its calls are over.
        let mut refused = 0;
        for call in calls {
            if call.is_finished() {
                assert_eq!(call.await.unwrap().unwrap().code, Some(Code::ResourceExhausted));
                refused += 1;
            } else {
                call.abort();
            }
        }
        assert!(refused > 0 && refused < MESSAGES * USERS.len(), "{refused}");
        let wire = connected_as(USERS.start, daemon.component_socket.clone()).await;
        let again = async || wire.call(KEY_SERVICE, "Encrypt", &request(1 << 20)).await.code;
        soon(async { while again().await != Some(Code::Ok) {} }).await;
    });
    daemon.stop().expect(0);
}
