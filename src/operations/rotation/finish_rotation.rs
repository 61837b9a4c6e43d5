//! FinishRotation: ends a rotation with the new key, once every key source yields it.
//!
//! Must never finish because one source yields it: a start with another would meet a store that the old key cannot open.
//! Called by `rpc::key_admin`, on the writer's thread.

use super::super::ledger::Ledger;
use super::super::refusal::Refusal;
pub use super::end::Request;
use super::new_root::End;
use super::report::Report;
use crate::auth::operation::FinishRotation;
use crate::auth::permit::Permit;

/// Finishes a rotation. What comes after the one commit that decides goes on behind the answer.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::RequestIdReused`], [`Refusal::Rotation`], [`Refusal::MarkBehind`],
/// [`Refusal::Store`]: both keys still open the store.
pub fn finish_rotation(
    _permit: &Permit<FinishRotation>,
    ledger: &mut Ledger,
    request: Request,
) -> Result<Report, Refusal> {
    super::end::end(ledger, End::Finish, request)
}
