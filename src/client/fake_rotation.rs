//! The fake daemon's part in a rotation of the master key: what it tells, and what it was asked and saw meanwhile.
//!
//! Must never be compiled into anything but tests.
//! Called by `fake_daemon`; tests read and set its fields.

use super::fake_daemon::lock;
use crate::proto::v1::*;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use tonic::{Code, Response, Status};

/// The key that is in use at the begin.
pub(crate) const OLD: &str = "00112233aabbccdd";

/// Changes an answer: its rotation, and its word on being a dry run.
type Lie = fn(&mut Option<Rotation>, &mut bool);

#[derive(Default)]
pub(crate) struct RotationRules {
    /// The answers of GetStatus, one after the other; the last one stays.
    pub(crate) statuses: Mutex<VecDeque<GetStatusResponse>>,
    /// What refuses the calls that change something.
    pub(crate) refusal: Mutex<Option<(Code, String)>>,
    /// From the end on, so many answers of GetStatus are this code.
    pub(crate) silence_after_end: Mutex<Option<(Code, u32)>>,
    /// How answers lie.
    pub(crate) lie: Mutex<Option<Lie>>,
    /// A file that is looked at when a call arrives.
    pub(crate) watched: Mutex<Option<PathBuf>>,
    /// What was in it, call by call.
    pub(crate) seen: Mutex<Vec<Option<String>>>,
    /// What to tell behind a change.
    pub(crate) next: Mutex<Vec<String>>,
    /// The calls.
    pub(crate) begun: Mutex<Vec<RotateRequest>>,
    pub(crate) finished: Mutex<Vec<FinishRotationRequest>>,
    pub(crate) aborted: Mutex<Vec<AbortRotationRequest>>,
}

/// The rotation to `new` in this state.
pub(crate) fn rotation(new: &str, state: RotationState, step: RotationStep) -> Rotation {
    let opens = match state {
        RotationState::Pending => vec![OLD.to_owned(), new.to_owned()],
        RotationState::Finishing | RotationState::Finished => vec![new.to_owned()],
        _ => vec![OLD.to_owned()],
    };
    Rotation {
        state: state.into(),
        old_fingerprint: OLD.to_owned(),
        new_fingerprint: new.to_owned(),
        begun: 1_795_446_000,
        opens,
        new_data_keys: true,
        step: step.into(),
        ..Rotation::default()
    }
}

impl RotationRules {
    pub(super) fn next_status(&self) -> Option<Result<GetStatusResponse, Status>> {
        if let Some((code, left)) = lock(&self.silence_after_end).as_mut().filter(|(_, left)| *left > 0)
            && lock(&self.finished).iter().any(|asked| !asked.dry_run)
        {
            *left -= 1;
            return Some(Err(Status::new(*code, "not now")));
        }
        let mut statuses = lock(&self.statuses);
        if statuses.len() > 1 { statuses.pop_front() } else { statuses.front().cloned() }.map(Ok)
    }

    fn arrive(&self) -> Result<(), Status> {
        if let Some(path) = lock(&self.watched).as_ref() {
            lock(&self.seen).push(std::fs::read_to_string(path).ok());
        }
        match lock(&self.refusal).as_ref() {
            Some((code, reason)) => Err(Status::new(*code, reason.clone())),
            None => Ok(()),
        }
    }

    fn told(&self, new: &str, state: RotationState, dry_run: bool) -> (Option<Rotation>, bool) {
        let step = if state == RotationState::Pending { RotationStep::Waiting } else { RotationStep::Resealing };
        let mut rotation = Some(Rotation { next: lock(&self.next).clone(), ..rotation(new, state, step) });
        let mut dry_run = dry_run;
        if let Some(lie) = *lock(&self.lie) {
            lie(&mut rotation, &mut dry_run);
        }
        (rotation, dry_run)
    }

    pub(super) fn rotate(&self, asked: RotateRequest) -> Result<Response<RotateResponse>, Status> {
        lock(&self.begun).push(asked.clone());
        self.arrive()?;
        let (rotation, dry_run) = self.told(&asked.new_key_fingerprint, RotationState::Pending, asked.dry_run);
        Ok(Response::new(RotateResponse {
            rotation,
            dry_run,
            backup: "/var/lib/servos/keyd-backup/keyd-1.skb1".into(),
            sources: sources(OLD),
            seals: 12,
            data_keys: 8,
            old_key_backups: backups(),
            other_uses: vec!["The Restic repositories have the old key's text as their password.".into()],
        }))
    }

    pub(super) fn finish(&self, asked: FinishRotationRequest) -> Result<Response<FinishRotationResponse>, Status> {
        lock(&self.finished).push(asked.clone());
        self.arrive()?;
        let (rotation, dry_run) = self.told(&asked.new_key_fingerprint, RotationState::Finishing, asked.dry_run);
        Ok(Response::new(FinishRotationResponse {
            rotation,
            dry_run,
            sources: sources(&asked.new_key_fingerprint),
            old_key_backups: backups(),
            other_uses: vec!["The Restic repositories have the old key's text as their password.".into()],
        }))
    }

    pub(super) fn abort(&self, asked: AbortRotationRequest) -> Result<Response<AbortRotationResponse>, Status> {
        lock(&self.aborted).push(asked.clone());
        self.arrive()?;
        let (rotation, dry_run) = self.told(&asked.new_key_fingerprint, RotationState::Aborting, asked.dry_run);
        Ok(Response::new(AbortRotationResponse {
            rotation,
            dry_run,
            sources: sources(OLD),
            aborted_key_backups: backups(),
        }))
    }
}

fn sources(fingerprint: &str) -> Vec<KeySource> {
    let (name, fingerprint) = ("/etc/servos/master.key".to_owned(), fingerprint.to_owned());
    vec![KeySource { name, fingerprint, needs_restart: false }]
}

fn backups() -> Vec<String> {
    vec!["/var/lib/servos/keyd-backup/keyd-0.skb1".to_owned()]
}
