//! Attempts on the running daemon's memory: cores, debuggers, and other processes of its own user.
//!
//! Must never leave the system's pattern of cores changed, nor pass without a control in which the attempt succeeds.
//! Must never count as run where this process is not root. Run by `cargo test`.

use crate::harness::process_memory::{keys_in_locked_pages, mappings, places_of};
use crate::harness::{Daemon, Installation, Invocation, NOBODY, Restricted, eventually, hex, is_root, not_run};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fs::File;
use std::io::{IoSliceMut, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
/// More than a small process takes.
const CORE_BYTES: u64 = 64 << 20;

/// The system's pattern of cores, as it was, until this goes.
struct CorePattern {
    before: Vec<u8>,
    /// Held by one test at a time, of any process.
    _lock: File,
}

impl CorePattern {
    fn hold() -> std::io::Result<Self> {
        let lock = File::open(CORE_PATTERN)?;
        lock.lock()?;
        let before = std::fs::read(CORE_PATTERN)?;
        // What is there is written as it is: fails where the pattern cannot be changed, and changes nothing.
        std::fs::write(CORE_PATTERN, &before)?;
        Ok(Self { before, _lock: lock })
    }

    fn set(&self, pattern: &str) {
        std::fs::write(CORE_PATTERN, pattern).unwrap();
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let _ = std::fs::write(CORE_PATTERN, &self.before);
    }
}

/// The keys of an installation, as they lie in the memory of a daemon that has no memfd_secret, and its master key.
fn keys_of(installation: &Installation) -> Vec<Vec<u8>> {
    let daemon = readable(installation);
    let mut keys = keys_in_locked_pages(daemon.id());
    assert!(keys.len() >= 10, "{}", keys.len());
    daemon.stop().expect(0);
    keys.push(installation.key.to_vec());
    keys
}

fn readable(installation: &Installation) -> Daemon {
    let restricted = Restricted { memfd_secret: Some(libc::ENOSYS), ..Restricted::default() };
    installation.serve_with(&installation.command("serve", &[]).restricted(restricted))
}

fn with_cores() -> Restricted {
    Restricted { cores: true, ..Restricted::default() }
}

/// Every core in a directory, with its bytes.
fn cores_in(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let cores = files_named(directory, "core.").into_iter();
    cores.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn files_named(directory: &Path, beginning: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(beginning)).collect()
}

/// A process without the daemon's protection, which has `marker` in its memory, and is ended by the same signal.
fn crash_a_plain_process(signal: &str, marker: &str) {
    let script = format!("kill -{signal} $$");
    let ended = Invocation::new(["-c", &script, "sh", marker]).restricted(with_cores()).run("/bin/sh");
    assert!(ended.signal.is_some(), "{ended:#?}");
}

#[test]
fn a_crash_leaves_no_core_in_a_file_or_a_pipe_where_a_plain_process_leaves_one() {
    if !is_root() {
        return not_run("only root says where cores go");
    }
    if getrlimit(Resource::RLIMIT_CORE).unwrap().1 < CORE_BYTES {
        return not_run("the limit on cores lets no process leave one");
    }
    let pattern = match CorePattern::hold() {
        Ok(pattern) => pattern,
        Err(error) => return not_run(&format!("the pattern of cores cannot be written: {error}")),
    };
    let installation = Installation::made();
    let keys = keys_of(&installation);
    let place = TempDir::new().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let into = |name: &str| format!("{}/{name}", place.path().display());
    let handler = into("take");
    std::fs::write(&handler, format!("#!/bin/sh\ncat > {0} && mv {0} {1}\n", into("part.$1"), into("core.$1")))
        .unwrap();
    std::fs::set_permissions(&handler, std::fs::Permissions::from_mode(0o755)).unwrap();
    for where_to in [into("core.%p"), format!("|{handler} %p")] {
        pattern.set(&where_to);
        for signal in ["ABRT", "SEGV"] {
            let mut daemon = installation.serve_with(&installation.command("serve", &[]).restricted(with_cores()));
            let process = daemon.id();
            let mut ended = None;
            eventually("it is ended by the signal", || {
                // The first SIGSEGV from outside takes the handler of stack overflows away; the second one ends it.
                ended = daemon.ended();
                if ended.is_none() {
                    let _ = Command::new("/bin/sh").args(["-c", &format!("kill -{signal} {process}")]).status();
                }
                ended.is_some()
            });
            assert!(matches!(ended.unwrap().signal, Some(libc::SIGABRT | libc::SIGSEGV)));
            let marker = hex(&crate::harness::random_key());
            crash_a_plain_process(signal, &marker);
            let holds_marker = |core: &[u8]| core.windows(marker.len()).any(|text| text == marker.as_bytes());
            eventually(&format!("the control: a plain process leaves a core, {where_to}"), || {
                cores_in(place.path()).iter().any(|(_, core)| holds_marker(core))
            });
            // A handler that was called for the daemon, before that, is waited for too.
            eventually("every handler of cores is done", || files_named(place.path(), "part.").is_empty());
            for (path, core) in cores_in(place.path()) {
                assert!(!path.to_str().unwrap().ends_with(&format!("core.{process}")), "{}", path.display());
                assert!(places_of(&keys, &core).is_empty(), "{}", path.display());
            }
        }
    }
}

#[test]
fn a_debugger_of_root_gets_no_key_into_its_core_where_locked_pages_alone_would_give_them() {
    if !is_root() {
        return not_run("only root may attach a debugger to the daemon");
    }
    if Command::new("gcore").output().is_err() {
        return not_run("there is no gcore(1)");
    }
    let installation = Installation::made();
    let keys = keys_of(&installation);
    let place = TempDir::new().unwrap();
    let dump = |daemon: &Daemon, name: &str| {
        let prefix = place.path().join(name);
        // -a: what is marked as not to be dumped too.
        let ran = Command::new("gcore").arg("-a").arg("-o").arg(&prefix).arg(daemon.id().to_string()).output().unwrap();
        let core = std::fs::read(format!("{}.{}", prefix.display(), daemon.id()));
        let core = core.unwrap_or_else(|_| panic!("{ran:?}"));
        assert!(core.len() > 1 << 20, "{} bytes are no core", core.len());
        core
    };
    let control = readable(&installation);
    let found = places_of(&keys, &dump(&control, "control")).len();
    assert!(found >= 10, "the control: locked pages give {found} keys to such a core");
    drop(control);
    let daemon = installation.serve();
    if !mappings(daemon.id()).iter().any(|mapping| mapping.is_secret()) {
        return not_run("this kernel has no memfd_secret");
    }
    assert_eq!(places_of(&keys, &dump(&daemon, "secret")), [0; 0]);
    daemon.stop().expect(0);
}

#[test]
fn root_reads_no_byte_of_a_secret_page_and_finds_no_descriptor_of_it() {
    if !is_root() {
        return not_run("only root can try");
    }
    let installation = Installation::made();
    let daemon = installation.serve();
    let secret: Vec<_> = mappings(daemon.id()).into_iter().filter(|mapping| mapping.is_secret()).collect();
    if secret.is_empty() {
        return not_run("this kernel has no memfd_secret");
    }
    for mapping in &secret {
        let address = mapping.range.start.try_into().unwrap();
        assert_eq!(read_remotely(daemon.id(), address), Err(Errno::EFAULT), "{mapping:?}");
        let mut mem = File::open(format!("/proc/{}/mem", daemon.id())).unwrap();
        mem.seek(SeekFrom::Start(mapping.range.start)).unwrap();
        let refused = mem.read(&mut [0]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EIO), "{mapping:?}");
    }
    let heap = mappings(daemon.id()).into_iter().find(|mapping| mapping.name == "[heap]").unwrap();
    let readable = read_remotely(daemon.id(), heap.range.start.try_into().unwrap());
    assert_eq!(readable, Ok(1), "the control: what is not secret is read");
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap();
    let open: Vec<PathBuf> = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()).collect();
    assert!(open.len() > 3 && open.iter().all(|target| !target.to_str().unwrap().contains("secretmem")), "{open:?}");
}

