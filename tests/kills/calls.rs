//! Changes that are asked of a daemon, with request ids of the test's own, sent once: no retry covers a kill.
//!
//! Must never repeat a call, or show a key. Used by the load, and by the checks that ask again.

use crate::harness::{DEADLINE, admin_stub, fingerprint, hex};
use servos_keyd::proto::v1::{
    AbortRotationRequest, AdoptLegacyKeyRequest, CreateKeyRequest, DeleteKeyRequest, FinishRotationRequest,
    GetStatusRequest, GetStatusResponse, KeyPurpose, RetireLegacyKeyRequest, RotateKeyRequest, RotateRequest, Rotation,
};
use std::path::Path;
use tonic::{Code, Status};

/// Something that is asked to be changed.
#[derive(Clone)]
pub enum Change {
    Create(String),
    Rotate(String),
    Delete(String),
    Adopt([u8; 32]),
    /// By its fingerprint.
    Retire(String),
    Begin {
        new: [u8; 32],
        new_data_keys: bool,
    },
    Finish([u8; 32]),
    Abort {
        new: [u8; 32],
        new_data_keys: bool,
    },
}

impl Change {
    /// The row of the table that it belongs to.
    pub fn row(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-key",
            Self::Rotate(_) => "rotate-key",
            Self::Delete(_) => "delete-key",
            Self::Adopt(_) => "adopt-legacy",
            Self::Retire(_) => "retire-legacy",
            Self::Begin { .. } => "begin",
            Self::Finish(_) => "finish",
            Self::Abort { .. } => "abort",
        }
    }
}

/// What no repetition of a change may answer otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The key's id.
    Created(String),
    /// The version.
    Rotated(u32),
    /// The key's id, and its versions.
    Deleted(String, u32),
    /// The fingerprint.
    Adopted(String),
    /// Legacy keys still held.
    Retired(u32),
    /// Fingerprints, when, with new data keys or not, and the backup.
    Begun(String, String, i64, bool, String),
    /// Fingerprints: of one that no call ended the history alone tells, and no more than these.
    Ended(String, String),
}

/// A change with its id, and what was answered.
#[derive(Clone)]
pub struct Asked {
    pub id: String,
    pub change: Change,
    pub answer: Option<Answer>,
}

/// What an answer that is none means.
#[derive(Debug)]
pub enum Lost {
    /// The daemon said no: nothing was changed.
    Refused,
    /// Nobody knows what became of it.
    Unanswered(Status),
}

impl Asked {
    /// Asks, once.
    ///
    /// Anything but an answer, a refusal for a rotation or for too many changes, and no answer at all ends the test.
    pub async fn send(&self, socket: &Path) -> Result<Answer, Lost> {
        let sent = tokio::time::timeout(DEADLINE, self.sent(socket)).await.expect("an answer, or a broken connection");
        sent.map_err(|status| match status.code() {
            Code::FailedPrecondition | Code::ResourceExhausted => Lost::Refused,
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal => Lost::Unanswered(status),
            _ => panic!("{} {} is answered {status:?}", self.change.row(), self.id),
        })
    }

    async fn sent(&self, socket: &Path) -> Result<Answer, Status> {
        let (mut stub, request_id) = (admin_stub(socket), self.id.clone());
        Ok(match &self.change {
            Change::Create(name) => {
                let purpose = KeyPurpose::Encrypt.into();
                let request = CreateKeyRequest { name: name.clone(), purpose, request_id };
                Answer::Created(stub.create_key(request).await?.into_inner().key.expect("the key is shown").id)
            }
            Change::Rotate(key) => {
                let request = RotateKeyRequest { key: key.clone(), request_id };
                Answer::Rotated(stub.rotate_key(request).await?.into_inner().version)
            }
            Change::Delete(key) => {
                let request = DeleteKeyRequest { key: key.clone(), request_id };
                let answer = stub.delete_key(request).await?.into_inner();
                Answer::Deleted(answer.id, answer.versions)
            }
            Change::Adopt(key) => {
                let request = AdoptLegacyKeyRequest { legacy_key: hex(key).into_bytes(), request_id };
                Answer::Adopted(stub.adopt_legacy_key(request).await?.into_inner().fingerprint)
            }
            Change::Retire(fingerprint) => {
                let request = RetireLegacyKeyRequest { fingerprint: fingerprint.clone(), request_id };
                Answer::Retired(stub.retire_legacy_key(request).await?.into_inner().remaining)
            }
            Change::Begin { new, new_data_keys } => {
                let (new_key_fingerprint, new_key) = (fingerprint(*new), hex(new).into_bytes());
                let keep_data_keys = !new_data_keys;
                let request =
                    RotateRequest { new_key_fingerprint, new_key, request_id, keep_data_keys, dry_run: false };
                let answer = stub.rotate(request).await?.into_inner();
                let Rotation { old_fingerprint, new_fingerprint, begun, new_data_keys, .. } = shown(answer.rotation);
                Answer::Begun(old_fingerprint, new_fingerprint, begun, new_data_keys, answer.backup)
            }
            Change::Finish(new) => {
                let new_key_fingerprint = fingerprint(*new);
                let request = FinishRotationRequest { new_key_fingerprint, request_id, dry_run: false };
                let rotation = shown(stub.finish_rotation(request).await?.into_inner().rotation);
                Answer::Ended(rotation.old_fingerprint, rotation.new_fingerprint)
            }
            Change::Abort { new, new_data_keys } => {
                let (new_key_fingerprint, new_data_keys) = (fingerprint(*new), *new_data_keys);
                let request = AbortRotationRequest { new_key_fingerprint, request_id, new_data_keys, dry_run: false };
                let rotation = shown(stub.abort_rotation(request).await?.into_inner().rotation);
                Answer::Ended(rotation.old_fingerprint, rotation.new_fingerprint)
            }
        })
    }
}

fn shown(rotation: Option<Rotation>) -> Rotation {
    rotation.expect("the rotation is shown")
}

/// The daemon's state, if it still answers.
pub async fn status(socket: &Path) -> Result<GetStatusResponse, Status> {
    let answer =
        tokio::time::timeout(DEADLINE, async move { admin_stub(socket).get_status(GetStatusRequest {}).await });
    Ok(answer.await.expect("an answer, or a broken connection")?.into_inner())
}
