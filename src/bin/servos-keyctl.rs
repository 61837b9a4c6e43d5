//! The operator's binary: an allocator that wipes what it frees, and the command line.
//!
//! Must never hold logic: what it does is in `cli`.
//! Called by operators and scripts.

use servos_keyd::sys::allocator::ZeroizingAllocator;
use std::process::ExitCode;

#[cfg(feature = "danger-no-wipe")]
compile_error!("the feature danger-no-wipe is for a measurement: no binary may have it");

#[global_allocator]
static ALLOCATOR: ZeroizingAllocator = ZeroizingAllocator;

fn main() -> ExitCode {
    ExitCode::from(servos_keyd::cli::keyctl::run(std::env::args_os()))
}