fn read_remotely(process: u32, address: usize) -> Result<usize, Errno> {
    let mut byte = [0];
    let remote = [RemoteIoVec { base: address, len: 1 }];
    process_vm_readv(Pid::from_raw(process.try_into().unwrap()), &mut [IoSliceMut::new(&mut byte)], &remote)
}

/// Attempts of one process of a user on another, each with what came of it.
fn attempts(process: u32, address: usize) -> Vec<(String, Result<(), Errno>)> {
    let pid = Pid::from_raw(process.try_into().unwrap());
    let of_std = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap());
    let mut made = Vec::new();
    for file in ["mem", "maps", "smaps", "environ", "auxv", "pagemap"] {
        // All but `mem` are read from their beginning; `pagemap` in units of 8 bytes.
        let from = if file == "mem" { address.try_into().unwrap() } else { 0 };
        let read = File::open(format!("/proc/{process}/{file}")).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.read(&mut [0; 8])
        });
        made.push((format!("reading /proc/PID/{file}"), read.map(drop).map_err(of_std)));
    }
    made.push((
        "writing /proc/PID/mem".to_owned(),
        File::options().write(true).open(format!("/proc/{process}/mem")).map(drop).map_err(of_std),
    ));
    made.push((
        "listing /proc/PID/fd".to_owned(),
        std::fs::read_dir(format!("/proc/{process}/fd")).map(drop).map_err(of_std),
    ));
    made.push(("process_vm_readv".to_owned(), read_remotely(process, address).map(drop)));
    let handle = pidfd_open(rustix::process::Pid::from_raw(pid.as_raw()).unwrap(), PidfdFlags::empty()).unwrap();
    let taken = pidfd_getfd(&handle, 0, PidfdGetfdFlags::empty());
    made.push(("pidfd_getfd".to_owned(), taken.map(drop).map_err(|error| Errno::from_raw(error.raw_os_error()))));
    made.push((
        "ptrace(PTRACE_SEIZE)".to_owned(),
        ptrace::seize(pid, Options::empty()).and_then(|()| {
            ptrace::interrupt(pid)?;
            nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::__WALL))?;
            ptrace::detach(pid, None)
        }),
    ));
    made.push(("ptrace(PTRACE_ATTACH)".to_owned(), ptrace::attach(pid)));
    made
}

