//! Finish and abort: who may end a rotation how, what decides it, and what stays refused afterwards.
//!
//! Must never let one be the other's mirror in words alone: the tables run both.
//! Run by `cargo test`.

use super::key_sources::Renewal::{self, Environment, Reread, Restart};
use super::refusal::RotationRefusal;
use super::stage::{Begin, Ending, NEW, NEXT, OLD, THIRD};
use super::{State, Step};
use crate::operations::history::Known;
use crate::operations::refusal::Refusal;
use crate::operations::test_rig::{Rig, id};

const FINISH: Ending = Ending::Finish;
const ABORT: Ending = Ending::Abort { new_data_keys: false };
const ABORT_ANEW: Ending = Ending::Abort { new_data_keys: true };

/// Sources with G for the key that goes on, O for the one that goes out of use, T for a third and X for none.
type Held<'h> = &'h [(&'h str, Renewal, char)];

fn pending() -> Rig {
    let mut rig = Rig::new();
    rig.begin(NEW, None).unwrap();
    rig
}

fn refusal<T>(answer: Result<T, Refusal>) -> RotationRefusal {
    match answer.map(drop) {
        Err(Refusal::Rotation(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rotation_ends_only_when_every_source_yields_the_key_that_goes_on() {
    let cases: [(Held<'_>, &[&str]); 8] = [
        (&[("master.key", Reread, 'O')], &["master.key holds ", "put the"]),
        (&[("credential", Restart, 'O')], &["credential gives ", "systemctl restart servos-keyd"]),
        (&[("VARIABLE", Environment, 'O')], &["VARIABLE gives ", "systemctl restart servos-keyd"]),
        (&[("master.key", Reread, 'G'), ("VARIABLE", Environment, 'O')], &["VARIABLE gives ", "systemctl restart"]),
        (&[("credential", Restart, 'O'), ("master.key", Reread, 'G')], &["credential gives ", "systemctl restart"]),
        (&[("credential", Restart, 'O'), ("master.key", Reread, 'O')], &["credential gives ", "; master.key holds "]),
        (
            &[("master.key", Reread, 'G'), ("credential", Restart, 'T')],
            &["credential holds ", "does not open the store"],
        ),
        (&[("master.key", Reread, 'X')], &["cannot be read"]),
    ];
    for ending in [FINISH, ABORT] {
        let mut rig = pending();
        let before = rig.snapshot();
        let (goes_on, goes_out) = ending.keys();
        for (held, said) in &cases {
            let of = |letter| match letter {
                'G' => goes_on,
                'O' => goes_out,
                'T' => THIRD,
                _ => "no key",
            };
            let held: Vec<_> = held.iter().map(|(name, renewal, letter)| (*name, *renewal, of(*letter))).collect();
            rig.hold(&held);
            for dry_run in [true, false] {
                let text = refusal(rig.end(ending, NEW, dry_run, id(1))).to_string();
                assert!(said.iter().all(|part| text.contains(part)), "{ending:?}: {text}");
                assert_eq!(
                    text.contains("master.key holds") && text.contains("restart"),
                    held.len() == 2 && held[1].2 == goes_out && held[1].0 == "master.key",
                    "{text}"
                );
            }
        }
        assert!(rig.snapshot() == before);
        rig.opens_with(&[OLD, NEW]);
        rig.hold(&[("master.key", Reread, goes_on), ("VARIABLE", Environment, goes_on), ("c", Restart, goes_on)]);
        rig.end(ending, NEW, false, id(1)).unwrap();
        rig.opens_with(&[goes_on]);
        rig.check();
    }
}

#[test]
fn its_first_commit_decides_and_the_answer_says_so() {
    for (ending, state, done) in [
        (FINISH, State::Finishing, State::Finished),
        (ABORT, State::Aborting, State::Aborted),
        (ABORT_ANEW, State::Aborting, State::Aborted),
    ] {
        let mut rig = pending();
        let keyring = rig.keyring().keyring;
        let (goes_on, goes_out) = ending.keys();
        rig.hold_key(goes_on);
        let dry = rig.end(ending, NEW, true, id(1)).unwrap();
        assert_eq!(rig.state(), Some(State::Pending), "a dry run");
        rig.pass(9);
        let commits = rig.commits().len();
        let report = rig.end(ending, NEW, false, id(1)).unwrap();
        assert_eq!(rig.commits().len(), commits + 1, "one commit");
        assert!(report.rotation == dry.rotation && report.seals == dry.seals && report.next == dry.next);
        assert!(report.rotation == rig.keyring().rotation.clone().unwrap());
        assert_eq!(report.rotation.state(), state);
        assert!(report.rotation.opens() == [rig.fingerprint(goes_on)]);
        assert!(rig.keyring().keyring > keyring, "exports of before open with a key that opens the store no more");
        rig.opens_with(&[goes_on]);
        assert!(rig.keyring().master.fingerprint == rig.fingerprint(goes_on));
        rig.check();
        // Whether the answer came or not: again it is the same, and never a second end.
        for request in [id(1), None, id(2)] {
            let again = rig.end(ending, NEW, false, request.clone()).unwrap();
            assert!(again.rotation == report.rotation, "{request:?}");
        }
        rig.advance_to_the_end();
        assert_eq!(rig.state(), None);
        let commits = rig.commits().len();
        for request in [id(1), None, id(2)] {
            let again = rig.end(ending, NEW, false, request.clone()).unwrap();
            assert_eq!(again.rotation.state(), done, "{request:?}");
            assert!(again.rotation.old == rig.fingerprint(OLD) && again.rotation.new == rig.fingerprint(NEW));
        }
        assert_eq!(rig.commits().len(), commits);
        assert!(rig.ledger.known(rig.fingerprint(goes_out)).unwrap().is_some());
        rig.opens_with(&[goes_on]);
        rig.check();
    }
}

#[test]
fn a_decided_rotation_is_not_turned_and_an_ended_one_is_not_ended_otherwise() {
    for (ending, other) in [(FINISH, ABORT), (ABORT, FINISH), (ABORT_ANEW, FINISH)] {
        let mut rig = pending();
        rig.hold_key(ending.keys().0);
        rig.end(ending, NEW, false, id(1)).unwrap();
        loop {
            // Neither what the sources hold nor how far it is makes a difference.
            for key in [OLD, NEW] {
                rig.hold_key(key);
                let turned = refusal(rig.end(other, NEW, false, id(2)));
                assert!(matches!(turned, RotationRefusal::Decided { .. }), "{turned:?}");
                let again = refusal(rig.begin(NEXT, None));
                assert!(matches!(again, RotationRefusal::UnderWay { .. }), "{again:?}");
                assert!(matches!(refusal(rig.begin(NEW, None)), RotationRefusal::UnderWay { .. }));
            }
            rig.hold_key(ending.keys().0);
            rig.advance();
            if rig.step().is_none() {
                break;
            }
        }
        assert!(matches!(refusal(rig.end(other, NEW, false, id(2))), RotationRefusal::NotPending(_)));
        assert!(matches!(rig.end(other, NEW, false, id(1)), Err(Refusal::RequestIdReused)));
        rig.opens_with(&[ending.keys().0]);
    }
}

#[test]
fn what_is_ended_is_the_rotation_that_is_named() {
    let mut rig = Rig::new();
    for ending in [FINISH, ABORT] {
        for key in [OLD, NEW, THIRD] {
            assert!(matches!(refusal(rig.end(ending, key, false, None)), RotationRefusal::NotPending(_)), "{ending:?}");
        }
    }
    rig.begin(NEW, None).unwrap();
    rig.hold_key(NEW);
    for key in [OLD, NEXT] {
        assert!(matches!(refusal(rig.finish(key, None)), RotationRefusal::Other { .. }));
        assert!(matches!(refusal(rig.abort(key, None)), RotationRefusal::Other { .. }));
    }
    rig.opens_with(&[OLD, NEW]);
}

#[test]
fn after_two_rotations_the_first_key_opens_nothing_and_is_refused_and_the_history_tells_of_all() {
    let mut rig = Rig::new();
    for (n, key) in [NEW, NEXT].into_iter().enumerate() {
        rig.begin_as(key, Begin { keep_data_keys: n == 0, ..Begin::default() }).unwrap();
        rig.hold_key(key);
        rig.finish(key, None).unwrap();
        rig.advance_to_the_end();
        rig.opens_with(&[key]);
        rig.check();
    }
    rig.begin(THIRD, None).unwrap();
    rig.abort(THIRD, None).unwrap();
    rig.advance_to_the_end();
    for key in [OLD, NEW] {
        assert!(matches!(refusal(rig.begin(key, None)), RotationRefusal::KeyUsedBefore(_)));
        assert_eq!(rig.ledger.known(rig.fingerprint(key)).unwrap(), Some(Known::Used));
    }
    assert_eq!(rig.ledger.known(rig.fingerprint(THIRD)).unwrap(), Some(Known::Aborted));
    assert!(rig.ledger.before(rig.fingerprint(NEXT)).unwrap() == Some(rig.fingerprint(NEW)));
    assert_eq!(rig.keyring().rotations, 2);
    assert_eq!(rig.step(), None::<Step>);
    rig.opens_with(&[NEXT]);
    rig.check();
    let rig = rig.restarted();
    rig.check();
}

#[test]
fn an_answer_to_what_was_done_already_is_remembered_beyond_the_next_begin() {
    for ending in [FINISH, ABORT] {
        let mut rig = pending();
        rig.hold_key(ending.keys().0);
        // As by a start, or by a call with another id.
        rig.end(ending, NEW, false, None).unwrap();
        rig.end(ending, NEW, false, id(2)).unwrap();
        rig.advance_to_the_end();
        rig.end(ending, NEW, false, id(3)).unwrap();
        rig.end(ending, NEW, true, id(4)).unwrap();
        rig.begin(NEXT, None).unwrap();
        for request in [id(2), id(3)] {
            let again = rig.end(ending, NEW, false, request).unwrap().rotation;
            assert!(again.old == rig.fingerprint(OLD) && again.new == rig.fingerprint(NEW), "{ending:?}");
        }
        assert!(matches!(refusal(rig.end(ending, NEW, false, id(4))), RotationRefusal::Other { .. }), "a dry run");
        rig.check();
    }
}

#[test]
fn facts_of_the_master_key_follow_the_key_that_goes_on() {
    let mut rig = pending();
    let of_old = rig.keyring().master;
    rig.pass(1000);
    rig.end_whole(ABORT);
    assert!(rig.keyring().master == of_old, "an abort changes none of them");
    rig.begin(NEW, None).unwrap();
    rig.pass(1000);
    rig.end_whole(FINISH);
    let of_new = rig.keyring().master;
    assert!(of_new.since == of_old.since + 2000 && !of_new.shared && of_new.fingerprint == rig.fingerprint(NEW));
}
