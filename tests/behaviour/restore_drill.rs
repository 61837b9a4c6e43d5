//! `restore --drill`: a backup and a copy of the key tried beside a running daemon, and everything it can be wrong
//! about.
//!
//! Must never leave a scratch place behind, nor let a drill touch what it tries.
//! Run by `cargo test`.

use crate::harness::{
    Daemon, Files, Installation, Invocation, KEYCTL, KEYD, Outcome, base64, block_on, cell, fingerprint, hex,
    legacy_value, name, random_key,
};
use serde_json::{Value, json};
use servos_keyd::custody::keys::MasterKey;
use servos_keyd::custody::shares::{self, Plan};
use servos_keyd::sys::locked::LockedMemory;
use std::path::{Path, PathBuf};

/// A drill on an installation, with a directory of its own for scratch places.
struct Stage {
    installation: Installation,
    scratch: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        Self { installation: Installation::made(), scratch: tempfile::tempdir().unwrap() }
    }

    fn invocation(&self, arguments: &[&str]) -> Invocation {
        let all = [&["--drill"], arguments].concat();
        self.installation.command("restore", &all).variable("TMPDIR", self.scratch.path())
    }

    /// The socket is named as under `--dev`, where there is no other.
    fn beside(&self, daemon: &Daemon, arguments: &[&str]) -> Outcome {
        let run = self.invocation(arguments).variable("SERVOS_KEYD_SOCKET", &daemon.admin_socket).run(KEYD);
        self.is_clean();
        run
    }

    fn drill(&self, arguments: &[&str]) -> Outcome {
        let run = self.invocation(arguments).run(KEYD);
        self.is_clean();
        run
    }

    #[track_caller]
    fn is_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    fn key_file(&self) -> String {
        self.copy_of(self.installation.key)
    }

    fn copy_of(&self, key: [u8; 32]) -> String {
        let path = self.installation.write_private("copy.key", format!("{}\n", hex(&key)).as_bytes());
        path.to_str().unwrap().to_owned()
    }

    fn newest(&self) -> PathBuf {
        self.installation.backups().pop().unwrap()
    }

    fn files(&self) -> Files {
        self.installation.files()
    }
}

fn json_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

fn restore_drill_of(daemon: &Daemon) -> Value {
    let shown = daemon.keyctl(&["status", "--json"]).run(KEYCTL).expect(0);
    json_of(&shown)["drills"]["restore"].clone()
}

#[test]
fn a_drill_beside_a_running_daemon_opens_everything_and_is_recorded_and_touches_nothing() {
    let stage = Stage::new();
    let (key_file, key) = (stage.key_file(), fingerprint(stage.installation.key));
    let daemon = stage.installation.serve_for_admin();
    let before = stage.files();
    let quiet = stage.beside(&daemon, &["--key-file", &key_file, "--no-record", "--json"]).expect(0);
    assert!(before == stage.files(), "something was touched");
    let value = json_of(&quiet);
    assert_eq!((&value["recorded"], &value["not_recorded"]), (&Value::Null, &Value::Null));
    assert!(restore_drill_of(&daemon).is_null());

    let shown = stage.beside(&daemon, &["--key-file", &key_file]).expect(0);
    let said = ["it opens the backup", "8 keys, 8 versions", "root, MAC, mark, canary", "8 values", "recorded    2"];
    shown.saying(&said).not_saying(&[&hex(&stage.installation.key)]);
    let kept = restore_drill_of(&daemon);
    assert_eq!(kept["fingerprint"], Value::from(key.clone()));

    let value = json_of(&stage.beside(&daemon, &["--key-file", &key_file, "--json"]).expect(0));
    assert_eq!((&value["keys"], &value["versions"], &value["sealed_and_opened"]), (&8.into(), &8.into(), &8.into()));
    assert_eq!((&value["key"]["fingerprint"], &value["samples"]), (&Value::from(key), &Value::Null));
    assert!(value["recorded"].is_string() && value["not_recorded"].is_null());
    // The daemon went on all the time.
    block_on(async { daemon.component().verify_own_canary().await.unwrap() });
    daemon.stop().expect(0);
}

#[test]
fn without_a_daemon_or_with_that_of_another_store_a_drill_succeeds_and_says_why_it_was_not_recorded() {
    let stage = Stage::new();
    let key_file = stage.key_file();
    stage.drill(&["--key-file", &key_file]).expect(0).saying(&["recorded    NO: ", "The drill succeeded all the same"]);
    let value = json_of(&stage.drill(&["--key-file", &key_file, "--json"]).expect(0));
    assert!(value["recorded"].is_null() && value["not_recorded"].is_string());
    let other = Installation::with_key(stage.installation.key);
    other.init(&[]).expect(0);
    let daemon = other.serve_for_admin();
    stage.beside(&daemon, &["--key-file", &key_file]).expect(0).saying(&["NO: the daemon on ", "serves another store"]);
    assert!(restore_drill_of(&daemon).is_null());
}

