//! Shares from files and pipes: put together to the key, checked, and tried; and what does not belong together.
//!
//! Must never show a word of a share or a byte of a key that a test made.
//! Run by `cargo test`.

use super::{kit, secrets, text, words};
use crate::harness::{Installation, Invocation, KEYCTL, Outcome, base64, fingerprint, hex, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn saying_none_of(outcome: Outcome, files: &[PathBuf]) -> Outcome {
    let secrets = secrets(files);
    outcome.not_saying(&secrets.iter().map(String::as_str).collect::<Vec<_>>())
}

fn recover(place: &Installation, files: &[&PathBuf], more: &[&str]) -> Outcome {
    let shares: Vec<String> = files.iter().flat_map(|file| ["--share".to_owned(), text(file)]).collect();
    let arguments: Vec<&str> = ["recover"].into_iter().chain(shares.iter().map(String::as_str)).collect();
    let all: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
    saying_none_of(place.keyctl(&[&arguments, more].concat()), &all)
}

fn check(place: &Installation, files: &[&PathBuf], more: &[&str]) -> Outcome {
    let shares: Vec<String> = files.iter().flat_map(|file| ["--share".to_owned(), text(file)]).collect();
    let arguments: Vec<&str> = ["check-key"].into_iter().chain(shares.iter().map(String::as_str)).collect();
    place.keyctl(&[&arguments, more].concat())
}

#[test]
fn from_printed_shares_to_an_opened_value() {
    let place = Installation::made();
    let kit = kit(&place, "2/3", "kit");
    let daemon = place.serve();
    let seal = ["encrypt", "--key", "default", "--no-context", "--base64"];
    let sealed = daemon.keyctl(&seal).input("s3cret").run(KEYCTL).expect(0).stdout;
    // Tried while the daemon runs, without the key's file.
    std::fs::remove_file(place.path("master.key")).unwrap();
    let shares = [&kit[2], &kit[0]];
    let typed = shares.map(|file| words(file)).join("\n");
    let tried = daemon.keyctl(&["check-key", "--typed", "--json"]).input(typed).run(KEYCTL).expect(0);
    assert_eq!(json(&tried.stdout)["given"]["fingerprint"], fingerprint(place.key));
    daemon.stop();

    // The machine is gone; there is a backup, and paper.
    let backup = text(place.backups().last().unwrap());
    let key = text(&place.path("master.key"));
    let made = recover(&place, &shares, &["--against", &backup, "--out", &key, "--json"]).expect(0);
    assert_eq!(json(&made.stdout)["checked_by"], "backup");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), format!("{}\n", hex(&place.key)));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    let daemon = place.serve();
    let opened = daemon.keyctl(&["decrypt", "--key", "default", "--no-context", "--base64"]).input(sealed).run(KEYCTL);
    assert_eq!(opened.expect(0).stdout, "s3cret");
}

