//! Starts that meet a rotation: which of them finish it, which wait, and that none of them keeps the daemon from serving.
//!
//! Must never finish where a key that the next start may bring would then open nothing.
//! Run by `cargo test`.

use super::State;
use super::key_sources::Renewal::{self, Environment, Reread, Restart};
use super::sealed_value::Value;
use super::stage::{Ending, NEW, OLD};
use super::steps::Advance;
use crate::operations::fake_store::{Fault, every_failure, unavailable};
use crate::operations::fault::tests::{die_at, live_on};
use crate::operations::start_failure::{KeyPast, StartFailure};
use crate::operations::test_rig::{Rig, id};
use std::panic::{AssertUnwindSafe, catch_unwind};

const FILE: &str = "master.key";
const CREDENTIAL: &str = "credential";
const VARIABLE: &str = "SERVOS_MASTER_KEY";

type Held<'h> = &'h [(&'h str, Renewal, &'h str)];

#[test]
fn a_start_finishes_alone_where_every_source_yields_the_new_key_and_one_of_them_lasts() {
    let cases: [(Held<'_>, State); 12] = [
        (&[(FILE, Reread, NEW)], State::Finishing),
        (&[(CREDENTIAL, Restart, NEW)], State::Finishing),
        (&[(FILE, Reread, NEW), (VARIABLE, Environment, NEW)], State::Finishing),
        (&[(CREDENTIAL, Restart, NEW), (FILE, Reread, NEW), (VARIABLE, Environment, NEW)], State::Finishing),
        (&[(VARIABLE, Environment, NEW)], State::Pending),
        (&[(FILE, Reread, OLD)], State::Pending),
        (&[(CREDENTIAL, Restart, OLD)], State::Pending),
        (&[(VARIABLE, Environment, OLD)], State::Pending),
        (&[(FILE, Reread, OLD), (CREDENTIAL, Restart, NEW)], State::Pending),
        (&[(CREDENTIAL, Restart, NEW), (FILE, Reread, OLD)], State::Pending),
        (&[(FILE, Reread, NEW), (VARIABLE, Environment, OLD)], State::Pending),
        (&[(VARIABLE, Environment, OLD), (FILE, Reread, NEW)], State::Pending),
    ];
    for (n, (held, state)) in cases.into_iter().enumerate() {
        let mut rig = Rig::new();
        let value = Value::sealed(&rig, "default", "before");
        rig.begin(NEW, id(1)).unwrap();
        rig.hold(held);
        let mut rig = rig.restarted();
        assert_eq!(rig.state(), Some(state), "{n}");
        rig.opens_with(if state == State::Pending { &[OLD, NEW] } else { &[NEW] });
        assert!(value.opens(&rig));
        rig.check();
        if state == State::Pending {
            assert_eq!(rig.advance(), Advance::Idle, "{n}");
            let all_new = held.iter().all(|(_, _, key)| *key == NEW);
            assert_eq!(rig.finish(NEW, id(2)).is_ok(), all_new, "{n}: what the start read counts as read again");
            let all_old = held.iter().all(|(_, _, key)| *key == OLD);
            assert_eq!(rig.abort(NEW, id(3)).is_ok(), all_old, "{n}");
        } else {
            // Whoever meant to finish it hears that it is done.
            assert_eq!(rig.finish(NEW, id(2)).unwrap().rotation.state(), State::Finishing);
        }
        let ended = rig.state() != Some(State::Pending);
        rig.advance_to_the_end();
        assert_eq!(rig.state().is_none(), ended, "{n}");
        rig.check();
    }
}

#[test]
fn a_finish_that_fails_at_a_start_leaves_the_rotation_pending_and_the_next_start_finishes() {
    for error in every_failure() {
        let said = error.to_string();
        let mut rig = Rig::with_legacy();
        rig.begin(NEW, None).unwrap();
        rig.hold_key(NEW);
        rig.break_next(Fault::Fails(error));
        let rig = rig.restarted();
        assert_eq!(rig.state(), Some(State::Pending), "{said}");
        assert!(Value::legacy(NEW, "x").opens(&rig), "{said}");
        rig.opens_with(&[OLD, NEW]);
        rig.check();
        let value = Value::sealed(&rig, "default", "meanwhile");
        let mut rig = rig.restarted();
        assert_eq!(rig.state(), Some(State::Finishing), "{said}");
        rig.advance_to_the_end();
        assert!(value.opens(&rig));
        rig.opens_with(&[NEW]);
        rig.check();
    }
}

#[test]
fn a_finish_at_a_start_that_nobody_can_tell_of_is_found_by_the_next_start() {
    let mut rig = Rig::new();
    rig.begin(NEW, None).unwrap();
    rig.hold_key(NEW);
    rig.break_next(Fault::WrittenButSaysSo(unavailable()));
    rig.break_next(Fault::Fails(unavailable()));
    let rig = rig.restarted();
    let value = Value::sealed(&rig, "default", "meanwhile");
    rig.opens_with(&[NEW]);
    let mut rig = rig.restarted();
    assert_eq!(rig.state(), Some(State::Finishing));
    rig.advance_to_the_end();
    assert!(value.opens(&rig));
    rig.check();
}

#[test]
fn a_start_whose_mark_cannot_be_written_does_not_finish() {
    let mut rig = Rig::new();
    die_at("commit", 1);
    assert!(catch_unwind(AssertUnwindSafe(|| rig.begin(NEW, None).is_ok())).is_err());
    assert!(!live_on());
    // What replaces the mark is written beside it first, and there a directory lies.
    let beside = rig.directory.path().join("keyd.redb.mark.tmp");
    std::fs::create_dir(&beside).unwrap();
    rig.hold_key(NEW);
    let rig = rig.restarted();
    assert_eq!(rig.state(), Some(State::Pending));
    rig.opens_with(&[OLD, NEW]);
    std::fs::remove_dir(&beside).unwrap();
    let mut rig = rig.restarted();
    assert_eq!(rig.state(), Some(State::Finishing));
    rig.advance_to_the_end();
    rig.check();
}

#[test]
fn a_start_with_the_key_that_went_out_of_use_is_refused_at_every_step_and_after() {
    for (ending, was) in
        [(Ending::Finish, KeyPast::Replaced), (Ending::Abort { new_data_keys: false }, KeyPast::Aborted)]
    {
        let (goes_on, goes_out) = ending.keys();
        for steps in 0..5 {
            let mut rig = Rig::new();
            rig.begin(NEW, None).unwrap();
            rig.hold_key(goes_on);
            rig.end(ending, NEW, false, None).unwrap();
            for _ in 0..steps {
                rig.advance();
            }
            let in_use = rig.fingerprint(goes_on).to_string();
            rig.hold_key(goes_out);
            match rig.try_restarted() {
                Err((_, StartFailure::WrongKey { expected, to_come, past, .. })) => {
                    assert!(expected == in_use && to_come.is_none() && past == Some(was), "{ending:?}");
                }
                _ => panic!("{ending:?} after {steps} steps"),
            }
        }
    }
}
