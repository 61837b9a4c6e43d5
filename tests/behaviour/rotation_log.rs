//! What the daemon logs of a rotation, and what nobody says: a byte of a key, in log, answer, or word of the tool.
//!
//! Must never search without having proved that it would find. Run by `cargo test`.

use crate::harness::wire::{Answer, KEY_ADMIN, Wire};
use crate::harness::{
    Daemon, Installation, KEYCTL, Marker, Outcome, base64, block_on, eventually, fingerprint, random_key,
    rotation_complete,
};
use prost::Message;
use servos_keyd::proto::v1;
use tonic::Code;

/// Everything that was said, by whom.
#[derive(Default)]
struct Said(Vec<(String, Vec<u8>)>);

impl Said {
    /// Runs the tool.
    fn keyctl(&mut self, daemon: &Daemon, arguments: &[&str], code: i32) -> Outcome {
        let outcome = daemon.keyctl(arguments).run(KEYCTL).expect(code);
        self.hear(&arguments.join(" "), &outcome);
        outcome
    }

    fn hear(&mut self, what: &str, outcome: &Outcome) {
        self.0.push((what.to_owned(), [&outcome.bytes.stdout[..], b"\n", &outcome.bytes.stderr].concat()));
    }

    /// Makes a call on the wire.
    fn call(&mut self, daemon: &Daemon, method: &str, request: &impl Message) -> Answer {
        let answer =
            block_on(async { Wire::connect(&daemon.admin_socket).await.call(KEY_ADMIN, method, request).await });
        self.0.push((method.to_owned(), answer.messages.concat()));
        self.0.push((method.to_owned(), answer.text.clone().into_bytes()));
        answer
    }
}

/// The log's lines with an event.
fn lines(log: &str, event: &str) -> Vec<String> {
    log.lines().filter(|line| line.contains(&format!("\"{event}\""))).map(str::to_owned).collect()
}

fn key_of(installation: &Installation, file: &str) -> [u8; 32] {
    let mut key = [0; 32];
    base16ct::lower::decode(std::fs::read(installation.path(file)).unwrap().trim_ascii(), &mut key).unwrap();
    key
}

#[test]
fn a_rotation_is_logged_by_fingerprints_and_no_byte_of_a_key_is_said() {
    for format in ["text", "json"] {
        let mut installation = Installation::new();
        (installation.level, installation.format) = ("trace", format);
        installation.init(&["--adopt-legacy"]).expect(0);
        let (old, carried) = (installation.key, random_key());
        let (daemon, mut said) = (installation.serve_for_admin(), Said::default());

        // With a file, which the daemon reads: begun by the tool, refused, finished.
        said.keyctl(&daemon, &["rotate", "begin", "--generate", "--dry-run"], 0);
        said.keyctl(&daemon, &["rotate", "begin", "--generate", "--yes"], 0);
        let new = key_of(&installation, "master.key.next");
        for arguments in
            [&["rotate", "status"][..], &["rotate", "status", "--json"], &["status"], &["status", "--json"]]
        {
            said.keyctl(&daemon, arguments, 0);
        }
        said.keyctl(&daemon, &["rotate", "finish", "--yes"], 65);
        installation.write_key(new);
        said.keyctl(&daemon, &["rotate", "abort", "--yes"], 65);
        said.keyctl(&daemon, &["rotate", "finish", "--yes"], 0);
        rotation_complete(&daemon);

        // In the request: as base64, cut off, under another name; aborted.
        let rotate = v1::RotateRequest {
            new_key_fingerprint: fingerprint(carried),
            new_key: base64(&carried).into_bytes(),
            ..v1::RotateRequest::default()
        };
        let cut = v1::RotateRequest { new_key: rotate.new_key[..43].to_vec(), ..rotate.clone() };
        let raw = v1::RotateRequest { new_key: carried.to_vec(), ..rotate.clone() };
        let misplaced = String::from_utf8(rotate.new_key.clone()).unwrap();
        let misplaced = v1::RotateRequest { new_key_fingerprint: misplaced, ..rotate.clone() };
        let misnamed = v1::RotateRequest { new_key_fingerprint: fingerprint(old), ..rotate.clone() };
        for refused in [cut, raw, misplaced, misnamed] {
            said.call(&daemon, "Rotate", &refused).refused(Code::InvalidArgument);
        }
        assert_eq!(said.call(&daemon, "Rotate", &rotate).code, Some(Code::Ok));
        assert_eq!(said.call(&daemon, "GetStatus", &v1::GetStatusRequest {}).code, Some(Code::Ok));
        let end = v1::FinishRotationRequest { new_key_fingerprint: fingerprint(carried), ..Default::default() };
        said.call(&daemon, "FinishRotation", &end).refused(Code::FailedPrecondition);
        let end = v1::AbortRotationRequest { new_key_fingerprint: fingerprint(carried), ..Default::default() };
        assert_eq!(said.call(&daemon, "AbortRotation", &end).code, Some(Code::Ok));
        eventually("both are complete", || lines(&daemon.said(), "rotation.complete").len() == 2);
        let stopped = daemon.stop().expect(0);
        said.hear("the daemon", &stopped);

        let (old, new, third) = (fingerprint(old), fingerprint(new), fingerprint(carried));
        for (event, pairs) in [
            ("rotation.begun", &[(&old, &new), (&new, &third)][..]),
            ("rotation.finished", &[(&old, &new)]),
            ("rotation.aborted", &[(&new, &third)]),
            ("rotation.complete", &[(&old, &new), (&new, &third)]),
        ] {
            let logged = lines(&stopped.said(), event);
            assert_eq!(logged.len(), pairs.len(), "{event}: {logged:#?}");
            for (line, (one, other)) in logged.iter().zip(pairs) {
                assert!(line.contains(*one) && line.contains(*other), "{line}");
            }
        }
        assert_no_key_in(&said, &[installation.key, key_of(&installation, "master.key"), carried]);
    }
}

#[track_caller]
fn assert_no_key_in(said: &Said, keys: &[[u8; 32]]) {
    assert!(said.0.iter().map(|(_, text)| text.len()).sum::<usize>() > 4_000, "hardly anything was said");
    for key in keys {
        let marker = Marker { name: "a master key", bytes: key.to_vec() };
        assert!(marker.found_in(base64(key).as_bytes()).is_some(), "the search finds not even the key");
        for (what, text) in &said.0 {
            assert_eq!(marker.found_in(text), None, "{what} says it: {}", String::from_utf8_lossy(text));
        }
    }
}
