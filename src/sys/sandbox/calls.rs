//! seccomp: the system calls that the process can make from here on.
//!
//! Must never allow a program to be started, another process to be looked into, code to be loaded, or a network.
//! Called by `cli`, behind Landlock, whose own calls are not among those allowed.

use std::collections::BTreeMap;

use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, CLONE_THREAD,
    CLONE_VM, EPERM, c_int, c_long,
};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

use super::Enforcement;
use super::system_calls::{ALLOWED, FORBIDDEN};

/// Commands of fcntl(2) that the C library's bindings lack for some machines. Source: include/uapi/asm-generic/fcntl.h.
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;

/// What is asked of one argument, by its number from 0.
type Condition = (u8, Len, Op, u64);

/// The user and group of a directory in which a daemon of root makes files for them.
pub type Owner = (u32, u32);

/// A call that is allowed with some arguments alone: those rules by which it is, and those by which it is refused. Without any
/// of either kind it is refused whatever they are.
pub(super) struct ByArgument {
    pub(super) call: c_long,
    allowed: Vec<Vec<Condition>>,
    refused: Vec<Vec<Condition>>,
}

/// Forbids every call but those the daemon makes to this thread and those it will start, for good. One that is known and
/// forbidden gives EPERM; any other ENOSYS, as on a kernel that does not have it, so that libraries do without.
///
/// Files can be given to `owners` alone; to nobody, if there are none.
#[must_use]
pub fn restrict(owners: &[Owner]) -> Enforcement {
    let by_argument = by_argument(owners);
    let (allowed, refused) = match (allowing(&by_argument), refusing(&by_argument)) {
        (Ok(allowed), Ok(refused)) => (allowed, refused),
        (Err(fault), _) | (_, Err(fault)) => return Enforcement::Refused(fault.to_string()),
    };
    // Where both say no, the one that was put on last says how.
    match (apply_filter(&allowed), apply_filter(&refused)) {
        (Ok(()), Ok(())) => Enforcement::Whole,
        (Ok(()), Err(fault)) | (Err(fault), Ok(())) => {
            Enforcement::Partial(format!("one of two lists of system calls is not in force: {}", reason(&fault)))
        }
        (Err(fault), Err(_)) => Enforcement::Refused(format!("the kernel refuses the filter: {}", reason(&fault))),
    }
}

fn reason(fault: &Error) -> String {
    match fault {
        Error::Prctl(refused) | Error::Seccomp(refused) => refused.to_string(),
        other => other.to_string(),
    }
}

/// The calls that are allowed; every other is unknown.
fn allowing(by_argument: &[ByArgument]) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // For the second filter, which then forbids a third.
    rules.insert(libc::SYS_seccomp, Vec::new());
    for one in by_argument.iter().filter(|one| !one.allowed.is_empty()) {
        rules.insert(one.call, compiled(&one.allowed)?);
    }
    program(rules, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()), SeccompAction::Allow)
}

/// The calls that are refused as what they are.
fn refusing(by_argument: &[ByArgument]) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    for one in by_argument {
        rules.insert(one.call, compiled(&one.refused)?);
    }
    program(rules, SeccompAction::Allow, SeccompAction::Errno(EPERM.unsigned_abs()))
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    others: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, others, matching, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn compiled(rules: &[Vec<Condition>]) -> Result<Vec<SeccompRule>, BackendError> {
    let condition = |(argument, length, operator, value): &Condition| {
        SeccompCondition::new(*argument, length.clone(), operator.clone(), *value)
    };
    rules.iter().map(|rule| SeccompRule::new(rule.iter().map(condition).collect::<Result<_, _>>()?)).collect()
}

