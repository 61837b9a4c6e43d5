//! Sudden ends and crowded places: what was acknowledged is kept, and two daemons never share a store.
//!
//! Must never count a call as acknowledged before its answer was read. Run by `cargo test`.

use crate::harness::{DEADLINE, Daemon, Installation, Invocation, block_on, cell, eventually, is_there, name};
use servos_keyd::client::key_admin::{AdminClient, KeyFilter};
use servos_keyd::client::key_service::Client;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What the daemon has acknowledged.
enum Acknowledged {
    Created(String),
    Rotated(String, u32),
    Sealed(String, Vec<u8>, Vec<u8>),
}

/// Everything acknowledged so far.
#[derive(Default)]
struct Kept {
    primaries: BTreeMap<String, u32>,
    sealed: Vec<(String, Vec<u8>, Vec<u8>)>,
}

impl Kept {
    fn take(&mut self, acknowledged: Acknowledged) {
        match acknowledged {
            Acknowledged::Created(key) => drop(self.primaries.insert(key, 1)),
            Acknowledged::Rotated(key, version) => drop(self.primaries.insert(key, version)),
            Acknowledged::Sealed(key, ciphertext, plaintext) => self.sealed.push((key, ciphertext, plaintext)),
        }
    }

    fn check(&self, daemon: &Daemon) {
        block_on(async {
            let (client, admin) = (daemon.component(), daemon.admin());
            for (key, ciphertext, plaintext) in &self.sealed {
                let opened = client.decrypt(&name(key), ciphertext, &cell(key)).await.unwrap();
                assert_eq!(opened.plaintext.as_slice(), plaintext);
            }
            let keys = admin.list_keys(&KeyFilter::default()).await.unwrap();
            for (name, version) in &self.primaries {
                let key = keys.iter().find(|key| key.name == *name).unwrap_or_else(|| panic!("{name} is gone"));
                assert!(key.primary >= *version, "{name}: {} is primary, {version} was acknowledged", key.primary);
            }
        });
    }
}

/// Creates, rotates and seals until the daemon is gone; tells of each answer.
fn change_until_gone(round: usize, client: &Client, admin: &AdminClient, told: &Sender<Acknowledged>) {
    block_on(async {
        for number in 0.. {
            let key = format!("k{round}-{number}");
            let plaintext = format!("under {key}").into_bytes();
            let Ok(_) = admin.create_key(&name(&key)).await else { return };
            told.send(Acknowledged::Created(key.clone())).unwrap();
            for _ in 0..2 {
                let Ok(sealed) = client.encrypt(&name(&key), &plaintext, &cell(&key)).await else { return };
                told.send(Acknowledged::Sealed(key.clone(), sealed.ciphertext, plaintext.clone())).unwrap();
                let Ok(rotated) = admin.rotate_key(&name(&key)).await else { return };
                told.send(Acknowledged::Rotated(key.clone(), rotated.version)).unwrap();
            }
        }
    });
}

/// Lets one loop of changes run until so many answers came, then kills the daemon under it.
fn kill_after(daemon: Daemon, round: usize, answers: usize, kept: &mut Kept) {
    let brief = |socket| Client::new(socket).with_wait_for_daemon(Duration::ZERO).with_deadline(DEADLINE);
    let (client, admin) = (brief(&daemon.component_socket), AdminClient::new(&brief(&daemon.admin_socket)));
    let (told, heard): (_, Receiver<Acknowledged>) = channel();
    let changes = std::thread::spawn(move || change_until_gone(round, &client, &admin, &told));
    for _ in 0..answers {
        kept.take(heard.recv_timeout(DEADLINE).expect("the daemon answers"));
    }
    // Somewhere in the next change: how far it is depends on the machine.
    std::thread::sleep(Duration::from_micros(700 * round as u64));
    daemon.kill();
    changes.join().unwrap();
    heard.try_iter().for_each(|acknowledged| kept.take(acknowledged));
}

#[test]
fn whatever_was_acknowledged_before_a_kill_opens_after_it() {
    let installation = Installation::made();
    let mut kept = Kept::default();
    for round in 0..8 {
        let daemon = installation.serve_for_admin();
        kept.check(&daemon);
        kill_after(daemon, round, 3 + 2 * round, &mut kept);
    }
    kept.check(&installation.serve_for_admin());
    assert!(kept.sealed.len() >= 16);
}

#[test]
fn every_version_that_seals_is_in_a_backup() {
    let installation = Installation::made();
    let mut kept = Kept::default();
    kill_after(installation.serve_for_admin(), 1, 12, &mut kept);
    // The store is lost with the machine, and the mark too: what was sealed opens from the newest backup alone.
    let place = Installation::with_key(installation.key);
    place.restore(&installation.backups().pop().unwrap()).expect(0);
    kept.primaries.clear();
    kept.check(&place.serve_for_admin());
}

