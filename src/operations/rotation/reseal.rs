//! Making seals anew under the new root, a bounded number in each commit, from wherever it stopped.
//!
//! Must never seal what the store does not hold exactly as it was committed.
//! Called by `steps`.

use super::super::keyring::Keyring;
use super::super::ledger::{Change, Ledger};
use super::super::refusal::Refusal;
use super::Resealed;
use crate::custody::id::{Fingerprint, VersionId};
use crate::custody::record_seal;
use crate::store::record::{self, RecordName};
use std::sync::Arc;

/// Seals that one commit makes anew: with what every commit adds, it stays within the port's bound.
const SEALS_AT_ONCE: usize = 96;

/// Records that one step looks at: a resumed one passes over many that are done.
const LOOKS_AT_ONCE: usize = 500;

/// Whether a record holds a seal under the root.
pub(super) fn is_sealed(name: &str) -> bool {
    name == record::IDENTITY || name.starts_with("legacy/") || name.starts_with("version/")
}

/// Does the next part; answers whether it was the last.
///
/// # Errors
/// [`Refusal::Store`], [`Refusal::Damaged`]: the same part is next again.
pub(super) fn some(ledger: &mut Ledger) -> Result<bool, Refusal> {
    let keyring = ledger.engine.keyring();
    let mut reached = match ledger.resealed.take() {
        Some(reached) => reached,
        None => {
            let total = ledger.digests.names().filter(|name| is_sealed(name)).count();
            Resealed { total, ..Resealed::default() }
        }
    };
    let is_last = part(ledger, &keyring, &mut reached)?;
    ledger.engine.progress.rotated(reached.done, reached.total);
    ledger.resealed = Some(reached);
    Ok(is_last)
}

fn part(ledger: &mut Ledger, keyring: &Keyring, reached: &mut Resealed) -> Result<bool, Refusal> {
    let names: Vec<String> = ledger
        .digests
        .names_after(&reached.to)
        .filter(|name| is_sealed(name))
        .take(LOOKS_AT_ONCE)
        .map(str::to_owned)
        .collect();
    // Half of the syncs would be the mark's, and any file of this step holds the same keys. What follows it needs the mark.
    let mut change = Change { defers_mark: true, ..Change::default() };
    let mut looked = 0;
    for name in &names {
        if change.batch.puts.len() == SEALS_AT_ONCE {
            break;
        }
        if let Some(value) = anew(ledger, keyring, name)? {
            change.put((name.clone(), value));
        }
        looked += 1;
    }
    if !change.batch.puts.is_empty() {
        ledger.commit(change, |_| ())?;
    }
    if let Some(last) = names.get(..looked).and_then(<[String]>::last) {
        reached.to.clone_from(last);
    }
    reached.done = reached.done.saturating_add(looked);
    Ok(looked == names.len() && looked < LOOKS_AT_ONCE)
}

/// A record with its seal made anew; `None` if it is under the root in use already.
fn anew(ledger: &mut Ledger, keyring: &Keyring, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let changed = || Refusal::Damaged(format!("record {name} is not what was committed"));
    let bytes = ledger.read_committed(name)?.ok_or_else(changed)?;
    let (root, store, random) = (&ledger.root, &ledger.store_id, &*ledger.engine.random);
    let is_new = |seal: &[u8]| record_seal::header_owner(seal) == Some(root.id().prefix());
    match RecordName::parse(name) {
        Some(RecordName::Identity) => {
            let mut stored: record::Identity = decode(name, &bytes)?;
            if is_new(&stored.seal) {
                return Ok(None);
            }
            stored.seal = record_seal::seal_identity(root, keyring.identity()?, store, random)?;
            Ok(Some(record::encode(&stored)))
        }
        Some(RecordName::Legacy(id)) => {
            let mut stored: record::Legacy = decode(name, &bytes)?;
            if is_new(&stored.seal) {
                return Ok(None);
            }
            let held = keyring.legacy.iter().find(|legacy| legacy.fingerprint == Fingerprint::from_bytes(id));
            stored.seal = record_seal::seal_legacy(root, &held.ok_or_else(changed)?.secret, store, random)?;
            Ok(Some(record::encode(&stored)))
        }
        Some(RecordName::Version(id)) => {
            let mut stored: record::Version = decode(name, &bytes)?;
            if is_new(&stored.seal) {
                return Ok(None);
            }
            let version = Arc::clone(keyring.versions.get(&VersionId::from_bytes(id)).ok_or_else(changed)?);
            let (secret, key, number) = (&version.secret, &version.key_id, version.number);
            stored.seal = record_seal::seal_version(root, secret, store, key, number, random)?;
            Ok(Some(record::encode(&stored)))
        }
        _ => Ok(None),
    }
}

fn decode<T: record::Record>(name: &str, bytes: &[u8]) -> Result<T, Refusal> {
    record::decode(name, bytes).map_err(|error| Refusal::Damaged(error.to_string()))
}
