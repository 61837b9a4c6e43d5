//! While a rotation goes on: components notice nothing, changes of keys wait, and every export is worth something.
//!
//! Must never look at one moment and speak for another: each test goes through all of them.
//! Run by `cargo test`.

use super::refusal::RotationRefusal;
use super::sealed_value::Value;
use super::stage::{EVERY_KEY, Ending, FORMER, NEW, OLD};
use crate::custody::id::Fingerprint;
use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::backup;
use crate::operations::check::online::SelfCheck;
use crate::operations::check::state::Outcome;
use crate::operations::decrypt;
use crate::operations::drill::DrillKind;
use crate::operations::export_keyring::export_keyring;
use crate::operations::inspect::{Proof, inspect, prove};
use crate::operations::issue_canary::issue_canary;
use crate::operations::record_drill::record_drill;
use crate::operations::reencrypt::{Rights, reencrypt};
use crate::operations::refusal::Refusal;
use crate::operations::retire_legacy_key::retire_legacy_key;
use crate::operations::status::status;
use crate::operations::test_rig::{Rig, context, id};
use crate::operations::verify_canary::{Finding, verify_client, verify_own};
use crate::store::backup_file::{self, Backup};
use crate::store::port::Snapshot;
use std::time::Duration;

const ENDINGS: [Ending; 3] =
    [Ending::Finish, Ending::Abort { new_data_keys: false }, Ending::Abort { new_data_keys: true }];

fn moved(rig: &Rig, value: &Value) -> Result<Vec<u8>, Refusal> {
    let rights =
        Rights { reencrypt: rig.admit(), decrypt: rig.admit(), encrypt: rig.admit(), relabel: Ok(rig.admit()) };
    let context = &context("1");
    let request = decrypt::Request { expected_key: None, ciphertext: &value.sealed, context, allow_legacy: false };
    reencrypt(&rights, &rig.engine, &request, None).map(|(sealed, _)| sealed.ciphertext)
}

#[test]
fn a_self_check_at_every_moment_and_across_each_step_finds_everything_good() {
    for ending in ENDINGS {
        let mut rig = Rig::new();
        let mut check = SelfCheck::new(Duration::from_secs(60), || (), &rig.engine);
        let mut look = |rig: &mut Rig| {
            // What began before the last step ends behind it; then a whole one, and the begin of the next.
            for _ in 0..2 {
                let state = check.whole(&mut rig.ledger);
                assert_eq!(state.outcome, Outcome::Sound, "{:?}", state.problems);
            }
            check.step(&mut rig.ledger);
        };
        rig.through(ending, |rig, _| look(rig));
        look(&mut rig);
    }
}

#[test]
fn a_drill_is_kept_at_every_moment_of_each_key_that_opens_the_store_then_and_of_no_other() {
    for ending in ENDINGS {
        let mut rig = Rig::new();
        rig.through(ending, |rig, opens| {
            let permit = rig.whole();
            for key in EVERY_KEY {
                let fingerprint = rig.fingerprint(key);
                let done = record_drill(&permit, &mut rig.ledger, DrillKind::Key, fingerprint, None);
                match opens.contains(&key) {
                    true => assert!(done.is_ok(), "{:?}", done.err()),
                    false => assert!(matches!(done, Err(Refusal::DrillOfOtherKey))),
                }
            }
            rig.opens_with(opens);
            let known: Vec<Fingerprint> = rig.keyring().drills.iter().map(|drill| drill.fingerprint).collect();
            let expected: Vec<Fingerprint> = opens.iter().map(|key| rig.fingerprint(key)).collect();
            assert_eq!(known, expected);
            rig.check();
        });
        // The copy of the new key that was tried while the rotation was pending counts for it from its end on.
        let (key, _) = ending.keys();
        rig.opens_with(&[key]);
        let state = status(&rig.whole(), &rig.engine).drills;
        assert_eq!(state.key.map(|drill| drill.fingerprint), Some(rig.fingerprint(key)));
        rig.every_seal_is_under_the_root_in_use();
    }
}

#[test]
fn components_seal_open_move_and_prove_at_every_moment() {
    for ending in ENDINGS {
        let mut rig = Rig::new();
        let mut values = vec![Value::sealed(&rig, "default", "before")];
        let issue = |rig: &Rig| issue_canary(&rig.whole(), &rig.engine).unwrap();
        let mut canaries = vec![issue(&rig)];
        let mut look = |rig: &mut Rig| {
            canaries.push(issue(rig));
            values.push(Value::sealed(rig, "default", "meanwhile"));
            assert!(values.iter().all(|value| value.opens(rig)));
            assert!(moved(rig, &values[0]).is_ok());
            let permit = rig.whole();
            assert_eq!(verify_own(&permit, &mut rig.ledger).unwrap(), Finding::Opens);
            for canary in &canaries {
                assert_eq!(verify_client(&permit, &rig.engine, canary), Finding::Opens);
            }
            assert!(export_keyring(&rig.whole(), &mut rig.ledger).is_ok());
        };
        let mut moments = 0;
        rig.through(ending, |rig, _| {
            moments += 1;
            look(rig);
        });
        assert!(moments > 4);
        look(&mut rig);
        let mut rig = rig.restarted();
        look(&mut rig);
    }
}

