//! What is done to a service from within: its threads made to try what a taken-over daemon would, or one of them held.
//!
//! Must never pass a call that was let through, nor one that was refused for want of a file that is there.
//! Run by `tests/systemd/run` as root, within the machine that it boots:
//!
//! - `inside-service PID probe OWN` has each thread of the process try what it must not, and prints one line for each try; OWN is
//!   a directory that it may open, by which it shows that it does make the calls.
//! - `inside-service PID hold THREAD` keeps the thread of this name from running until standard input closes.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "it ends at what it does not expect"
)]

#[path = "../behaviour/harness/held_thread.rs"]
mod held_thread;

use held_thread::Held;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::io::Read;
use std::process::ExitCode;

/// Flags of open(2) that would make a file.
const MAKES: i32 = libc::O_WRONLY | libc::O_CREAT;

/// Another process's, which is not even there to the service.
const HIDDEN: &str = "/proc/1/environ";

/// Files that the service must not reach.
const FILES: [(&str, i32); 9] = [
    ("/etc/shadow", libc::O_RDONLY),
    ("/etc/servos/servos.env", libc::O_RDONLY),
    (HIDDEN, libc::O_RDONLY),
    ("/usr/bin/env", libc::O_RDONLY),
    ("/tmp/probe", MAKES),
    ("/var/tmp/probe", MAKES),
    ("/var/lib/probe", MAKES),
    ("/run/servos/probe", MAKES),
    ("/dev/shm/probe", MAKES),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [process, "probe", own] => probe(process, own),
        [process, "hold", thread] => hold(process, thread),
        _ => {
            println!("inside-service PID probe OWN | hold THREAD");
            ExitCode::from(64)
        }
    }
}

/// The threads of a process, by number and name.
fn threads(process: &str) -> Vec<(i32, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().map(Result::unwrap);
    let named = tasks.map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap();
        (task.file_name().to_str().unwrap().parse().unwrap(), name.trim().to_owned())
    });
    named.collect()
}

fn hold(process: &str, name: &str) -> ExitCode {
    let found = threads(process).into_iter().find(|(_, found)| found == name);
    let Some(held) = found.and_then(|(thread, _)| Held::stop(thread, None)) else {
        println!("no thread {name} that waits");
        return ExitCode::FAILURE;
    };
    println!("held");
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        // What this process holds goes on without it.
        std::process::exit(0);
    });
    // The dead are seen by who holds them first: else the process would never be gone for systemd.
    while !matches!(
        waitpid(held.thread, Some(WaitPidFlag::__WALL)),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_)
    ) {}
    println!("it is gone");
    ExitCode::SUCCESS
}

fn probe(process: &str, own: &str) -> ExitCode {
    let (mut let_through, mut tried) = (0, 0);
    let mut instruction = None;
    for (thread, name) in threads(process) {
        // One that is just running is met when it waits; the first that does tells where the instruction lies.
        let held = (0..200).find_map(|_| Held::stop(thread, instruction));
        let Some(held) = held else {
            println!("{name}: ended");
            continue;
        };
        instruction = Some(held.instruction);
        assert!(held.call(libc::SYS_getpid, [0; 4]).is_ok(), "{name} makes no call");
        assert_eq!(held.open(own, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC), Ok(()), "{name}: {own}");
        let family = |family: i32| [family.cast_unsigned().into(), libc::SOCK_STREAM.cast_unsigned().into(), 0, 0];
        let calls = [
            ("execve", libc::SYS_execve, [0; 4]),
            ("socket(AF_INET)", libc::SYS_socket, family(libc::AF_INET)),
            ("socket(AF_NETLINK)", libc::SYS_socket, family(libc::AF_NETLINK)),
            ("ptrace", libc::SYS_ptrace, [0; 4]),
            ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0]),
            ("mount", libc::SYS_mount, [0; 4]),
            ("setuid(0)", libc::SYS_setuid, [0; 4]),
            ("unshare(CLONE_NEWUSER)", libc::SYS_unshare, [libc::CLONE_NEWUSER.cast_unsigned().into(), 0, 0, 0]),
        ];
        let mut outcomes: Vec<(String, Result<(), Errno>)> = Vec::new();
        for (what, call, arguments) in calls {
            outcomes.push((what.to_owned(), held.call(call, arguments).map(drop)));
        }
        for (path, flags) in FILES {
            let what = if flags == MAKES { "writing" } else { "reading" };
            outcomes.push((format!("{what} {path}"), held.open(path, flags)));
        }
        for (what, outcome) in outcomes {
            tried += 1;
            match outcome {
                Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::EROFS)) => {
                    println!("{name}: {what}: refused ({errno:?})")
                }
                Err(Errno::ENOENT) if what.ends_with(HIDDEN) => println!("{name}: {what}: hidden (ENOENT)"),
                other => {
                    println!("{name}: {what}: NOT REFUSED ({other:?})");
                    let_through += 1;
                }
            }
        }
    }
    println!("{tried} tried, {let_through} not refused");
    if tried > 0 && let_through == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
