//! AdoptLegacyKey and RetireLegacyKey: held sealed, dropped without a trace.
//!
//! Must never leave a retired key's seal in the file.
//! Run by `cargo test`.

use super::retire_legacy_key;
use crate::custody::id::Fingerprint;
use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::fake_store::{Fault, locked, unavailable};
use crate::operations::refusal::Refusal;
use crate::operations::status::status;
use crate::operations::test_rig::{MASTER_KEY, Rig, id};
use crate::store::port::Snapshot;

const FORMER: [&str; 3] = [
    "0011223344556677889900aabbccddeeff0123456789abcdef0123456789abcd",
    "ff11223344556677889900aabbccddeeff0123456789abcdef0123456789abcd",
    "gEjXkY0mG1qgkq7l0k3v7hJm1dBfQp4mYx3q0u9rHvA=",
];

fn adopt(rig: &mut Rig, text: &str, request: Option<String>) -> Result<Fingerprint, Refusal> {
    let permit = rig.whole();
    adopt_legacy_key(&permit, &mut rig.ledger, text.as_bytes(), request)
}

fn retire(rig: &mut Rig, fingerprint: Fingerprint, request: Option<String>) -> Result<u32, Refusal> {
    let permit = rig.whole();
    retire_legacy_key(&permit, &mut rig.ledger, fingerprint, request)
}

#[test]
fn adopted_keys_are_held_newest_first_and_once_each() {
    let mut rig = Rig::with_legacy();
    let mut expected = vec![rig.keyring().legacy[0].fingerprint];
    for (n, text) in FORMER.iter().enumerate() {
        rig.pass(1);
        expected.insert(0, adopt(&mut rig, &format!("{text}\n"), id(u32::try_from(n).unwrap())).unwrap());
        assert!(adopt(&mut rig, text, None).unwrap() == expected[0], "a second time is no fault");
        rig.check();
    }
    let held = |rig: &Rig| rig.keyring().legacy.iter().map(|key| key.fingerprint).collect::<Vec<_>>();
    assert!(held(&rig) == expected);
    assert!(held(&rig.restarted()) == expected);
}

#[test]
fn the_status_tells_how_to_retire_each_key_that_is_held() {
    let mut rig = Rig::with_legacy();
    adopt(&mut rig, FORMER[0], id(1)).unwrap();
    let warnings = status(&rig.whole(), &rig.engine).warnings;
    let warning = warnings.iter().find(|warning| warning.starts_with("Legacy values open")).unwrap();
    for key in &rig.engine.keyring().legacy {
        assert!(warning.contains(&format!("servos-keyctl legacy retire {}", key.fingerprint)), "{warning}");
    }
}

#[test]
fn a_malformed_key_is_refused_without_a_byte_of_it() {
    let mut rig = Rig::new();
    for bad in [
        "",
        "abc",
        &FORMER[0][1..],
        &"0".repeat(64),
        &format!("{}g", &FORMER[0][1..]),
        "passwordpasswordpasswordpassword",
    ] {
        let refusal = adopt(&mut rig, bad, id(1)).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid { field: "legacy_key", .. }), "{refusal:?}");
        assert!(bad.len() < 8 || !refusal.to_string().contains(&bad[..8]), "{refusal}");
    }
    assert!(rig.commits().is_empty());
}

#[test]
fn retiring_rewrites_the_file_and_what_is_left_is_counted() {
    let mut rig = Rig::with_legacy();
    let own = rig.keyring().legacy[0].fingerprint;
    rig.pass(1);
    let other = adopt(&mut rig, FORMER[0], None).unwrap();
    assert_eq!(retire(&mut rig, own, id(1)).unwrap(), 1);
    assert!(rig.commits().last().unwrap().1, "it rewrites");
    rig.check();
    assert_eq!(retire(&mut rig, other, id(2)).unwrap(), 0);
    assert_eq!(retire(&mut rig, own, id(1)).unwrap(), 1, "the answer of then");
    assert!(matches!(retire(&mut rig, own, None), Err(Refusal::NoSuchLegacyKey)));
    assert!(!rig.snapshot().records.keys().any(|name| name.starts_with("legacy/")));
    rig.check();
    assert!(rig.restarted().keyring().legacy.is_empty());
}

