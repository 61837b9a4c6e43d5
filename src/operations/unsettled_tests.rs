//! A change whose outcome nobody can tell: what is refused meanwhile, and that it stands or falls as the store shows.
//!
//! Must never take a change for settled that was not: each test repeats the call, and starts anew.
//! Run by `cargo test`.

use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::export_keyring::export_keyring;
use crate::operations::fake_store::{Fault, every_failure, locked, unavailable};
use crate::operations::health::StoreState;
use crate::operations::refusal::{Refusal, StoreTrouble};
use crate::operations::resume::resume;
use crate::operations::retire_legacy_key::retire_legacy_key;
use crate::operations::test_rig::{DAY, Rig, id, picture};
use crate::operations::verify_canary::verify_own;
use crate::store::port::StoreError;

const FORMER: &str = "b7f2d4c19a0e83562b1c7d4f90a6e5381f2b4c6d8e0a1c3e5f708192a3b4c5d6";

/// Lets the next change go wrong so that nobody can tell whether it was made.
fn unsettle(rig: &Rig, fault: Fault) {
    rig.break_next(fault);
    locked(&rig.medium).unreadable = true;
}

fn written() -> Fault {
    Fault::WrittenButSaysSo(unavailable())
}

fn not_written() -> Fault {
    Fault::Fails(unavailable())
}

fn mend(rig: &Rig) {
    let mut medium = locked(&rig.medium);
    (medium.unreadable, medium.refuses, medium.refuses_rewrites) = (false, None, None);
}

#[track_caller]
fn is_unsettled<T>(answer: Result<T, Refusal>) {
    match answer {
        Err(Refusal::Unsettled { trouble: StoreTrouble::Unavailable, .. }) => {}
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was done"),
    }
}

/// What is so as long as it cannot be told; the keyring stays as it was.
#[track_caller]
fn everything_else_waits(rig: &mut Rig, before: &[String]) {
    assert_eq!(picture(&rig.keyring()), before);
    is_unsettled(rig.rotate("git-tokens", None));
    is_unsettled(rig.create("other", None));
    is_unsettled(rig.delete("env-vars", None));
    let (permit, ledger) = (rig.whole(), &mut rig.ledger);
    is_unsettled(export_keyring(&permit, ledger).map(drop));
    let (permit, ledger) = (rig.whole(), &mut rig.ledger);
    is_unsettled(verify_own(&permit, ledger).map(drop));
    let sealed = rig.encrypt("default", b"meanwhile").unwrap();
    assert_eq!(rig.decrypt(&sealed.ciphertext).unwrap().plaintext.as_slice(), b"meanwhile");
    let (state, problem) = rig.store_state();
    assert!(state == StoreState::Failing && problem.contains("fake"), "{problem}");
    assert_eq!(picture(&rig.keyring()), before);
}

