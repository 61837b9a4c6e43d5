//! A program that starts with less than its caller has: a limit on locked memory or threads, a system call that the kernel
//! refuses.
//!
//! Must never restrict the process of the tests: another one takes it on, and then becomes the program.
//! Used through `Invocation::restricted`.

use super::refuse;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// The variable that tells the process in between what to do; the program does not see it.
const TASK: &str = "RESTRICTED";

/// What a program starts with.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Restricted {
    /// memfd_secret(2) answers with this error.
    pub memfd_secret: Option<i32>,
    /// RLIMIT_MEMLOCK, in bytes: binds nobody who has CAP_IPC_LOCK, as root has.
    pub locked_bytes: Option<u64>,
    /// RLIMIT_NPROC, in threads of its user: binds nobody who has CAP_SYS_RESOURCE, as root has.
    pub threads: Option<u64>,
    /// Cores may be of any size, as far as the caller's limit goes.
    pub cores: bool,
    /// It sees one file in another's place, in a mount namespace of its own: from, to. Only for root.
    pub mounted: Option<(PathBuf, PathBuf)>,
    /// It stops itself before its first instruction, until somebody continues it.
    pub halted: bool,
}

#[derive(Serialize, Deserialize)]
struct Task {
    restricted: Restricted,
    program: String,
    arguments: Vec<String>,
}

impl Restricted {
    /// The command that becomes `program`.
    pub fn command(&self, program: &str, arguments: &[OsString]) -> Command {
        let arguments = arguments.iter().map(|argument| argument.to_str().unwrap().to_owned()).collect();
        let task = Task { restricted: self.clone(), program: program.to_owned(), arguments };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "harness::restricted::becomes_the_program", "--ignored", "--nocapture"]);
        command.env_clear().env(TASK, serde_json::to_string(&task).unwrap());
        command
    }

    fn take_on(&self) {
        if let Some(bytes) = self.locked_bytes {
            setrlimit(Resource::RLIMIT_MEMLOCK, bytes, bytes).unwrap();
        }
        if let Some(threads) = self.threads {
            setrlimit(Resource::RLIMIT_NPROC, threads, threads).unwrap();
        }
        if self.cores {
            let (_, most) = getrlimit(Resource::RLIMIT_CORE).unwrap();
            setrlimit(Resource::RLIMIT_CORE, most, most).unwrap();
        }
        if let Some(errno) = self.memfd_secret {
            refuse(&[libc::SYS_memfd_secret], errno).unwrap();
        }
    }
}

#[test]
#[ignore = "a part of other tests, which run it in a process of its own"]
fn becomes_the_program() {
    let task: Task = serde_json::from_str(&std::env::var(TASK).expect("run by another test")).unwrap();
    task.restricted.take_on();
    let is_wrapped = task.restricted.mounted.is_some() || task.restricted.halted;
    let mut command = Command::new(if is_wrapped { "/bin/sh" } else { &task.program });
    if let Some((from, to)) = &task.restricted.mounted {
        let mount = r#"exec unshare --mount --propagation private sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh "$@""#;
        command.args(["-c", mount, "sh"]).args([from, to]).arg(&task.program);
    } else if task.restricted.halted {
        command.args(["-c", r#"kill -STOP $$ && exec "$@""#, "sh", &task.program]);
    }
    let failed = command.args(&task.arguments).env_remove(TASK).exec();
    panic!("{}: {failed}", task.program);
}
