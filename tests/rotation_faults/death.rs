//! A daemon that dies behind every step: which keys open what it leaves, and that the same call goes on with it.
//!
//! Must never stop at a number of deaths: it goes on until the operation passes without one. Run by `cargo test`.

use crate::attempt::{Attempt, attempt};
use crate::calls::{Answer, Call};
use crate::harness::{Installation, block_on, fingerprint, random_key};
use crate::stage::{Case, Operation, Stage, Value};
use servos_keyd::proto::v1::RotationState;
use std::io::Write as _;
use tonic::Code;

/// The id of every call: each copy of an installation sees it for the first time.
pub const REQUEST: &str = "3d2f6a90-7777-4222-8333-000000000001";

/// The keys that open what a death leaves.
pub fn promised(stage: &Stage, point: &str, n: u32) -> Vec<[u8; 32]> {
    match stage.case.operation {
        // The first file that is written is the backup, the second the mark behind the commit.
        Operation::Begin if point == "backup" || (matches!(point, "written" | "renamed") && n == 1) => vec![stage.old],
        Operation::Begin => vec![stage.old, stage.new],
        _ => vec![stage.key_at_the_end()],
    }
}

/// Passes what a dead daemon left: the same call goes through, with the answer that the first gave or would have given;
/// its id stands for it, also if nobody ever heard the answer (`remembered`: it was committed by a call).
pub fn check_rest(
    stage: &Stage,
    installation: &Installation,
    answer: Option<&Answer>,
    values: &[Value],
    remembered: bool,
) {
    installation.write_key(stage.key_after());
    let daemon = installation.serve_for_admin();
    stage.check_values(&daemon, values);
    let other = fingerprint(random_key());
    let refused = |remembered: bool| {
        let call = Call { new_key: &other, ..Call::of(stage, REQUEST) };
        let refused = block_on(call.send(&daemon)).map(drop).unwrap_err();
        assert!(refused.code() == Code::InvalidArgument || !remembered, "{refused:?}");
    };
    refused(remembered);
    let again = block_on(Call::of(stage, REQUEST).send(&daemon)).unwrap();
    if let Some(answer) = answer {
        assert_eq!(again.lasting(), answer.lasting());
    }
    let (old, new) = (fingerprint(stage.old), stage.new_fingerprint.clone());
    assert_eq!((again.lasting().0, again.lasting().1), (&*old, &*new));
    // Of one that no call finished, and that is over, the history alone tells.
    let by_history = stage.case.operation == Operation::FinishAtStart;
    assert!(by_history || again.lasting().3 == stage.case.new_data_keys);
    refused(!by_history);
    if stage.case.operation == Operation::Begin {
        assert!(again.rotation.state() == RotationState::Pending);
        assert_eq!(again.rotation.opens, [old, new]);
        assert_eq!(installation.backups().last().unwrap().to_str().unwrap(), again.backup);
        assert_eq!(block_on(Call::of(stage, REQUEST).send(&daemon)).unwrap().lasting(), again.lasting());
        installation.write_key(stage.new);
        block_on(Call { operation: Operation::Finish, ..Call::of(stage, "") }.send(&daemon)).unwrap();
    }
    stage.check_end(&daemon, installation, values);
    daemon.kill();
    stage.check_keys(installation, &[stage.key_at_the_end()], values);
}

/// Dies at each point again and again until there is none; answers how often it died at each.
fn die_everywhere<const N: usize>(case: Case, points: [&str; N]) -> [u32; N] {
    let stage = Stage::set(case);
    let deaths = points.map(|point| {
        for n in 1.. {
            eprintln!("{case:?}, {point}#{n}");
            let installation = stage.copy();
            let Attempt { died, answer, values } = attempt(&stage, &installation, &format!("{point}#{n}"), REQUEST);
            let opens = if died { promised(&stage, point, n) } else { promised(&stage, "mark", 1) };
            let remembered =
                case.operation != Operation::FinishAtStart && (case.operation != Operation::Begin || opens.len() == 2);
            stage.check_keys(&installation, &opens, &values);
            check_rest(&stage, &installation, answer.as_ref(), &values, remembered);
            if !died {
                return n - 1;
            }
        }
        unreachable!()
    });
    // Past the capture of passing tests: a number that shrinks is a step that is not watched any more.
    let _ = writeln!(std::io::stderr(), "{case:?}: it died {deaths:?} times at {points:?}");
    deaths
}

/// The steps of a change.
pub const STEPS: [&str; 3] = ["commit", "mark", "backup"];

/// Those, and what a file goes through in each.
pub const ALL: [&str; 5] = ["commit", "mark", "backup", "written", "renamed"];

fn case(operation: Operation, new_data_keys: bool, legacy: bool) -> Case {
    Case { operation, new_data_keys, legacy }
}

#[test]
fn a_begin_that_dies_anywhere_leaves_the_old_key_or_both() {
    assert_eq!(die_everywhere(case(Operation::Begin, true, true), ALL), [1, 1, 1, 2, 2]);
    assert_eq!(die_everywhere(case(Operation::Begin, false, false), STEPS), [1, 1, 1]);
}

// A new root, seals made anew, the previous root dropped, the file rewritten, new versions, and they primary.

#[test]
fn a_finish_that_dies_anywhere_leaves_the_new_key() {
    assert_eq!(die_everywhere(case(Operation::Finish, true, true), ALL), [6, 6, 1, 8, 8]);
}

#[test]
fn a_finish_without_legacy_keys_or_new_data_keys_that_dies_anywhere_leaves_the_new_key() {
    assert_eq!(die_everywhere(case(Operation::Finish, true, false), STEPS), [6, 6, 1]);
    assert_eq!(die_everywhere(case(Operation::Finish, false, true), STEPS), [5, 5, 1]);
}

#[test]
fn a_start_that_dies_anywhere_in_its_finish_leaves_the_new_key() {
    assert_eq!(die_everywhere(case(Operation::FinishAtStart, false, true), STEPS), [5, 5, 1]);
}

#[test]
fn an_abort_that_dies_anywhere_leaves_the_old_key() {
    assert_eq!(die_everywhere(case(Operation::Abort, true, true), STEPS), [6, 6, 1]);
    assert_eq!(die_everywhere(case(Operation::Abort, false, false), STEPS), [5, 5, 1]);
}
