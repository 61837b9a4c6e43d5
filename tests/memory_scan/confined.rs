//! A program that starts where the kernel refuses memfd_secret(2): this binary takes the filter on, and becomes the program.
//!
//! Must never confine the scan itself. Started by `installation`.

use crate::keys::Outcome;
use crate::refusing::refuse;
use nix::sys::signal::{Signal, raise};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The arguments that make this binary the one in between; with the second it first waits, stopped, to be continued.
const CONFINED: &str = "--without-memfd-secret";
const HALTED: &str = "--halted-without-memfd-secret";

/// The command that becomes `program`.
pub fn command(program: &Path, halted: bool) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(if halted { HALTED } else { CONFINED }).arg(program);
    Ok(command)
}

/// Becomes the program, if these words ask for it; returns only if they do not, or with why that failed.
pub fn become_asked_for(words: &[String]) -> Option<Outcome<()>> {
    let (first, rest) = words.split_first()?;
    (first == CONFINED || first == HALTED).then(|| take_on(rest, first == HALTED))
}

fn take_on(words: &[String], halted: bool) -> Outcome<()> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    if halted {
        raise(Signal::SIGSTOP)?;
    }
    refuse(&[libc::SYS_memfd_secret], libc::ENOSYS)?;
    Err(Command::new(program).args(arguments).exec().into())
}
