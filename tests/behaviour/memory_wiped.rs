//! The daemon's memory in the moment in which it ends: no key is left in it, however it came to its end.
//!
//! Must never look with memfd_secret, where root sees nothing anyway: the pages are locked ones here.
//! Must never count as run where this process is not root. Run by `cargo test`.

use crate::harness::process_memory::{keys_in_locked_pages, mappings, places_of, read, run_to_its_end, search};
use crate::harness::{
    Installation, KEYD, Outcome, Restricted, block_on, cell, eventually, hex, is_root, name, not_run, random_key,
};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ops::Range;

/// Keys in pages that root can read.
fn readable(halted: bool) -> Restricted {
    Restricted { memfd_secret: Some(libc::ENOSYS), halted, ..Restricted::default() }
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(process.try_into().unwrap())
}

/// What any of these keys is found in, of all that the process has.
#[track_caller]
fn assert_nothing_is_left(process: u32, keys: &[Vec<u8>], were_locked: &[Range<u64>]) {
    let (bytes, found) = search(process, keys);
    assert!(bytes > 100_000, "{bytes} bytes are no process");
    assert!(found.is_empty(), "{found:#?}");
    for range in were_locked {
        // Gone, or without access: then it is there for a debugger alone, and zero.
        let left = read(process, range).unwrap_or_default();
        assert!(left.iter().all(|byte| *byte == 0) && places_of(keys, &left).is_empty(), "{range:x?}");
    }
}

#[test]
fn a_clean_stop_ends_with_no_key_in_memory() {
    if !is_root() {
        return not_run("only root can look into the daemon");
    }
    let installation = Installation::made();
    let mut daemon = installation.serve_with(&installation.command("serve", &[]).restricted(readable(false)));
    block_on(async {
        let sealed = daemon.component().encrypt(&name("default"), b"x", &cell("1")).await.unwrap();
        daemon.component().decrypt(&name("default"), &sealed.ciphertext, &cell("1")).await.unwrap();
    });
    let process = daemon.id();
    let keys = keys_in_locked_pages(process);
    assert!(
        keys.len() >= 10,
        "the control: the root, the identity and eight first versions are seen, not {}",
        keys.len()
    );
    let locked = mappings(process).into_iter().filter(|mapping| mapping.is_locked()).map(|mapping| mapping.range);
    let locked: Vec<Range<u64>> = locked.collect();
    assert!(search(process, &keys).1.len() >= keys.len(), "the control: a search finds each");
    ptrace::seize(pid(process), Options::PTRACE_O_TRACEEXIT).unwrap();
    daemon.signal("TERM");
    run_to_its_end(pid(process)).unwrap();
    assert_nothing_is_left(process, &keys, &locked);
    ptrace::cont(pid(process), None).unwrap();
    let mut ended = None;
    eventually("it ends", || {
        ended = daemon.ended();
        ended.is_some()
    });
    ended.unwrap().expect(0).saying(&["keys wiped"]);
}

/// Runs a start to its end, and looks for `keys` in the memory that it then has.
#[track_caller]
fn a_start_that_ends(installation: &Installation, keys: &[Vec<u8>]) -> Outcome {
    let words = tempfile::tempdir().unwrap();
    let mut child = installation.command("serve", &[]).restricted(readable(true)).spawn(KEYD, words.path());
    let process = pid(child.id());
    let halted = waitpid(process, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(halted, WaitStatus::Stopped(process, Signal::SIGSTOP));
    ptrace::seize(process, Options::PTRACE_O_TRACEEXIT).unwrap();
    kill(process, Signal::SIGCONT).unwrap();
    run_to_its_end(process).unwrap();
    let locked: Vec<_> = mappings(child.id()).into_iter().filter(|mapping| mapping.is_locked()).collect();
    assert!(locked.is_empty(), "all is unlocked by then: {locked:?}");
    assert_nothing_is_left(child.id(), keys, &[]);
    ptrace::cont(process, None).unwrap();
    Outcome::read(Some(child.wait().unwrap()), words.path())
}

#[test]
fn a_start_that_fails_ends_with_no_key_in_memory() {
    if !is_root() {
        return not_run("only root can look into the daemon");
    }
    let installation = Installation::made();
    let daemon = installation.serve_with(&installation.command("serve", &[]).restricted(readable(false)));
    let mut keys = keys_in_locked_pages(daemon.id());
    keys.push(installation.key.to_vec());
    daemon.stop().expect(0);
    // The right key, with which everything but the canary opens.
    installation.change_records(|snapshot| *snapshot.records.get_mut("canary").unwrap().last_mut().unwrap() ^= 1);
    let damaged = a_start_that_ends(&installation, &keys);
    assert_eq!(damaged.code, Some(74), "{damaged:#?}");
    // Another key.
    let other = random_key();
    installation.write_key(other);
    keys.push(other.to_vec());
    let wrong = a_start_that_ends(&installation, &keys);
    assert_eq!(wrong.code, Some(78), "{wrong:#?}");
    wrong.saying(&["MASTER KEY INTEGRITY CHECK FAILED"]);
    // Text that is no key, and is a secret all the same.
    installation.write_private("master.key", &hex(&other).as_bytes()[..63]);
    keys.extend([hex(&other).as_bytes()[..32].to_vec(), hex(&other).as_bytes()[31..63].to_vec()]);
    let malformed = a_start_that_ends(&installation, &keys);
    assert_eq!(malformed.code, Some(78), "{malformed:#?}");
}
