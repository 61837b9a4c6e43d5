//! The one small commit that decides a rotation: a new root under one master key alone, the old root under the new one.
//!
//! Must never run while the mark names another root than the one in use, nor put a master key under a root that an older
//! key opens.
//! Called by `finish_rotation`, `abort_rotation` and `at_start`.

use super::super::key_records::Maker;
use super::super::keyring::Legacy;
use super::super::ledger::{Change, Ledger};
use super::super::refusal::Refusal;
use super::super::requests::RequestId;
use super::Rotation;
use super::refusal::RotationRefusal;
use crate::custody::id::Fingerprint;
use crate::custody::keys::{MasterKey, RootKey};
use crate::custody::record_seal;
use crate::store::record;
use crate::telemetry::events;
use std::sync::Arc;

/// How a rotation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With the new key.
    Finish,
    /// With the old key.
    Abort {
        /// Every data key gets a new version all the same.
        new_data_keys: bool,
    },
}

impl End {
    /// Whether every data key gets a new version, where the rotation was begun so.
    pub(super) fn makes_versions(self, begun_so: bool) -> bool {
        match self {
            Self::Finish => begun_so,
            Self::Abort { new_data_keys } => new_data_keys,
        }
    }
}

/// Ends the pending rotation with `key`: from here on it alone opens the store. The rest is for `steps`.
///
/// # Errors
/// [`Refusal::MarkBehind`], [`Refusal::Store`]: both keys still open the store.
pub(super) fn change_root(
    ledger: &mut Ledger,
    end: End,
    key: MasterKey,
    request: Option<RequestId>,
) -> Result<Rotation, Refusal> {
    ledger.need_mark()?;
    // What a source yields may be in the system's memory alone, and from here on nothing else opens the store.
    ledger.sources.settle().map_err(RotationRefusal::from)?;
    let engine = Arc::clone(ledger.engine());
    let (now, random) = ((engine.clock)(), &*engine.random);
    let sealed = ledger.sealed.clone();
    let (Some(rotation), Some(current)) = (sealed.rotation.clone(), sealed.current.clone()) else {
        return Err(Refusal::Damaged("no rotation is pending".to_owned()));
    };
    let aborting = end != End::Finish;
    prove(ledger, &key, if aborting { sealed.current.as_ref() } else { sealed.pending.as_ref() })?;
    let root = RootKey::generate(&ledger.memory, random)?;
    let seal = record_seal::seal_root(&key, &root, &ledger.store_id, random)?;
    let record = record::Rotation {
        step: record::RotationStep::Resealing.into(),
        aborting,
        new_data_keys: end.makes_versions(rotation.new_data_keys),
        ..rotation
    };
    let decided = Rotation::of_record(&record).map_err(|failure| Refusal::Damaged(failure.to_string()))?;
    let canary = record_seal::seal_canary(&key, &ledger.store_id, random)?;
    let mut change = Change {
        touches_keyring: true,
        finishes_rotation: !aborting,
        sealed: Some(record::Master {
            current: Some(record::MasterSeal {
                root: seal,
                since: if aborting { current.since } else { now },
                shared: aborting && current.shared,
            }),
            pending: None,
            previous_root: record_seal::seal_previous_root(&root, &ledger.root, &ledger.store_id, random)?,
            rotation: Some(record.clone()),
            ..sealed
        }),
        ..Change::default()
    };
    let canary = record::Canary { schema: record::SCHEMA, seals: vec![canary] };
    change.put((record::CANARY.to_owned(), record::encode(&canary)));
    let kind = if aborting { record::HistoryKind::Aborted } else { record::HistoryKind::Rotated };
    ledger.note_in_history(&mut change, decided.new, kind)?;
    let legacy = if aborting { None } else { hold_as_legacy(ledger, &root, &key, &mut change)? };
    if let Some(request) = request {
        ledger.remember(&mut change, request, record::encode_rotation(&record));
    }
    change.root = Some((root, key));
    let (old, new) = (decided.old, decided.new);
    change.once_kept = Some(Box::new(move || say(aborting, old, new)));
    ledger.resealed = None;
    ledger.commit(change, |keyring| {
        keyring.pending_legacy = None;
        if let Some(legacy) = legacy {
            keyring.legacy.insert(0, legacy);
        }
    })?;
    Ok(decided)
}

fn say(aborted: bool, old: Fingerprint, new: Fingerprint) {
    if aborted {
        tracing::warn!(event = events::ROTATION_ABORTED, %old, %new, "the old key alone opens the store: if the new one \
            leaked, begin a new rotation now");
    } else {
        tracing::info!(event = events::ROTATION_FINISHED, %old, %new, "the new key alone opens the store");
    }
}

/// A fingerprint is short: the key must open what it goes on with.
fn prove(ledger: &Ledger, key: &MasterKey, seal: Option<&record::MasterSeal>) -> Result<(), Refusal> {
    let seal = seal.map(|seal| seal.root.as_slice()).unwrap_or_default();
    let opened = record_seal::open_root(key, seal, &ledger.store_id, &ledger.memory);
    match opened.is_ok_and(|root| root.id() == ledger.root.id()) {
        true => Ok(()),
        false => Err(Refusal::Damaged(format!("{} does not open the root", key.fingerprint()))),
    }
}

/// While legacy values open, those that components write with the new key must open too: it is sealed under the new root,
/// which the old key does not open.
fn hold_as_legacy(
    ledger: &Ledger,
    root: &RootKey,
    key: &MasterKey,
    change: &mut Change,
) -> Result<Option<Legacy>, Refusal> {
    if ledger.engine.keyring().legacy.is_empty() {
        return Ok(None);
    }
    let legacy = key.as_legacy(&ledger.memory)?;
    let maker = Maker { root, ..ledger.maker(&ledger.engine) };
    change.put(maker.legacy_record(&legacy)?);
    Ok(Some(Legacy { fingerprint: legacy.fingerprint(), adopted: maker.now, secret: Arc::new(legacy) }))
}
