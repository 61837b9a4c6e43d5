//! A pending rotation met at a start: finished if every source yields the new key and one of them stays when the process
//! ends; said aloud otherwise.
//!
//! Must never keep a daemon from serving: a finish that fails leaves the rotation pending, and both keys good.
//! Called by `cli`, before READY.

use super::super::keyring::{Keyring, Legacy};
use super::super::ledger::Ledger;
use super::super::refusal::Refusal;
use super::key_sources::Renewal;
use super::new_root::{End, change_root};
use super::refusal::RotationRefusal;
use super::{Rotation, State, end, report};
use crate::custody::keys::MasterKey;
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::sync::Arc;

/// Takes up a rotation that is pending. `other` is the second key, where the sources hold both.
pub fn take_up(ledger: &mut Ledger, other: Option<MasterKey>) {
    let Some(rotation) = ledger.engine.keyring().rotation.clone() else { return };
    if rotation.state() != State::Pending {
        let (old, new, step) = (rotation.old, rotation.new, rotation.step);
        tracing::info!(event = events::ROTATION_RESUMED, %old, %new, ?step, "a rotation goes on where it stopped");
        return;
    }
    let done = hold_new_as_legacy(ledger, &rotation, other.as_ref()).and_then(|()| finish_alone(ledger, &rotation));
    match done {
        Ok(true) => {}
        Ok(false) => tell(ledger, &rotation),
        Err(refusal) => {
            tracing::warn!(
                event = events::ROTATION_STOPPED,
                error = %chain(&refusal),
                "the rotation could not be finished at the start: both keys still open the store"
            );
            ledger.engine.progress.rotation_waits(chain(&refusal).to_string());
            tell(ledger, &rotation);
        }
    }
}

/// Whether it was finished.
fn finish_alone(ledger: &mut Ledger, rotation: &Rotation) -> Result<bool, Refusal> {
    let held = ledger.sources.read().map_err(RotationRefusal::from)?;
    let all_new = held.iter().all(|held| held.key.fingerprint() == rotation.new);
    // What the environment held may be gone with this process: then somebody has to say that it stays.
    let one_stays = held.iter().any(|held| held.renewal != Renewal::Environment);
    if !all_new || !one_stays {
        return Ok(false);
    }
    let key = end::agreed(ledger, rotation, false, held)?;
    change_root(ledger, End::Finish, key, None)?;
    Ok(true)
}

/// While legacy values open, those under the new key do too, as far as it is known.
fn hold_new_as_legacy(ledger: &Ledger, rotation: &Rotation, other: Option<&MasterKey>) -> Result<(), Refusal> {
    let mut keyring = Keyring::clone(&ledger.engine.keyring());
    let known = [Some(&ledger.master), other].into_iter().flatten();
    let Some(new) = known.into_iter().find(|key| key.fingerprint() == rotation.new) else { return Ok(()) };
    if keyring.legacy.is_empty() {
        return Ok(());
    }
    let legacy = new.as_legacy(&ledger.memory)?;
    keyring.pending_legacy =
        Some(Legacy { fingerprint: rotation.new, adopted: rotation.begun, secret: Arc::new(legacy) });
    ledger.engine.publish(keyring);
    Ok(())
}

fn tell(ledger: &Ledger, rotation: &Rotation) {
    let (old, new) = (rotation.old, rotation.new);
    let sources = ledger.source_views().unwrap_or_default();
    let next = report::next(rotation, &sources, &ledger.sources.restart_command()).join(" ");
    tracing::warn!(event = events::ROTATION_PENDING, %old, %new, next, "a rotation is pending: both keys open the store");
}
