//! What no well-behaved client sends: garbage, HTTP/1, huge headers, broken messages. It costs its sender alone.
//!
//! Must never pass because the daemon had ended: each test ends with a call that works. Run by `cargo test`.

use crate::harness::wire::{KEY_ADMIN, KEY_SERVICE, Wire, framed, soon};
use crate::harness::{Installation, block_on};
use servos_keyd::proto::codec::MALFORMED;
use servos_keyd::proto::v1;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::Code;

async fn works(wire: &Wire) {
    let request = v1::EncryptRequest { key: "default".to_owned(), ..v1::EncryptRequest::default() };
    let _: v1::EncryptResponse = wire.call(KEY_SERVICE, "Encrypt", &request).await.message();
}

/// Says something and hears what comes until the other side closes.
async fn shout(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // The daemon may close in the middle of it: that is one of the right answers.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut heard = Vec::new();
    let _ = soon(stream.read_to_end(&mut heard)).await;
    heard
}

#[test]
fn garbage_and_http_1_cost_nobody_else() {
    let installation = Installation::made();
    let daemon = installation.serve();
    block_on(async {
        let neighbour = Wire::connect(&daemon.component_socket).await;
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let after_preface = [preface.as_slice(), &noise].concat();
        let huge_frame = [preface.as_slice(), &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
        let shouts: [&[u8]; 7] =
            [b"", b"\0", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &noise, preface, &after_preface, &huge_frame];
        for bytes in shouts {
            let heard = shout(&daemon.component_socket, bytes).await;
            assert!(heard.len() < 1000, "{heard:?}");
            works(&neighbour).await;
        }
        works(&Wire::connect(&daemon.component_socket).await).await;
    });
    daemon.stop().expect(0);
}

#[test]
fn huge_headers_cost_their_call_or_connection_alone() {
    let installation = Installation::made();
    let daemon = installation.serve();
    block_on(async {
        let neighbour = Wire::connect(&daemon.component_socket).await;
        for size in [17 << 10, 100 << 10, 1 << 20] {
            let wire = Wire::connect(&daemon.component_socket).await;
            let value = "x".repeat(size);
            let answer = wire.send("/servos.keyd.v1.KeyService/WhoAmI", framed(&[]), &[("x-huge", &value)]).await;
            assert!(answer.is_err() || answer.is_ok_and(|answer| answer.messages.is_empty()), "{size}");
            works(&neighbour).await;
        }
    });
    daemon.stop().expect(0);
}

#[test]
fn a_message_that_does_not_parse_is_refused_in_fixed_words() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    block_on(async {
        let wire = Wire::connect(&daemon.admin_socket).await;
        // Field 1 as a string that is no UTF-8, one that is cut off, a wire type there is not, an endless varint.
        let broken: [&[u8]; 5] =
            [b"\x0a\x02\xff\xfe", b"\x0a\x7fmarker", b"\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x08"];
        for bytes in broken {
            for (service, method) in [(KEY_SERVICE, "Encrypt"), (KEY_SERVICE, "Decrypt"), (KEY_ADMIN, "CreateKey")] {
                let text = wire.call_with(service, method, bytes, &[]).await.refused(Code::InvalidArgument);
                assert_eq!(text, MALFORMED, "{method} {bytes:?}");
            }
        }
        // Fields of a later contract are no fault.
        let known = v1::EncryptRequest { key: "default".to_owned(), ..v1::EncryptRequest::default() };
        let later = [prost::Message::encode_to_vec(&known).as_slice(), b"\xfa\x3e\x01x"].concat();
        let _: v1::EncryptResponse = wire.call_with(KEY_SERVICE, "Encrypt", &later, &[]).await.message();
    });
    daemon.stop().expect(0);
}

#[test]
fn frames_that_lie_are_refused_and_the_connection_goes_on() {
    let installation = Installation::made();
    let daemon = installation.serve();
    block_on(async {
        let wire = Wire::connect(&daemon.component_socket).await;
        let path = "/servos.keyd.v1.KeyService/Encrypt";
        let good = framed(b"\x0a\x07default");
        let two = [good.as_slice(), &good].concat();
        let compressed = [&[1], &good[1..]].concat();
        let strange_flag = [&[7], &good[1..]].concat();
        let long = [&[0, 0, 0, 1, 0], &good[5..]].concat();
        for (what, body) in [
            ("no message", vec![]),
            ("half a header", good[..3].to_vec()),
            ("a message cut short", good[..good.len() - 1].to_vec()),
            ("a length beyond the body", long),
            ("a length of 4 GiB", vec![0, 0xff, 0xff, 0xff, 0xff]),
            ("compressed, which was not agreed", compressed),
            ("a flag there is not", strange_flag),
            ("two messages", two),
        ] {
            let answer = wire.send(path, body, &[]).await.unwrap();
            let code = answer.code.unwrap_or_else(|| panic!("{what}: {answer:?}"));
            let refused = !matches!(code, Code::Ok | Code::Unknown);
            assert!(refused || what == "two messages", "{what}: {answer:?}");
            assert!(answer.text.len() < 200, "{what}: {answer:?}");
            works(&wire).await;
        }
        let answer = wire.send(path, good.clone(), &[("grpc-encoding", "gzip")]).await.unwrap();
        assert!(answer.code.is_some(), "{answer:?}");
        works(&wire).await;
    });
    daemon.stop().expect(0);
}

#[test]
fn a_deadline_that_is_over_is_told_and_a_strange_one_is_the_daemons() {
    let installation = Installation::made();
    let daemon = installation.serve();
    block_on(async {
        let wire = Wire::connect(&daemon.component_socket).await;
        let over = wire.call_with(KEY_SERVICE, "WhoAmI", &[], &[("grpc-timeout", "0n")]).await;
        assert_eq!(over.refused(Code::DeadlineExceeded), "deadline passed");
        for strange in ["", "x", "-1S", "999999999S", "5", "1.5S", "99999999H"] {
            let answer = wire.call_with(KEY_SERVICE, "WhoAmI", &[], &[("grpc-timeout", strange)]).await;
            assert_eq!(answer.code, Some(Code::Ok), "{strange:?}: {answer:?}");
        }
    });
    daemon.stop().expect(0);
}

#[test]
fn refusals_that_a_caller_can_have_without_end_take_some_lines_of_the_log_and_no_more() {
    let installation = Installation::made();
    let daemon = installation.serve();
    block_on(async {
        let wire = Wire::connect(&daemon.component_socket).await;
        let unknown = v1::EncryptRequest { key: "nobody-s".to_owned(), ..v1::EncryptRequest::default() };
        for _ in 0..200 {
            wire.call(KEY_SERVICE, "Encrypt", &unknown).await.refused(Code::NotFound);
        }
        // What h2 warns of: answers to pings that nobody sent.
        let pong = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let noise = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice(), &pong.repeat(500)].concat();
        shout(&daemon.component_socket, &noise).await;
        works(&wire).await;
    });
    let said = daemon.said();
    assert_eq!(said.matches("event=\"call.refused\"").count(), 20, "{said}");
    assert!(said.lines().count() < 60, "{said}");
    daemon.stop().expect(0);
}
