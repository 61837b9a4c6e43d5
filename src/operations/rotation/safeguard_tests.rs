//! What stands between a rotation and a key that would be lost, or a store that would lie: each by breaking it.
//!
//! Must never pass because the rotation was refused for another reason: the same goes through once it is mended.
//! Run by `cargo test`.

use super::refusal::RotationRefusal;
use super::stage::{Ending, NEW, NEXT, OLD};
use crate::operations::refusal::Refusal;
use crate::operations::salvage;
use crate::operations::test_rig::{Rig, id};
use crate::store::record;

#[test]
fn a_key_that_the_disk_does_not_take_neither_begins_nor_ends_a_rotation() {
    let unsettle = |rig: &Rig, source: Option<&str>| rig.sources.lock().unwrap().unsettled = source.map(str::to_owned);
    let mut rig = Rig::new();
    let before = rig.snapshot();
    unsettle(&rig, Some("master.key.next"));
    assert!(matches!(rig.begin(NEW, id(1)), Err(Refusal::Rotation(RotationRefusal::Source(_)))));
    assert!(rig.snapshot() == before, "nothing has begun");
    unsettle(&rig, None);
    rig.begin(NEW, id(1)).unwrap();
    for ending in [Ending::Finish, Ending::Abort { new_data_keys: false }] {
        let (goes_on, _) = ending.keys();
        rig.hold_key(goes_on);
        let before = rig.snapshot();
        unsettle(&rig, Some("master.key"));
        assert!(matches!(rig.end(ending, NEW, false, id(2)), Err(Refusal::Rotation(RotationRefusal::Source(_)))));
        assert!(rig.snapshot() == before, "both keys still open the store");
        rig.opens_with(&[OLD, NEW]);
        unsettle(&rig, None);
    }
    rig.hold_key(NEW);
    rig.end_whole(Ending::Finish);
    rig.opens_with(&[NEW]);
}

#[test]
fn a_key_that_does_not_open_its_own_seal_ends_no_rotation_whatever_its_fingerprint_says() {
    let mut rig = Rig::new();
    rig.begin(NEW, None).unwrap();
    rig.hold_key(NEW);
    let whole = rig.ledger.sealed.clone();
    for broken in [whole.current.clone(), None] {
        rig.ledger.sealed.pending = broken;
        let generation = rig.ledger.generation;
        assert!(matches!(rig.finish(NEW, None), Err(Refusal::Damaged(_))));
        assert_eq!(rig.ledger.generation, generation);
    }
    rig.ledger.sealed = whole;
    rig.finish(NEW, None).unwrap();
}

#[test]
fn salvage_goes_on_without_a_previous_root_that_is_damaged() {
    let mut rig = Rig::new();
    rig.begin(NEW, None).unwrap();
    rig.hold_key(NEW);
    rig.finish(NEW, None).unwrap();
    let all = rig.keyring().versions.len();
    // Right behind the decision nothing is under the new root yet but what salvage cannot do without.
    rig.advance();
    let mut snapshot = rig.snapshot();
    let mut master: record::Master = record::decode(record::MASTER, &snapshot.records[record::MASTER]).unwrap();
    if master.previous_root.is_empty() {
        // All seals were made anew at once: a root that nothing is sealed under is damaged all the same.
        master.previous_root = master.current.as_ref().unwrap().root.clone();
    } else if let Some(last) = master.previous_root.last_mut() {
        *last ^= 1;
    }
    snapshot.records.insert(record::MASTER.to_owned(), record::encode(&master));
    let salvaged = salvage::salvage(snapshot, rig.key(NEW), &rig.memory).unwrap();
    assert_eq!(salvaged.keyring.versions.len(), all);
    assert!(salvaged.unopened.iter().any(|(name, reason)| name == record::MASTER && reason.contains("previous root")));
}

#[test]
fn a_repetition_tells_the_keys_that_open_the_store_now() {
    let mut rig = Rig::new();
    rig.begin(NEW, id(1)).unwrap();
    rig.hold_key(NEW);
    rig.finish(NEW, id(2)).unwrap();
    rig.advance_to_the_end();
    let begun = rig.begin(NEW, id(1)).unwrap();
    assert_eq!(begun.opens, [rig.fingerprint(NEW)]);
    assert!(begun.next[0].contains("is over"), "{:?}", begun.next);
    rig.begin(NEXT, id(3)).unwrap();
    rig.hold_key(NEXT);
    rig.finish(NEXT, id(4)).unwrap();
    assert_eq!(rig.finish(NEW, id(2)).unwrap().opens, [rig.fingerprint(NEXT)]);
}
