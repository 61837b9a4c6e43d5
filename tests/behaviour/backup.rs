//! Backups by the tool: taken under the live daemon, looked at without it, proved with a key, and restored.
//!
//! Must never take a file for a good backup because a command ended with 0 alone. Run by `cargo test`.

use crate::harness::{
    DEADLINE, Daemon, Installation, KEYCTL, Outcome, block_on, cell, fingerprint, hex, name, random_key,
};
use serde_json::Value;
use servos_keyd::client::error::Error;
use servos_keyd::store::backup_file;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {}", outcome.said()))
}

fn back_up(daemon: &Daemon, arguments: &[&str]) -> Outcome {
    daemon.keyctl(&[&["backup", "--json"], arguments].concat()).run(KEYCTL)
}

fn inspect(place: &Installation, file: &Path, arguments: &[&str]) -> Outcome {
    place.keyctl(&[&["inspect", file.to_str().unwrap()], arguments].concat())
}

/// An installation with a backup of nine keys taken by the tool, its daemon stopped; and a value that was sealed before.
fn taken() -> (Installation, std::path::PathBuf, Vec<u8>) {
    let place = Installation::made();
    let daemon = place.serve_for_admin();
    let sealed = block_on(async {
        daemon.admin().create_key(&name("made-later")).await.unwrap();
        daemon.admin().rotate_key(&name("made-later")).await.unwrap();
        daemon.component().encrypt(&name("made-later"), b"kept", &cell("1")).await.unwrap().ciphertext
    });
    let file = place.path("taken.skb1");
    let told = back_up(&daemon, &[file.to_str().unwrap()]).expect(0);
    let (told, kept) = (json(&told), backup_file::read(&file).unwrap());
    assert_eq!((&told["generation"], &told["store_id"]), (&kept.generation.into(), &hex(&kept.store_id).into()));
    assert_eq!((&told["keys"], &told["versions"]), (&9.into(), &10.into()));
    assert_eq!(told["opened_by"], serde_json::json!([fingerprint(place.key)]));
    assert_eq!(told["bytes"], std::fs::metadata(&file).unwrap().len());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    daemon.stop().expect(0);
    (place, file, sealed)
}

#[test]
fn a_backup_of_the_live_daemon_is_enough_with_the_key_and_told_without_one() {
    let (place, file, sealed) = taken();
    let told = inspect(&place, &file, &[]).expect(0).saying(&[
        "9 keys, 10 versions",
        "the backup's own word, not verified",
        &fingerprint(place.key),
        "none was under way",
    ]);
    let row = told.stdout.lines().find(|line| line.starts_with("made-later")).unwrap();
    assert_eq!(row.split_whitespace().take(3).collect::<Vec<_>>(), ["made-later", "2", "2"]);
    let key_file = place.path("master.key");
    let key_file = key_file.to_str().unwrap();
    let proved = inspect(&place, &file, &["--key-file", key_file]).expect(0);
    proved.saying(&["yes: root, MAC, canary, identity and 10 versions"]).not_saying(&["not verified"]);
    let value = json(&inspect(&place, &file, &["--key-file", key_file, "--json"]).expect(0));
    assert_eq!((&value["opens"], &value["verified"], &value["versions"]), (&true.into(), &true.into(), &10.into()));
    assert_eq!(value["keys"].as_array().unwrap().len(), 9);
    std::fs::remove_file(place.store()).unwrap();
    place.restore(&file).expect(0).saying(&["9 keys, 10 versions"]);
    let daemon = place.serve();
    let opened =
        block_on(async { daemon.component().decrypt(&name("made-later"), &sealed, &cell("1")).await.unwrap() });
    assert_eq!(opened.plaintext.as_slice(), b"kept");
    daemon.stop().expect(0);
}

#[test]
fn another_key_is_answered_with_no_and_both_fingerprints() {
    let (place, file, _) = taken();
    let other = random_key();
    let other_file = place.write_private("other.key", hex(&other).as_bytes());
    let other_file = other_file.to_str().unwrap();
    let refused = inspect(&place, &file, &["--key-file", other_file]).expect(1);
    refused.saying(&[&fingerprint(other), &fingerprint(place.key), "does not open this backup"]);
    place.write_private("no.key", b"0123");
    let no_key = place.path("no.key");
    inspect(&place, &file, &["--key-file", no_key.to_str().unwrap()]).expect(78);
    inspect(&place, &file, &["--key-file", place.path("none").to_str().unwrap()]).expect(66);
}