#[test]
fn the_file_that_the_daemon_reads_is_tried_and_is_no_copy() {
    let stage = Stage::new();
    let daemon = stage.installation.serve_for_admin();
    let own = stage.installation.path("master.key");
    let shown = stage.beside(&daemon, &["--key-file", own.to_str().unwrap()]).expect(0);
    shown.saying(&["recorded    NO: ", "is what the daemon itself reads, and no copy"]);
    let as_paper = stage.beside(&daemon, &["--share", own.to_str().unwrap()]).expect(0);
    as_paper.saying(&["recorded    NO: ", "is what the daemon itself reads, and no copy"]);
    assert!(restore_drill_of(&daemon).is_null());
}

#[test]
fn another_key_is_a_no_with_the_key_that_it_should_have_been() {
    let stage = Stage::new();
    let (other, key) = (random_key(), fingerprint(stage.installation.key));
    let daemon = stage.installation.serve_for_admin();
    let shown = stage.beside(&daemon, &["--key-file", &stage.copy_of(other)]).expect(1);
    let hint = "servos-keyd restore --config ";
    shown
        .saying(&[&fingerprint(other), &format!("key {key} does"), hint, " --drill --key-file FILE"])
        .not_saying(&[&hex(&other)]);
    assert!(restore_drill_of(&daemon).is_null());
}

#[test]
fn what_is_no_copy_of_a_key_is_refused_before_anything_is_tried() {
    let stage = Stage::new();
    let text = hex(&stage.installation.key);
    let bad = stage.installation.write_private("bad.key", &text.as_bytes()[..62]);
    let open = stage.installation.write_private("open.key", text.as_bytes());
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (bad, open, key_file) = (bad.to_str().unwrap(), open.to_str().unwrap(), stage.key_file());
    for (arguments, code, said) in [
        (&[][..], 64, "a drill tries a copy of the master key, and none was named"),
        (&["--key-file", &text], 64, "a key was typed where the name of a file belongs"),
        (&["--key-file", "/no/such.key"], 66, "/no/such.key"),
        (&["--key-file", bad], 78, "has 62 hex digits and needs 64"),
        (&["--key-file", open], 77, "others can read it"),
        (&["--key-file", &key_file, "--typed"], 64, "cannot be used with"),
        (&["--key-file", &key_file, "--older"], 64, "cannot be used with"),
        (&["--share", bad], 78, "has 62 hex digits and needs 64"),
    ] {
        stage.drill(arguments).expect(code).saying(&[said]).not_saying(&[&text, &text[..62]]);
    }
    // What belongs to a drill is no restore.
    for arguments in [&["--sample", "s", "f"][..], &["--no-record", "f"]] {
        stage.installation.restore_with(arguments).expect(64).saying(&["--drill"]);
    }
    stage
        .installation
        .restore_with(&["--key-file", &key_file, "f"])
        .expect(64)
        .saying(&["a restore takes no copy", "SERVOS_MASTER_KEY_FILE=FILE servos-keyd restore BACKUP"]);
    stage
        .installation
        .restore_with(&["--share", &key_file, "f"])
        .expect(64)
        .saying(&["paper is read for a drill only"]);
}

#[test]
fn a_backup_that_is_missing_or_damaged_or_none_is_told_with_the_command_that_goes_on() {
    let stage = Stage::new();
    let key_file = stage.key_file();
    let good = std::fs::read(stage.newest()).unwrap();
    let mut damaged = good.clone();
    damaged[200] ^= 1;
    let file = |bytes: &[u8]| stage.installation.write_private("some.skb1", bytes).to_str().unwrap().to_owned();
    for (bytes, code) in [(&damaged[..], 65), (&good[..100], 65), (b"", 65), (b"hello", 65)] {
        let path = file(bytes);
        stage.drill(&[&path, "--key-file", &key_file]).expect(code).saying(&[&path, "servos-keyctl backup"]);
    }
    stage.drill(&["/no/such.skb1", "--key-file", &key_file]).expect(66);
    stage.drill(&[&file(&good), "--key-file", &key_file]).expect(0);
    let export = stage.installation.write_private("export.hex", format!("\\x{}", hex(&good)).as_bytes());
    stage.drill(&["--from-export", export.to_str().unwrap(), "--key-file", &key_file]).expect(0);
    let export = stage.installation.write_private("export.hex", format!("\\x{}", hex(&damaged)).as_bytes());
    stage.drill(&["--from-export", export.to_str().unwrap(), "--key-file", &key_file]).expect(65);
    // The newest of the directory, damaged.
    std::fs::write(stage.newest(), &damaged).unwrap();
    let shown = stage.drill(&["--key-file", &key_file, "--json"]).expect(65);
    let error: Value = serde_json::from_str(&shown.stderr).unwrap();
    assert!(error["error"]["hint"].as_str().unwrap().contains("--drill BACKUP --key-file FILE"), "{error}");
    std::fs::remove_file(stage.newest()).unwrap();
    stage.drill(&["--key-file", &key_file]).expect(66).saying(&["no backup lies in", "restore --drill FILE"]);
}

