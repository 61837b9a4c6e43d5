//! A kernel that refuses system calls, for the thread that asks and for what it starts.
//!
//! Must never be asked for on a thread that goes on to other work: it is for good. Shared by the memory scan and by the
//! behaviour tests.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// From here on the kernel answers these calls with this error.
///
/// # Errors
/// The kernel takes no filter, or knows none for this machine.
pub fn refuse(calls: &[i64], errno: i32) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}
