//! A rotation while legacy values open: those of components that hold the old key or already the new one open too.
//!
//! Must never let a record hold a master key under a root that an older key opens.
//! Run by `cargo test`.

use super::key_sources::Renewal::{Environment, Reread, Restart};
use super::sealed_value::Value;
use super::stage::{Ending, FORMER, NEW, NEXT, OLD};
use crate::custody::record_seal;
use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::retire_legacy_key::retire_legacy_key;
use crate::operations::test_rig::Rig;
use crate::store::{backup_file, record};

/// One that adopted its own key, and one that adopted another.
fn rigs() -> [Rig; 2] {
    let mut other = Rig::new();
    let permit = other.whole();
    adopt_legacy_key(&permit, &mut other.ledger, FORMER.as_bytes(), None).unwrap();
    [Rig::with_legacy(), other]
}

fn of(key: &str) -> Value {
    Value::legacy(key, key)
}

fn is_held(rig: &Rig, key: &str) -> bool {
    rig.snapshot().records.contains_key(&record::legacy(rig.fingerprint(key)))
}

#[test]
fn while_it_is_pending_values_under_the_old_and_the_new_key_open() {
    for (n, mut rig) in rigs().into_iter().enumerate() {
        assert_eq!((of(OLD).opens(&rig), of(FORMER).opens(&rig), of(NEW).opens(&rig)), (n == 0, n == 1, false));
        rig.begin(NEW, None).unwrap();
        assert!(!is_held(&rig, NEW) && is_held(&rig, OLD));
        let look = |rig: &Rig, with_new: bool| {
            rig.check();
            assert!(of(OLD).opens(rig));
            assert_eq!((of(FORMER).opens(rig), of(NEW).opens(rig), of(NEXT).opens(rig)), (n == 1, with_new, false));
            assert!(!is_held(rig, NEW));
        };
        look(&rig, true);
        let env = ("SERVOS_MASTER_KEY", Environment, NEW);
        for (held, with_new) in [
            (vec![("master.key", Reread, OLD)], false),
            (vec![("master.key", Reread, OLD), ("credential", Restart, NEW)], true),
            (vec![("master.key", Reread, NEW), ("credential", Restart, OLD)], true),
            (vec![("master.key", Reread, OLD), env], true),
            (vec![env], true),
        ] {
            rig.hold(&held);
            rig = rig.restarted();
            look(&rig, with_new);
        }
    }
}

#[test]
fn after_a_finish_values_under_both_open_and_the_new_key_is_sealed_where_the_old_one_does_not_reach() {
    for (n, mut rig) in rigs().into_iter().enumerate() {
        let old_root = rig.ledger.root.id().prefix();
        rig.pass(1);
        rig.through(Ending::Finish, |rig, promised| {
            assert!(is_held(rig, NEW) != promised.contains(&OLD), "held from the moment the old key opens nothing");
            let seals = rig.seals();
            let of_new = record::legacy(rig.fingerprint(NEW));
            for (_, seal) in seals.iter().filter(|(name, _)| *name == of_new) {
                assert!(record_seal::header_owner(seal) != Some(old_root));
            }
            assert!(of(OLD).opens(rig) && of(NEW).opens(rig));
            assert!(!promised.contains(&NEW) || of(OLD).opens_after_a_start(rig, NEW));
            assert!(rig.keyring().legacy.iter().filter(|held| held.fingerprint == rig.fingerprint(NEW)).count() <= 1);
        });
        rig.check();
        rig.every_seal_is_under_the_root_in_use();
        let rig = rig.restarted();
        assert!(of(OLD).opens(&rig) && of(NEW).opens(&rig));
        assert_eq!((of(FORMER).opens(&rig), rig.keyring().legacy.len()), (n == 1, n + 2));
        assert!(rig.keyring().pending_legacy.is_none());
        // Newest first, in memory as after a start.
        assert!(rig.keyring().legacy.is_sorted_by_key(|held| std::cmp::Reverse(held.adopted)));
        if n == 0 {
            // The old key was held from the creation on.
            assert_eq!(rig.keyring().legacy[0].fingerprint, rig.fingerprint(NEW));
        }
        for path in backup_file::list(&rig.backups()).unwrap() {
            let backup = backup_file::read(&path).unwrap();
            let holds = backup.records.contains_key(&record::legacy(rig.fingerprint(NEW)));
            let snapshot = crate::store::port::Snapshot { generation: backup.generation, records: backup.records };
            assert!(!holds || rig.holds(snapshot, OLD, false).is_err(), "{}", path.display());
        }
    }
}

#[test]
fn after_an_abort_values_under_the_new_key_open_no_more() {
    for (n, mut rig) in rigs().into_iter().enumerate() {
        let mut ended = false;
        rig.through(Ending::Abort { new_data_keys: false }, |rig, promised| {
            ended |= !promised.contains(&NEW);
            assert_eq!((of(OLD).opens(rig), of(NEW).opens(rig)), (true, !ended));
            assert!(!is_held(rig, NEW));
        });
        rig.check();
        rig.every_seal_is_under_the_root_in_use();
        let rig = rig.restarted();
        assert_eq!((of(OLD).opens(&rig), of(FORMER).opens(&rig), of(NEW).opens(&rig)), (true, n == 1, false));
    }
}

#[test]
fn a_second_rotation_holds_each_key_once_and_what_is_retired_opens_no_more() {
    for mut rig in rigs() {
        rig.begin(NEW, None).unwrap();
        rig.end_whole(Ending::Finish);
        rig.pass(1);
        let held = rig.keyring().legacy.len();
        rig.begin(NEXT, None).unwrap();
        assert_eq!(rig.keyring().legacy.len(), held, "the old one is held from its own finish");
        rig.hold_key(NEXT);
        rig.finish(NEXT, None).unwrap();
        rig.advance_to_the_end();
        assert!([OLD, NEW, NEXT].iter().all(|key| of(key).opens(&rig)));
        assert_eq!(rig.keyring().legacy.len(), held + 1);
        rig.check();
        for legacy in rig.keyring().legacy.clone() {
            let permit = rig.whole();
            retire_legacy_key(&permit, &mut rig.ledger, legacy.fingerprint, None).unwrap();
        }
        assert!(![OLD, NEW, NEXT, FORMER].iter().any(|key| of(key).opens(&rig)));
        rig.check();
    }
}

#[test]
fn where_no_legacy_key_is_held_a_rotation_opens_none() {
    for ending in [Ending::Finish, Ending::Abort { new_data_keys: false }] {
        let mut rig = Rig::new();
        rig.through(ending, |rig, _| {
            assert!(!of(OLD).opens(rig) && !of(NEW).opens(rig));
            assert!(rig.keyring().pending_legacy.is_none());
            assert!(!rig.snapshot().records.keys().any(|name| name.starts_with("legacy/")));
        });
        rig.hold(&[("master.key", Reread, ending.keys().0)]);
        let rig = rig.restarted();
        assert!(!of(OLD).opens(&rig) && !of(NEW).opens(&rig));
    }
}
