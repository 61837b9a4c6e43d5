//! How a store comes to be: on purpose, whole, and never where one was before.
//!
//! Must never take a start that made something for one that refused. Run by `cargo test`.

use crate::harness::{Files, Installation, beside, block_on, cell, is_there, name};
use servos_keyd::client::error::Error;
use servos_keyd::client::key_admin::KeyFilter;
use servos_keyd::store::mark::State;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const FIRST_KEYS: [&str; 8] = [
    "backups",
    "db-passwords",
    "default",
    "env-vars",
    "git-tokens",
    "registry-passwords",
    "ssh-keys",
    "storage-secrets",
];

fn mode(files: &Files, path: &str) -> (&'static str, u32) {
    let found = files.get(Path::new(path)).unwrap_or_else(|| panic!("no {path} in {files:#?}"));
    (found.kind, found.mode)
}

#[test]
fn init_makes_eight_keys_a_mark_and_a_backup_that_only_the_owner_can_read() {
    let mut installation = Installation::new();
    installation.store_path = Some(installation.path("state/keyd.redb"));
    let made = installation.init(&[]).expect(0).saying(&FIRST_KEYS);
    assert!(made.stderr.is_empty(), "{made:#?}");
    let files = installation.files();
    assert_eq!(mode(&files, "state"), ("directory", 0o700));
    assert_eq!(mode(&files, "state/keyd.redb"), ("file", 0o600));
    assert_eq!(mode(&files, "state/keyd.redb.mark"), ("file", 0o600));
    assert_eq!(mode(&files, "backup"), ("directory", 0o700));
    let backups = installation.backups();
    assert_eq!(backups.len(), 1);
    let backup = backups[0].strip_prefix(installation.directory()).unwrap();
    assert_eq!(mode(&files, backup.to_str().unwrap()), ("file", 0o600));
    let more: Vec<_> = files.keys().filter(|path| path.starts_with("state")).collect();
    assert_eq!(more.len(), 3, "{more:?}");
    assert_eq!(installation.marked_state().generation, 1);
}

#[test]
fn the_first_keys_have_one_primary_version_each() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let keys = block_on(async { daemon.admin().list_keys(&KeyFilter::default()).await.unwrap() });
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, FIRST_KEYS);
    for key in keys {
        assert_eq!((key.versions.len(), key.versions[0].number, key.primary), (1, 1, 1), "{}", key.name);
    }
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let installation = Installation::made();
    let before = installation.files();
    for arguments in [&[][..], &["--adopt-legacy"]] {
        installation.init(arguments).expect(73).saying(&[installation.store().to_str().unwrap()]);
    }
    assert_eq!(installation.files(), before);
}

#[test]
fn a_plain_start_without_a_store_names_the_path_and_both_remedies_and_makes_nothing() {
    let mut installation = Installation::new();
    for (place, directory_is_there) in [("keyd.redb", true), ("state/keyd.redb", false)] {
        installation.store_path = Some(installation.path(place));
        let before = installation.files();
        let store = installation.store();
        let said = installation.serve_refused().expect(66);
        said.saying(&[store.to_str().unwrap(), "servos-keyd restore", "servos-keyd init"]);
        assert_eq!(installation.files(), before, "directory there: {directory_is_there}");
    }
}

#[test]
fn what_tells_of_a_lost_store_is_named_and_nothing_is_made() {
    type Lose = fn(&Installation);
    let cases: [(&str, Lose, &str); 4] = [
        ("mark and backup", |_| {}, "keyd.redb.mark"),
        ("mark alone", |lost| std::fs::remove_dir_all(lost.path("backup")).unwrap(), "keyd.redb.mark"),
        ("backup alone", |lost| std::fs::remove_file(lost.mark()).unwrap(), ".skb1"),
        ("damaged mark", |lost| std::fs::write(lost.mark(), b"SKH1 nonsense\n").unwrap(), "keyd.redb.mark"),
    ];
    for (case, lose, witness) in cases {
        let mut installation = Installation::made();
        std::fs::remove_file(installation.store()).unwrap();
        lose(&installation);
        for create in [false, true] {
            installation.create = create;
            let before = installation.files();
            let words = ["restore", "move", witness];
            installation.serve_refused().expect(66).saying(&words);
            installation.init(&[]).expect(73).saying(&words);
            assert_eq!(installation.files(), before, "{case}, create = {create}");
        }
    }
}

