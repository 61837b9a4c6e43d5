//! Other programs that commands need: systemd-creds, systemctl, journalctl, and the command that restarts the daemon.
//!
//! Must never put a key into an argument or the environment; keys go through pipes, into locked memory.
//! Called by `unit`, and by `rotate run` and `doctor`.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};

/// More than any key or credential of one.
const OUTPUT_LIMIT_BYTES: usize = 64 * 1024;
/// Of what a program complains of.
const WORDS_LIMIT_BYTES: u64 = 4096;

/// Runs a program, gives it `input`, and takes what it prints.
///
/// # Errors
/// 69 if there is no such program, 65 if it ends with an error: with its own words.
pub(in crate::cli) fn run(
    program: &str,
    arguments: &[&str],
    input: &[u8],
    memory: &LockedMemory,
) -> Result<LockedBuffer, Failure> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| unstarted(program, &error))?;
    let broken = |error: &std::io::Error| Failure::say(exit::DAMAGED, format!("cannot speak with {program}: {error}"));
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(input)
        // One that reads nothing says why on its standard error.
        && error.kind() != ErrorKind::BrokenPipe
    {
        return Err(broken(&error));
    }
    let mut output = memory.buffer(OUTPUT_LIMIT_BYTES).map_err(|error| Failure::new(exit::CONFIG, &error))?;
    let whole = match child.stdout.take() {
        Some(mut stdout) => output.read_from(&mut stdout).map_err(|error| broken(&error))?,
        None => true,
    };
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(WORDS_LIMIT_BYTES).read_to_end(&mut words).map_err(|error| broken(&error))?;
    }
    let ended = child.wait().map_err(|error| broken(&error))?;
    if !ended.success() {
        let words = String::from_utf8_lossy(&words);
        let words = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        return Err(Failure::say(exit::DATA, format!("{program} ended with {ended}: {words}")));
    }
    if !whole {
        return Err(Failure::say(exit::DATA, format!("{program} printed more than {OUTPUT_LIMIT_BYTES} bytes")));
    }
    Ok(output)
}

/// Runs a command line of the operator's in a shell, which has the terminal.
///
/// # Errors
/// 69 without a shell, and if it ends with an error: the daemon may not be there then.
pub(in crate::cli) fn shell(command: &str) -> Result<(), Failure> {
    // What it prints is for the person; standard output is the result's.
    let stdout = std::io::stderr();
    let ended = Command::new("/bin/sh").args(["-c", command]).stdin(Stdio::null()).stdout(stdout).status();
    let ended = ended.map_err(|error| unstarted("/bin/sh", &error))?;
    if ended.success() { Ok(()) } else { Err(Failure::say(exit::NO_DAEMON, format!("`{command}` ended with {ended}"))) }
}

fn unstarted(program: &str, error: &std::io::Error) -> Failure {
    Failure::say(exit::NO_DAEMON, format!("cannot run {program}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_is_taken_and_what_it_complains_of_is_told() {
        let memory = LockedMemory::new().unwrap();
        let printed = run("cat", &[], b"sekrit", &memory).unwrap();
        assert_eq!(printed.expose_bytes(), b"sekrit");
        let failure = run("sh", &["-c", "echo no >&2; echo really >&2; exit 3"], b"", &memory).unwrap_err();
        assert!(failure.message.contains("exit status: 3: no; really"), "{}", failure.message);
        assert_eq!(run("no-such-program-here", &[], b"", &memory).unwrap_err().exit, exit::NO_DAEMON);
        assert!(run("head", &["-c", "70000", "/dev/zero"], b"", &memory).is_err());
    }

    #[test]
    fn a_command_that_fails_is_named() {
        shell("true").unwrap();
        let failure = shell("exit 7").unwrap_err();
        assert!(failure.message.contains("`exit 7` ended with exit status: 7"));
        assert_eq!(failure.exit, exit::NO_DAEMON);
    }
}
