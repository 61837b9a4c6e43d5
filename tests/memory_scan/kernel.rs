//! What the kernel itself gives: whether memory from memfd_secret is to be had, as a program of its own finds out.
//!
//! Must never ask by the daemon's own code, which is judged by the answer. Called by `program`.

use crate::keys::Outcome;
use crate::watch::Kept;
use std::path::Path;
use std::process::Command;

/// Where a daemon's keys must lie on this kernel; `asking` is what memfd_secret.c is built to.
///
/// # Errors
/// The program does not answer.
pub fn best_place(asking: &Path) -> Outcome<Kept> {
    let answer = Command::new(asking).env_clear().output()?;
    let reason = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
    match answer.status.code() {
        Some(0) => {
            println!("the kernel gives memfd_secret: keys must lie there");
            Ok(Kept::InSecretPages)
        }
        Some(1) => {
            println!("the kernel refuses memfd_secret ({reason}): keys must lie in locked pages");
            Ok(Kept::InLockedPages)
        }
        other => Err(format!("whether the kernel gives memfd_secret is not known: {other:?}, {reason}").into()),
    }
}
