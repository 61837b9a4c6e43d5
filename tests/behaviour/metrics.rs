//! The socket of the metrics: what a live daemon counts, who may read it, and that it is there only where it is asked for.
//!
//! Must never pass on a text that was made for the test: every number is of calls that were made. Run by `cargo test`.

use crate::harness::{Daemon, Installation, KEYCTL, block_on, cell, is_root, name, not_run};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

fn measured() -> Installation {
    let mut installation = Installation::made();
    installation.more = format!("[metrics]\nsocket = {:?}\n", installation.path("metrics.sock"));
    installation
}

fn scraped(socket: &Path) -> String {
    let mut connection = UnixStream::connect(socket).unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut said = String::new();
    connection.read_to_string(&mut said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("openmetrics-text"), "{head}");
    body.to_owned()
}

fn sample(text: &str, series: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{series} is not in:\n{text}")).parse().unwrap()
}

/// Two calls that succeed, and one that does not.
fn call(daemon: &Daemon) {
    block_on(async {
        let client = daemon.component();
        let sealed = client.encrypt(&name("default"), b"value", &cell("1")).await.unwrap();
        client.decrypt(&name("default"), &sealed.ciphertext, &cell("1")).await.unwrap();
        client.decrypt(&name("default"), &sealed.ciphertext, &cell("2")).await.unwrap_err();
    });
}

#[test]
fn what_components_did_is_read_at_the_socket_of_the_metrics() {
    let installation = measured();
    let daemon = installation.serve();
    let socket = installation.path("metrics.sock");
    let before = scraped(&socket);
    assert_eq!(sample(&before, "servos_keyd_calls_total{operation=\"Encrypt\"}"), 0);
    call(&daemon);
    let after = scraped(&socket);
    for (series, number) in [
        ("servos_keyd_calls_total{operation=\"Encrypt\"}", 1),
        ("servos_keyd_calls_total{operation=\"Decrypt\"}", 2),
        ("servos_keyd_call_errors_total{operation=\"Encrypt\"}", 0),
        ("servos_keyd_call_errors_total{operation=\"Decrypt\"}", 1),
        ("servos_keyd_errors_total{code=\"INVALID_ARGUMENT\"}", 1),
        ("servos_keyd_call_duration_seconds_count{operation=\"Decrypt\"}", 2),
        ("servos_keyd_connections_accepted_total{socket=\"component\"}", 1),
        ("servos_keyd_connections_accepted_total{socket=\"metrics\"}", 2),
        ("servos_keyd_store_size_bytes", installation.store().metadata().unwrap().len()),
    ] {
        assert_eq!(sample(&after, series), number, "{series}");
    }
    assert!(sample(&after, "servos_keyd_locked_memory_bytes") >= 4096);
    for secret in [installation.path("").to_str().unwrap(), "default", "value"] {
        assert!(!after.contains(&format!("\"{secret}")), "{secret}");
    }
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    daemon.stop().expect(0);
    assert!(!socket.exists(), "the daemon removes what it bound");
}

#[test]
fn without_a_word_in_the_configuration_there_is_no_such_socket() {
    let installation = Installation::made();
    let daemon = installation.serve();
    let sockets: Vec<_> = std::fs::read_dir(installation.directory())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_socket())
        .collect();
    assert_eq!(sockets.len(), 2, "{sockets:?}");
    daemon.stop().expect(0);
}

#[test]
fn status_tells_of_the_same_calls_and_of_who_is_connected() {
    if !is_root() {
        return not_run("asking on the admin socket takes root");
    }
    let installation = measured();
    let daemon = installation.serve();
    let kept = daemon.component();
    block_on(async {
        kept.encrypt(&name("default"), b"value", &cell("1")).await.unwrap();
        let shown = daemon.keyctl(&["status"]).run(KEYCTL).expect(0);
        for part in ["Encrypt    1      0", "connected", "component: uid 0, pid ", "locked (", "P99", "rotation"] {
            assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
        }
        let json = daemon.keyctl(&["status", "--json"]).run(KEYCTL).expect(0);
        let value: Value = serde_json::from_str(&json.stdout).unwrap();
        let peers = value["connections"]["peers"].as_array().unwrap();
        let own = peers.iter().find(|peer| peer["pid"] == std::process::id()).unwrap();
        assert_eq!((&own["socket"], &own["uid"], &own["connections"]), (&"component".into(), &0.into(), &1.into()));
        assert!(own["process"].is_string(), "{own}");
        assert_eq!(value["calls"]["operations"][0]["calls"], 1);
        assert!(value["calls"]["operations"][0]["p99_us"].as_u64().unwrap() > 0);
        assert!(value["store"]["bytes"].as_u64().unwrap() > 0);
    });
    daemon.stop().expect(0);
}