#[test]
fn a_recovered_key_is_checked_against_a_daemon_a_store_a_backup_an_export_or_a_fingerprint() {
    let place = Installation::made();
    let kit = kit(&place, "2/2", "kit");
    let shares = [&kit[1], &kit[0]];
    let bytes = std::fs::read(place.backups().last().unwrap()).unwrap();
    let export = text(&place.write_private("export.txt", base64(&bytes).as_bytes()));
    let (store, backup) = (text(&place.store()), text(place.backups().last().unwrap()));
    let fingerprint = fingerprint(place.key).to_uppercase();
    let before = std::fs::read(place.store()).unwrap();
    for (number, (check, by)) in [
        (vec!["--against", &store], "store"),
        (vec!["--against", &backup], "backup"),
        (vec!["--against", &export], "backup"),
        (vec!["--against", &store, "--fingerprint", &fingerprint], "store"),
        (vec!["--fingerprint", &fingerprint], "fingerprint"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = text(&place.path(&format!("key{number}")));
        let made = recover(&place, &shares, &[&check[..], &["--out", &out, "--json"]].concat()).expect(0);
        assert_eq!(json(&made.stdout)["checked_by"], by, "{check:?}");
        assert_eq!(std::fs::read_to_string(&out).unwrap().trim_end(), hex(&place.key));
    }
    assert_eq!(std::fs::read(place.store()).unwrap(), before, "the store was changed");
    let weak = recover(&place, &shares, &["--fingerprint", &fingerprint, "--out", &text(&place.path("weak"))]);
    assert!(weak.expect(0).stderr.contains("not that it opens your store"));

    let daemon = place.serve();
    let out = text(&place.path("by-daemon"));
    let arguments = ["recover", "--typed", "--base64", "--out", &out, "--json"];
    let made = daemon.keyctl(&arguments).input(words(&kit[0]) + "\n" + &words(&kit[1])).run(KEYCTL).expect(0);
    assert_eq!(json(&made.stdout)["checked_by"], "daemon");
    assert_eq!(std::fs::read_to_string(&out).unwrap().trim_end(), base64(&place.key));
}

#[test]
fn a_key_is_written_as_its_file_had_it_and_a_kit_says_how() {
    let place = Installation::made();
    let upper = hex(&place.key).to_uppercase();
    for (name, text_of_key, option) in
        [("upper", upper.clone(), "--upper-case"), ("base64", base64(&place.key), "--base64")]
    {
        place.write_private("master.key", text_of_key.as_bytes());
        let sheets = kit(&place, "1/1", name);
        let sheet = std::fs::read_to_string(&sheets[0]).unwrap();
        assert!(sheet.contains(option), "{option}");
        let (out, against) = (text(&place.path(&format!("{name}.key"))), text(&place.store()));
        recover(&place, &[&sheets[0]], &["--against", &against, option, "--out", &out]).expect(0);
        assert_eq!(std::fs::read_to_string(&out).unwrap().trim_end(), text_of_key);
    }
}

#[test]
fn nothing_is_written_for_a_key_that_is_wrong_or_cannot_be_checked() {
    let (place, other) = (Installation::made(), Installation::made());
    let kit_of_place = kit(&place, "2/3", "kit");
    let again = kit(&place, "2/3", "again");
    let [one, two] = [&kit_of_place[0], &kit_of_place[1]];
    let foreign = text(other.backups().last().unwrap());
    let own = text(place.backups().last().unwrap());
    let mut bytes = std::fs::read(&own).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = text(&place.write_private("damaged.skb1", &bytes));
    let (out, missing) = (text(&place.path("out")), text(&place.path("none")));
    let there = text(&place.path("master.key"));
    let print = fingerprint(place.key);
    let wrong_print = fingerprint(other.key);
    for (files, more, code, said) in [
        (vec![one], vec!["--against", &own], 66, "the kit needs 2, so 1 more"),
        (vec![one, one], vec!["--against", &own], 65, "was given twice"),
        (vec![one, &again[1]], vec!["--against", &own], 65, "is of another kit"),
        (vec![one, two, &again[2]], vec!["--against", &own], 65, "is of another kit"),
        (vec![one, two], vec!["--against", &foreign], 1, "nothing was written"),
        (vec![one, two], vec!["--against", &damaged], 65, "damaged"),
        (vec![one, two], vec!["--against", &missing], 66, "cannot read"),
        (vec![one, two], vec!["--against", &there], 65, "is the text of other bytes than a backup's"),
        (vec![one, two], vec!["--fingerprint", &wrong_print], 1, "nothing was written"),
        (vec![one, two], vec!["--fingerprint", &wrong_print, "--against", &own], 1, "nothing was written"),
        (vec![one, two], vec!["--fingerprint", "12"], 64, "16 hex digits"),
        (vec![one, two], vec![], 66, "there is nothing to check it against"),
        (vec![], vec!["--against", &own], 64, "there is nothing to put a key together from"),
        (vec![one, two], vec!["--fingerprint", &print, "--base64", "--upper-case"], 64, "cannot be used with"),
    ] {
        let outcome = recover(&place, &files, &[&more[..], &["--out", &out]].concat()).expect(code);
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
        outcome.not_saying(&[&hex(&place.key), &base64(&place.key)]);
        assert!(!Path::new(&out).exists(), "{said}");
    }
    recover(&place, &[one, two], &["--fingerprint", &print, "--out", &there]).expect(73);
    recover(&place, &[one, two], &["--fingerprint", &print, "--out", "-"]).expect(64);
    recover(&place, &[one, two], &["--fingerprint", &print, "--out", &text(&place.path("none/key"))]).expect(73);
    let typed = words(one);
    let refused = place.keyctl(&["recover", "--share", &typed, "--fingerprint", &print, "--out", &out]).expect(64);
    saying_none_of(refused.saying(&["a share was typed", "history"]), &kit_of_place);
    saying_none_of(
        place.keyctl(&["recover", "--typed", &typed]).expect(64).saying(&["a share was typed"]),
        &kit_of_place,
    );
    let key = hex(&place.key);
    place.keyctl(&["recover", "--share", &key, "--out", &out]).expect(64).not_saying(&[&key]);
}

#[test]
fn paper_is_tried_on_a_store_and_on_any_backup_and_loaded_nowhere() {
    let (place, other) = (Installation::made(), Installation::made());
    let sheets = kit(&place, "2/2", "kit");
    let shares = [&sheets[0], &sheets[1]];
    let (store, backup) = (text(&place.store()), text(place.backups().last().unwrap()));
    let (foreign, key) = (text(other.backups().last().unwrap()), text(&place.path("master.key")));
    let before = place.files();
    for more in [["--store", &store], ["--backup", &backup]] {
        let checked = saying_none_of(check(&place, &shares, &[&more[..], &["--json"]].concat()), &sheets).expect(0);
        let value = json(&checked.stdout);
        assert_eq!((&value["opens"], &value["verified"]), (&true.into(), &true.into()), "{more:?}");
        assert!(value["given"]["source"].as_str().unwrap().starts_with("2 shares of kit"));
    }
    let wrong = check(&place, &shares, &["--backup", &foreign]).expect(1);
    assert!(wrong.stderr.contains("does not open this backup"), "{}", wrong.stderr);
    check(&place, &shares, &["--key-file", &key, "--store", &store]).expect(64);
    check(&place, &shares, &["--backup", &backup, "--store", &store]).expect(64);
    check(&place, &shares[..1], &["--backup", &backup]).expect(66);
    place.keyctl(&["check-key", "--key-file", &key, "--backup", &backup]).expect(0);
    place.keyctl(&["check-key", "--key-file", &key, "--backup", &foreign]).expect(1);
    place.keyctl(&["check-key", "--key-file", &key, "--backup", &key]).expect(65);
    assert_eq!(place.files(), before, "something was changed or left");
}

#[test]
fn shares_come_through_a_pipe_of_the_shell_as_well() {
    let place = Installation::made();
    let sheets = kit(&place, "2/2", "kit");
    let store = text(&place.store());
    let scanned = format!("QR-Code:{}\nQR-Code:{}\n", words(&sheets[1]), words(&sheets[0]).to_uppercase());
    let arguments = ["check-key", "--share", "-", "--store", &store];
    Invocation::new(arguments).input(scanned).run(KEYCTL).expect(0);
}