pub(super) fn by_argument(owners: &[Owner]) -> Vec<ByArgument> {
    let own = u64::from(std::process::id());
    let mut calls = vec![
        // A datagram to the service manager, and a name service's socket.
        only(libc::SYS_socket, 0, &[bits(libc::AF_UNIX)]),
        only(libc::SYS_socketpair, 0, &[bits(libc::AF_UNIX)]),
        // Signals to itself: abort(3).
        only(libc::SYS_kill, 0, &[own]),
        only(libc::SYS_tgkill, 0, &[own]),
        // The name of a thread; what `apply_filter` asks for. What `sys::harden` asked for is done, and not undone.
        only(libc::SYS_prctl, 0, &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_NO_NEW_PRIVS].map(bits)),
        // FIONBIO, FIOCLEX and TCGETS: sockets that do not wait, and whether the log is a terminal.
        only(libc::SYS_ioctl, 1, &[0x5421, 0x5451, 0x5401]),
        without(libc::SYS_mmap, 2, libc::PROT_EXEC),
        without(libc::SYS_mprotect, 2, libc::PROT_EXEC),
        clone(),
        give(owners),
        without_set_id(libc::SYS_openat, 2),
        #[cfg(target_arch = "x86_64")]
        without_set_id(libc::SYS_open, 1),
    ];
    // Limits are read, not changed.
    calls.push(ByArgument {
        call: libc::SYS_prlimit64,
        allowed: vec![vec![(2, Len::Qword, Op::Eq, 0)]],
        refused: vec![vec![(2, Len::Qword, Op::Ne, 0)]],
    });
    // Its own thread gives way to others; no other's does.
    calls.push(ByArgument {
        call: libc::SYS_setpriority,
        allowed: vec![vec![(0, Len::Dword, Op::Eq, 0), (1, Len::Dword, Op::Eq, 0)]],
        refused: vec![vec![(0, Len::Dword, Op::Ne, 0)], vec![(1, Len::Dword, Op::Ne, 0)]],
    });
    // Not to whom a descriptor's events are signalled, nor with what.
    let to_others = [libc::F_SETOWN, F_SETOWN_EX, F_SETSIG].map(bits);
    calls.push(ByArgument {
        call: libc::SYS_fcntl,
        allowed: vec![to_others.iter().map(|command| (1, Len::Dword, Op::Ne, *command)).collect()],
        refused: to_others.iter().map(|command| vec![(1, Len::Dword, Op::Eq, *command)]).collect(),
    });
    calls
}

/// A call that is allowed if this argument is one of `values`.
fn only(call: c_long, argument: u8, values: &[u64]) -> ByArgument {
    let allowed = values.iter().map(|value| vec![(argument, Len::Dword, Op::Eq, *value)]).collect();
    let refused = vec![values.iter().map(|value| (argument, Len::Dword, Op::Ne, *value)).collect()];
    ByArgument { call, allowed, refused }
}

/// A call that is allowed if this argument lacks `flag`.
fn without(call: c_long, argument: u8, flag: c_int) -> ByArgument {
    let flag = bits(flag);
    let masked = |value| vec![vec![(argument, Len::Dword, Op::MaskedEq(flag), value)]];
    ByArgument { call, allowed: masked(0), refused: masked(flag) }
}

/// fchown(2), of which Landlock knows nothing: whoever can read a file could give it away.
fn give(owners: &[Owner]) -> ByArgument {
    let of = |uid, gid, operator: Op| {
        [(1, Len::Dword, operator.clone(), u64::from(uid)), (2, Len::Dword, operator, u64::from(gid))]
    };
    let allowed = owners.iter().map(|(uid, gid)| of(*uid, *gid, Op::Eq).to_vec()).collect();
    // Of each owner, one or the other does not fit.
    let mut refused: Vec<Vec<Condition>> = Vec::new();
    for (uid, gid) in owners {
        let either = of(*uid, *gid, Op::Ne);
        let before = if refused.is_empty() { vec![Vec::new()] } else { refused };
        refused = before.iter().flat_map(|rule| either.clone().map(|one| [rule.as_slice(), &[one]].concat())).collect();
    }
    ByArgument { call: libc::SYS_fchown, allowed, refused }
}

/// Opening a file, and making one, but none that runs as its owner or group whoever starts it. `flags` is the number of the
/// argument with the flags; the mode follows it, and counts where a file can be made.
fn without_set_id(call: c_long, flags: u8) -> ByArgument {
    // Of O_TMPFILE, the bit that is its own.
    let makes = [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY].map(bits);
    let set_id = [libc::S_ISUID, libc::S_ISGID].map(u64::from);
    let has = |argument, bit, value| (argument, Len::Dword, Op::MaskedEq(bit), value);
    let mode = flags + 1;
    let allowed = vec![
        makes.iter().map(|bit| has(flags, *bit, 0)).collect(),
        set_id.iter().map(|bit| has(mode, *bit, 0)).collect(),
    ];
    let either =
        makes.iter().flat_map(|make| set_id.iter().map(|bit| vec![has(flags, *make, *make), has(mode, *bit, *bit)]));
    ByArgument { call, allowed, refused: either.collect() }
}

/// Threads of this process, and neither processes nor namespaces. clone3, whose flags lie in memory where no filter sees
/// them, is unknown: libraries fall back to this one.
fn clone() -> ByArgument {
    let thread = bits(CLONE_VM | CLONE_THREAD);
    let spaces =
        bits(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET);
    let masked = |mask, value| vec![(0, Len::Dword, Op::MaskedEq(mask), value)];
    let mut refused = vec![masked(bits(CLONE_VM), 0), masked(bits(CLONE_THREAD), 0)];
    refused.extend((0..u32::BITS).map(|bit| 1 << bit).filter(|bit| spaces & bit != 0).map(|bit| masked(bit, bit)));
    ByArgument { call: libc::SYS_clone, allowed: vec![masked(thread | spaces, thread)], refused }
}

/// Flags as the filter sees them.
fn bits(flags: c_int) -> u64 {
    u64::from(flags.cast_unsigned())
}