/// What a creation has done when it breaks off, made from one that went through.
fn broken_off(after: &str) -> (Installation, State) {
    let installation = Installation::made();
    let state = installation.marked_state();
    installation.write_mark(None, Some(state));
    let new = beside(&installation.store(), ".new");
    match after {
        "the mark" => {
            std::fs::remove_file(installation.store()).unwrap();
            std::fs::remove_dir_all(installation.path("backup")).unwrap();
        }
        "half of .new" => {
            let bytes = std::fs::read(installation.store()).unwrap();
            std::fs::write(new, &bytes[..bytes.len() / 2]).unwrap();
            std::fs::remove_file(installation.store()).unwrap();
            std::fs::remove_dir_all(installation.path("backup")).unwrap();
        }
        "the backup" => std::fs::rename(installation.store(), new).unwrap(),
        "the rename" => {}
        other => panic!("{other}"),
    }
    (installation, state)
}

#[test]
fn an_interrupted_creation_is_begun_again_by_init() {
    for after in ["the mark", "half of .new", "the backup"] {
        let (installation, interrupted) = broken_off(after);
        let before = installation.files();
        installation.serve_refused().expect(66).saying(&["interrupted", "servos-keyd init"]);
        assert_eq!(installation.files(), before, "after {after}: a start made something");
        installation.init(&[]).expect(0);
        assert_begun_anew(&installation, interrupted, after);
    }
}

#[test]
fn an_interrupted_creation_is_begun_again_by_a_start_that_may_create() {
    for after in ["the mark", "half of .new", "the backup"] {
        let (mut installation, interrupted) = broken_off(after);
        installation.create = true;
        drop(installation.serve());
        assert_begun_anew(&installation, interrupted, after);
    }
}

fn assert_begun_anew(installation: &Installation, interrupted: State, after: &str) {
    assert_ne!(installation.marked_state().store_id, interrupted.store_id, "after {after}");
    assert_eq!(installation.backups().len(), 1, "after {after}");
    assert!(!is_there(&beside(&installation.store(), ".new")), "after {after}");
    installation.serve().stop().expect(0);
}

#[test]
fn a_creation_interrupted_before_its_last_word_is_accepted_and_the_word_is_said() {
    let (installation, state) = broken_off("the rename");
    installation.init(&[]).expect(73);
    installation.serve().stop().expect(0);
    // From here on this is a store like any other: without it, its backup is not what a creation left behind.
    assert_eq!(installation.marked_state(), state);
    std::fs::remove_file(installation.store()).unwrap();
    let before = installation.files();
    installation.serve_refused().expect(66).saying(&["restore"]);
    installation.init(&[]).expect(73).saying(&["restore"]);
    assert_eq!(installation.files(), before);
}

#[test]
fn a_store_is_not_served_while_its_mark_still_says_that_it_was_never_made() {
    let (mut installation, _) = broken_off("the rename");
    installation.create = true;
    // Nothing can be written beside the mark: its temporary file is in the way.
    let in_the_way = beside(&installation.mark(), ".tmp");
    std::fs::create_dir(&in_the_way).unwrap();
    installation.serve_refused().expect(74);
    std::fs::remove_dir(&in_the_way).unwrap();
    // Served now, and lost: its only backup is not taken for what a creation left behind.
    installation.serve().stop().expect(0);
    let backups = installation.backups();
    std::fs::remove_file(installation.store()).unwrap();
    installation.serve_refused().expect(66).saying(&["restore"]);
    assert_eq!(installation.backups(), backups);
}

#[test]
fn a_start_removes_what_an_interrupted_rewrite_left() {
    let installation = Installation::made();
    let left = beside(&installation.store(), ".new");
    std::fs::write(&left, b"half").unwrap();
    installation.serve().stop().expect(0);
    assert!(!is_there(&left));
}

