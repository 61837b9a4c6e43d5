//! Between the rotation of the master key and the messages of the contract.
//!
//! Must never leave an enum of an answer at its zero.
//! Called by the handlers of `key_admin`, and by `convert` for GetStatus.

use crate::operations::Fingerprint;
use crate::operations::rotation::key_sources::{Renewal, SourceView};
use crate::operations::rotation::report::Report;
use crate::operations::rotation::{Rotation, State, Step};
use crate::operations::status::RotationStatus;
use crate::proto::v1;

pub(super) fn begun(report: Report) -> v1::RotateResponse {
    v1::RotateResponse {
        dry_run: report.dry_run,
        sources: report.sources.iter().map(source).collect(),
        rotation: Some(rotation(report.rotation, &report.opens, report.next)),
        backup: report.backup,
        seals: u32::try_from(report.seals).unwrap_or(u32::MAX),
        data_keys: u32::try_from(report.data_keys).unwrap_or(u32::MAX),
        old_key_backups: report.old_key_backups,
        other_uses: report.other_uses,
    }
}

pub(super) fn finished(report: Report) -> v1::FinishRotationResponse {
    v1::FinishRotationResponse {
        dry_run: report.dry_run,
        sources: report.sources.iter().map(source).collect(),
        rotation: Some(rotation(report.rotation, &report.opens, report.next)),
        old_key_backups: report.old_key_backups,
        other_uses: report.other_uses,
    }
}

pub(super) fn aborted(report: Report) -> v1::AbortRotationResponse {
    v1::AbortRotationResponse {
        dry_run: report.dry_run,
        sources: report.sources.iter().map(source).collect(),
        rotation: Some(rotation(report.rotation, &report.opens, report.next)),
        aborted_key_backups: report.old_key_backups,
    }
}

pub(super) fn of_status(status: RotationStatus) -> v1::Rotation {
    let RotationStatus { rotation: under_way, done, total, problem, next } = status;
    let opens = under_way.opens();
    v1::Rotation { done, total, problem, ..rotation(under_way, &opens, next) }
}

fn rotation(rotation: Rotation, opens: &[Fingerprint], next: Vec<String>) -> v1::Rotation {
    let state = match rotation.state() {
        State::Pending => v1::RotationState::Pending,
        State::Finishing => v1::RotationState::Finishing,
        State::Aborting => v1::RotationState::Aborting,
        State::Finished => v1::RotationState::Finished,
        State::Aborted => v1::RotationState::Aborted,
    };
    let step = match rotation.step {
        Step::Waiting => v1::RotationStep::Waiting,
        Step::Resealing => v1::RotationStep::Resealing,
        Step::Rewriting => v1::RotationStep::Rewriting,
        Step::NewVersions => v1::RotationStep::NewVersions,
        Step::Backup => v1::RotationStep::Backup,
        Step::Done => v1::RotationStep::Done,
    };
    v1::Rotation {
        state: state.into(),
        opens: opens.iter().map(ToString::to_string).collect(),
        old_fingerprint: rotation.old.to_string(),
        new_fingerprint: rotation.new.to_string(),
        begun: rotation.begun,
        new_data_keys: rotation.new_data_keys,
        step: step.into(),
        done: 0,
        total: 0,
        problem: String::new(),
        next,
    }
}

fn source(source: &SourceView) -> v1::KeySource {
    v1::KeySource {
        name: source.name.clone(),
        fingerprint: source.fingerprint.to_string(),
        needs_restart: source.renewal != Renewal::Reread,
    }
}
