//! The rotation of the master key: begun, then finished with the new key or aborted with the old one, step by step.
//!
//! Must never leave a moment at which one crash costs the keys that open the store, or at which an old seal stays behind.
//! Called by `rpc::key_admin` for its three calls, by the writer for what follows them, and by `cli` at a start.

pub mod abort_rotation;
pub mod at_start;
mod end;
pub mod finish_rotation;
pub mod key_sources;
mod new_root;
mod new_versions;
pub mod refusal;
pub mod report;
mod reseal;
pub mod rotate;
pub mod steps;

#[cfg(test)]
mod begin_tests;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod legacy_tests;
#[cfg(test)]
mod meanwhile_tests;
#[cfg(test)]
mod safeguard_tests;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod sealed_value;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod start_tests;
#[cfg(test)]
mod steps_tests;
#[cfg(test)]
mod writer_tests;

use super::refusal::Refusal;
use super::start_failure::StartFailure;
use super::stored::damaged;
use crate::custody::id::Fingerprint;
use crate::store::record;

/// What a rotation does next. Each step is resumed from the store's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Both master keys open the store; the operator decides.
    Waiting,
    /// Seals are made anew under the new root.
    Resealing,
    /// The previous root is dropped; the file is written anew.
    Rewriting,
    /// Data keys get new versions.
    NewVersions,
    /// A backup, then new versions become primary.
    Backup,
    /// Nothing is left to do.
    Done,
}

/// How far a rotation is, as people think of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Both keys open the store.
    Pending,
    /// The new key alone does, and the rest goes on.
    Finishing,
    /// The old key alone does, and the rest goes on.
    Aborting,
    /// Done with the new key.
    Finished,
    /// Done with the old key.
    Aborted,
}

/// A rotation of the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The key that was in use at its begin.
    pub old: Fingerprint,
    /// The key that it was begun with.
    pub new: Fingerprint,
    /// When it was begun: Unix seconds; 0 for one that the history alone tells of.
    pub begun: i64,
    /// Every data key gets a new version at the end.
    pub new_data_keys: bool,
    /// It ends with the old key.
    pub aborting: bool,
    /// What it does next.
    pub step: Step,
    /// The old key was shared with components.
    pub old_shared: bool,
}

/// How far the making anew of seals is.
#[derive(Default)]
pub(super) struct Resealed {
    /// The last record that was looked at.
    to: String,
    done: usize,
    total: usize,
}

impl Rotation {
    /// The rotation that the record `master` tells of, if it tells of one.
    ///
    /// # Errors
    /// [`StartFailure::Damaged`] for a record that contradicts itself.
    pub fn of(sealed: &record::Master) -> Result<Option<Self>, StartFailure> {
        sealed.rotation.as_ref().map(Self::of_record).transpose()
    }

    pub(super) fn of_record(record: &record::Rotation) -> Result<Self, StartFailure> {
        let fingerprint =
            |bytes: &[u8]| Fingerprint::from_slice(bytes).ok_or_else(|| damaged("its rotation is malformed"));
        let step = match record.step() {
            record::RotationStep::Pending => Step::Waiting,
            record::RotationStep::Resealing => Step::Resealing,
            record::RotationStep::Rewriting => Step::Rewriting,
            record::RotationStep::Versions => Step::NewVersions,
            record::RotationStep::Backup => Step::Backup,
            record::RotationStep::Unspecified => return Err(damaged("its rotation is malformed")),
        };
        Ok(Self {
            old: fingerprint(&record.old_fingerprint)?,
            new: fingerprint(&record.new_fingerprint)?,
            begun: record.begun,
            new_data_keys: record.new_data_keys,
            aborting: record.aborting,
            step,
            old_shared: record.old_shared,
        })
    }

    /// The rotation that a request was answered with.
    ///
    /// # Errors
    /// [`Refusal::Damaged`].
    pub(super) fn of_answer(answer: &[u8]) -> Result<Self, Refusal> {
        let damaged = || Refusal::Damaged("the answer of a request is no rotation".to_owned());
        let record = record::decode_rotation(answer).ok_or_else(damaged)?;
        Self::of_record(&record).map_err(|_| damaged())
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> State {
        match (self.step, self.aborting) {
            (Step::Waiting, _) => State::Pending,
            (Step::Done, false) => State::Finished,
            (Step::Done, true) => State::Aborted,
            (_, false) => State::Finishing,
            (_, true) => State::Aborting,
        }
    }

    /// The keys that open the store.
    #[must_use]
    pub fn opens(&self) -> Vec<Fingerprint> {
        match self.state() {
            State::Pending => vec![self.old, self.new],
            State::Finishing | State::Finished => vec![self.new],
            State::Aborting | State::Aborted => vec![self.old],
        }
    }
}
