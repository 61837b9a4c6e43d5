//! A life where memfd_secret is refused: the keys lie in locked pages, where each is found, and nowhere else.
//!
//! Must never drop a key: all that were ever held are to be found. Called by `program`.

use crate::installation::{Installation, Start};
use crate::keys::{Keys, Outcome};
use crate::known::Known;
use crate::load::{Load, Markers};
use crate::watch::{Kept, Seens, Watch, key, marker};
use servos_keyd::client::key_name::KeyName;
use servos_keyd::operations::create::FIRST_KEYS;
use std::path::Path;

/// Of all calls, these are made here.
const PART: usize = 20;
const LEAST_CALLS: usize = 2_000;

pub async fn life(binary: &Path, calls: usize) -> Outcome<Seens> {
    let calls = (calls / PART).max(LEAST_CALLS);
    let (master, legacy, marker) = (key()?, key()?, marker()?);
    let (mut keys, mut known) = (Keys::default(), Known::default());
    keys.add_master("master key", master, &mut known);
    known.add_key("legacy key", &legacy);
    known.add_marker("plaintext of the load", &marker);
    let installation = Installation::make(binary, &master)?;
    let daemon = installation.serve(&Start { without_memfd_secret: true, ..Start::default() })?;
    let mut watch = Watch::new(installation, daemon, Kept::EachInLockedPages, keys, known)?;
    each_is_owed(&watch.keys, &["identity", "master key", "root key"], FIRST_KEYS.len())?;
    watch.look("memfd_secret refused: at start", true)?;
    let operator = watch.operator();
    operator.adopt_legacy_key(base16ct::lower::encode_string(&legacy).as_bytes()).await?;
    let markers = Markers { load: marker, refused: marker, legacy: marker };
    let load = Load::new(&watch.installation.path("keyd.sock"), markers, &legacy, Vec::new());
    let answered = load.run(calls).await?;
    watch.seens.count(answered);
    operator.rotate_key(&KeyName::new("default")?).await?;
    watch.learn(&load).await?;
    each_is_owed(&watch.keys, &["identity", "legacy key", "master key", "root key"], FIRST_KEYS.len() + 1)?;
    watch.idle(&format!("memfd_secret refused: after {calls} calls")).await?;
    drop((load, operator));
    watch.end()
}

/// What must be found is all that the daemon holds: these keys, and so many versions.
fn each_is_owed(keys: &Keys, others: &[&str], versions: usize) -> Outcome<()> {
    let (of_versions, mut rest): (Vec<&str>, Vec<&str>) = keys.held().partition(|name| name.starts_with("version "));
    rest.sort_unstable();
    if rest == others && of_versions.len() == versions {
        Ok(())
    } else {
        Err(format!("other keys are known than the daemon holds: {rest:?}, {of_versions:?}").into())
    }
}
