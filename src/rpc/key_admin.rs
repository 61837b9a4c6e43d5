//! The handlers of `KeyAdmin`: each admits the peer, parses the request, calls its operation, answers.
//!
//! Must never change anything off the writer's thread.
//! Called by `connection`, on the sockets that administer.

use super::answer::{answer, answer_from_look, answer_from_writer, peer, refused};
use super::backup::{self, BackupStream};
use super::{convert, request, rotation};
use crate::auth::operation::{Keyed, Whole};
use crate::auth::peer::Peer;
use crate::auth::permit::Permit;
use crate::auth::policy::Policy;
use crate::operations::Fingerprint;
use crate::operations::adopt_legacy_key::adopt_legacy_key;
use crate::operations::backup::{back_up, contents};
use crate::operations::create_key::create_key;
use crate::operations::delete_key::delete_key;
use crate::operations::drill::DrillKind;
use crate::operations::engine::Engine;
use crate::operations::list_keys::{self, MAX_PAGE, Position, list_keys};
use crate::operations::record_drill::record_drill;
use crate::operations::refusal::Refusal;
use crate::operations::retire_legacy_key::retire_legacy_key;
use crate::operations::rotate_key::rotate_key;
use crate::operations::rotation::abort_rotation::{self, abort_rotation};
use crate::operations::rotation::finish_rotation::{self, finish_rotation};
use crate::operations::rotation::rotate::{self, rotate};
use crate::operations::status::status;
use crate::operations::writer::Writer;
use crate::proto::v1::key_admin_server::KeyAdmin;
use crate::proto::v1::{
    self, AbortRotationRequest, AbortRotationResponse, AdoptLegacyKeyRequest, AdoptLegacyKeyResponse, BackupRequest,
    CreateKeyRequest, CreateKeyResponse, DeleteKeyRequest, DeleteKeyResponse, FinishRotationRequest,
    FinishRotationResponse, GetStatusRequest, GetStatusResponse, KeyPurpose, ListKeysRequest, ListKeysResponse,
    RecordDrillRequest, RecordDrillResponse, RetireLegacyKeyRequest, RetireLegacyKeyResponse, RotateKeyRequest,
    RotateKeyResponse, RotateRequest, RotateResponse,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves `KeyAdmin`. Cheap to clone.
#[derive(Clone)]
pub struct KeyAdminHandler {
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// The keyring and what calls need beside it.
    pub engine: Arc<Engine>,
    /// The way to the store; none under salvage.
    pub writer: Option<Writer>,
}

impl KeyAdminHandler {
    /// The permit and the request id of a change to one key.
    fn change<Op: Keyed>(
        &self,
        peer: Peer,
        field: &'static str,
        key: &str,
        id: &str,
    ) -> Result<(Permit<Op>, Option<String>), Refusal> {
        let admission = self.policy.admit::<Op>(peer)?;
        let permit = admission.for_key(&request::key_name(field, key)?)?;
        Ok((permit, request::request_id(id)?))
    }

    /// The permit, the new key's fingerprint and the request id of a call to a rotation.
    fn rotation<Op: Whole>(
        &self,
        peer: Peer,
        fingerprint: &str,
        id: &str,
    ) -> Result<(Permit<Op>, Fingerprint, Option<String>), Refusal> {
        let permit = self.policy.admit::<Op>(peer)?.permit();
        Ok((permit, request::fingerprint("new_key_fingerprint", fingerprint)?, request::request_id(id)?))
    }
}

#[tonic::async_trait]
impl KeyAdmin for KeyAdminHandler {
    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let peer = peer(&request)?;
        answer("GetStatus", peer, || {
            let permit = self.policy.admit(peer)?.permit();
            Ok(convert::status(status(&permit, &self.engine)))
        })
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let peer = peer(&request)?;
        let message = request.get_ref();
        answer("ListKeys", peer, || {
            let permit = self.policy.admit(peer)?.permit();
            let (rows, next) = list_keys(&permit, &self.engine, &parse_list(message)?)?;
            Ok(ListKeysResponse {
                keys: rows.iter().map(convert::row).collect(),
                next_page_token: next.map(|position| position.token()).unwrap_or_default(),
            })
        })
    }

    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreateKeyResponse>, Status> {
        const RPC: &str = "CreateKey";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let (permit, id) = purpose(message.purpose)
            .and_then(|()| self.change(peer, "name", &message.name, &message.request_id))
            .map_err(|refusal| refused(RPC, peer, &refusal))?;
        let work = move |ledger: &mut _| create_key(&permit, ledger, id);
        let created = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(CreateKeyResponse { key: Some(convert::created(&created)) }))
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Result<Response<RotateKeyResponse>, Status> {
        const RPC: &str = "RotateKey";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let (permit, id) = self
            .change(peer, "key", &message.key, &message.request_id)
            .map_err(|refusal| refused(RPC, peer, &refusal))?;
        let work = move |ledger: &mut _| rotate_key(&permit, ledger, id);
        let rotated = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(RotateKeyResponse { key: rotated.key.as_str().to_owned(), version: rotated.version }))
    }

    async fn delete_key(&self, request: Request<DeleteKeyRequest>) -> Result<Response<DeleteKeyResponse>, Status> {
        const RPC: &str = "DeleteKey";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let (permit, id) = self
            .change(peer, "key", &message.key, &message.request_id)
            .map_err(|refusal| refused(RPC, peer, &refusal))?;
        let work = move |ledger: &mut _| delete_key(&permit, ledger, id);
        let deleted = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(DeleteKeyResponse {
            key: deleted.key.as_str().to_owned(),
            id: deleted.id.to_string(),
            versions: deleted.versions,
        }))
    }

    async fn adopt_legacy_key(
        &self,
        request: Request<AdoptLegacyKeyRequest>,
    ) -> Result<Response<AdoptLegacyKeyResponse>, Status> {
        const RPC: &str = "AdoptLegacyKey";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let admitted = self.policy.admit(peer).map_err(|denied| refused(RPC, peer, &denied.into()))?;
        let permit = admitted.permit();
        let id = request::request_id(&message.request_id).map_err(|refusal| refused(RPC, peer, &refusal))?;
        let work = move |ledger: &mut _| adopt_legacy_key(&permit, ledger, &message.legacy_key, id);
        let fingerprint = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(AdoptLegacyKeyResponse { fingerprint: fingerprint.to_string() }))
    }

    async fn retire_legacy_key(
        &self,
        request: Request<RetireLegacyKeyRequest>,
    ) -> Result<Response<RetireLegacyKeyResponse>, Status> {
        const RPC: &str = "RetireLegacyKey";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let admitted = self.policy.admit(peer).map_err(|denied| refused(RPC, peer, &denied.into()))?;
        let permit = admitted.permit();
        let parsed = request::fingerprint("fingerprint", &message.fingerprint)
            .and_then(|fingerprint| Ok((fingerprint, request::request_id(&message.request_id)?)));
        let (fingerprint, id) = parsed.map_err(|refusal| refused(RPC, peer, &refusal))?;
        let work = move |ledger: &mut _| retire_legacy_key(&permit, ledger, fingerprint, id);
        let remaining = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(RetireLegacyKeyResponse { fingerprint: fingerprint.to_string(), remaining }))
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<RotateResponse>, Status> {
        const RPC: &str = "Rotate";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let (permit, fingerprint, id) = self
            .rotation(peer, &message.new_key_fingerprint, &message.request_id)
            .map_err(|refusal| refused(RPC, peer, &refusal))?;
        let work = move |ledger: &mut _| {
            let RotateRequest { new_key, keep_data_keys, dry_run, .. } = &message;
            let (keep_data_keys, dry_run) = (*keep_data_keys, *dry_run);
            rotate(&permit, ledger, rotate::Request { fingerprint, new_key, keep_data_keys, dry_run, id })
        };
        let begun = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(rotation::begun(begun)))
    }

    async fn finish_rotation(
        &self,
        request: Request<FinishRotationRequest>,
    ) -> Result<Response<FinishRotationResponse>, Status> {
        const RPC: &str = "FinishRotation";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let (permit, fingerprint, id) = self
            .rotation(peer, &message.new_key_fingerprint, &message.request_id)
            .map_err(|refusal| refused(RPC, peer, &refusal))?;
        let asked = finish_rotation::Request { fingerprint, dry_run: message.dry_run, id };
        let work = move |ledger: &mut _| finish_rotation(&permit, ledger, asked);
        let finished = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(rotation::finished(finished)))
    }

    async fn abort_rotation(
        &self,
        request: Request<AbortRotationRequest>,
    ) -> Result<Response<AbortRotationResponse>, Status> {
        const RPC: &str = "AbortRotation";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let (permit, fingerprint, id) = self
            .rotation(peer, &message.new_key_fingerprint, &message.request_id)
            .map_err(|refusal| refused(RPC, peer, &refusal))?;
        let asked = abort_rotation::Request { fingerprint, dry_run: message.dry_run, id };
        let work = move |ledger: &mut _| abort_rotation(&permit, ledger, asked, message.new_data_keys);
        let aborted = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(rotation::aborted(aborted)))
    }

    async fn record_drill(
        &self,
        request: Request<RecordDrillRequest>,
    ) -> Result<Response<RecordDrillResponse>, Status> {
        const RPC: &str = "RecordDrill";
        let peer = peer(&request)?;
        let message = request.into_inner();
        let admitted = self.policy.admit(peer).map_err(|denied| refused(RPC, peer, &denied.into()))?;
        let permit = admitted.permit();
        let parsed = drill_kind(message.kind).and_then(|kind| {
            let fingerprint = request::fingerprint("fingerprint", &message.fingerprint)?;
            Ok((kind, fingerprint, request::request_id(&message.request_id)?))
        });
        let (kind, fingerprint, id) = parsed.map_err(|refusal| refused(RPC, peer, &refusal))?;
        let work = move |ledger: &mut _| record_drill(&permit, ledger, kind, fingerprint, id);
        let at = answer_from_writer(RPC, peer, self.writer.as_ref(), work).await?;
        Ok(Response::new(RecordDrillResponse { at }))
    }

    type BackupStream = BackupStream;

    async fn backup(&self, request: Request<BackupRequest>) -> Result<Response<BackupStream>, Status> {
        const RPC: &str = "Backup";
        let peer = peer(&request)?;
        let admitted = self.policy.admit(peer).map_err(|denied| refused(RPC, peer, &denied.into()))?;
        let (permit, writer) = (admitted.permit(), self.writer.as_ref());
        if request.get_ref().contents {
            let work = move |ledger: &mut _| contents(&permit, ledger);
            let (made, pieces) = answer_from_look(RPC, peer, writer, work).await?;
            return Ok(Response::new(backup::with_contents(&made, pieces)));
        }
        let made = answer_from_writer(RPC, peer, writer, move |ledger: &mut _| back_up(&permit, ledger)).await?;
        Ok(Response::new(backup::alone(&made)))
    }
}