/// Holds a backup to being opened by these keys alone, whole.
#[track_caller]
fn opens_with(rig: &Rig, backup: &Backup, promised: &[&str]) {
    for key in EVERY_KEY {
        let snapshot = Snapshot { generation: backup.generation, records: backup.records.clone() };
        let loaded = rig.holds(snapshot, key, false);
        assert_eq!(loaded.is_ok(), promised.contains(&key), "{key}");
        if let Ok(loaded) = loaded {
            assert_eq!(loaded.keyring.versions.len(), rig.keyring().versions.len());
        }
    }
}

#[test]
fn an_export_and_a_backup_of_every_moment_open_whole_with_the_keys_of_that_moment() {
    for ending in ENDINGS {
        let mut rig = Rig::with_legacy();
        let exported = |rig: &mut Rig, promised: &[&str]| {
            let permit = rig.whole();
            let export = export_keyring(&permit, &mut rig.ledger).unwrap();
            assert_eq!(export.generation, rig.keyring().generation);
            opens_with(rig, &backup_file::decode(&export.pieces.collect::<Vec<_>>().concat()).unwrap(), promised);
            let made = backup::back_up(&rig.whole(), &mut rig.ledger).unwrap();
            let written = backup_file::read(&made.path.unwrap()).unwrap();
            opens_with(rig, &written, promised);
            let prints: Vec<Fingerprint> = promised.iter().map(|key| rig.fingerprint(key)).collect();
            assert_eq!((&made.opened_by, &inspect(&written).opened_by), (&prints, &prints));
            for key in promised {
                let proof = prove(written.clone(), rig.key(key), &rig.memory).unwrap();
                assert_eq!(proof, Proof::Opens { versions: made.versions, unopened: Vec::new() });
            }
        };
        exported(&mut rig, &[OLD]);
        rig.through(ending, |rig, promised| {
            rig.opens_with(promised);
            let told = rig.keyring().rotation.as_ref().unwrap().opens();
            let promised_prints: Vec<Fingerprint> = promised.iter().map(|key| rig.fingerprint(key)).collect();
            assert!(told == promised_prints, "status tells what is so");
            exported(rig, promised);
        });
        exported(&mut rig, &[ending.keys().0]);
        assert!(status(&rig.whole(), &rig.engine).rotation.is_none());
    }
}

/// Everything that changes keys, by its name.
fn changes(rig: &mut Rig, n: u32) -> Vec<(&'static str, Result<(), Refusal>)> {
    let mut said = vec![
        ("CreateKey", rig.create(&format!("mine-{n}"), None).map(drop)),
        ("RotateKey", rig.rotate("default", None).map(drop)),
        ("DeleteKey", rig.delete(["git-tokens", "backups"][usize::try_from(n % 2).unwrap()], None).map(drop)),
    ];
    let (permit, legacy) = (rig.whole(), rig.keyring().legacy[0].fingerprint);
    said.push(("RetireLegacyKey", retire_legacy_key(&permit, &mut rig.ledger, legacy, None).map(drop)));
    let permit = rig.whole();
    let adopted = adopt_legacy_key(&permit, &mut rig.ledger, FORMER.as_bytes(), None).map(drop);
    said.push(("AdoptLegacyKey", adopted));
    said
}

#[test]
fn changes_of_keys_wait_for_the_last_step_and_work_after_it() {
    for ending in ENDINGS {
        let mut rig = Rig::with_legacy();
        rig.through(ending, |rig, _| {
            let before = rig.snapshot();
            for (call, said) in changes(rig, 0) {
                let waits = matches!(said, Err(Refusal::Rotation(RotationRefusal::UnderWay { .. })));
                assert!(waits, "{call}: {said:?}");
            }
            assert!(rig.snapshot() == before);
        });
        for (call, said) in changes(&mut rig, 1) {
            assert!(said.is_ok(), "{call}: {said:?}");
        }
        rig.check();
    }
}

#[test]
fn what_was_answered_before_is_answered_again_at_every_moment() {
    for ending in ENDINGS {
        let mut rig = Rig::new();
        rig.create("mine", id(1)).unwrap();
        rig.rotate("default", id(2)).unwrap();
        rig.delete("ssh-keys", id(3)).unwrap();
        let permit = rig.whole();
        adopt_legacy_key(&permit, &mut rig.ledger, FORMER.as_bytes(), id(4)).unwrap();
        let again = |rig: &mut Rig| {
            let versions = rig.keyring().versions.len();
            assert_eq!(rig.create("mine", id(1)).unwrap().version.number, 1);
            assert_eq!(rig.rotate("default", id(2)).unwrap().version, 2);
            assert_eq!(rig.delete("ssh-keys", id(3)).unwrap().versions, 1);
            let permit = rig.whole();
            adopt_legacy_key(&permit, &mut rig.ledger, FORMER.as_bytes(), id(4)).unwrap();
            assert_eq!(rig.keyring().versions.len(), versions);
        };
        rig.through(ending, |rig, _| again(rig));
        again(&mut rig);
        rig.check();
    }
}

#[test]
fn a_begin_that_was_answered_is_answered_so_when_the_rotation_is_over() {
    let mut rig = Rig::new();
    let first = rig.begin(NEW, id(1)).unwrap();
    rig.end_whole(Ending::Finish);
    let again = rig.begin(NEW, id(1)).unwrap();
    assert!(again.rotation == first.rotation);
    assert_eq!(again.backup, first.backup);
}
