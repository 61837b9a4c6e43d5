//! The calls of a rotation with request ids of the test's own, sent once: no retry covers a death.
//!
//! Must never repeat a call. Used by every test of this binary.

use crate::harness::{DEADLINE, Daemon, admin_stub};
use crate::stage::{Operation, Stage};
use servos_keyd::proto::v1::{
    AbortRotationRequest, FinishRotationRequest, GetStatusRequest, GetStatusResponse, RotateRequest, Rotation,
};
use tonic::Status;

/// What a call of a rotation answered.
#[derive(Clone)]
pub struct Answer {
    /// The rotation.
    pub rotation: Rotation,
    /// The backup before it began; empty but for a begin.
    pub backup: String,
}

impl Answer {
    /// What no repetition may change.
    pub fn lasting(&self) -> (&str, &str, i64, bool, &str) {
        let Rotation { old_fingerprint, new_fingerprint, begun, new_data_keys, .. } = &self.rotation;
        (old_fingerprint, new_fingerprint, *begun, *new_data_keys, &self.backup)
    }
}

/// What is asked of a daemon.
pub struct Call<'c> {
    pub operation: Operation,
    pub new_key: &'c str,
    pub new_data_keys: bool,
    pub request_id: &'c str,
    pub dry_run: bool,
}

impl<'c> Call<'c> {
    /// The call that a stage is about.
    pub fn of(stage: &'c Stage, request_id: &'c str) -> Self {
        let (new_key, new_data_keys) = (stage.new_fingerprint.as_str(), stage.case.new_data_keys);
        Self { operation: stage.case.operation, new_key, new_data_keys, request_id, dry_run: false }
    }

    /// Sends it.
    pub async fn send(&self, daemon: &Daemon) -> Result<Answer, Status> {
        let mut stub = admin_stub(&daemon.admin_socket);
        let (new_key_fingerprint, request_id) = (self.new_key.to_owned(), self.request_id.to_owned());
        let (dry_run, new_data_keys) = (self.dry_run, self.new_data_keys);
        let (rotation, backup) = match self.operation {
            Operation::Begin => {
                let (new_key, keep_data_keys) = (Vec::new(), !new_data_keys);
                let request = RotateRequest { new_key_fingerprint, new_key, request_id, keep_data_keys, dry_run };
                let answer = in_time(stub.rotate(request)).await?.into_inner();
                (answer.rotation, answer.backup)
            }
            Operation::Finish | Operation::FinishAtStart => {
                let request = FinishRotationRequest { new_key_fingerprint, request_id, dry_run };
                (in_time(stub.finish_rotation(request)).await?.into_inner().rotation, String::new())
            }
            Operation::Abort => {
                let request = AbortRotationRequest { new_key_fingerprint, request_id, new_data_keys, dry_run };
                (in_time(stub.abort_rotation(request)).await?.into_inner().rotation, String::new())
            }
        };
        Ok(Answer { rotation: rotation.expect("the rotation is shown"), backup })
    }
}

/// The daemon's state, if it still answers.
pub async fn status(daemon: &Daemon) -> Result<GetStatusResponse, Status> {
    Ok(in_time(admin_stub(&daemon.admin_socket).get_status(GetStatusRequest {})).await?.into_inner())
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(DEADLINE, call).await.expect("an answer, or the end of the connection")
}
