//! AbortRotation: ends a rotation with the old key, while no key source yields the new one.
//!
//! Must never leave a seal behind that the aborted key opens: the root is new, and the file is written anew.
//! Called by `rpc::key_admin`, on the writer's thread.

use super::super::ledger::Ledger;
use super::super::refusal::Refusal;
pub use super::end::Request;
use super::new_root::End;
use super::report::Report;
use crate::auth::operation::AbortRotation;
use crate::auth::permit::Permit;

/// Aborts a rotation; with `new_data_keys` every data key gets a new version all the same.
///
/// # Errors
/// As [`super::finish_rotation::finish_rotation`].
pub fn abort_rotation(
    _permit: &Permit<AbortRotation>,
    ledger: &mut Ledger,
    request: Request,
    new_data_keys: bool,
) -> Result<Report, Refusal> {
    super::end::end(ledger, End::Abort { new_data_keys }, request)
}