#[test]
fn a_second_daemon_is_turned_away_and_the_first_serves_on() {
    let installation = Installation::made();
    let daemon = installation.serve();
    let before = installation.files();
    installation.serve_refused().expect(75);
    // Neither with sockets of its own, on the same store.
    let elsewhere = Installation::with_key(installation.key);
    let configuration = std::fs::read_to_string(installation.path("keyd.toml")).unwrap();
    let own = elsewhere.path("keyd").to_str().unwrap().to_owned();
    let shared = installation.path("keyd").to_str().unwrap().to_owned();
    let text = configuration.replace(&format!("{shared}.sock"), &format!("{own}.sock"));
    let text = text.replace(&format!("{shared}-admin.sock"), &format!("{own}-admin.sock"));
    let file = installation.write_private("second.toml", text.as_bytes());
    let second = Invocation::new(["serve", "--config", file.to_str().unwrap()]);
    Daemon::refused(&second).expect(75);
    assert_eq!(elsewhere.sockets(), Vec::<std::path::PathBuf>::new());
    std::fs::remove_file(file).unwrap();
    assert_eq!(installation.files(), before);
    block_on(async { daemon.component().encrypt(&name("default"), b"on", &cell("1")).await.unwrap() });
}

#[test]
fn a_socket_that_another_daemon_serves_is_not_taken() {
    let one = Installation::made();
    let daemon = one.serve();
    let other = Installation::made();
    other.command("serve", &[]);
    let text = std::fs::read_to_string(other.path("keyd.toml")).unwrap();
    let text = text.replace(other.path("keyd.sock").to_str().unwrap(), one.path("keyd.sock").to_str().unwrap());
    let file = other.write_private("second.toml", text.as_bytes());
    let before = other.files();
    let refused = Daemon::refused(&Invocation::new(["serve", "--config", file.to_str().unwrap()]));
    refused.expect(75).saying(&[one.path("keyd.sock").to_str().unwrap()]);
    assert_eq!(other.files(), before);
    block_on(async { daemon.component().encrypt(&name("default"), b"on", &cell("1")).await.unwrap() });
}

#[test]
fn a_socket_left_by_a_killed_daemon_is_replaced() {
    let installation = Installation::made();
    assert_eq!(installation.serve().kill().signal, Some(9));
    assert_eq!(installation.sockets().len(), 2);
    let daemon = installation.serve();
    block_on(async { daemon.component().encrypt(&name("default"), b"x", &cell("1")).await.unwrap() });
    daemon.stop().expect(0);
    assert!(installation.sockets().is_empty());
}

#[test]
fn what_is_no_socket_is_not_replaced_by_one() {
    type Put = fn(&Installation);
    let cases: [(&str, Put); 3] = [
        ("a file", |i| std::fs::write(i.path("keyd.sock"), b"precious").unwrap()),
        ("a directory", |i| std::fs::create_dir(i.path("keyd.sock")).unwrap()),
        ("a link", |i| symlink(i.path("master.key"), i.path("keyd.sock")).unwrap()),
    ];
    for (case, put) in cases {
        let installation = Installation::made();
        put(&installation);
        let before = installation.files();
        let refused = installation.serve_refused();
        assert_eq!(refused.code, Some(73), "{case}: {refused:#?}");
        refused.saying(&[installation.path("keyd.sock").to_str().unwrap()]);
        assert_eq!(installation.files(), before, "{case}");
    }
}

#[test]
fn a_stop_ends_with_0_within_the_drain_and_leaves_no_socket() {
    for signal in ["TERM", "INT"] {
        let installation = Installation::made();
        let daemon = installation.serve();
        // One that says nothing, and one that speaks HTTP/2 and is idle.
        let silent = UnixStream::connect(&daemon.component_socket).unwrap();
        let stopped = block_on(async {
            let client = daemon.component();
            client.encrypt(&name("default"), b"x", &cell("1")).await.unwrap();
            let started = Instant::now();
            daemon.signal(signal);
            // The next signal must not come before it: of two at once, either may be taken for the first.
            eventually("it stops", || daemon.said().contains("stopping"));
            let stopped = daemon.stop().expect(0);
            assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
            drop(client);
            stopped
        });
        drop(silent);
        stopped.saying(&["stopping", &format!("SIG{signal}"), "keys wiped"]);
        assert!(installation.sockets().is_empty(), "{signal}");
        let again = installation.serve();
        eventually("the socket is there", || is_there(&again.component_socket));
    }
}