fn purpose(purpose: i32) -> Result<(), Refusal> {
    match KeyPurpose::try_from(purpose) {
        Ok(KeyPurpose::Encrypt) => Ok(()),
        Ok(KeyPurpose::Unspecified) | Err(_) => Err(Refusal::invalid("purpose", "must be KEY_PURPOSE_ENCRYPT")),
    }
}

fn drill_kind(kind: i32) -> Result<DrillKind, Refusal> {
    match v1::DrillKind::try_from(kind) {
        Ok(v1::DrillKind::Key) => Ok(DrillKind::Key),
        Ok(v1::DrillKind::Restore) => Ok(DrillKind::Restore),
        Ok(v1::DrillKind::Unspecified) | Err(_) => {
            Err(Refusal::invalid("kind", "must be DRILL_KIND_KEY or DRILL_KIND_RESTORE"))
        }
    }
}

fn parse_list(message: &ListKeysRequest) -> Result<list_keys::Request, Refusal> {
    let page_size = match usize::try_from(message.page_size) {
        Ok(0) => MAX_PAGE,
        Ok(size) if size <= MAX_PAGE => size,
        _ => return Err(Refusal::invalid("page_size", format!("must be at most {MAX_PAGE}"))),
    };
    let key = (!message.key.is_empty()).then(|| request::key_name("key", &message.key)).transpose()?;
    let from = (!message.page_token.is_empty()).then(|| Position::parse(&message.page_token)).transpose()?;
    Ok(list_keys::Request { key, page_size, from, include_deleted: message.include_deleted })
}