#[test]
fn what_is_no_good_backup_is_told_apart_by_its_exit() {
    let (place, file, _) = taken();
    let good = std::fs::read(&file).unwrap();
    let key_file = place.path("master.key");
    let look = |bytes: &[u8]| {
        let file = place.write_private("bad.skb1", bytes);
        inspect(&place, &file, &["--key-file", key_file.to_str().unwrap()])
    };
    for length in [0, 1, 3] {
        look(&good[..length]).expect(65).saying(&["not a backup"]);
    }
    for length in [4, 8, 36, 40, 100, good.len() / 2, good.len() - 33, good.len() - 1] {
        look(&good[..length]).expect(65).saying(&["damaged"]);
    }
    for at in [8, 20, 30, 38, 60, good.len() / 3, good.len() - 40, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        look(&flipped).expect(65).saying(&["damaged"]);
    }
    look(&[&good[..], b"more"].concat()).expect(65).saying(&["damaged"]);
    look(b"redb and more than thirty-two bytes of it").expect(65).saying(&["not a backup"]);
    let mut newer = good.clone();
    newer[7] = 2;
    look(&newer).expect(78).saying(&["schema 2"]);
    // With a digest that fits: only the key tells that it is not what the daemon wrote.
    let mut forged = backup_file::decode(&good).unwrap();
    let version = forged.records.keys().find(|name| name.starts_with("version/")).cloned().unwrap();
    *forged.records.get_mut(&version).unwrap().last_mut().unwrap() ^= 1;
    let forged = backup_file::encode(&forged).unwrap();
    look(&forged).expect(65).saying(&["Does not open:", &version, "mac", "NOT ALL"]);
    let mut named = backup_file::decode(&good).unwrap();
    named.records.insert("key/\u{1b}[2J".to_owned(), Vec::new());
    let outcome = look(&backup_file::encode(&named).unwrap()).expect(78);
    assert!(!outcome.said().contains('\u{1b}'), "a terminal would obey it");
    inspect(&place, &place.path("none.skb1"), &[]).expect(66);
    nix::unistd::mkfifo(&place.path("fifo.skb1"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    inspect(&place, &place.path("fifo.skb1"), &[]).expect(74);
}

#[test]
fn a_directory_is_listed_with_the_newest_last_and_what_is_not_good_first() {
    let (place, file, _) = taken();
    let empty = place.path("empty");
    std::fs::create_dir(&empty).unwrap();
    inspect(&place, &empty, &[]).expect(66);
    let backups = place.backups();
    let directory = backups[0].parent().unwrap();
    let (listed, key_file) = (inspect(&place, directory, &[]).expect(0), place.path("master.key"));
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 1 + backups.len());
    let last = backups.last().unwrap().file_name().unwrap().to_str().unwrap();
    assert!(lines.last().unwrap().starts_with(last), "{}", listed.stdout);
    inspect(&place, directory, &["--key-file", key_file.to_str().unwrap()]).expect(0).saying(&["OPENS", "yes"]);
    std::fs::write(directory.join("zzz.skb1"), &std::fs::read(&file).unwrap()[..50]).unwrap();
    let value = json(&inspect(&place, directory, &["--json"]).expect(65));
    assert_eq!(value["backups"][0]["exit"], 65);
    let other = place.write_private("other.key", hex(&random_key()).as_bytes());
    std::fs::remove_file(directory.join("zzz.skb1")).unwrap();
    inspect(&place, directory, &["--key-file", other.to_str().unwrap()]).expect(1).saying(&["under another key"]);
}

#[test]
fn the_daemon_writes_into_its_own_directory_and_a_file_is_replaced_only_if_told() {
    let place = Installation::made();
    let daemon = place.serve_for_admin();
    let told = json(&back_up(&daemon, &[]).expect(0));
    assert_eq!(told["out"], place.backups().last().unwrap().to_str().unwrap());
    assert_eq!(json(&back_up(&daemon, &[]).expect(0)), told, "the same generation is the same file");
    let file = place.write_private("there", b"mine");
    let file = file.to_str().unwrap();
    back_up(&daemon, &[file]).expect(73);
    assert_eq!(std::fs::read(file).unwrap(), b"mine");
    back_up(&daemon, &[file, "--force"]).expect(0);
    backup_file::read(Path::new(file)).unwrap();
    back_up(&daemon, &["-"]).expect(64);
    back_up(&daemon, &["--force"]).expect(64);
    back_up(&daemon, &[place.path("none/b").to_str().unwrap()]).expect(73);
    // Its directory is broken: with a file it needs none.
    place.break_backups();
    back_up(&daemon, &[]).expect(75);
    back_up(&daemon, &[file, "--force"]).expect(0);
    daemon.stop().expect(0);
}

#[test]
fn a_caller_that_goes_away_in_the_middle_costs_nothing() {
    let place = Installation::made();
    let daemon = place.serve_for_admin();
    block_on(async {
        let (client, admin) = (daemon.component(), daemon.admin());
        for round in 0..60 {
            let waited = Duration::from_micros(50 * round);
            let _ = tokio::time::timeout(waited, admin.fetch_backup()).await;
            let _ = tokio::time::timeout(waited, admin.back_up()).await;
        }
        let sealed = client.encrypt(&name("default"), b"x", &cell("1")).await.unwrap();
        client.decrypt(&name("default"), &sealed.ciphertext, &cell("1")).await.unwrap();
        // What was asked for keeps its place among the changes until it is made.
        let started = Instant::now();
        while let Err(error) = admin.rotate_key(&name("default")).await {
            let is_busy = matches!(error, Error::Busy { .. });
            assert!(is_busy && started.elapsed() < DEADLINE, "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let fetched = admin.fetch_backup().await.unwrap();
        assert_eq!(backup_file::decode(&fetched.bytes).unwrap().generation, fetched.info.generation);
    });
    daemon.stop().expect(0);
}