#[test]
fn the_newest_backup_is_the_stores_own_and_where_no_mark_tells_it_must_be_the_only_ones() {
    let stage = Stage::new();
    let (key_file, own) = (stage.key_file(), stage.newest());
    let other = Installation::made();
    let foreign = other.backups().pop().unwrap();
    std::fs::copy(&foreign, stage.installation.path("backup").join(foreign.file_name().unwrap())).unwrap();
    let value = json_of(&stage.drill(&["--key-file", &key_file, "--json"]).expect(0));
    assert_eq!(value["backup"], own.to_str().unwrap());
    std::fs::remove_file(stage.installation.mark()).unwrap();
    stage.drill(&["--key-file", &key_file]).expect(66).saying(&["backups of several stores", "restore --drill FILE"]);
    // A machine that has nothing but the backups.
    std::fs::remove_file(stage.installation.path("backup").join(foreign.file_name().unwrap())).unwrap();
    std::fs::remove_file(stage.installation.store()).unwrap();
    stage.drill(&["--key-file", &key_file]).expect(0);
    assert!(!stage.installation.store().exists() && !stage.installation.mark().exists());
}

/// Values of a database: messages of two keys, and a legacy one.
async fn samples(stage: &Stage, daemon: &Daemon) -> Vec<Value> {
    let client = daemon.component();
    let mut lines = Vec::new();
    for (key, id) in [("ssh-keys", "1"), ("default", "2")] {
        let sealed = client.encrypt(&name(key), b"hunter2", &cell(id)).await.unwrap();
        let context = json!({"table": "servers", "id": id, "column": "ssh_private_key"});
        lines.push(json!({"key": key, "context": context, "ciphertext": sealed.to_base64()}));
    }
    let legacy = base64(&legacy_value(stage.installation.key, b"hunter2"));
    lines.push(json!({"ciphertext": legacy, "legacy": true}));
    lines
}

fn kept(stage: &Stage, lines: &[Value]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    stage.installation.write_private("samples", text.as_bytes()).to_str().unwrap().to_owned()
}

#[test]
fn every_sample_of_the_database_must_open_and_only_counts_are_told() {
    let mut installation = Installation::new();
    installation.adopt = true;
    installation.init(&["--adopt-legacy"]).expect(0);
    let stage = Stage { installation, scratch: tempfile::tempdir().unwrap() };
    let key_file = stage.key_file();
    let daemon = stage.installation.serve_for_admin();
    let good = block_on(samples(&stage, &daemon));
    let drill = |lines: &[Value]| {
        stage.beside(&daemon, &["--key-file", &key_file, "--sample", &kept(&stage, lines)]).not_saying(&["hunter2"])
    };
    drill(&good).expect(0).saying(&["samples     2 values and 1 legacy value opened", "1 key of legacy values"]);
    let recorded = restore_drill_of(&daemon);
    assert!(!recorded.is_null());
    let mut bad = Vec::new();
    let mut elsewhere = good[0].clone();
    elsewhere["context"]["id"] = "9".into();
    bad.push((elsewhere, "ciphertext rejected"));
    let mut other_key = good[0].clone();
    other_key["key"] = "default".into();
    bad.push((other_key, "ciphertext rejected"));
    let mut unmarked = good[2].clone();
    unmarked["legacy"] = false.into();
    unmarked["key"] = "default".into();
    bad.push((unmarked, "legacy not allowed"));
    bad.push((json!({"ciphertext": base64(&legacy_value(random_key(), b"hunter2")), "legacy": true}), "rejected"));
    bad.push((json!({"key": "default", "ciphertext": base64(b"hunter2")}), "not a message of servos-keyd"));
    for (line, reason) in bad {
        let lines = [good[1].clone(), line, good[2].clone()];
        let shown = drill(&lines).expect(65);
        shown.saying(&[
            "of 3 samples in ",
            "1 does not open from this backup: line 2: ",
            reason,
            "servos-keyctl backup",
        ]);
    }
    // Sealed under a version that the backup of before does not have.
    let old = stage.installation.backups().remove(0);
    block_on(async { daemon.admin().rotate_key(&name("default")).await.unwrap() });
    let newer = kept(&stage, &[block_on(samples(&stage, &daemon)).remove(1)]);
    stage.beside(&daemon, &["--key-file", &key_file, "--sample", &newer]).expect(0).saying(&["1 value opened"]);
    let shown = stage.beside(&daemon, &[old.to_str().unwrap(), "--key-file", &key_file, "--sample", &newer]);
    shown.expect(65).saying(&["a version unknown to this store", "needs a newer one: servos-keyctl backup"]);
    stage.beside(&daemon, &["--key-file", &key_file, "--sample", "/no/such"]).expect(66);
    stage
        .beside(&daemon, &["--key-file", &key_file, "--sample", &kept(&stage, &[])])
        .expect(65)
        .saying(&["holds no sample"]);
}

