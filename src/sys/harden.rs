//! The process's own hardening: not dumpable, no core, no new privileges.
//!
//! Must never run beside other threads, nor go on after a step that did not take.
//! Called by `cli`, as the first step of a start, before any secret is read.

use std::{fs, io};

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};

/// A step of the hardening did not take; the process must not go on to read a secret.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// Other threads run already: they could have started without what is about to be set.
    #[error("the process has {threads} threads already; what is closed to it must be before it starts any")]
    NotAlone {
        /// How many there are, this one included.
        threads: usize,
    },
    /// The threads cannot be counted.
    #[error("the process's threads cannot be counted: is /proc mounted?")]
    ThreadsUnknown(#[source] io::Error),
    /// The process is still dumpable: others of its user could read its memory.
    #[error("the process cannot be made undumpable (PR_SET_DUMPABLE)")]
    Dumpable(#[source] io::Error),
    /// A crash could still write the memory to a core file.
    #[error("core files cannot be forbidden (RLIMIT_CORE)")]
    CoreLimit(#[source] io::Error),
    /// A program started from here could still gain privileges.
    #[error("new privileges cannot be given up (PR_SET_NO_NEW_PRIVS)")]
    NewPrivileges(#[source] io::Error),
}

/// Makes the process undumpable, forbids cores for good, and gives up new privileges; each is read back.
///
/// Undumpable means: no other process of the same user can trace it, read its memory or take its descriptors,
/// and no core is handed to a core handler, which the limit alone does not prevent.
///
/// # Errors
/// [`HardenError`], by the step that did not take.
pub fn harden_process() -> Result<(), HardenError> {
    refuse_threads()?;
    prctl::set_dumpable(false).map_err(|refused| HardenError::Dumpable(refused.into()))?;
    if prctl::get_dumpable().map_err(|refused| HardenError::Dumpable(refused.into()))? {
        return Err(HardenError::Dumpable(not_taken()));
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|refused| HardenError::CoreLimit(refused.into()))?;
    if getrlimit(Resource::RLIMIT_CORE).map_err(|refused| HardenError::CoreLimit(refused.into()))? != (0, 0) {
        return Err(HardenError::CoreLimit(not_taken()));
    }
    prctl::set_no_new_privs().map_err(|refused| HardenError::NewPrivileges(refused.into()))?;
    if !prctl::get_no_new_privs().map_err(|refused| HardenError::NewPrivileges(refused.into()))? {
        return Err(HardenError::NewPrivileges(not_taken()));
    }
    Ok(())
}

/// Lets the process have as many descriptors as it is allowed at all: connections must not leave none for the store.
///
/// # Errors
/// What the kernel says; the limit then stays as it was.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Whether this is the process's only thread.
///
/// # Errors
/// [`HardenError::NotAlone`], or [`HardenError::ThreadsUnknown`].
pub fn refuse_threads() -> Result<(), HardenError> {
    match fs::read_dir("/proc/self/task").map_err(HardenError::ThreadsUnknown)?.count() {
        1 => Ok(()),
        threads => Err(HardenError::NotAlone { threads }),
    }
}

fn not_taken() -> io::Error {
    io::Error::other("the kernel took the call, and nothing changed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::apart;

    #[test]
    fn a_process_alone_is_hardened_and_its_memory_closed_to_others() {
        apart::in_a_fork_of_its_own(
            module_path!(),
            "a_process_alone_is_hardened_and_its_memory_closed_to_others",
            || {
                assert!(prctl::get_dumpable().unwrap(), "the control");
                harden_process().unwrap();
                harden_process().unwrap();
                let status = fs::read_to_string("/proc/self/status").unwrap();
                assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
                assert!(!prctl::get_dumpable().unwrap());
                assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
            },
        );
    }

    #[test]
    fn a_process_with_threads_is_refused_and_left_as_it_was() {
        apart::in_a_process_of_its_own(module_path!(), "a_process_with_threads_is_refused_and_left_as_it_was", || {
            let refused = harden_process();
            assert!(matches!(refused, Err(HardenError::NotAlone { threads: 2.. })), "{refused:?}");
            assert!(prctl::get_dumpable().unwrap());
        });
    }
}
