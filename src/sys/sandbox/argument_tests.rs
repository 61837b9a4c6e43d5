//! System calls that are judged by their arguments: each with some that harm, which are refused, and some that are needed.
//!
//! Must never leave out one that is judged so.
//! Run by `cargo test`, and by the tests of both halves.

use std::collections::BTreeSet;

use libc::{c_int, c_long};

use super::tests::{OWNERS, bits, errno, in_both_threads};
use super::{Enforcement, calls};
use crate::sys::apart;

type Arguments = [c_long; 6];

/// Nobody's number.
const NOBODY: c_long = c_int::MAX as c_long;

fn three(a: c_long, b: c_long, c: c_long) -> Arguments {
    [a, b, c, 0, 0, 0]
}

/// What must be refused, whoever makes it. Without the filter each does nothing, or fails for another reason.
fn harmful() -> Vec<(c_long, Arguments)> {
    let parent = c_long::from(std::os::unix::process::parent_id());
    let (here, mapping) = (bits(libc::AT_FDCWD), bits(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS));
    let datagrams = bits(libc::SOCK_DGRAM);
    // A limit of zeros, in memory that stays.
    let limit = std::ptr::from_ref::<[u64; 2]>(Box::leak(Box::new([0, 0]))).expose_provenance();
    let limit = c_long::try_from(limit).unwrap();
    let mut all = vec![
        (libc::SYS_kill, three(parent, 0, 0)),
        (libc::SYS_kill, three(-1, 0, 0)),
        (libc::SYS_tgkill, three(parent, parent, 0)),
        (libc::SYS_prctl, three(bits(libc::PR_SET_DUMPABLE), 1, 0)),
        (libc::SYS_prctl, three(bits(libc::PR_SET_PDEATHSIG), 0, 0)),
        // TIOCSTI, TIOCSCTTY and TIOCLINUX.
        (libc::SYS_ioctl, three(-1, 0x5412, 0)),
        (libc::SYS_ioctl, three(-1, 0x540e, 0)),
        (libc::SYS_ioctl, three(-1, 0x541c, 0)),
        (libc::SYS_mmap, [0, 4096, bits(libc::PROT_READ | libc::PROT_EXEC), mapping, -1, 0]),
        (libc::SYS_mprotect, three(0, 4096, bits(libc::PROT_READ | libc::PROT_EXEC))),
        (libc::SYS_prlimit64, three(0, bits(libc::RLIMIT_CORE.cast_signed()), limit)),
        (libc::SYS_setpriority, three(0, NOBODY, 0)),
        (libc::SYS_setpriority, three(1, NOBODY, 0)),
        (libc::SYS_fcntl, three(-1, bits(libc::F_SETOWN), parent)),
        (libc::SYS_fcntl, three(-1, 15, 0)),
        (libc::SYS_fcntl, three(-1, 10, 9)),
        (libc::SYS_fchown, three(-1, 12_345, 0)),
        (libc::SYS_fchown, three(-1, 0, 54_321)),
        (libc::SYS_fchown, three(-1, -1, -1)),
    ];
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_VSOCK, libc::AF_ALG] {
        all.push((libc::SYS_socket, three(bits(family), datagrams, 0)));
        all.push((libc::SYS_socketpair, three(bits(family), datagrams, 0)));
    }
    for (flags, mode) in making().into_iter().flat_map(|flags| [(flags, 0o4755), (flags, 0o2755), (flags, 0o6000)]) {
        all.push((libc::SYS_openat, [here, 0, flags, mode, 0, 0]));
        #[cfg(target_arch = "x86_64")]
        all.push((libc::SYS_open, three(0, flags, mode)));
    }
    // Namespaces; as flags of a thread that lack what they need, the kernel takes none of them.
    for space in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        all.push((libc::SYS_clone, three(bits(libc::CLONE_THREAD | libc::CLONE_VM | space), 0, 0)));
    }
    // What has memory of its own is a process, and so is what has only that in common.
    all.push((libc::SYS_clone, three(bits(libc::CLONE_THREAD), 0, 0)));
    all
}

/// Flags with which a file is made.
fn making() -> [c_long; 2] {
    [libc::O_CREAT, libc::O_TMPFILE | libc::O_RDWR].map(bits)
}

