//! Rotate: begins a rotation of the master key. From its one commit until finish or abort, both keys open the store.
//!
//! Must never begin with a key that is in use, was in use, or is held as a legacy key; nor before a backup is durable.
//! Called by `rpc::key_admin`, on the writer's thread.

use super::super::history::Known;
use super::super::keyring::Legacy;
use super::super::ledger::{Change, Ledger};
use super::super::refusal::Refusal;
use super::super::requests::RequestId;
use super::super::{backup, fault};
use super::key_sources::{HeldKey, Renewal, views};
use super::refusal::RotationRefusal;
use super::report::Report;
use super::{Rotation, Step};
use crate::auth::operation::Rotate;
use crate::auth::permit::Permit;
use crate::custody::id::Fingerprint;
use crate::custody::keys::MasterKey;
use crate::custody::record_seal;
use crate::store::record;
use crate::telemetry::events;
use std::path::Path;
use std::sync::Arc;

/// What is asked.
pub struct Request<'r> {
    /// The new key.
    pub fingerprint: Fingerprint,
    /// Its text as its file has it; empty if the daemon is to read it beside its key file.
    pub new_key: &'r [u8],
    /// Leaves the data keys as they are at the end.
    pub keep_data_keys: bool,
    /// Changes nothing.
    pub dry_run: bool,
    /// The request's id.
    pub id: Option<String>,
}

/// Begins a rotation.
///
/// # Errors
/// [`Refusal::Salvage`], [`Refusal::Invalid`] (a malformed key), [`Refusal::RequestIdReused`], [`Refusal::Rotation`],
/// [`Refusal::Backup`], [`Refusal::Store`]: nothing has begun.
pub fn rotate(_permit: &Permit<Rotate>, ledger: &mut Ledger, request: Request<'_>) -> Result<Report, Refusal> {
    ledger.engine.changes_allowed()?;
    let Request { fingerprint, new_key, keep_data_keys, dry_run, id } = request;
    let id = RequestId::new(id, "Rotate", &[fingerprint.as_bytes(), &[u8::from(keep_data_keys)]]);
    if let Some(answer) = ledger.answered(&id)? {
        // The sources may be changed by now, or in the middle of it: what was answered stands all the same.
        let sources = ledger.source_views().unwrap_or_default();
        let report = ledger.report(Rotation::of_answer(&answer)?, sources, dry_run);
        // The store tells of it only until the rotation is over.
        let backup = record::decode_rotation(&answer).map(|record| record.backup).unwrap_or_default();
        return Ok(Report { backup: ledger.places.backups.join(backup).display().to_string(), ..report });
    }
    if let Some(pending) = ledger.engine.keyring().rotation.clone() {
        return repeated(ledger, pending, fingerprint, keep_data_keys, dry_run, id);
    }
    let held = ledger.sources.read().map_err(RotationRefusal::from)?;
    let new = new_key_of(ledger, new_key)?;
    check(ledger, &new, fingerprint, &held)?;
    let master = ledger.engine.keyring().master;
    let rotation = Rotation {
        old: master.fingerprint,
        new: fingerprint,
        begun: (ledger.engine.clock)(),
        new_data_keys: !keep_data_keys,
        aborting: false,
        step: Step::Waiting,
        old_shared: master.shared,
    };
    let sources = views(&held);
    drop(held);
    if dry_run {
        return Ok(ledger.report(rotation, sources, true));
    }
    ledger.sources.settle().map_err(RotationRefusal::from)?;
    let backup = backup::write(ledger)?;
    fault::point("backup");
    begin(ledger, &new.key, &rotation, &backup, id)?;
    Ok(ledger.report(rotation, sources, false))
}

/// A begin where one has begun: the same again is no change.
fn repeated(
    ledger: &mut Ledger,
    pending: Rotation,
    fingerprint: Fingerprint,
    keep_data_keys: bool,
    dry_run: bool,
    id: RequestId,
) -> Result<Report, Refusal> {
    let Rotation { old, new, step, new_data_keys, .. } = pending;
    if step != Step::Waiting || new != fingerprint {
        return Err(RotationRefusal::UnderWay { old, new }.into());
    }
    if new_data_keys == keep_data_keys {
        return Err(RotationRefusal::BegunOtherwise { new }.into());
    }
    if !dry_run && let Some(record) = &ledger.sealed.rotation {
        let answer = record::encode_rotation(record);
        ledger.remember_alone(id, answer)?;
    }
    let sources = ledger.source_views()?;
    Ok(ledger.report(pending, sources, dry_run))
}

