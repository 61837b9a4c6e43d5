//! A rotation's calls made again: after the daemon died in the middle, and from two connections at once.
//!
//! Must never judge by an answer what the store holds: it is looked at. Run by `cargo test`.

use crate::harness::wire::{Answer, KEY_ADMIN, Wire};
use crate::harness::{DEADLINE, Daemon, Installation, block_on, fingerprint, hex, random_key};
use prost::Message;
use servos_keyd::proto::v1::{self, RotationState};
use std::time::Duration;
use tonic::Code;

/// The calls of a rotation.
const BEGIN: &str = "Rotate";
const FINISH: &str = "FinishRotation";
const ABORT: &str = "AbortRotation";

/// A request to a rotation of this key.
fn request(method: &str, new: [u8; 32], id: &str) -> Vec<u8> {
    let (new_key_fingerprint, request_id) = (fingerprint(new), id.to_owned());
    match method {
        BEGIN => {
            let new_key = hex(&new).into_bytes();
            let request = v1::RotateRequest { new_key_fingerprint, new_key, request_id, ..Default::default() };
            request.encode_to_vec()
        }
        FINISH => v1::FinishRotationRequest { new_key_fingerprint, request_id, ..Default::default() }.encode_to_vec(),
        _ => v1::AbortRotationRequest { new_key_fingerprint, request_id, ..Default::default() }.encode_to_vec(),
    }
}

