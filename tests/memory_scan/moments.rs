//! The life of one released daemon, and the moments at which all of its memory is searched.
//!
//! Must never lead it through less than what it is used for, refusals among it. Called by `program`.

use crate::caller::{KINDS, Kind};
use crate::installation::{Installation, Start};
use crate::keys::{Keys, Outcome, fingerprint};
use crate::known::Known;
use crate::load::{Load, Markers, Older, context};
use crate::refusals::{RefusedCall, refuse};
use crate::refused_admin::RefusedAdmin;
use crate::watch::{Kept, Seens, Watch, key, marker};
use base16ct::lower::encode_string as hex;
use servos_keyd::client::error::Error;
use servos_keyd::client::key_admin::AdminClient;
use servos_keyd::client::key_name::KeyName;
use servos_keyd::client::rotation::{AbortRotation, BeginRotation};
use std::path::Path;

/// How often each kind of call is refused on each connection.
const REFUSALS: usize = 40;
/// Calls of one kind alone, over all connections.
const ALONE: usize = 240;
/// The other lives leave the daemon its own ten.
const IDLE_SECONDS: u64 = 2;
/// Messages under each key that are sealed in a life before.
const OLDER: usize = 8;

/// The keys that come from outside.
struct Given {
    master: [u8; 32],
    next: [u8; 32],
    aborted: [u8; 32],
    legacy: [u8; 32],
    refused: [u8; 32],
}

/// Leads a daemon through everything, and another through a start with its key in the environment.
pub async fn all(binary: &Path, kept: Kept, calls: usize) -> Outcome<Seens> {
    let mut seens = one_life(binary, kept, calls).await?;
    let (master, mut known, mut keys) = (key()?, Known::default(), Keys::default());
    keys.add_master("master key", master, &mut known);
    let installation = Installation::make(binary, &master)?;
    let environment = vec![("SERVOS_MASTER_KEY", hex(&master))];
    let daemon = installation.serve(&Start { environment, ..Start::default() })?;
    let mut watch = Watch::new(installation, daemon, kept, keys, known)?;
    watch.look("at start, key in the environment", true)?;
    seens.add(watch.end()?);
    Ok(seens)
}

async fn one_life(binary: &Path, kept: Kept, calls: usize) -> Outcome<Seens> {
    let given = Given { master: key()?, next: key()?, aborted: key()?, legacy: key()?, refused: key()? };
    let markers = Markers { load: marker()?, refused: marker()?, legacy: marker()? };
    let (mut watch, older) = start(binary, kept, &given, &markers).await?;
    watch.look("at start", true)?;

    let operator = watch.operator();
    operator.adopt_legacy_key(hex(&given.legacy).as_bytes()).await?;
    watch.idle("after a legacy key was adopted").await?;

    let load = Load::new(&watch.installation.path("keyd.sock"), markers, &given.legacy, older);
    let answered = load.run(calls).await?;
    watch.seens.count(answered);
    watch.learn(&load).await?;
    watch.look("right after the calls", false)?;
    watch.idle(&format!("after {calls} calls over 8 connections")).await?;

    watch.each_kind_alone(&load).await?;
    for (kind, name) in RefusedCall::ALL {
        refuse(&load, kind, REFUSALS).await?;
        watch.learn(&load).await?;
        watch.idle(name).await?;
    }
    let refused = watch.refuse_administration(&given).await?;
    watch.a_short_lived_key(&load, &operator).await?;
    watch.rotate(&load, &operator, &given, &refused).await?;
    let answered = load.run(calls / 10).await?;
    watch.seens.count(answered);
    watch.learn(&load).await?;
    operator.retire_legacy_key(&hex(&fingerprint(&given.legacy))).await?;
    drop((load, operator));
    watch.idle("after all connections were closed").await?;
    watch.end()
}

/// A daemon that has just started, and messages of the one before it.
async fn start(binary: &Path, kept: Kept, given: &Given, markers: &Markers) -> Outcome<(Watch, Vec<Older>)> {
    let (mut keys, mut known) = (Keys::default(), Known::default());
    known.add_marker("plaintext of the load", &markers.load);
    known.add_marker("plaintext of refused calls", &markers.refused);
    known.add_marker("plaintext of legacy values", &markers.legacy);
    known.add_key("legacy key", &given.legacy);
    known.add_key("key of refused requests", &given.refused);
    keys.add_master("master key", given.master, &mut known);
    keys.add_master("master key to come", given.next, &mut known);
    keys.add_master("master key never taken", given.aborted, &mut known);
    let mut installation = Installation::make(binary, &given.master)?;
    installation.close_idle_connections_after(IDLE_SECONDS)?;
    let before = installation.serve(&Start::default())?;
    let sealing = Load::new(&installation.path("keyd.sock"), *markers, &given.legacy, Vec::new());
    let older = sealing.seal_some(OLDER).await?;
    drop((sealing, before));
    let daemon = installation.serve(&Start::default())?;
    let mut watch = Watch::new(installation, daemon, kept, keys, known)?;
    for message in &older {
        watch.learn_message("key of a message that is only opened", &message.sealed)?;
    }
    Ok((watch, older))
}

