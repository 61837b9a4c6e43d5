//! The process's own sandbox: the files it can open (Landlock) and the system calls it can make (seccomp).
//!
//! Must never be put on beside other threads: those would stay outside; nor be taken for put on where it was refused.
//! Called by `cli` at a start, once the sockets are bound and before the store or a key file is read.

#[cfg(test)]
mod argument_tests;
pub mod calls;
pub mod files;
mod system_calls;
#[cfg(test)]
mod tests;

/// How far one half of the sandbox took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcement {
    /// All of it.
    Whole,
    /// What this kernel knows of it; what it does not know is named.
    Partial(String),
    /// Nothing: why.
    Refused(String),
}