#[test]
fn a_start_that_may_create_makes_a_store_once() {
    let mut installation = Installation::new();
    installation.create = true;
    let first = installation.serve();
    let sealed =
        block_on(async { first.component().encrypt(&name("default"), b"first", &cell("1")).await.unwrap().ciphertext });
    first.stop().expect(0).saying(&["store made"]);
    let store_id = installation.marked_state().store_id;
    let second = installation.serve();
    let opened = block_on(async { second.component().decrypt(&name("default"), &sealed, &cell("1")).await.unwrap() });
    assert_eq!(opened.plaintext.as_slice(), b"first");
    assert_eq!(installation.marked_state().store_id, store_id);
    second.stop().expect(0).not_saying(&["store made"]);
}

#[test]
fn nothing_is_made_without_a_key() {
    let mut installation = Installation::new();
    installation.create = true;
    std::fs::remove_file(installation.path("master.key")).unwrap();
    let before = installation.files();
    installation.serve_refused().expect(66).saying(&["master.key"]);
    installation.init(&[]).expect(66).saying(&["master.key"]);
    assert_eq!(installation.files(), before);
}

/// A value as a database has it, with what it holds.
type Row = (String, Vec<u8>);

/// A key of `legacy.json`, every good value under it, and one that does not open.
fn legacy_rows() -> ([u8; 32], Vec<Row>, String) {
    let text = include_str!("../vectors/legacy.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    let rows = vectors["rows"].as_array().unwrap();
    let field = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
    let key = field(&rows[0], "master_key");
    let of_key = |row: &&serde_json::Value| row["master_key"] == key;
    let good = rows.iter().filter(of_key).filter(|row| row["valid"] == true);
    let good = good.map(|row| (field(row, "stored"), base16ct::lower::decode_vec(field(row, "plaintext")).unwrap()));
    let bad = rows.iter().find(|row| row["valid"] == false).unwrap();
    let mut bytes = [0; 32];
    base16ct::lower::decode(&key, &mut bytes).unwrap();
    (bytes, good.collect(), field(bad, "stored"))
}

#[test]
fn init_proves_the_key_on_real_rows_first() {
    let (key, good, bad) = legacy_rows();
    let text: String = good.iter().map(|(row, _)| format!("{row}\n")).collect();
    let cases: [(&str, Vec<u8>, i32, &str); 8] = [
        ("good", text.clone().into_bytes(), 0, "the key opens"),
        ("good with blank lines and CRLF", text.replace('\n', "\r\n\r\n").into_bytes(), 0, "the key opens"),
        ("bad", bad.clone().into_bytes(), 65, "is not the key that sealed it"),
        ("one bad among good", format!("{text}{bad}\n").into_bytes(), 65, "under another key or are damaged"),
        ("not base64", format!("{text}{{\"not\": \"base64\"}}\n").into_bytes(), 65, "is not a base64 value"),
        ("empty", Vec::new(), 65, "holds no value"),
        ("blank lines", b"\n\n \n".to_vec(), 65, "holds no value"),
        ("not text", vec![0xff, 0xfe, 0, 1], 65, "not text"),
    ];
    for (case, rows, code, words) in cases {
        let installation = Installation::with_key(key);
        let file = installation.write_private("rows.txt", &rows);
        let before = installation.files();
        let said = installation.init(&["--adopt-legacy", "--check-legacy", file.to_str().unwrap()]).expect(code);
        said.saying(&[words]);
        assert_eq!(code == 0, installation.files() != before, "{case}");
    }
    let installation = Installation::with_key(key);
    let nowhere = installation.path("nowhere.txt");
    let said = installation.init(&["--check-legacy", nowhere.to_str().unwrap()]).expect(66);
    said.saying(&["nowhere.txt: no such file"]);
    assert!(!is_there(&installation.store()));
}

#[test]
fn another_key_is_refuted_by_a_real_row_and_nothing_is_made() {
    let (_, good, _) = legacy_rows();
    let installation = Installation::new();
    let file = installation.write_private("rows.txt", good[1].0.as_bytes());
    let before = installation.files();
    installation.init(&["--check-legacy", file.to_str().unwrap()]).expect(65).saying(&["Nothing was made"]);
    assert_eq!(installation.files(), before);
}

#[test]
fn legacy_values_open_only_where_the_key_was_adopted_and_the_caller_allows_it() {
    let (key, good, bad) = legacy_rows();
    let value = |text: &str| servos_keyd::client::value::from_base64(text).unwrap();
    for (adopted, by_configuration) in [(true, false), (true, true), (false, false)] {
        let mut installation = Installation::with_key(key);
        installation.adopt = by_configuration;
        installation.init(if adopted && !by_configuration { &["--adopt-legacy"] } else { &[] }).expect(0);
        let daemon = installation.serve();
        block_on(async {
            let (client, key) = (daemon.component(), name("env-vars"));
            for (stored, plaintext) in &good {
                let opened = client.danger_decrypt_legacy(&key, &value(stored), &cell("1")).await;
                match adopted {
                    true => assert_eq!(opened.unwrap().plaintext.as_slice(), plaintext),
                    false => assert!(opened.is_err()),
                }
                let refused = client.decrypt(&key, &value(stored), &cell("1")).await.unwrap_err();
                // A legacy value may begin like a message by chance: too short for one, it is none.
                let is_marked = value(stored).starts_with(b"SK");
                let expected = matches!(refused, Error::Precondition { .. }) == adopted || is_marked;
                assert!(expected, "{stored}: {refused:?}");
            }
            assert!(client.danger_decrypt_legacy(&key, &value(&bad), &cell("1")).await.is_err());
        });
    }
}

#[test]
fn init_says_what_the_backup_directory_needs_before_it_writes_anything() {
    let mut installation = Installation::new();
    installation.backup_path = Some(installation.path("no such/backup"));
    for create in [false, true] {
        installation.create = create;
        let before = installation.files();
        let words = [format!("install -d -m 755 '{}'", installation.path("no such").display())];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        installation.init(&[]).expect(73).saying(&words);
        if create {
            installation.serve_refused().expect(73).saying(&words);
        }
        assert_eq!(installation.files(), before);
    }
    std::fs::create_dir(installation.path("no such")).unwrap();
    installation.init(&[]).expect(0);
}

#[test]
fn rows_that_were_checked_and_not_adopted_are_warned_of() {
    let (key, good, _) = legacy_rows();
    for adopts in [false, true] {
        let installation = Installation::with_key(key);
        let file = installation.write_private("rows.txt", good[0].0.as_bytes());
        let check = ["--check-legacy", file.to_str().unwrap(), "--adopt-legacy"];
        let made = installation.init(&check[..2 + usize::from(adopts)]).expect(0);
        assert_eq!(made.stderr.contains("`servos-keyctl legacy adopt FILE`"), !adopts, "{made:#?}");
    }
}

#[test]
fn what_init_prints_as_the_next_step_starts_the_daemon() {
    let installation = Installation::new();
    let configuration = installation.write_configuration();
    installation.init(&[]).expect(0).saying(&[&format!("servos-keyd serve --config {}", configuration.display())]);
}

#[test]
fn a_remedy_names_the_configuration_and_all_that_tells_of_a_store_and_its_newest_backup() {
    let installation = Installation::made();
    std::fs::remove_file(installation.store()).unwrap();
    let configuration = installation.write_configuration();
    let (mark, backups) = (installation.mark(), installation.path("backup"));
    let newest = installation.backups().pop().unwrap();
    installation.serve_refused().expect(66).saying(&[
        &format!("`servos-keyd restore --config {} {}`", configuration.display(), newest.display()),
        &format!("first move {} and {} away", mark.display(), backups.display()),
    ]);
}

#[test]
fn a_store_s_directory_that_others_can_change_is_refused_and_one_that_its_group_can_is_warned_of() {
    let mut installation = Installation::new();
    let state = installation.path("state");
    installation.store_path = Some(state.join("keyd.redb"));
    let with_mode = |mode| std::fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).unwrap();
    let mend = format!("chmod 700 {}", state.display());
    std::fs::create_dir(&state).unwrap();
    with_mode(0o777);
    installation.init(&[]).expect(77).saying(&[&mend]);
    assert!(!is_there(&installation.store()));
    with_mode(0o770);
    installation.init(&[]).expect(0).saying(&["warning", &mend]);
    with_mode(0o777);
    let before = installation.files();
    installation.serve_refused().expect(77).saying(&[&mend]);
    assert_eq!(installation.files(), before);
    with_mode(0o770);
    installation.serve().stop().expect(0).saying(&["store.directory_writable", &mend]);
    with_mode(0o700);
    installation.serve().stop().expect(0).not_saying(&[&mend]);
}
