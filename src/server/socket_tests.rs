//! The server over real sockets: good clients, silent ones, slow ones, and the stop.
//!
//! Must never judge how fast the machine is: what is asked is that things end, not when.
//! Called by `cargo test`.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::body::Body;

use super::limits::Limits;
use super::test_rig::{
    Pieces, Rig, drain_body, frame_types, grpc, hasty_idle, next_frame, patient, request, soon, status, until_closed,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const GOAWAY: u8 = 7;

#[tokio::test]
async fn a_connection_that_has_become_idle_is_closed() {
    let rig = Rig::start(hasty_idle());
    let client = rig.client().await;
    assert_eq!(client.call("/ok").await.0, tonic::Code::Ok);
    soon(client.ended).await.unwrap();
}

#[tokio::test]
async fn a_connection_with_a_long_call_is_not_idle() {
    let rig = Rig::start(hasty_idle());
    let client = rig.client().await;
    assert_eq!(client.call("/slow").await.0, tonic::Code::Ok);
}

#[tokio::test]
async fn every_call_is_counted_however_it_ends() {
    let rig = Rig::start(patient());
    let client = rig.client().await;
    assert_eq!(client.call("/ok").await.0, tonic::Code::Ok);
    assert_eq!(client.call("/panic").await.0, tonic::Code::Internal);
    assert_eq!(client.call_with_timeout("/hang", "1m").await, tonic::Code::DeadlineExceeded);
    client.answer(request("GET", "/ok", "application/grpc", Body::empty())).await;
    // When the second is answered, the first has been begun.
    let leaving = rig.client().await;
    let hangs = leaving.send(grpc("/hang"));
    assert_eq!(leaving.call("/ok").await.0, tonic::Code::Ok);
    assert_eq!(rig.traffic.connections.sockets()[0].open, 2);
    hangs.abort();
    drop(leaving);
    let counted = || rig.traffic.calls.counted().iter().flat_map(|one| one.buckets).sum::<u64>();
    soon(async {
        while counted() < 6 || rig.traffic.connections.sockets()[0].open > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let errors: Vec<_> = rig.traffic.calls.errors().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(errors, [("CANCELLED", 1), ("UNKNOWN", 1), ("DEADLINE_EXCEEDED", 1), ("INTERNAL", 1)]);
    assert_eq!(rig.traffic.connections.sockets()[0].accepted, 2);
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let rig = Rig::start(hasty_idle());
    let mut socket = rig.raw().await;
    until_closed(&mut socket).await;
}

#[tokio::test]
async fn a_client_that_sends_one_byte_at_a_time_is_closed() {
    let rig = Rig::start(hasty_idle());
    let (mut reader, mut writer) = rig.raw().await.into_split();
    let closed = tokio::spawn(async move { while reader.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {} });
    let bytes = [PREFACE, EMPTY_SETTINGS, &[0, 63, 0, 1, 4, 0, 0, 0, 1]].concat();
    let mut endless = bytes.into_iter().chain(std::iter::repeat(0));
    soon(async {
        while !closed.is_finished() {
            drop(writer.write_all(&[endless.next().unwrap()]).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_ignores_goaway_is_closed() {
    let rig = Rig::start(hasty_idle());
    let mut socket = rig.raw().await;
    socket.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await.unwrap();
    let said = until_closed(&mut socket).await;
    assert!(frame_types(&said).contains(&GOAWAY), "{said:?}");
}

#[tokio::test]
async fn a_client_that_speaks_http1_is_closed() {
    let rig = Rig::start(patient());
    let mut socket = rig.raw().await;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    until_closed(&mut socket).await;
}

#[tokio::test]
async fn a_reader_who_takes_nothing_is_closed() {
    let rig = Rig::start(Limits { request_timeout: Duration::from_millis(100), ..patient() });
    let client = rig.client().await;
    let unread = client.answer(grpc("/big")).await;
    soon(client.ended).await.unwrap();
    drop(unread);
}

#[tokio::test]
async fn a_stop_waits_for_no_connection_without_a_call() {
    let rig = Rig::start(patient());
    let _silent = rig.raw().await;
    let mut half = rig.raw().await;
    half.write_all(&PREFACE[..10]).await.unwrap();
    let mut deaf = rig.raw().await;
    deaf.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await.unwrap();
    let idle = rig.client().await;
    assert_eq!(idle.call("/ok").await.0, tonic::Code::Ok);
    assert_eq!(rig.stop().await.calls_cut, 0);
    soon(idle.ended).await.unwrap();
}

#[tokio::test]
async fn a_call_in_flight_at_the_stop_is_finished() {
    let rig = Rig::start(patient());
    let client = rig.client().await;
    assert_eq!(client.call("/ok").await.0, tonic::Code::Ok);
    let call = client.send(grpc("/slow"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let path = rig.path.clone();
    assert_eq!(rig.stop().await.calls_cut, 0);
    assert_eq!(status(soon(call).await.unwrap().unwrap().headers()).0, tonic::Code::Ok);
    assert!(UnixStream::connect(path).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn calls_that_outlast_the_drain_are_cut_and_counted() {
    let rig = Rig::start(Limits { drain: Duration::from_millis(300), ..patient() });
    let stuck = rig.client().await;
    let hanging = [stuck.send(grpc("/hang")), stuck.send(grpc("/hang"))];
    let unread = stuck.answer(grpc("/big")).await;
    assert_eq!(stuck.call("/ok").await.0, tonic::Code::Ok);
    let begun = Instant::now();
    assert_eq!(rig.stop().await.calls_cut, 3);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    for call in hanging {
        assert!(soon(call).await.unwrap().is_err());
    }
    drop(unread);
}

#[tokio::test]
async fn connections_over_the_total_are_closed_at_once_and_seats_come_back() {
    let rig = Rig::start(Limits { connections: 2, ..patient() });
    let first = rig.client().await;
    let second = rig.client().await;
    assert_eq!(second.call("/ok").await.0, tonic::Code::Ok);
    until_closed(&mut rig.raw().await).await;
    assert_eq!(first.call("/ok").await.0, tonic::Code::Ok);
    drop(first.sender);
    soon(first.ended).await.unwrap();
    soon(async {
        // The server notices the end a moment later than the client.
        while rig.client().await.send(grpc("/ok")).await.unwrap().is_err() {}
    })
    .await;
}

#[tokio::test]
async fn connections_over_a_users_share_are_closed_at_once() {
    let rig = Rig::start(Limits { connections_per_user: 1, ..patient() });
    let only = rig.client().await;
    assert_eq!(only.call("/ok").await.0, tonic::Code::Ok);
    until_closed(&mut rig.raw().await).await;
}

/// A message of so many bytes, whole.
fn message(length: usize) -> Vec<u8> {
    [&[0], u32::try_from(length).unwrap().to_be_bytes().as_slice(), &vec![7; length]].concat()
}

#[tokio::test]
async fn messages_beyond_a_users_share_are_refused_on_whatever_connection_until_others_are_over() {
    use tonic::Code;
    const LENGTH: usize = 512 << 10;
    // A third of it is one such message, held twice, and what is beside it.
    let rig = Rig::start(Limits { call_bytes: 4 << 20, ..patient() });
    let (one, other) = (rig.client().await, rig.client().await);
    let count = |body| request("POST", "/count", "application/grpc", Body::new(body));
    let whole = |length| count(Pieces::Whole(message(length)));
    assert_eq!(status(one.answer(whole(LENGTH)).await.headers()), (Code::Ok, (LENGTH + 5).to_string()));
    // Its length is told, and no more than that comes.
    let begun = one.send(count(Pieces::Begun(message(LENGTH)[..6].to_vec())));
    let refused = soon(async {
        loop {
            let answer = other.answer(whole(LENGTH)).await;
            if status(answer.headers()).0 != Code::Ok {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(status(refused.headers()).0, Code::ResourceExhausted);
    assert_eq!(refused.headers()["grpc-retry-pushback-ms"], "200");
    assert_eq!(status(other.answer(whole(1 << 10)).await.headers()).0, Code::Ok, "what is small still fits");
    begun.abort();
    soon(async { while status(other.answer(whole(LENGTH)).await.headers()).0 != Code::Ok {} }).await;
}

#[tokio::test]
async fn a_call_that_hangs_holds_its_head_and_one_too_many_is_refused() {
    let rig = Rig::start(Limits { call_bytes: 64 << 10, ..patient() });
    let client = rig.client().await;
    let hanging = [client.send(grpc("/hang")), client.send(grpc("/hang"))];
    soon(async { while client.call("/ok").await.0 != tonic::Code::ResourceExhausted {} }).await;
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
    soon(async { while client.call("/ok").await.0 != tonic::Code::Ok {} }).await;
}

#[tokio::test]
async fn the_service_learns_who_connected() {
    let rig = Rig::start(patient());
    let uid = nix::unistd::getuid().as_raw().to_string();
    assert_eq!(rig.client().await.call("/peer").await, (tonic::Code::Ok, uid));
}

#[tokio::test]
async fn the_shorter_deadline_ends_a_call() {
    let rig = Rig::start(Limits { request_timeout: Duration::from_millis(300), ..patient() });
    let client = rig.client().await;
    assert_eq!(client.call("/hang").await, (tonic::Code::DeadlineExceeded, "deadline passed".to_owned()));
    assert_eq!(client.call_with_timeout("/hang", "99999999H").await, tonic::Code::DeadlineExceeded);
    let rig = Rig::start(patient());
    let client = rig.client().await;
    assert_eq!(client.call_with_timeout("/hang", "20m").await, tonic::Code::DeadlineExceeded);
    assert_eq!(client.call_with_timeout("/ok", "0n").await, tonic::Code::DeadlineExceeded);
    for absurd in ["99999999H", "999999999999S", "-5S", "S", ""] {
        assert_eq!(client.call_with_timeout("/ok", absurd).await, tonic::Code::Ok, "{absurd:?}");
    }
}

#[tokio::test]
async fn a_panic_costs_one_call_and_tells_nothing() {
    let rig = Rig::start(patient());
    let client = rig.client().await;
    let hanging = client.send(grpc("/hang"));
    for path in ["/panic", "/panic-at-once"] {
        let (code, text) = client.call(path).await;
        assert_eq!(code, tonic::Code::Internal, "{path}");
        assert!(text.starts_with("internal error ") && text.ends_with(": see the daemon's log"), "{path}: {text}");
    }
    let mut body = client.answer(grpc("/panic-in-body")).await.into_body();
    let trailers = soon(next_frame(&mut body)).await.unwrap().into_trailers().unwrap();
    assert_eq!(status(&trailers).0, tonic::Code::Internal);
    assert_eq!(client.call("/ok").await.0, tonic::Code::Ok);
    assert!(!hanging.is_finished());
}

#[tokio::test]
async fn what_is_not_grpc_is_refused_in_http() {
    let rig = Rig::start(patient());
    let client = rig.client().await;
    for (method, content_type, expected) in [
        ("GET", "application/grpc", 405),
        ("CONNECT", "application/grpc", 405),
        ("PUT", "application/grpc", 405),
        ("POST", "application/json", 415),
        ("POST", "application/grpc-web", 415),
    ] {
        let mut odd = request(method, "/ok", content_type, Body::empty());
        if method == "CONNECT" {
            *odd.uri_mut() = "localhost:1".parse().unwrap();
        }
        assert_eq!(client.answer(odd).await.status().as_u16(), expected, "{method} {content_type}");
    }
    assert_eq!(client.call("/ok").await.0, tonic::Code::Ok);
}

#[tokio::test]
async fn messages_larger_than_the_windows_flow() {
    let rig = Rig::start(patient());
    let client = rig.client().await;
    let body = Body::new(Pieces::Big);
    let answer = client.answer(request("POST", "/count", "application/grpc", body)).await;
    assert_eq!(status(answer.headers()), (tonic::Code::Ok, (1 << 20).to_string()));
    assert_eq!(soon(drain_body(client.answer(grpc("/big")).await.into_body())).await, 1 << 20);
}

#[tokio::test]
async fn a_connection_is_closed_behind_a_call_that_wants_it_however_that_ends() {
    use tonic::Code;
    for (path, timeout, code) in [
        ("/close/ok", "1H", Code::Ok),
        ("/close/ok", "0n", Code::DeadlineExceeded),
        ("/close/hang", "20m", Code::DeadlineExceeded),
        ("/close/panic", "1H", Code::Internal),
        ("/close/panic-at-once", "1H", Code::Internal),
    ] {
        let rig = Rig::start(patient());
        let client = rig.client().await;
        assert_eq!(client.call("/ok").await.0, Code::Ok, "the control: it is open behind another call");
        assert_eq!(client.call_with_timeout(path, timeout).await, code, "{path}");
        soon(client.ended).await.unwrap();
    }
    // A client that gives up while it is answered.
    let rig = Rig::start(patient());
    let client = rig.client().await;
    let hanging = client.send(grpc("/close/hang"));
    assert_eq!(client.call("/ok").await.0, Code::Ok, "the one before it has begun");
    hanging.abort();
    soon(client.ended).await.unwrap();
}
