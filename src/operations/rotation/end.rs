//! What finish and abort have in common: they are mirrors of each other, and differ in the key that goes on.
//!
//! Must never believe that a source was changed: each is read again.
//! Called by `finish_rotation` and `abort_rotation`.

use super::super::history::Known;
use super::super::ledger::Ledger;
use super::super::refusal::Refusal;
use super::super::requests::RequestId;
use super::key_sources::{HeldKey, Renewal, views};
use super::new_root::{End, change_root};
use super::refusal::RotationRefusal;
use super::report::Report;
use super::{Rotation, State, Step};
use crate::custody::id::Fingerprint;
use crate::custody::keys::MasterKey;
use crate::store::record;

/// What is asked.
pub struct Request {
    /// The new key of the rotation.
    pub fingerprint: Fingerprint,
    /// Changes nothing.
    pub dry_run: bool,
    /// The request's id.
    pub id: Option<String>,
}

/// Ends a rotation. What comes after the one commit that decides goes on behind the answer.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::RequestIdReused`], [`Refusal::Rotation`], [`Refusal::MarkBehind`],
/// [`Refusal::Store`]: both keys still open the store.
pub(super) fn end(ledger: &mut Ledger, end: End, request: Request) -> Result<Report, Refusal> {
    ledger.engine.changes_allowed()?;
    let Request { fingerprint, dry_run, id } = request;
    let (operation, option) = match end {
        End::Finish => ("FinishRotation", 0),
        End::Abort { new_data_keys } => ("AbortRotation", u8::from(new_data_keys)),
    };
    let id = RequestId::new(id, operation, &[fingerprint.as_bytes(), &[option]]);
    if let Some(answer) = ledger.answered(&id)? {
        let rotation = Rotation::of_answer(&answer)?;
        ledger.go_on_asked = !dry_run;
        return Ok(as_it_stands(ledger, rotation, dry_run));
    }
    let Some(rotation) = ledger.engine.keyring().rotation.clone() else {
        let ended = ended(ledger, end, fingerprint)?.ok_or(RotationRefusal::NotPending(fingerprint))?;
        remember(ledger, id, &ended, dry_run);
        return Ok(as_it_stands(ledger, ended, dry_run));
    };
    if rotation.new != fingerprint {
        return Err(RotationRefusal::Other { pending: rotation.new, asked: fingerprint }.into());
    }
    let aborting = end != End::Finish;
    if rotation.state() != State::Pending {
        if rotation.aborting == aborting {
            remember(ledger, id, &rotation, dry_run);
            ledger.go_on_asked = !dry_run;
            return Ok(as_it_stands(ledger, rotation, dry_run));
        }
        let done = if rotation.aborting { "aborted" } else { "finished" };
        return Err(RotationRefusal::Decided { new: fingerprint, done }.into());
    }
    let held = ledger.sources.read().map_err(RotationRefusal::from)?;
    let sources = views(&held);
    let key = agreed(ledger, &rotation, aborting, held)?;
    if dry_run {
        let new_data_keys = end.makes_versions(rotation.new_data_keys);
        let would = Rotation { step: Step::Resealing, aborting, new_data_keys, ..rotation };
        return Ok(ledger.report(would, sources, true));
    }
    let decided = change_root(ledger, end, key, Some(id))?;
    Ok(ledger.report(decided, sources, false))
}

/// An answer to what was done already, by a start or under another id: once the next rotation begins, nothing but the id
/// tells that it was given. What was decided stands though it cannot be remembered: that is logged, and no error.
fn remember(ledger: &mut Ledger, id: RequestId, rotation: &Rotation, dry_run: bool) {
    if dry_run {
        return;
    }
    let answer = record::Rotation {
        step: record::RotationStep::Resealing.into(),
        old_fingerprint: rotation.old.as_bytes().to_vec(),
        new_fingerprint: rotation.new.as_bytes().to_vec(),
        begun: rotation.begun,
        new_data_keys: rotation.new_data_keys,
        aborting: rotation.aborting,
        versions_made_to: Vec::new(),
        backup: String::new(),
        old_shared: rotation.old_shared,
    };
    let _ = ledger.remember_alone(id, record::encode_rotation(&answer));
}

/// The answer to a repetition: how far that rotation is now.
fn as_it_stands(ledger: &Ledger, rotation: Rotation, dry_run: bool) -> Report {
    let now =
        ledger.engine.keyring().rotation.clone().filter(|now| now.new == rotation.new && now.begun == rotation.begun);
    let sources = ledger.source_views().unwrap_or_default();
    ledger.report(now.unwrap_or(Rotation { step: Step::Done, ..rotation }), sources, dry_run)
}

/// The rotation to a key that ended as it is asked to end, if the history tells of one.
fn ended(ledger: &mut Ledger, end: End, new: Fingerprint) -> Result<Option<Rotation>, Refusal> {
    let master = ledger.engine.keyring().master;
    let is_so = match end {
        End::Finish => master.fingerprint == new,
        End::Abort { .. } => ledger.known(new)? == Some(Known::Aborted),
    };
    let old = match end {
        End::Finish => ledger.before(new)?,
        End::Abort { .. } => Some(master.fingerprint),
    };
    let Some(old) = old.filter(|_| is_so) else { return Ok(None) };
    Ok(Some(Rotation {
        old,
        new,
        begun: 0,
        new_data_keys: false,
        aborting: end != End::Finish,
        step: Step::Done,
        old_shared: false,
    }))
}

/// The key that every source agrees to go on with.
///
/// # Errors
/// [`RotationRefusal::SourcesLag`] names each that does not, with what mends it.
pub(super) fn agreed(
    ledger: &Ledger,
    rotation: &Rotation,
    aborting: bool,
    held: Vec<HeldKey>,
) -> Result<MasterKey, RotationRefusal> {
    let (wanted, unwanted) = if aborting { (rotation.old, rotation.new) } else { (rotation.new, rotation.old) };
    let role = if aborting { "old" } else { "new" };
    let restart = ledger.sources.restart_command();
    let mut lagging = Vec::new();
    for HeldKey { source, renewal, key } in &held {
        let found = key.fingerprint();
        if found == wanted {
            continue;
        }
        if found != unwanted {
            return Err(RotationRefusal::ForeignKey { source_name: source.clone(), found });
        }
        lagging.push(match renewal {
            Renewal::Reread => format!("{source} holds {found}: put the {role} key {wanted} there"),
            Renewal::Restart | Renewal::Environment => {
                format!("{source} gives {found}: put the {role} key {wanted} where it comes from, then {restart}")
            }
        });
    }
    if !lagging.is_empty() {
        return Err(RotationRefusal::SourcesLag(lagging.join("; ")));
    }
    let agreed = held.into_iter().next().map(|held| held.key);
    agreed.ok_or_else(|| RotationRefusal::SourcesLag("no source holds a key".to_owned()))
}