#[test]
fn a_retirement_that_fails_keeps_the_key() {
    let mut rig = Rig::with_legacy();
    let own = rig.keyring().legacy[0].fingerprint;
    rig.break_next(Fault::Fails(unavailable()));
    assert!(matches!(retire(&mut rig, own, id(1)), Err(Refusal::Store(_))));
    assert_eq!(rig.keyring().legacy.len(), 1);
    rig.check();
    assert_eq!(retire(&mut rig, own, id(1)).unwrap(), 0);
    rig.check();
}

#[test]
fn no_change_but_a_retirement_rewrites_the_file() {
    let mut rig = Rig::new();
    rig.create("mine", None).unwrap();
    rig.rotate("mine", None).unwrap();
    rig.delete("mine", None).unwrap();
    adopt(&mut rig, MASTER_KEY, None).unwrap();
    assert!(rig.commits().iter().all(|(_, rewrites)| !rewrites));
}

#[test]
fn a_history_that_is_not_what_was_committed_is_not_gone_on_with() {
    type Spoils = fn(&mut Vec<u8>);
    let spoils: [Spoils; 2] = [|value| value.clear(), |value| value.truncate(value.len() / 2)];
    for spoil in spoils {
        let mut rig = Rig::new();
        let whole = rig.snapshot();
        spoil(locked(&rig.medium).snapshot.records.get_mut("history/0").unwrap());
        assert!(matches!(adopt(&mut rig, FORMER[0], None), Err(Refusal::Damaged(_))));
        locked(&rig.medium).snapshot.records.remove("history/0");
        assert!(matches!(adopt(&mut rig, FORMER[0], None), Err(Refusal::Damaged(_))));
        locked(&rig.medium).snapshot = whole;
        adopt(&mut rig, FORMER[0], None).unwrap();
        rig.restarted().check();
    }
}

#[test]
fn what_is_read_other_than_it_was_committed_is_not_written_into_the_place_of_the_store() {
    let mut rig = Rig::with_legacy();
    let own = rig.keyring().legacy[0].fingerprint;
    let whole = rig.snapshot();
    let version = whole.records.keys().find(|name| name.starts_with("version/")).unwrap().clone();
    *locked(&rig.medium).snapshot.records.get_mut(&version).unwrap().last_mut().unwrap() ^= 1;
    assert!(retire(&mut rig, own, id(1)).is_err());
    assert!(rig.commits().is_empty(), "the file that may still be mended is in its place");
    // As by a disk that gave other bytes for a while.
    locked(&rig.medium).snapshot = whole;
    assert_eq!(retire(&mut rig, own, id(1)).unwrap(), 0);
    rig.check();
    rig.restarted().check();
}

#[test]
fn what_a_rewrite_copies_is_what_was_judged_and_not_read_again() {
    fn spoil(snapshot: &mut Snapshot) {
        let version = snapshot.records.iter_mut().find(|(name, _)| name.starts_with("version/")).unwrap().1;
        *version.last_mut().unwrap() ^= 1;
    }
    let mut rig = Rig::with_legacy();
    let own = rig.keyring().legacy[0].fingerprint;
    locked(&rig.medium).spoils = Some(spoil);
    assert_eq!(retire(&mut rig, own, None).unwrap(), 0);
    let mut rig = rig.restarted();
    // The same where a failure leaves open what became of it, and everything is written anew.
    rig.break_next(Fault::WrittenButSaysSo(unavailable()));
    locked(&rig.medium).spoils = Some(spoil);
    adopt(&mut rig, FORMER[0], None).unwrap();
    rig.check();
    rig.restarted().check();
}
