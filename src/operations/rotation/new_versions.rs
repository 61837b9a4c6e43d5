//! New versions of every data key at the end of a rotation: made, backed up together, then primary.
//!
//! Must never let a version seal before a backup that holds it is durable.
//! Called by `steps`.

use super::super::keyring::DataKey;
use super::super::ledger::{Change, Ledger};
use super::super::refusal::Refusal;
use super::super::{backup, fault, key_records};
use crate::custody::id::KeyId;
use crate::store::record;
use std::sync::Arc;

/// Keys that get a version in one commit, which is two records for each.
const KEYS_AT_ONCE: usize = 45;

/// Keys whose new version becomes primary in one commit.
const PRIMARIES_AT_ONCE: usize = 90;

/// The keys in use, in order of id.
fn live(ledger: &Ledger) -> Vec<Arc<DataKey>> {
    let keyring = ledger.engine.keyring();
    let mut keys: Vec<Arc<DataKey>> = keyring.keys.values().filter(|key| !key.is_deleted()).cloned().collect();
    keys.sort_by_key(|key| key.id);
    keys
}

/// Makes some; the commit of the last goes on to the next step.
///
/// # Errors
/// [`Refusal::Store`], [`Refusal::Random`], [`Refusal::Memory`]: the same keys are next again.
pub(super) fn make_some(ledger: &mut Ledger, rotation: record::Rotation) -> Result<(), Refusal> {
    let all = live(ledger);
    let made_to = KeyId::from_slice(&rotation.versions_made_to);
    let done = all.partition_point(|key| Some(key.id) <= made_to);
    let some: Vec<Arc<DataKey>> = all.iter().skip(done).take(KEYS_AT_ONCE).cloned().collect();
    ledger.engine.progress.rotated(done, all.len());
    let engine = Arc::clone(ledger.engine());
    let mut change = Change { touches_keyring: !some.is_empty(), ..Change::default() };
    let mut made = Vec::with_capacity(some.len());
    for key in &some {
        let mut key = (**key).clone();
        let new = ledger.maker(&engine).version(&key)?;
        key.promoting = new.version.number;
        key.versions.insert(Arc::clone(&new.version));
        change.put(key_records::key_record(&key));
        change.put(key_records::new_version_record(&new));
        made.push(key);
    }
    let mut rotation = rotation;
    match some.last().filter(|_| done + some.len() < all.len()) {
        Some(last) => rotation.versions_made_to = last.id.as_bytes().to_vec(),
        None => rotation.set_step(record::RotationStep::Backup),
    }
    change.sealed = Some(record::Master { rotation: Some(rotation), ..ledger.sealed.clone() });
    ledger.commit(change, |keyring| made.into_iter().for_each(|key| keyring.replace_key(key)))
}

/// Writes the backup that holds them all, then lets them seal; the last commit ends the rotation, and then `once_over` is
/// called.
///
/// # Errors
/// [`Refusal::Backup`]: what was sealed with until now goes on sealing. [`Refusal::Store`].
pub(super) fn back_up_and_promote(
    ledger: &mut Ledger,
    once_over: impl FnOnce() + Send + 'static,
) -> Result<(), Refusal> {
    ledger.engine.progress.rotated(0, 0);
    backup::write(ledger)?;
    fault::point("backup");
    let waiting: Vec<Arc<DataKey>> = live(ledger).into_iter().filter(|key| key.is_promoting()).collect();
    let mut once_over: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(once_over));
    let mut parts = waiting.chunks(PRIMARIES_AT_ONCE).peekable();
    loop {
        let some = parts.next().unwrap_or_default();
        let mut change = Change::default();
        let mut primary = Vec::with_capacity(some.len());
        for key in some {
            let mut key = (**key).clone();
            key.primary = key.promoting;
            key.promoting = 0;
            change.put(key_records::key_record(&key));
            primary.push(key);
        }
        let is_last = parts.peek().is_none();
        if is_last {
            change.sealed = Some(record::Master { rotation: None, ..ledger.sealed.clone() });
            change.once_kept = once_over.take();
        }
        ledger.commit(change, |keyring| primary.into_iter().for_each(|key| keyring.replace_key(key)))?;
        if is_last {
            return Ok(());
        }
    }
}
