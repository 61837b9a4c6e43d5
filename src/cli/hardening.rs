//! What both binaries do before they touch a secret.
//!
//! Must never let a command go on in a process that others can look into.
//! Called by `keyd`'s commands and by `keyctl::run`, while the process has one thread.

use super::exit;
use super::failure::Failure;
use crate::sys::{allocator, harden};

/// Hardens the process: one heap that is wiped, no dump, no core, no new privileges.
///
/// # Errors
/// 77, by the step that did not take.
pub fn harden() -> Result<(), Failure> {
    allocator::limit_arenas();
    harden::harden_process().map_err(|error| Failure::new(exit::NOT_PERMITTED, &error))
}
