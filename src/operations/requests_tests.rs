//! Request ids: the same answer for a day, and never another request's.
//!
//! Must never prove less after a restart than before.
//! Run by `cargo test`.

use super::REMEMBERED_FOR;
use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::refusal::Refusal;
use crate::operations::retire_legacy_key::retire_legacy_key;
use crate::operations::test_rig::{Rig, id};

fn remembered(rig: &Rig) -> usize {
    rig.snapshot().records.keys().filter(|name| name.starts_with("request/")).count()
}

#[test]
fn the_same_id_gives_the_same_answer_after_other_changes_and_after_a_restart() {
    let mut rig = Rig::new();
    let made = rig.create("mine", id(1)).unwrap().key.id;
    assert_eq!(rig.rotate("mine", id(2)).unwrap().version, 2);
    let gone = rig.delete("ssh-keys", id(3)).unwrap();
    for round in 0..3 {
        rig.rotate("mine", None).unwrap();
        rig.create("ssh-keys", None).ok();
        let before = rig.snapshot();
        assert!(rig.create("mine", id(1)).unwrap().key.id == made, "round {round}");
        assert_eq!(rig.create("mine", id(1)).unwrap().version.number, 1, "round {round}");
        assert_eq!(rig.rotate("mine", id(2)).unwrap().version, 2, "round {round}");
        assert_eq!(rig.delete("ssh-keys", id(3)).unwrap(), gone, "round {round}");
        assert!(rig.snapshot() == before, "a repetition changes nothing");
        rig.check();
        rig = rig.restarted();
    }
}

#[test]
fn the_same_id_with_other_contents_or_another_call_is_refused() {
    let mut rig = Rig::with_legacy();
    rig.create("mine", id(1)).unwrap();
    let mut rig = rig.restarted();
    let before = rig.snapshot();
    assert!(matches!(rig.create("other", id(1)).err(), Some(Refusal::RequestIdReused)));
    assert!(matches!(rig.rotate("mine", id(1)), Err(Refusal::RequestIdReused)));
    assert!(matches!(rig.delete("mine", id(1)), Err(Refusal::RequestIdReused)));
    let held = rig.keyring().legacy[0].fingerprint;
    let permit = rig.whole();
    let retired = retire_legacy_key(&permit, &mut rig.ledger, held, id(1));
    assert!(matches!(retired, Err(Refusal::RequestIdReused)));
    let permit = rig.whole();
    let adopted = adopt_legacy_key(&permit, &mut rig.ledger, crate::operations::test_rig::MASTER_KEY.as_bytes(), id(1));
    assert!(matches!(adopted, Err(Refusal::RequestIdReused)));
    assert!(rig.snapshot() == before);
}

#[test]
fn a_request_is_forgotten_after_a_day_and_not_a_second_earlier() {
    let mut rig = Rig::new();
    assert_eq!(rig.rotate("default", id(1)).unwrap().version, 2);
    rig.pass(REMEMBERED_FOR);
    assert_eq!(rig.rotate("default", id(1)).unwrap().version, 2);
    rig.pass(1);
    // Nothing was committed since that would have dropped it, and still it is a call of its own.
    assert_eq!(rig.rotate("default", id(1)).unwrap().version, 3);
    rig.check();
    assert_eq!((rig.rotate("default", id(1)).unwrap().version, remembered(&rig)), (3, 1));
    rig.pass(REMEMBERED_FOR + 1);
    rig.create("mine", id(1)).unwrap();
    rig.check();
    rig.restarted().check();
}

#[test]
fn forgetting_is_bounded_in_each_commit_and_gets_done() {
    let mut rig = Rig::new();
    for request in 0..50 {
        rig.create(&format!("key-{request}"), id(request)).unwrap();
    }
    assert_eq!(remembered(&rig), 50);
    rig.pass(REMEMBERED_FOR + 1);
    let mut left = remembered(&rig);
    while left > 0 {
        rig.rotate("default", None).unwrap();
        let now = remembered(&rig);
        assert!(now < left && left - now <= 40, "{left} then {now}");
        left = now;
        rig.check();
    }
}

#[test]
fn an_adoption_of_a_key_that_is_held_is_remembered_too() {
    let mut rig = Rig::with_legacy();
    let held = rig.keyring().legacy[0].fingerprint;
    let text = crate::operations::test_rig::MASTER_KEY.as_bytes();
    let permit = rig.whole();
    assert!(adopt_legacy_key(&permit, &mut rig.ledger, text, id(1)).unwrap() == held);
    rig.check();
    let permit = rig.whole();
    assert!(adopt_legacy_key(&permit, &mut rig.ledger, text, None).unwrap() == held);
    let permit = rig.whole();
    assert_eq!(retire_legacy_key(&permit, &mut rig.ledger, held, id(2)).unwrap(), 0);
    // A client that sends the adoption again must not bring back what was retired since.
    let permit = rig.whole();
    assert!(adopt_legacy_key(&permit, &mut rig.ledger, text, id(1)).unwrap() == held);
    assert!(rig.keyring().legacy.is_empty());
    rig.check();
}