impl Watch {
    /// Each kind of call that handles a key, made alone: what it leaves is not cleared by one of another kind.
    async fn each_kind_alone(&mut self, load: &Load) -> Outcome<()> {
        for (kind, name, _) in KINDS.into_iter().filter(|(kind, ..)| *kind != Kind::WhoAmI) {
            let answered = load.run_alone(kind, ALONE).await?;
            self.seens.count(answered);
            self.learn_messages(load)?;
            self.look(&format!("right after {ALONE} calls of {name} alone"), false)?;
        }
        Ok(())
    }

    /// All administration that is refused with a key in the request.
    async fn refuse_administration(&mut self, given: &Given) -> Outcome<RefusedAdmin> {
        let refused = RefusedAdmin {
            component_socket: self.installation.path("keyd.sock"),
            admin_socket: self.installation.path("admin.sock"),
            master: given.master,
            legacy: given.legacy,
            refused: given.refused,
        };
        refused.rotations(REFUSALS).await?;
        self.idle("after rotations that did not begin, with the key in the request").await?;
        refused.adoptions(REFUSALS).await?;
        self.idle("after legacy keys that were refused").await?;
        refused.denied(REFUSALS).await?;
        self.idle("after administration that was denied, with a key in the request").await?;
        let (made, shed) = refused.at_once().await?;
        self.idle(&format!("after {made} changes at once with a key, of which {shed} were shed")).await?;
        refused.while_the_store_fails(&self.installation.path("keyd.redb"), REFUSALS).await?;
        self.idle("after changes with a key while the store was moved away").await?;
        Ok(refused)
    }

    /// A key that is made, rotated and deleted, and a message under it that nobody opens any more.
    async fn a_short_lived_key(&mut self, load: &Load, operator: &AdminClient) -> Outcome<()> {
        let name = KeyName::new("short-lived")?;
        operator.create_key(&name).await?;
        operator.rotate_key(&name).await?;
        let sealed = load.clients[0].encrypt(&name, &load.markers.refused, &context()).await?.ciphertext;
        load.note(&sealed);
        self.learn(load).await?;
        operator.delete_key(&name).await?;
        let told = load.clients[0].decrypt(&name, &sealed, &context()).await.map(drop);
        if !matches!(told, Err(Error::Precondition { .. } | Error::Rejected)) {
            return Err(format!("a message of a deleted key was answered otherwise: {told:?}").into());
        }
        self.idle("after a key was made, rotated and deleted").await
    }

    /// A rotation that is aborted, whose key came in the call; then one that is finished, whose key came from a file.
    async fn rotate(
        &mut self,
        load: &Load,
        operator: &AdminClient,
        given: &Given,
        refused: &RefusedAdmin,
    ) -> Outcome<()> {
        let (text, name) = (hex(&given.aborted), hex(&fingerprint(&given.aborted)));
        let begin =
            BeginRotation { new_key_fingerprint: &name, new_key: Some(text.as_bytes()), ..BeginRotation::default() };
        operator.rotate(&begin).await?;
        self.learn(load).await?;
        self.idle("after the begin of a rotation").await?;
        refused.by_the_state(REFUSALS).await?;
        self.idle("after changes that were refused while it was pending").await?;
        operator.abort_rotation(&AbortRotation { new_key_fingerprint: &name, ..AbortRotation::default() }).await?;
        self.rotated().await?;
        self.learn(load).await?;
        self.idle("after its abort").await?;

        let name = hex(&fingerprint(&given.next));
        self.installation.write_key("master.key.next", &given.next)?;
        operator.rotate(&BeginRotation { new_key_fingerprint: &name, ..BeginRotation::default() }).await?;
        self.learn(load).await?;
        self.idle("after the begin of another").await?;
        self.installation.write_key("master.key", &given.next)?;
        operator.finish_rotation(&name, false).await?;
        self.rotated().await?;
        self.learn(load).await?;
        self.idle("after its finish").await
    }
}
