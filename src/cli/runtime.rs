//! What calls of the commands to the daemon run on.
//!
//! Must never start a thread: none of them is worth one.
//! Called by `keyctl`, and by what asks the daemon on the way.

use crate::cli::exit;
use crate::cli::failure::Failure;
use tokio::runtime::{Builder, Runtime};

/// A runtime on this thread alone.
///
/// # Errors
/// 70 if none is to be had.
pub(in crate::cli) fn of_this_thread() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(|error| Failure::new(exit::BUG, &error))
}