/// The new key: what the request carries, or what lies beside the key file.
fn new_key_of(ledger: &Ledger, text: &[u8]) -> Result<HeldKey, Refusal> {
    if !text.trim_ascii().is_empty() {
        let key = MasterKey::parse(text.trim_ascii(), &ledger.memory)
            .map_err(|error| Refusal::invalid("new_key", error.to_string()))?;
        return Ok(HeldKey { source: "the request".to_owned(), renewal: Renewal::Reread, key });
    }
    let found = ledger.sources.read_next().map_err(RotationRefusal::from)?;
    let missing = || match ledger.sources.next_file() {
        Some(file) => format!("there is no {file}; servos-keyctl rotate begin --generate makes it"),
        None => {
            "the daemon opens no key file, so the request must carry it: servos-keyctl rotate begin --key-file FILE \
                 sends what is in FILE.next"
                .to_owned()
        }
    };
    Ok(found.ok_or_else(|| RotationRefusal::NoNewKey(missing()))?)
}

fn check(ledger: &mut Ledger, new: &HeldKey, asked: Fingerprint, held: &[HeldKey]) -> Result<(), Refusal> {
    let found = new.key.fingerprint();
    if found != asked {
        return Err(RotationRefusal::OtherNewKey { source_name: new.source.clone(), found, asked }.into());
    }
    let keyring = ledger.engine.keyring();
    if found == keyring.master.fingerprint {
        return Err(RotationRefusal::KeyInUse(found).into());
    }
    let is_legacy = keyring.legacy.iter().any(|legacy| legacy.fingerprint == found);
    // A key that was only ever begun with, and aborted, may be begun with again.
    if is_legacy || matches!(ledger.known(found)?, Some(Known::Used)) {
        return Err(RotationRefusal::KeyUsedBefore(found).into());
    }
    let foreign =
        |held: &&HeldKey| held.key.fingerprint() != keyring.master.fingerprint && held.key.fingerprint() != found;
    match held.iter().find(foreign) {
        Some(held) => {
            let (source_name, found) = (held.source.clone(), held.key.fingerprint());
            Err(RotationRefusal::ForeignKey { source_name, found }.into())
        }
        None => Ok(()),
    }
}

/// The commit: the root under the new key too, a second canary.
fn begin(
    ledger: &mut Ledger,
    new: &MasterKey,
    rotation: &Rotation,
    backup: &Path,
    id: RequestId,
) -> Result<(), Refusal> {
    let engine = Arc::clone(ledger.engine());
    let random = &*engine.random;
    let backup = backup.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let record = record::Rotation {
        step: record::RotationStep::Pending.into(),
        old_fingerprint: rotation.old.as_bytes().to_vec(),
        new_fingerprint: rotation.new.as_bytes().to_vec(),
        begun: rotation.begun,
        new_data_keys: rotation.new_data_keys,
        aborting: false,
        versions_made_to: Vec::new(),
        backup,
        old_shared: rotation.old_shared,
    };
    let seal = record_seal::seal_root(new, &ledger.root, &ledger.store_id, random)?;
    let seals = [&ledger.master, new].map(|key| record_seal::seal_canary(key, &ledger.store_id, random));
    let seals = seals.into_iter().collect::<Result<_, _>>()?;
    let mut change = Change {
        touches_keyring: true,
        sealed: Some(record::Master {
            pending: Some(record::MasterSeal { root: seal, since: rotation.begun, shared: false }),
            rotation: Some(record.clone()),
            ..ledger.sealed.clone()
        }),
        ..Change::default()
    };
    change.put((record::CANARY.to_owned(), record::encode(&record::Canary { schema: record::SCHEMA, seals })));
    let (old_legacy, new_legacy) = hold_as_legacy(ledger, new, &mut change)?;
    ledger.remember(&mut change, id, record::encode_rotation(&record));
    let (old, new) = (rotation.old, rotation.new);
    change.once_kept = Some(Box::new(move || {
        tracing::info!(
            event = events::ROTATION_BEGUN, %old, %new,
            "both keys open the store: put the new one in the place of the old, then finish the rotation"
        );
    }));
    ledger.commit(change, |keyring| {
        if let Some(legacy) = old_legacy {
            keyring.legacy.insert(0, legacy);
        }
        keyring.pending_legacy = new_legacy;
    })
}

/// While legacy values open, components that still read the key themselves write with the one or the other: the old key
/// is sealed as a legacy key now, the new one is held in memory until the end.
fn hold_as_legacy(
    ledger: &Ledger,
    new: &MasterKey,
    change: &mut Change,
) -> Result<(Option<Legacy>, Option<Legacy>), Refusal> {
    let keyring = ledger.engine.keyring();
    if keyring.legacy.is_empty() {
        return Ok((None, None));
    }
    let maker = ledger.maker(&ledger.engine);
    let as_held = |key: &MasterKey| -> Result<Legacy, Refusal> {
        let legacy = key.as_legacy(&ledger.memory)?;
        Ok(Legacy { fingerprint: legacy.fingerprint(), adopted: maker.now, secret: Arc::new(legacy) })
    };
    let new = as_held(new)?;
    if keyring.legacy.iter().any(|held| held.fingerprint == ledger.master.fingerprint()) {
        return Ok((None, Some(new)));
    }
    let old = as_held(&ledger.master)?;
    change.put(maker.legacy_record(&old.secret)?);
    Ok((Some(old), Some(new)))
}