fn id(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

/// The rotation in an answer: every one of the three has it in its first field.
fn rotation(answer: Answer) -> v1::Rotation {
    #[derive(Clone, PartialEq, Message)]
    struct First {
        #[prost(bytes, tag = "1")]
        rotation: Vec<u8>,
    }
    v1::Rotation::decode(answer.message::<First>().rotation.as_slice()).unwrap()
}

async fn call(daemon: &Daemon, method: &str, bytes: &[u8]) -> Answer {
    Wire::connect(&daemon.admin_socket).await.call_with(KEY_ADMIN, method, bytes, &[]).await
}

async fn status(daemon: &Daemon) -> v1::GetStatusResponse {
    call(daemon, "GetStatus", &[]).await.message()
}

/// Waits until no rotation is under way, and answers the key in use.
async fn over(daemon: &Daemon) -> String {
    let waited = tokio::time::timeout(DEADLINE, async {
        loop {
            let status = status(daemon).await;
            if status.rotation.is_none() {
                return status.master_key.unwrap().fingerprint;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("the rotation should be over")
}

/// Sends a call, and kills the daemon under it after so long, or behind the answer; tells whether an answer came.
fn cut_off(daemon: Daemon, method: &'static str, bytes: Vec<u8>, after: Option<Duration>) -> bool {
    block_on(async {
        let wire = Wire::connect(&daemon.admin_socket).await;
        let path = format!("/{KEY_ADMIN}/{method}");
        let called = tokio::spawn(async move { wire.send(&path, crate::harness::wire::framed(&bytes), &[]).await });
        let answer = match after {
            Some(after) => {
                tokio::time::sleep(after).await;
                daemon.kill();
                called.await.unwrap()
            }
            None => {
                let answer = called.await.unwrap();
                daemon.kill();
                answer
            }
        };
        answer.is_ok_and(|answer| answer.code == Some(Code::Ok))
    })
}

/// When the daemon is killed, from the moment of the call: before it is read, in the middle; and behind the answer.
fn moments() -> impl Iterator<Item = Option<Duration>> {
    [0, 1, 2, 4, 7, 12, 20, 40].into_iter().map(|after| Some(Duration::from_millis(after))).chain([None])
}

/// How many ends of rotations the history tells of.
fn rotated(installation: &Installation) -> usize {
    use servos_keyd::store::record::{self, HistoryKind};
    let records = installation.records().records;
    let history: record::History = record::decode("history/0", &records["history/0"]).unwrap();
    let ended = |entry: &&record::HistoryEntry| matches!(entry.kind(), HistoryKind::Rotated | HistoryKind::Aborted);
    history.entries.iter().filter(ended).count()
}

#[test]
fn a_begin_that_the_daemon_died_under_is_made_once_by_the_same_request() {
    let (made, new) = (Installation::made(), random_key());
    for (n, after) in moments().enumerate() {
        let installation = made.copy();
        let bytes = request(BEGIN, new, &id(n));
        let answered = cut_off(installation.serve_for_admin(), BEGIN, bytes.clone(), after);
        let begun = installation.rotation_step().is_some();
        assert!(begun || !answered, "{after:?}: answered, and gone");
        assert!(answered || after.is_some());
        let daemon = installation.serve_for_admin();
        block_on(async {
            for _ in 0..2 {
                let again = rotation(call(&daemon, BEGIN, &bytes).await);
                assert!(again.state() == RotationState::Pending, "{after:?}");
                assert_eq!(again.opens, [fingerprint(installation.key), fingerprint(new)], "{after:?}");
            }
            // The id stands for this key alone.
            let text = call(&daemon, BEGIN, &request(BEGIN, random_key(), &id(n))).await;
            assert!(text.refused(Code::InvalidArgument).starts_with("request_id: "), "{after:?}");
        });
        daemon.stop().expect(0);
        // However often it was sent, it is one commit.
        assert_eq!(installation.records().generation, made.records().generation + 1, "{after:?}");
    }
}

#[test]
fn an_end_that_the_daemon_died_under_is_made_once_by_the_same_request() {
    let (pending, new) = (Installation::made(), random_key());
    let daemon = pending.serve_for_admin();
    pending.begin_rotation(&daemon, new);
    daemon.stop().expect(0);
    for method in [FINISH, ABORT] {
        for (n, after) in moments().enumerate() {
            let installation = pending.copy();
            let daemon = installation.serve_for_admin();
            if method == FINISH {
                installation.write_key(new);
            }
            let bytes = request(method, new, &id(n));
            let answered = cut_off(daemon, method, bytes.clone(), after);
            assert!(!answered || rotated(&installation) == 1, "{method} {after:?}: answered, and gone");
            assert!(answered || after.is_some());
            let daemon = installation.serve_for_admin();
            let (other, key) = if method == FINISH { (ABORT, new) } else { (FINISH, installation.key) };
            block_on(async {
                for _ in 0..2 {
                    let again = rotation(call(&daemon, method, &bytes).await);
                    assert_eq!(again.opens, [fingerprint(key)], "{method} {after:?}");
                }
                assert_eq!(over(&daemon).await, fingerprint(key), "{method} {after:?}");
                let again = rotation(call(&daemon, method, &bytes).await);
                let done = if method == FINISH { RotationState::Finished } else { RotationState::Aborted };
                assert!(again.state() == done, "{method} {after:?}: {}", again.state().as_str_name());
                call(&daemon, other, &request(other, new, "")).await.refused(Code::FailedPrecondition);
            });
            daemon.stop().expect(0);
            assert_eq!(rotated(&installation), 1, "{method} {after:?}");
            assert_eq!(installation.opened_by(&[installation.key, new]), [key], "{method} {after:?}");
        }
    }
}

/// The same call from two connections at once, in requests of these ids; the answers.
async fn at_once(daemon: &Daemon, method: &str, new: [[u8; 32]; 2], ids: [&str; 2]) -> [Answer; 2] {
    let (one, other) = (request(method, new[0], ids[0]), request(method, new[1], ids[1]));
    let (first, second) = (Wire::connect(&daemon.admin_socket).await, Wire::connect(&daemon.admin_socket).await);
    let (first, second) =
        tokio::join!(first.call_with(KEY_ADMIN, method, &one, &[]), second.call_with(KEY_ADMIN, method, &other, &[]));
    [first, second]
}

#[test]
fn two_at_once_are_one_rotation() {
    // The same id, two ids of which the second is remembered in a commit of its own, none.
    for (ids, commits) in [([id(1), id(1)], 1), ([id(1), id(2)], 2), ([String::new(), String::new()], 1)] {
        let ids = [ids[0].as_str(), ids[1].as_str()];
        for method in [FINISH, ABORT] {
            let (installation, new) = (Installation::made(), random_key());
            let daemon = installation.serve_for_admin();
            let generation = installation.records().generation;
            let key = if method == FINISH { new } else { installation.key };
            block_on(async {
                for begun in at_once(&daemon, BEGIN, [new; 2], ids).await {
                    assert!(rotation(begun).state() == RotationState::Pending, "{ids:?}");
                }
                assert_eq!(installation.records().generation, generation + commits, "{ids:?}");
                if method == FINISH {
                    installation.write_key(new);
                }
                // An id stands for one call: the end has others.
                let ends =
                    if ids[0].is_empty() { ids.map(str::to_owned) } else { ids.map(|id| id.replace("8000", "8001")) };
                for ended in at_once(&daemon, method, [new; 2], [&ends[0], &ends[1]]).await {
                    assert_eq!(rotation(ended).opens, [fingerprint(key)], "{method} {ids:?}");
                }
                assert_eq!(over(&daemon).await, fingerprint(key), "{method} {ids:?}");
            });
            daemon.stop().expect(0);
            assert_eq!(rotated(&installation), 1, "{method} {ids:?}");
        }
    }
}

#[test]
fn of_two_begins_with_two_keys_one_waits_and_an_id_is_no_one_elses() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let keys = [random_key(), random_key()];
    block_on(async {
        for (ids, code, words) in [
            ([id(1), id(2)], Code::FailedPrecondition, "a rotation of the master key from "),
            ([id(3), id(3)], Code::InvalidArgument, "request_id: was used with other contents"),
        ] {
            let answers = at_once(&daemon, BEGIN, keys, [&ids[0], &ids[1]]).await;
            let (begun, refused): (Vec<_>, Vec<_>) =
                answers.into_iter().partition(|answer| answer.code == Some(Code::Ok));
            let text = refused.into_iter().next().expect("one is refused").refused(code);
            assert!(text.starts_with(words), "{text}");
            let begun = rotation(begun.into_iter().next().expect("one has begun"));
            let key = keys.into_iter().find(|key| fingerprint(*key) == begun.new_fingerprint).unwrap();
            // The id of the begin is not one of an end, either.
            let text = call(&daemon, ABORT, &request(ABORT, key, &ids[0])).await;
            if ids[0] == ids[1] {
                assert!(text.refused(Code::InvalidArgument).starts_with(words));
            }
            call(&daemon, ABORT, &request(ABORT, key, "")).await;
            over(&daemon).await;
        }
    });
    daemon.stop().expect(0);
}

#[test]
fn a_finish_and_an_abort_at_once_end_it_one_way() {
    let (pending, new) = (Installation::made(), random_key());
    let daemon = pending.serve_for_admin();
    pending.begin_rotation(&daemon, new);
    // No source yields the new key: finish is refused whenever it comes.
    block_on(async {
        let (finish, abort) = (request(FINISH, new, &id(1)), request(ABORT, new, &id(2)));
        let (finished, aborted) = tokio::join!(call(&daemon, FINISH, &finish), call(&daemon, ABORT, &abort));
        finished.refused(Code::FailedPrecondition);
        assert_eq!(rotation(aborted).opens, [fingerprint(pending.key)]);
        assert_eq!(over(&daemon).await, fingerprint(pending.key));
    });
    daemon.stop().expect(0);
    assert_eq!(pending.opened_by(&[pending.key, new]), [pending.key]);
}