#[test]
#[ignore = "a part of another test, which runs it as the daemon's user"]
fn makes_its_attempts_as_the_daemon_s_user() {
    let target = |name: &str| std::env::var(name).expect("run by another test").parse::<usize>().unwrap();
    for (what, came) in attempts(target("TARGET").try_into().unwrap(), target("ADDRESS")) {
        println!("ATTEMPT {what}: {}", came.map_or_else(|errno| format!("{errno:?}"), |()| "done".to_owned()));
    }
}

/// What came of each attempt on a process, made by another one of the same user.
fn attempts_by_its_user(process: u32) -> Vec<(String, String)> {
    let readable = mappings(process).into_iter().find(|mapping| mapping.access.starts_with("rw")).unwrap();
    let test = "memory_faults::makes_its_attempts_as_the_daemon_s_user";
    let run = Invocation::new(["--exact", test, "--ignored", "--nocapture"])
        .variable("TARGET", process.to_string())
        .variable("ADDRESS", readable.range.start.to_string())
        .run_as(NOBODY)
        .run(std::env::current_exe().unwrap().to_str().unwrap())
        .expect(0);
    let lines = run.stdout.lines().filter_map(|line| line.split_once("ATTEMPT ").map(|(_, rest)| rest));
    lines.filter_map(|line| line.split_once(": ")).map(|(what, came)| (what.to_owned(), came.to_owned())).collect()
}

#[test]
fn no_other_process_of_the_daemon_s_user_reads_or_traces_it_or_takes_a_descriptor() {
    if !is_root() {
        return not_run("only root can run a daemon as another user");
    }
    let words = TempDir::new().unwrap();
    let mut plain = Invocation::new(["1000"]).run_as(NOBODY).spawn("/bin/sleep", words.path());
    let control = attempts_by_its_user(plain.id());
    plain.kill().unwrap();
    assert_eq!(plain.wait().unwrap().signal(), Some(libc::SIGKILL));
    let refused: Vec<_> = control.iter().filter(|(_, came)| came != "done").collect();
    if !refused.is_empty() {
        return not_run(&format!("this system refuses it even with a plain process: {refused:?}"));
    }
    let installation = Installation::made_for_nobody();
    let mut daemon = installation.serve_with(&installation.command("serve", &[]).run_as(NOBODY));
    let made = attempts_by_its_user(daemon.id());
    assert_eq!(made.len(), control.len());
    assert!(made.len() >= 12);
    for (what, came) in &made {
        assert!(came == "EPERM" || came == "EACCES", "{what}: {came}");
    }
    assert!(daemon.ended().is_none(), "and it serves on");
    daemon.stop().expect(0);
}
