//! RecordDrill: keeps in the store that a copy of the master key was tried and is the right one.
//!
//! Must never keep one of a key that does not open the store, nor a time that is not the daemon's own.
//! Called by `rpc::key_admin`, on the writer's thread.

use super::backup;
use super::drill::{self, Drill, DrillKind};
use super::fault;
use super::ledger::{Change, Ledger};
use super::refusal::Refusal;
use super::requests::RequestId;
use crate::auth::operation::RecordDrill;
use crate::auth::permit::Permit;
use crate::custody::id::Fingerprint;
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::sync::Arc;

/// Keeps that a drill succeeded; answers when, in Unix seconds.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::DrillOfOtherKey`], [`Refusal::RequestIdReused`], [`Refusal::Store`].
pub fn record_drill(
    _permit: &Permit<RecordDrill>,
    ledger: &mut Ledger,
    kind: DrillKind,
    fingerprint: Fingerprint,
    request_id: Option<String>,
) -> Result<i64, Refusal> {
    let engine = Arc::clone(ledger.engine());
    engine.changes_allowed()?;
    let word = match kind {
        DrillKind::Key => "key",
        DrillKind::Restore => "restore",
    };
    let request = RequestId::new(request_id, "RecordDrill", &[word.as_bytes(), fingerprint.as_bytes()]);
    if let Some(answer) = ledger.answered(&request)? {
        let at = answer.try_into().map_err(|_| Refusal::Damaged("the answer of a request is no time".to_owned()))?;
        return Ok(i64::from_be_bytes(at));
    }
    let keyring = engine.keyring();
    let opens = keyring.opens();
    if !opens.contains(&fingerprint) {
        return Err(Refusal::DrillOfOtherKey);
    }
    let at = (engine.clock)();
    let mut change = Change {
        drills: Some(drill::with(&keyring.drills, Drill { kind, fingerprint, at }, &opens)),
        ..Change::default()
    };
    ledger.remember(&mut change, request, at.to_be_bytes().to_vec());
    change.once_kept = Some(Box::new(move || {
        tracing::info!(event = events::DRILL_RECORDED, kind = word, %fingerprint, "a drill succeeded");
    }));
    ledger.commit(change, |_| ())?;
    back_up(ledger);
    fault::point("backup");
    Ok(at)
}

/// A backup at the generation that the mark names now: a restore would take the one before for older than what is
/// known. The drill is kept without it.
fn back_up(ledger: &mut Ledger) {
    if let Err(refusal) = backup::write(ledger) {
        tracing::warn!(
            event = events::BACKUP_FAILED,
            error = %chain(&refusal),
            "no backup was written behind the drill: mend the backup directory, then run servos-keyctl backup"
        );
    }
}

#[cfg(test)]
#[path = "record_drill_tests.rs"]
mod tests;