/// The same call again answers as if nothing had been; then the store is what memory is, and stays it.
type Call = (&'static str, fn(&mut Rig) -> Result<String, Refusal>);

fn calls() -> [Call; 5] {
    [
        ("create", |rig| rig.create("mine", id(1)).map(|made| made.key.name.to_string())),
        ("rotate", |rig| rig.rotate("default", id(1)).map(|made| made.version.to_string())),
        ("delete", |rig| rig.delete("ssh-keys", id(1)).map(|gone| format!("{:?}", gone))),
        ("adopt", |rig| {
            let permit = rig.whole();
            rig.ledger.settle_first();
            adopt_legacy_key(&permit, &mut rig.ledger, FORMER.as_bytes(), id(1)).map(|key| key.to_string())
        }),
        ("retire", |rig| {
            let (permit, fingerprint) = (rig.whole(), rig.keyring().master.fingerprint);
            rig.ledger.settle_first();
            retire_legacy_key(&permit, &mut rig.ledger, fingerprint, id(1)).map(|left| left.to_string())
        }),
    ]
}

/// How many commits a call makes.
fn commits_of(call: Call) -> usize {
    let mut rig = Rig::with_legacy();
    (call.1)(&mut rig).unwrap();
    rig.commits().len()
}

/// Passes a rig on which the call was hit once: the same call again has the answer of one that was never hit, and once
/// more changes nothing.
#[track_caller]
fn the_call_is_answered_right(mut rig: Rig, call: Call, what: &str) {
    let mut unhurt = Rig::with_legacy();
    let expected = (call.1)(&mut unhurt).unwrap();
    let shape = |rig: &Rig| {
        let keyring = rig.keyring();
        let mut names: Vec<_> =
            keyring.names.keys().map(|name| format!("{name} {}", keyring.key(name).unwrap().primary)).collect();
        names.push(format!("{} versions, {} legacy", keyring.versions.len(), keyring.legacy.len()));
        names
    };
    // Ids are random: what is compared of a deletion is the rest.
    let plain = |answer: String| answer.split(" id: ").next().unwrap_or_default().to_owned();
    assert_eq!(plain((call.1)(&mut rig).unwrap()), plain(expected), "{what}");
    assert_eq!(shape(&rig), shape(&unhurt), "{what}");
    assert_eq!(rig.store_state(), (StoreState::Healthy, String::new()), "{what}");
    rig.check();
    let commits = rig.commits().len();
    (call.1)(&mut rig).unwrap();
    assert_eq!(rig.commits().len(), commits, "{what}: once more changes nothing");
    rig.rotate("env-vars", None).unwrap();
    let mut rig = rig.restarted();
    rig.check();
    (call.1)(&mut rig).unwrap();
    assert_eq!(shape(&rig).len(), shape(&unhurt).len(), "{what}");
}

#[test]
fn each_change_that_nobody_can_tell_of_waits_and_then_its_repetition_is_answered_right() {
    for call in calls() {
        let commits = commits_of(call);
        for n in 0..commits {
            for there in [true, false] {
                for resumes in [true, false] {
                    let what = format!("{}, commit {n}, there: {there}, resumes: {resumes}", call.0);
                    let mut rig = Rig::with_legacy();
                    (0..n).for_each(|_| rig.break_next(Fault::None));
                    rig.break_next(if there { written() } else { not_written() });
                    locked(&rig.medium).unreadable_from = Some(u32::try_from(n + 1).unwrap());
                    assert!(matches!((call.1)(&mut rig), Err(Refusal::Store(_))), "{what}");
                    let before = picture(&rig.keyring());
                    everything_else_waits(&mut rig, &before);
                    locked(&rig.medium).unreadable_from = None;
                    mend(&rig);
                    if resumes {
                        // As the writer does it, with no call.
                        rig.ledger.probe();
                        assert!(rig.ledger.has_recovered(), "{what}");
                        resume(&mut rig.ledger);
                        rig.check();
                    }
                    the_call_is_answered_right(rig, call, &what);
                }
            }
        }
    }
}

#[test]
fn a_change_whose_writing_anew_fails_before_or_after_it_is_shown_is_kept_under_the_generation_that_is_durable() {
    for error in every_failure() {
        for (rewrites, shown) in
            [(vec![not_written()], 0), (vec![written()], 1), (vec![written(), not_written(), written()], 1)]
        {
            let mut rig = Rig::new();
            rig.break_next(Fault::WrittenButSaysSo(unavailable()));
            rig.break_next(Fault::Fails(unavailable()));
            let first = rig.keyring().generation;
            assert!(rig.rotate("default", id(1)).is_err());
            rewrites.into_iter().for_each(|fault| rig.break_next(fault));
            rig.ledger.probe();
            assert!(rig.ledger.is_unsettled(), "{error}");
            assert_eq!(rig.snapshot().generation, first + 1 + shown);
            locked(&rig.medium).faults.clear();
            rig.ledger.probe();
            assert!(!rig.ledger.is_unsettled(), "{error}");
            assert_eq!(rig.keyring().generation, rig.snapshot().generation);
            rig.check();
            assert_eq!(rig.rotate("default", id(1)).unwrap().version, 2);
            rig.restarted().check();
        }
    }
}

#[test]
fn a_change_that_was_shown_and_is_gone_again_was_not_made() {
    // The kernel showed what the disk never got, and then let go of it.
    let mut rig = Rig::new();
    let before = rig.snapshot();
    rig.break_next(written());
    rig.break_next(not_written());
    assert!(rig.create("mine", id(1)).is_err());
    assert_ne!(rig.snapshot(), before);
    locked(&rig.medium).snapshot = before;
    rig.create("mine", id(1)).unwrap();
    rig.check();
    rig.restarted().check();
}

#[test]
fn what_a_change_would_forget_is_forgotten_with_it_alone() {
    let mut rig = Rig::new();
    rig.rotate("default", id(7)).unwrap();
    rig.pass(2 * DAY);
    for fault in [not_written(), written()] {
        unsettle(&rig, fault);
        assert!(rig.create("mine", id(1)).is_err());
        mend(&rig);
        rig.ledger.probe();
        rig.check();
    }
    assert!(!rig.snapshot().records.keys().any(|name| name.ends_with("000000000007")), "forgotten now");
    rig.create("mine", id(1)).unwrap();
    rig.restarted().check();
}

#[test]
fn what_this_ledger_never_wrote_is_not_gone_on_with() {
    type Spoils = fn(&mut crate::store::port::Snapshot);
    let spoils: [(&str, Spoils); 4] = [
        ("a generation beyond all that was sent", |snapshot| snapshot.generation += 5),
        ("another record than was sent", |snapshot| {
            snapshot.records.insert("history/0".to_owned(), b"other".to_vec());
        }),
        ("another MAC", |snapshot| {
            snapshot.records.insert("mac".to_owned(), vec![0; 32]);
        }),
        ("an older generation", |snapshot| snapshot.generation -= 2),
    ];
    for (what, spoil) in spoils {
        for fault in [written(), not_written()] {
            let mut rig = Rig::new();
            rig.rotate("default", None).unwrap();
            let sealed = rig.encrypt("default", b"before").unwrap();
            unsettle(&rig, fault);
            assert!(rig.create("mine", id(1)).is_err());
            mend(&rig);
            spoil(&mut locked(&rig.medium).snapshot);
            let shown = rig.snapshot();
            rig.ledger.probe();
            assert!(matches!(rig.create("mine", id(1)).err(), Some(Refusal::Suspended)), "{what}");
            assert_eq!(rig.store_state().0, StoreState::Suspended, "{what}");
            assert!(!rig.store_state().1.is_empty(), "{what}");
            rig.ledger.probe();
            assert!(rig.snapshot() == shown, "{what}: it is left as it is");
            assert_eq!(rig.decrypt(&sealed.ciphertext).unwrap().plaintext.as_slice(), b"before");
        }
    }
}

#[test]
fn damage_that_keeps_a_change_from_being_settled_is_said_as_damage() {
    let mut rig = Rig::new();
    unsettle(&rig, written());
    assert!(rig.create("mine", id(1)).is_err());
    rig.ledger.store_failed(&StoreError::Damaged { path: "fake".into(), detail: "x".into() }, false);
    let refusal = rig.ledger.changes_possible().unwrap_err();
    assert_eq!(refusal.trouble(), StoreTrouble::Damaged, "{refusal}");
    mend(&rig);
    rig.create("mine", id(1)).unwrap();
}
