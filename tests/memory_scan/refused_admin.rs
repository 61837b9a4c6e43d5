//! Administration that is refused, with a key in the request.
//!
//! Must never let one of these keys be taken. Called by `moments`.

use crate::keys::{Outcome, fingerprint};
use crate::load::admin;
use crate::wire::{call, connect_as};
use base16ct::lower::encode_string as hex;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_admin::AdminClient;
use servos_keyd::client::rotation::BeginRotation;
use servos_keyd::proto::v1;
use std::fmt::Debug;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use tonic::Code;

const ADOPT: &str = "/servos.keyd.v1.KeyAdmin/AdoptLegacyKey";
const CREATE: &str = "/servos.keyd.v1.KeyAdmin/CreateKey";
const ROTATE: &str = "/servos.keyd.v1.KeyAdmin/Rotate";
/// A user without any right.
const STRANGER: u32 = 4_711;
/// More than may wait for the disk. Whether it comes to that goes by how many of a user's calls are let in at once.
pub const AT_ONCE: usize = 200;

/// The keys that refused requests carry, and where to.
pub struct RefusedAdmin {
    pub component_socket: PathBuf,
    pub admin_socket: PathBuf,
    /// In use as master key.
    pub master: [u8; 32],
    /// Held as legacy key.
    pub legacy: [u8; 32],
    /// Never taken.
    pub refused: [u8; 32],
}

/// One was refused, as it must be.
fn expected(refused: bool, told: &dyn Debug) -> Outcome<()> {
    if refused { Ok(()) } else { Err(format!("it was answered otherwise: {told:?}").into()) }
}

/// Begins a rotation with this text of a key.
async fn begin(operator: &AdminClient, named: &[u8; 32], text: &[u8]) -> Result<(), Error> {
    let name = hex(&fingerprint(named));
    let begin = BeginRotation { new_key_fingerprint: &name, new_key: Some(text), ..BeginRotation::default() };
    operator.rotate(&begin).await.map(drop)
}

impl RefusedAdmin {
    /// Rotations of the master key that do not begin.
    pub async fn rotations(&self, times: usize) -> Outcome<()> {
        let operator = admin(&self.admin_socket);
        let text = hex(&self.refused).into_bytes();
        let garbled = [&text[..], b"!"].concat();
        for _ in 0..times {
            for (named, text) in [(&self.legacy, &text[..]), (&self.refused, &text[..63]), (&self.refused, &garbled)] {
                let told = begin(&operator, named, text).await;
                expected(matches!(told, Err(Error::Invalid { .. } | Error::Precondition { .. })), &told)?;
            }
            // The key in use, and one that was in use before.
            for key in [&self.master, &self.legacy] {
                let told = begin(&operator, key, hex(key).as_bytes()).await;
                expected(matches!(told, Err(Error::Precondition { .. })), &told)?;
            }
            let told = operator.rotate(&BeginRotation::default()).await.map(drop);
            expected(told.is_err(), &told)?;
        }
        Ok(())
    }

    /// Legacy keys that are not adopted: of bad form, or under the id of another request.
    pub async fn adoptions(&self, times: usize) -> Outcome<()> {
        let operator = admin(&self.admin_socket);
        let text = hex(&self.refused);
        for _ in 0..times {
            for text in [&text.as_bytes()[..63], format!("{text}0").as_bytes()] {
                let told = operator.adopt_legacy_key(text).await;
                expected(matches!(told, Err(Error::Invalid { .. } | Error::Precondition { .. })), &told)?;
            }
        }
        let id = "6b1c8d4e-5f0a-4c53-9d2f-3f1e7a9b2c10".to_owned();
        let create = v1::CreateKeyRequest {
            name: "id-used-before".to_owned(),
            purpose: v1::KeyPurpose::Encrypt.into(),
            request_id: id.clone(),
        };
        let connect = || UnixStream::connect(&self.admin_socket);
        call::<_, v1::CreateKeyResponse>(connect()?, CREATE, create).await?;
        let adopt = v1::AdoptLegacyKeyRequest { legacy_key: text.into_bytes(), request_id: id };
        let told = call::<_, v1::AdoptLegacyKeyResponse>(connect()?, ADOPT, adopt).await.map(drop);
        expected(told.as_ref().is_err_and(|status| status.code() == Code::InvalidArgument), &told)
    }

    /// Many changes at once, each with a key that is held already; gives how many were shed.
    pub async fn at_once(&self) -> Outcome<usize> {
        let operator = admin(&self.admin_socket);
        let mut calls = Vec::new();
        for _ in 0..AT_ONCE {
            let (operator, text) = (operator.clone(), hex(&self.legacy));
            calls.push(tokio::spawn(async move { operator.adopt_legacy_key(text.as_bytes()).await.map(drop) }));
        }
        let mut shed = 0;
        for one in calls {
            let told = one.await?;
            shed += usize::from(matches!(told, Err(Error::Busy { .. })));
            expected(matches!(told, Ok(()) | Err(Error::Busy { .. } | Error::AlreadyExists { .. })), &told)?;
        }
        Ok(shed)
    }

    /// Calls that the policy does not allow, or that the socket does not serve.
    pub async fn denied(&self, times: usize) -> Outcome<()> {
        let text = hex(&self.refused).into_bytes();
        let (name, elsewhere) = (hex(&fingerprint(&self.refused)), admin(&self.component_socket));
        for _ in 0..times {
            let request = v1::RotateRequest {
                new_key_fingerprint: name.clone(),
                new_key: text.clone(),
                ..v1::RotateRequest::default()
            };
            let stream = connect_as(STRANGER, &self.admin_socket)?;
            let told = call::<_, v1::RotateResponse>(stream, ROTATE, request).await.map(drop);
            expected(told.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied), &told)?;
            let request = v1::AdoptLegacyKeyRequest { legacy_key: text.clone(), request_id: String::new() };
            let stream = connect_as(STRANGER, &self.admin_socket)?;
            let told = call::<_, v1::AdoptLegacyKeyResponse>(stream, ADOPT, request).await.map(drop);
            expected(told.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied), &told)?;
            for told in
                [begin(&elsewhere, &self.refused, &text).await, elsewhere.adopt_legacy_key(&text).await.map(drop)]
            {
                expected(matches!(told, Err(Error::NotServed { .. })), &told)?;
            }
        }
        Ok(())
    }

    /// What waits for the end of the rotation that is pending, and another rotation.
    pub async fn while_one_is_pending(&self, times: usize) -> Outcome<()> {
        let operator = admin(&self.admin_socket);
        let text = hex(&self.refused);
        for _ in 0..times {
            let told = begin(&operator, &self.refused, text.as_bytes()).await;
            expected(matches!(told, Err(Error::Precondition { .. })), &told)?;
            let told = operator.adopt_legacy_key(text.as_bytes()).await.map(drop);
            expected(matches!(told, Err(Error::Precondition { .. })), &told)?;
        }
        Ok(())
    }
}