#[test]
fn either_key_of_a_pending_rotation_is_tried_and_the_new_one_counts_from_its_end() {
    let stage = Stage::new();
    let daemon = stage.installation.serve_for_admin();
    daemon.keyctl(&["rotate", "begin", "--generate", "--yes"]).run(KEYCTL).expect(0);
    daemon.keyctl(&["backup"]).run(KEYCTL).expect(0);
    let next = stage.installation.path("master.key.next");
    for key_file in [&stage.key_file(), next.to_str().unwrap()] {
        stage.beside(&daemon, &["--key-file", key_file]).expect(0).saying(&["recorded    2"]);
    }
    std::fs::copy(&next, stage.installation.path("master.key")).unwrap();
    daemon.keyctl(&["rotate", "finish", "--yes"]).run(KEYCTL).expect(0);
    let told = restore_drill_of(&daemon);
    let new = std::fs::read_to_string(stage.installation.path("master.key")).unwrap();
    let memory = LockedMemory::new().unwrap();
    let new = MasterKey::parse(new.trim().as_bytes(), &memory).unwrap().fingerprint().to_string();
    assert_eq!(told["fingerprint"], Value::from(new));
    // The old key still opens the backup of before, and is no drill of the one in use.
    let old = stage.installation.backups().remove(0);
    let shown = stage.beside(&daemon, &[old.to_str().unwrap(), "--key-file", &stage.key_file()]);
    shown.expect(0).saying(&["recorded    NO: ", "does not open the store"]);
}

#[test]
fn shares_of_a_recovery_kit_are_tried_from_files_and_from_standard_input() {
    let stage = Stage::new();
    let memory = LockedMemory::new().unwrap();
    let key = MasterKey::parse(hex(&stage.installation.key).as_bytes(), &memory).unwrap();
    let random = |bytes: &mut [u8]| {
        servos_keyd::sys::random::fill(bytes).map_err(|_| servos_keyd::custody::random::RandomUnavailable)
    };
    let kit: Vec<String> = shares::split(&key, Plan::new(2, 3).unwrap(), &memory, &random)
        .unwrap()
        .iter()
        .map(|share| {
            let mut text = memory.buffer(shares::SHARE_TEXT_BYTES).unwrap();
            share.write_words(b' ', &mut text).unwrap();
            String::from_utf8(text.expose_bytes().to_vec()).unwrap()
        })
        .collect();
    let file = |at: usize| {
        let path = stage.installation.write_private(&format!("share-{at}"), kit[at].as_bytes());
        path.to_str().unwrap().to_owned()
    };
    let (first, last) = (file(0), file(2));
    let daemon = stage.installation.serve_for_admin();
    let shown = stage.beside(&daemon, &["--share", &last, "--share", &first]).expect(0);
    shown.saying(&["from 2 shares of kit", "recorded    2"]).not_saying(&[&hex(&stage.installation.key)]);
    let typed = stage.invocation(&["--typed", "--no-record"]).input(format!("{}\n{}\n", kit[1], kit[0]));
    typed.run(KEYD).expect(0);
    stage.drill(&["--share", &first]).expect(66).saying(&["the kit needs 2, so 1 more"]);
    stage.is_clean();
}

#[test]
fn a_scratch_place_that_cannot_be_made_is_named_with_what_makes_it() {
    let stage = Stage::new();
    let missing = stage.scratch.path().join("none");
    let run = stage.installation.command("restore", &["--drill", "--key-file", &stage.key_file()]);
    let shown = run.variable("TMPDIR", &missing).run(KEYD).expect(73);
    shown.saying(&[missing.to_str().unwrap(), "with the variable TMPDIR"]);
    assert!(!Path::new(&missing).exists());
}
