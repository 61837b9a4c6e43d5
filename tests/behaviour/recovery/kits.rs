//! Kits: of which key one is made, and where it goes.
//!
//! Must never pass a kit of a key that nothing has shown to be the right one.
//! Run by `cargo test`.

use super::text;
use crate::harness::rotation::fingerprint_in;
use crate::harness::{Installation, KEYCTL, hex, random_key};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_kit_is_made_of_a_key_that_was_checked_and_goes_where_it_was_sent_alone() {
    let place = Installation::made();
    place.write_private("other.key", hex(&random_key()).as_bytes());
    let (store, key, other) = (text(&place.store()), text(&place.path("master.key")), text(&place.path("other.key")));
    let of = |key: &str, more: &[&str]| {
        let all = [&["recovery-kit", "--key-file", key][..], more].concat();
        place.keyctl(&all)
    };
    let (page, sheet) = (text(&place.path("kit.html")), text(&place.path("kit.txt")));
    of(&other, &["--store", &store, "--out", &page]).expect(1).saying(&["does not open this store", "--unchecked"]);
    of(&key, &["--store", &text(&place.path("none.redb")), "--out", &page]).expect(66).saying(&["--unchecked"]);
    of(&key, &["--store", &store]).expect(64).saying(&["--out"]);
    of(&key, &["--store", &store, "--html"]).expect(64);
    of(&key, &["--store", &store, "--out", "-", "--json"]).expect(64);
    of(&key, &["--store", &store, "--out", &text(&place.path("none/kit"))]).expect(73);
    for shares in ["1/3", "4/3", "2/17", "0/0", "3", "x"] {
        of(&key, &["--store", &store, "--out", &page, "--shares", shares]).expect(64);
    }
    let typed = hex(&place.key);
    of(&key, &["--shares", &typed]).expect(64).not_saying(&[&typed]);
    assert!(!place.path("kit.html").exists());

    let made = of(&key, &["--store", &store, "--shares", "2/3", "--out", &page]).expect(0);
    made.saying(&["shred -u", "printer", "2 needed"]).not_saying(&[&hex(&place.key)]);
    of(&key, &["--store", &store, "--out", &page]).expect(73);
    of(&other, &["--unchecked", "--out", &sheet, "--shares", "3/5"]).expect(0).saying(&["nothing has shown"]);
    for file in [&page, &sheet] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    let piped = of(&key, &["--store", &store, "--out", "-", "--text"]).expect(0).stdout;
    assert!(piped.contains("THE WHOLE KEY") && piped.contains(&hex(&place.key)[..4]));
    assert!(of(&key, &["--store", &store, "--out", "-", "--html"]).expect(0).stdout.contains("<svg"));
}

#[test]
fn while_the_master_key_is_rotated_a_kit_is_made_of_the_new_key_and_not_of_the_one_that_goes() {
    let place = Installation::made();
    let daemon = place.serve_for_admin();
    daemon.keyctl(&["rotate", "begin", "--generate", "--yes"]).run(KEYCTL).expect(0);
    let (key, out) = (text(&place.path("master.key")), text(&place.path("kit.txt")));
    let refused = daemon.keyctl(&["recovery-kit", "--key-file", &key, "--out", &out]).run(KEYCTL).expect(1);
    refused.saying(&["being rotated", ".next", "rotate status"]);
    assert!(!place.path("kit.txt").exists());
    let next = text(&place.path("master.key.next"));
    let made = daemon.keyctl(&["recovery-kit", "--key-file", &next, "--out", &out]).run(KEYCTL).expect(0);
    made.saying(&["the new key of a rotation that is pending"]);
    let fingerprint = fingerprint_in(&place.path("master.key.next"));
    assert!(std::fs::read_to_string(out).unwrap().contains(&fingerprint));
}
