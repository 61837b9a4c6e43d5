//! Administration that is refused, with a key in the request.
//!
//! Must never let one of these keys be taken. Called by `moments` and `salvage`.

use crate::keys::{Outcome, fingerprint};
use crate::load::{DEADLINE, admin};
use crate::wire::{call, connect_as};
use base16ct::lower::encode_string as hex;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_admin::AdminClient;
use servos_keyd::client::key_service::Client;
use servos_keyd::client::rotation::BeginRotation;
use servos_keyd::proto::v1;
use std::fmt::Debug;
use std::fs::rename;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::Code;

const ADOPT: &str = "/servos.keyd.v1.KeyAdmin/AdoptLegacyKey";
const CREATE: &str = "/servos.keyd.v1.KeyAdmin/CreateKey";
const ROTATE: &str = "/servos.keyd.v1.KeyAdmin/Rotate";
/// A user without any right.
const STRANGER: u32 = 4_711;
/// Changes at once, each on a connection of its own: more than are served of one user, fewer than a user's connections.
const AT_ONCE: usize = 96;
/// Looks of components, as many as may wait: with them more waits for the writer than there are places.
const LOOKERS: usize = 32;
/// How often so many changes are made until some are shed.
const ROUNDS: usize = 100;
/// More than the daemon lets pass between two looks whether its store is back.
const PATIENCE: Duration = Duration::from_secs(90);

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

/// Has the writer look at what it has, again and again.
async fn look_while(client: Client, goes_on: Arc<AtomicBool>) -> Outcome<()> {
    while goes_on.load(Ordering::Relaxed) {
        let told = client.export_keyring().await.map(drop);
        expected(matches!(told, Ok(()) | Err(Error::Busy { .. })), &told)?;
    }
    Ok(())
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

    /// Many changes at once, each with a key that is held already, while components look at what the writer has, until
    /// some adoptions and some rotations were shed; gives how many changes were made, and how many of them shed.
    ///
    /// # Errors
    /// None of one kind was shed: the moment would show nothing.
    pub async fn at_once(&self) -> Outcome<(usize, usize)> {
        let goes_on = Arc::new(AtomicBool::new(true));
        let mut lookers = JoinSet::new();
        for _ in 0..LOOKERS {
            let client = Client::new(&self.component_socket).with_deadline(DEADLINE);
            lookers.spawn(look_while(client, Arc::clone(&goes_on)));
        }
        let (mut rounds, mut adoptions, mut rotations) = (0, 0, 0);
        while rounds < ROUNDS && (adoptions == 0 || rotations == 0) {
            let shed = self.one_round().await?;
            (rounds, adoptions, rotations) = (rounds + 1, adoptions + shed.0, rotations + shed.1);
        }
        goes_on.store(false, Ordering::Relaxed);
        while let Some(looker) = lookers.join_next().await {
            looker??;
        }
        let made = rounds * AT_ONCE;
        println!("of {made} changes at once, {adoptions} adoptions and {rotations} rotations were shed");
        if adoptions == 0 || rotations == 0 {
            return Err(format!("of {made} changes at once, no adoption or no rotation was shed").into());
        }
        Ok((made, adoptions + rotations))
    }

    /// Gives how many adoptions and how many rotations were shed.
    async fn one_round(&self) -> Outcome<(usize, usize)> {
        let mut calls = JoinSet::new();
        for number in 0..AT_ONCE {
            let (operator, key) = (admin(&self.admin_socket), self.legacy);
            calls.spawn(async move {
                let text = hex(&key);
                match number % 2 {
                    0 => (true, operator.adopt_legacy_key(text.as_bytes()).await.map(drop)),
                    _ => (false, begin(&operator, &key, text.as_bytes()).await),
                }
            });
        }
        let (mut adoptions, mut rotations) = (0, 0);
        while let Some(call) = calls.join_next().await {
            let (adopts, told) = call?;
            match (adopts, &told) {
                (true, Err(Error::Busy { .. })) => adoptions += 1,
                (false, Err(Error::Busy { .. })) => rotations += 1,
                // It is held, and has been a legacy key before.
                (true, Ok(())) | (false, Err(Error::Precondition { .. })) => {}
                _ => expected(false, &told)?,
            }
        }
        Ok((adoptions, rotations))
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

    /// Changes while the store is moved away; returns when it is back, and changes are taken again.
    pub async fn while_the_store_fails(&self, store: &Path, times: usize) -> Outcome<()> {
        let away = store.with_extension("away");
        rename(store, &away)?;
        let refused = self.changes_unavailable(times).await;
        rename(&away, store)?;
        refused?;
        let (operator, began) = (admin(&self.admin_socket), Instant::now());
        while let Err(error) = operator.adopt_legacy_key(hex(&self.legacy).as_bytes()).await {
            if !matches!(error, Error::StoreUnavailable { .. }) || began.elapsed() > PATIENCE {
                return Err(format!("the store is back, and no change is taken: {error}").into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // None of what was refused was done all the same.
        let status = operator.status().await?;
        let (rotates, legacy_keys) = (status.rotation.is_some(), status.legacy_keys.len());
        expected(!rotates && legacy_keys == 1, &(rotates, legacy_keys))
    }

    async fn changes_unavailable(&self, times: usize) -> Outcome<()> {
        let operator = admin(&self.admin_socket);
        let text = hex(&self.refused);
        for _ in 0..times {
            let told = operator.adopt_legacy_key(text.as_bytes()).await.map(drop);
            expected(matches!(told, Err(Error::StoreUnavailable { .. })), &told)?;
            let told = begin(&operator, &self.refused, text.as_bytes()).await;
            expected(matches!(told, Err(Error::StoreUnavailable { .. })), &told)?;
        }
        Ok(())
    }

    /// Adoptions and rotations that the state of the daemon does not allow: a rotation is pending, or it only opens.
    pub async fn by_the_state(&self, times: usize) -> Outcome<()> {
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