/// What the daemon and its libraries need, with the error that it has behind the filter: 0 if it succeeds.
fn needed() -> Vec<(c_long, Arguments, c_int)> {
    let (own, mapping) = (c_long::from(std::process::id()), bits(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS));
    let (local, here) = (bits(libc::AF_UNIX), bits(libc::AT_FDCWD));
    let mut all = vec![
        (libc::SYS_socket, three(local, bits(libc::SOCK_DGRAM), 0), 0),
        (libc::SYS_socketpair, three(local, bits(libc::SOCK_DGRAM), 0), libc::EFAULT),
        (libc::SYS_kill, three(own, 0, 0), 0),
        (libc::SYS_tgkill, three(own, own, 0), 0),
        (libc::SYS_prctl, three(bits(libc::PR_GET_NAME), 0, 0), libc::EFAULT),
        // FIONBIO.
        (libc::SYS_ioctl, three(-1, 0x5421, 0), libc::EBADF),
        (libc::SYS_mmap, [0, 4096, bits(libc::PROT_READ | libc::PROT_WRITE), mapping, -1, 0], 0),
        (libc::SYS_mprotect, three(0, 4096, bits(libc::PROT_READ)), libc::ENOMEM),
        (libc::SYS_prlimit64, three(0, bits(libc::RLIMIT_NOFILE.cast_signed()), 0), 0),
        (libc::SYS_setpriority, three(0, 0, 19), 0),
        (libc::SYS_fcntl, three(-1, bits(libc::F_GETFL), 0), libc::EBADF),
        (libc::SYS_fchown, three(-1, 12_345, 54_321), libc::EBADF),
        (libc::SYS_fchown, three(-1, 12_345, 54_322), libc::EBADF),
        // A thread's flags that lack what they need.
        (libc::SYS_clone, three(bits(libc::CLONE_THREAD | libc::CLONE_VM), 0, 0), libc::EINVAL),
    ];
    let opens = making().map(|flags| (flags, 0o1777)).into_iter().chain([(bits(libc::O_RDONLY), 0o7777)]);
    for (flags, mode) in opens {
        all.push((libc::SYS_openat, [here, 0, flags, mode, 0, 0], libc::EFAULT));
        #[cfg(target_arch = "x86_64")]
        all.push((libc::SYS_open, three(0, flags, mode), libc::EFAULT));
    }
    all
}

/// Probes both from the calling thread, which the filters are in force on.
pub(super) fn probe() {
    for (call, arguments) in harmful() {
        assert_eq!(errno(call, arguments), libc::EPERM, "system call {call} with {arguments:x?}");
    }
    for (call, arguments, expected) in needed() {
        assert_eq!(errno(call, arguments), expected, "system call {call} with {arguments:x?}");
    }
}

#[test]
fn every_call_that_is_judged_by_its_arguments_is_refused_with_some_and_let_through_with_others() {
    let name = "every_call_that_is_judged_by_its_arguments_is_refused_with_some_and_let_through_with_others";
    apart::in_a_fork_of_its_own(module_path!(), name, || {
        let judged: BTreeSet<c_long> = calls::by_argument(&OWNERS).iter().map(|one| one.call).collect();
        assert_eq!(harmful().iter().map(|(call, _)| *call).collect::<BTreeSet<_>>(), judged);
        assert_eq!(needed().iter().map(|(call, _, _)| *call).collect::<BTreeSet<_>>(), judged);
        for (call, arguments) in harmful() {
            assert_ne!(errno(call, arguments), libc::EPERM, "the control: system call {call} with {arguments:x?}");
        }
        assert_eq!(calls::restrict(&OWNERS), Enforcement::Whole);
        in_both_threads(probe);
    });
}

#[test]
fn no_file_is_given_away_where_nobody_is_to_have_one() {
    apart::in_a_fork_of_its_own(module_path!(), "no_file_is_given_away_where_nobody_is_to_have_one", || {
        let given = three(-1, 12_345, 54_321);
        assert_eq!(errno(libc::SYS_fchown, given), libc::EBADF, "the control");
        assert_eq!(calls::restrict(&[]), Enforcement::Whole);
        assert_eq!(errno(libc::SYS_fchown, given), libc::EPERM);
    });
}
