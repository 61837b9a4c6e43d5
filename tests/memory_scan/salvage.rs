//! A life of a daemon that only opens: `serve --salvage`, behind a life that sealed.
//!
//! Must never take a change for refused that was not. Called by `program`.

use crate::caller::Kind;
use crate::installation::{Installation, Start};
use crate::keys::{Keys, Outcome};
use crate::known::Known;
use crate::load::{Load, Markers, Older, admin, context, filled};
use crate::refused_admin::RefusedAdmin;
use crate::watch::{Kept, Seens, Watch, key, marker};
use base16ct::lower::encode_string as hex;
use servos_keyd::client::error::Error;
use std::path::Path;

/// Messages under each key that are sealed in the life before, and calls that open them, or legacy values.
const OLDER: usize = 8;
const OPENED: usize = 240;
/// How often each kind of change is refused, and each kind of call that seals.
const REFUSALS: usize = 40;

pub async fn life(binary: &Path, kept: Kept) -> Outcome<Seens> {
    let (master, legacy, refused) = (key()?, key()?, key()?);
    let markers = Markers { load: marker()?, refused: marker()?, legacy: marker()? };
    let (mut keys, mut known) = (Keys::default(), Known::default());
    keys.add_master("master key", master, &mut known);
    known.add_key("key of refused requests", &refused);
    known.add_marker("plaintext of the load", &markers.load);
    known.add_marker("plaintext of refused calls", &markers.refused);
    known.add_marker("plaintext of legacy values", &markers.legacy);
    let installation = Installation::make(binary, &master)?;
    let (component_socket, admin_socket) = (installation.path("keyd.sock"), installation.path("admin.sock"));
    let before = installation.serve(&Start::default())?;
    admin(&admin_socket).adopt_legacy_key(hex(&legacy).as_bytes()).await?;
    let sealing = Load::new(&component_socket, markers, &legacy, Vec::new());
    let older = sealing.seal_some(OLDER).await?;
    drop((sealing, before));

    let daemon = installation.serve(&Start { salvage: true, ..Start::default() })?;
    let mut watch = Watch::new(installation, daemon, kept, keys, known)?;
    for message in &older {
        watch.learn_message("key of a message that is only opened", &message.sealed)?;
    }
    watch.look("only opening: at start", true)?;
    let load = Load::new(&component_socket, markers, &legacy, older);
    for (kind, name) in [(Kind::DecryptOlder, "Decrypt of older"), (Kind::LegacyDecrypt, "legacy Decrypt")] {
        let answered = load.run_alone(kind, OPENED).await?;
        watch.seens.count(answered);
        watch.look(&format!("only opening: right after {OPENED} calls of {name} alone"), false)?;
    }
    refuse_sealing(&load).await?;
    RefusedAdmin { component_socket, admin_socket, master, legacy, refused }.by_the_state(REFUSALS).await?;
    watch.idle("only opening: after sealing, and changes with a key, were refused").await?;
    drop(load);
    watch.end()
}

/// Calls that would seal.
async fn refuse_sealing(load: &Load) -> Outcome<()> {
    let plaintext = filled(&load.markers.refused, 2_000);
    for turn in 0..REFUSALS {
        let client = &load.clients[turn % load.clients.len()];
        let Older { key, sealed, .. } = load.older(turn);
        for told in [
            client.encrypt(key, &plaintext, &context()).await.map(drop),
            client.reencrypt(key, sealed, &context()).await.map(drop),
        ] {
            if !matches!(told, Err(Error::Precondition { .. })) {
                return Err(format!("sealing was answered otherwise: {told:?}").into());
            }
        }
    }
    Ok(())
}
