//! A restore into a scratch place, opened there as a start would open it: whether the real one would give everything
//! back.
//!
//! Must never be given the places of a store that is in use, nor hand out a byte of what it opens.
//! Called by `cli` for `servos-keyd restore --drill`.

use super::super::decrypt::{self, Format};
use super::super::engine::{Engine, Facts};
use super::super::keyring::Keyring;
use super::super::ledger::Places;
use super::super::refusal::Refusal;
use super::super::start_failure::StartFailure;
use super::super::{load, mark_check, self_test};
use super::known::survey;
use super::proof::Proven;
use super::restore;
use crate::auth::operation::Decrypt;
use crate::auth::permit::Admission;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::custody::random::Random;
use crate::store::mark;
use crate::store::redb_adapter;
use std::path::Path;

/// What was restored, and opens.
pub struct Rehearsed {
    engine: Engine,
    /// Keys under whose primary version a value was sealed and opened.
    pub sealed: usize,
}

/// What is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Keys in use.
    pub keys: usize,
    /// Versions, those of deleted keys included.
    pub versions: usize,
    /// Former master keys that open legacy values.
    pub legacy_keys: usize,
}

/// Restores a backup that was proved into the empty directory `scratch`, with the same key, and opens what came of it:
/// root, MAC, mark, canary, identity, legacy keys and every version; then seals and opens a value under each key in
/// use. The key is used up twice; `now` is Unix seconds.
///
/// # Errors
/// What does not open, or kept it from being written.
pub fn rehearse(
    scratch: &Path,
    proven: Proven,
    keys: [MasterKey; 2],
    memory: &LockedMemory,
    random: Box<Random>,
    now: i64,
) -> Result<Rehearsed, StartFailure> {
    let [to_restore, to_open] = keys;
    let places = Places {
        store: scratch.join("keyd.redb"),
        mark: scratch.join("keyd.redb.mark"),
        backups: scratch.join("backup"),
        keep: 1,
        keep_for: 0,
    };
    let known = survey(&places, &proven, Vec::new(), memory)?;
    restore(&places, proven, &known, None, to_restore, memory, now)?.backup?;
    let snapshot = redb_adapter::view(&places.store).map_err(StartFailure::of_file)?;
    let authentic = load::authenticate(snapshot, to_open, memory)?;
    let (state, previous) = authentic.state();
    let found = mark::read(&places.mark).map_err(StartFailure::Mark)?;
    mark_check::check(&places.mark, found.as_ref(), &state, previous)?;
    let keyring = load::open(authentic, memory)?.keyring;
    self_test::run(&keyring, &*random)?;
    let sealed = keyring.names.keys().filter(|name| keyring.primary(name).is_ok()).count();
    let engine = Engine::new(keyring, random, Box::new(move || now), Facts::default());
    Ok(Rehearsed { engine, sealed })
}

impl Rehearsed {
    /// What is in it.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let keyring: &Keyring = &self.engine.keyring();
        Contents { keys: keyring.names.len(), versions: keyring.versions.len(), legacy_keys: keyring.legacy.len() }
    }

    /// Whether a value of an application opens; how it had been sealed. What it holds is wiped.
    ///
    /// # Errors
    /// As Decrypt.
    pub fn opens(&self, admission: &Admission<'_, Decrypt>, value: &decrypt::Request<'_>) -> Result<Format, Refusal> {
        decrypt::decrypt(admission, &self.engine, value).map(|opened| opened.format)
    }
}
