//! Tests that change what a whole process shares run apart: in a process, or a fork, of their own.
//!
//! Must never be part of the program: compiled for tests alone.
//! Called by the tests of `sys`; [`not_run`] by those of every room that may name it.
#![allow(unsafe_code, reason = "a fork, for tests of what needs a single thread")]

use std::{
    env,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
};

const MARK: &str = "SERVOS_KEYD_TEST_RUNS_APART";

/// How a line starts that says of a test that it could not run, and why.
const NOT_RUN: &str = "NOT RUN: ";

/// Says, past the capture of passing tests, why one could not run here.
pub(crate) fn not_run(reason: &str) {
    let _ = writeln!(std::io::stderr(), "{NOT_RUN}{reason}");
}

/// Runs `body` in a new process that runs the test `name` of `module` alone; that process starts with `environment`.
pub(in crate::sys) fn with_environment(module: &str, name: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if env::var_os(MARK).is_some() {
        return body();
    }
    // libtest knows its tests without the crate's name.
    let module = module.split_once("::").map_or(module, |(_, rest)| rest);
    let output = Command::new(env::current_exe().unwrap())
        .args([&format!("{module}::{name}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{}\n{said}\n{failed}", output.status);
    // Past this test's own capture: one that could not run must not look like one that passed.
    for line in lines_of_not_run(&failed) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// What a process said of tests that could not run.
fn lines_of_not_run(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter(|line| line.starts_with(NOT_RUN))
}

/// Runs `body` in a new process that runs the test `name` of `module` alone.
pub(in crate::sys) fn in_a_process_of_its_own(module: &str, name: &str, body: impl FnOnce()) {
    with_environment(module, name, &[], body);
}

/// As [`in_a_process_of_its_own`], but in a fork there, which has a single thread and can give up its user.
pub(in crate::sys) fn in_a_fork_of_its_own(module: &str, name: &str, body: impl FnOnce()) {
    in_a_process_of_its_own(module, name, || assert_eq!(status_of_fork(body), 0, "the fork's wait status"));
}

/// The wait status of a fork that ran `body`: 0 if it returned, exit 1 if it panicked.
pub(in crate::sys) fn status_of_fork(body: impl FnOnce()) -> libc::c_int {
    // JUSTIFICATION: a test thread is never its process's only one; a fork's is.
    // SAFETY: the process runs this test alone, so no other thread holds a lock; the child ends by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let done = catch_unwind(AssertUnwindSafe(body)).is_ok();
        // JUSTIFICATION: the child must not run the test harness on.
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(!done)) }
    }
    let mut status = -1;
    // JUSTIFICATION: nix would hide a status that it does not know.
    // SAFETY: our own child, and a valid place for the status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

#[test]
fn what_could_not_run_apart_is_said_by_the_test_itself() {
    const OUTER: &str = "SERVOS_KEYD_TEST_OF_WORDS";
    let name = "what_could_not_run_apart_is_said_by_the_test_itself";
    // As the harness runs it, with what it says captured, and shown only if it fails.
    if env::var_os(OUTER).is_none() {
        let module = module_path!().split_once("::").unwrap().1;
        let mut again = Command::new(env::current_exe().unwrap());
        let output = again.args([&format!("{module}::{name}"), "--exact"]).env(OUTER, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(lines_of_not_run(&said).collect::<Vec<_>>(), ["NOT RUN: for want of a reason"], "{said}");
        return;
    }
    in_a_fork_of_its_own(module_path!(), name, || {
        let _ = writeln!(std::io::stderr(), "some other line");
        not_run("for want of a reason");
    });
}
