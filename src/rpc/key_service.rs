//! The handlers of `KeyService`: each admits the peer, parses the request, calls its operation, answers.
//!
//! Must never do more than that: what a call means stands in its file under `operations`.
//! Called by `connection`.

use super::answer::{answer, answer_from_look, peer, refused};
use super::budget::charged;
use super::status::too_much;
use super::{convert, request};
use crate::auth::policy::Policy;
use crate::operations::decrypt::{self, decrypt};
use crate::operations::encrypt::{self, encrypt};
use crate::operations::engine::Engine;
use crate::operations::export_keyring::{Export, export_keyring};
use crate::operations::issue_canary::issue_canary;
use crate::operations::reencrypt::{Label, Rights, reencrypt};
use crate::operations::verify_canary::{verify_client, verify_own};
use crate::operations::whoami::whoami;
use crate::operations::writer::Writer;
use crate::proto::v1::key_service_server::KeyService;
use crate::proto::v1::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, ExportKeyringRequest, ExportKeyringResponse,
    IssueCanaryRequest, IssueCanaryResponse, ReEncryptRequest, ReEncryptResponse, VerifyCanaryRequest,
    VerifyCanaryResponse, WhoAmIRequest, WhoAmIResponse,
};
use std::pin::Pin;
use std::sync::Arc;
use tonic::codegen::tokio_stream::{self, Stream};
use tonic::{Request, Response, Status};

/// Serves `KeyService`. Cheap to clone.
#[derive(Clone)]
pub struct KeyServiceHandler {
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// The keyring and what calls need beside it.
    pub engine: Arc<Engine>,
    /// The way to the store; none under salvage.
    pub writer: Option<Writer>,
}

type ExportStream = Pin<Box<dyn Stream<Item = Result<ExportKeyringResponse, Status>> + Send>>;

#[tonic::async_trait]
impl KeyService for KeyServiceHandler {
    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let peer = peer(&request)?;
        let message = request.get_ref();
        answer("Encrypt", peer, || {
            let admission = self.policy.admit(peer)?;
            let sealed = encrypt(
                &admission,
                &self.engine,
                &encrypt::Request {
                    key: &request::key_name("key", &message.key)?,
                    plaintext: &message.plaintext,
                    context: &request::context("context", &message.context)?,
                    allow_nested: message.allow_nested,
                },
            )?;
            Ok(convert::sealed(sealed))
        })
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let peer = peer(&request)?;
        let message = request.get_ref();
        answer("Decrypt", peer, || {
            let admission = self.policy.admit(peer)?;
            let opened = decrypt(
                &admission,
                &self.engine,
                &decrypt::Request {
                    expected_key: request::expected_key(&message.key)?,
                    ciphertext: &message.ciphertext,
                    context: &request::context("context", &message.context)?,
                    allow_legacy: message.allow_legacy,
                },
            )?;
            Ok(convert::opened(opened))
        })
    }

    async fn re_encrypt(&self, request: Request<ReEncryptRequest>) -> Result<Response<ReEncryptResponse>, Status> {
        let peer = peer(&request)?;
        let message = request.get_ref();
        answer("ReEncrypt", peer, || {
            let rights = Rights {
                reencrypt: self.policy.admit(peer)?,
                decrypt: self.policy.admit(peer)?,
                encrypt: self.policy.admit(peer)?,
                relabel: self.policy.admit(peer),
            };
            let label = match &message.relabel {
                None => None,
                Some(label) => Some(Label {
                    key: request::key_name("relabel.key", &label.key)?,
                    context: request::context("relabel.context", &label.context)?,
                }),
            };
            let source = decrypt::Request {
                expected_key: request::expected_key(&message.key)?,
                ciphertext: &message.ciphertext,
                context: &request::context("context", &message.context)?,
                allow_legacy: message.allow_legacy,
            };
            reencrypt(&rights, &self.engine, &source, label.as_ref()).map(convert::moved)
        })
    }

    async fn verify_canary(
        &self,
        request: Request<VerifyCanaryRequest>,
    ) -> Result<Response<VerifyCanaryResponse>, Status> {
        const RPC: &str = "VerifyCanary";
        let peer = peer(&request)?;
        let admitted = self.policy.admit(peer).map_err(|denied| refused(RPC, peer, &denied.into()))?;
        let permit = admitted.permit();
        let canary = request::canary(&request.get_ref().canary).map_err(|refusal| refused(RPC, peer, &refusal))?;
        if let Some(canary) = canary {
            return answer(RPC, peer, || {
                let finding = verify_client(&permit, &self.engine, &canary);
                Ok(convert::canary(finding, &self.engine.keyring()))
            });
        }
        let own = answer_from_look(RPC, peer, self.writer.as_ref(), move |ledger| verify_own(&permit, ledger));
        let finding = own.await?;
        answer(RPC, peer, || Ok(convert::canary(finding, &self.engine.keyring())))
    }

    async fn issue_canary(
        &self,
        request: Request<IssueCanaryRequest>,
    ) -> Result<Response<IssueCanaryResponse>, Status> {
        let peer = peer(&request)?;
        answer("IssueCanary", peer, || {
            let canary = issue_canary(&self.policy.admit(peer)?.permit(), &self.engine)?;
            Ok(IssueCanaryResponse { canary: canary.to_vec() })
        })
    }

    type ExportKeyringStream = ExportStream;

    async fn export_keyring(&self, request: Request<ExportKeyringRequest>) -> Result<Response<ExportStream>, Status> {
        const RPC: &str = "ExportKeyring";
        let peer = peer(&request)?;
        let admitted = self.policy.admit(peer).map_err(|denied| refused(RPC, peer, &denied.into()))?;
        let permit = admitted.permit();
        let export =
            answer_from_look(RPC, peer, self.writer.as_ref(), move |ledger| export_keyring(&permit, ledger)).await?;
        // Held until the caller has taken the last of it.
        let bytes = usize::try_from(export.pieces.bytes()).unwrap_or(usize::MAX);
        if !charged(request.extensions(), bytes) {
            return Err(too_much());
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(messages(export)))))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let peer = peer(&request)?;
        answer("WhoAmI", peer, || {
            let admission = self.policy.admit(peer)?;
            Ok(convert::identity(&whoami(&admission, &self.policy)))
        })
    }
}

/// The messages of an export, the last one marked.
fn messages(export: Export) -> impl Iterator<Item = Result<ExportKeyringResponse, Status>> + Send {
    let Export { pieces, generation } = export;
    let mut pieces = pieces.peekable();
    std::iter::from_fn(move || {
        let data = pieces.next()?;
        Some(Ok(ExportKeyringResponse { data, generation, complete: pieces.peek().is_none() }))
    })
}
