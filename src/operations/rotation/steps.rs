//! What follows the commit that decides a rotation, step by step, each resumed from the store's records alone.
//!
//! Must never drop the previous root before every seal is made anew and the mark names the new one.
//! Called by the writer between its jobs.

use super::super::ledger::{Change, Ledger};
use super::super::refusal::Refusal;
use super::{Rotation, new_versions, reseal};
use crate::store::record::{self, RotationStep};
use crate::telemetry::chain::chain;
use crate::telemetry::events;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// The next step, at once.
    More,
    /// Nothing.
    Idle,
    /// The same step, when some time has passed.
    Later,
}

/// Whether there is something to do, without doing it.
fn is_due(ledger: &Ledger) -> bool {
    let step = ledger.sealed.rotation.as_ref().map(record::Rotation::step);
    ledger.meta.rewrite_due || step.is_some_and(|step| step != RotationStep::Pending)
}

/// Does one bounded step of a rotation that is decided, or none. What keeps it from going on is logged, and told by
/// status.
pub fn advance(ledger: &mut Ledger) -> Advance {
    if ledger.suspended || !is_due(ledger) {
        return Advance::Idle;
    }
    match step(ledger) {
        Ok(()) => {
            ledger.engine.progress.rotation_goes_on();
            if is_due(ledger) { Advance::More } else { Advance::Idle }
        }
        Err(refusal) => {
            let mut problem = chain(&refusal).to_string();
            let (until, next) = match ledger.suspended {
                true => ("until a restart of the daemon", Advance::Idle),
                false => ("and is tried again in a minute", Advance::Later),
            };
            tracing::warn!(
                event = events::ROTATION_STOPPED,
                error = problem,
                "the rest of the rotation waits, {until}"
            );
            if ledger.suspended {
                problem.push_str("; no change is possible before a restart of the daemon");
            }
            ledger.engine.progress.rotation_waits(problem);
            next
        }
    }
}

fn step(ledger: &mut Ledger) -> Result<(), Refusal> {
    let Some(rotation) = ledger.sealed.rotation.clone() else { return rewrite(ledger, None) };
    match rotation.step() {
        RotationStep::Resealing => match reseal::some(ledger)? {
            true => drop_previous_root(ledger, rotation),
            false => Ok(()),
        },
        RotationStep::Rewriting => rewrite(ledger, Some(rotation)),
        RotationStep::Versions => new_versions::make_some(ledger, rotation),
        RotationStep::Backup => {
            let Rotation { old, new, .. } =
                Rotation::of_record(&rotation).map_err(|failure| Refusal::Damaged(failure.to_string()))?;
            new_versions::back_up_and_promote(ledger, move || {
                tracing::info!(
                    event = events::ROTATION_COMPLETE, %old, %new,
                    "the rotation is complete: no old seal is left in the store"
                );
            })
        }
        RotationStep::Pending | RotationStep::Unspecified => Ok(()),
    }
}

/// From here on, nothing is needed of the root before; the file still holds what was sealed under it.
fn drop_previous_root(ledger: &mut Ledger, mut rotation: record::Rotation) -> Result<(), Refusal> {
    ledger.need_mark()?;
    rotation.set_step(RotationStep::Rewriting);
    let sealed = record::Master { previous_root: Vec::new(), rotation: Some(rotation), ..ledger.sealed.clone() };
    let change = Change { touches_keyring: true, sealed: Some(sealed), rewrite_due: Some(true), ..Change::default() };
    ledger.commit(change, |_| ())
}

/// Writes the store into a new file, in which no dropped seal is.
fn rewrite(ledger: &mut Ledger, rotation: Option<record::Rotation>) -> Result<(), Refusal> {
    ledger.engine.progress.rotated(0, 0);
    let sealed = rotation.map(|mut rotation| {
        let next = if rotation.new_data_keys { RotationStep::Versions } else { RotationStep::Backup };
        rotation.set_step(next);
        record::Master { rotation: Some(rotation), ..ledger.sealed.clone() }
    });
    let change = Change { sealed, rewrites: true, rewrite_due: Some(false), ..Change::default() };
    ledger.commit(change, |_| ())
}
