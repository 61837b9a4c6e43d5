//! The self-test: a message sealed and opened with the live keys, before anything is served.
//!
//! Must never leave a trace: what it seals is thrown away and counted nowhere.
//! Called by `cli` at a start.

use super::keyring::Keyring;
use super::refusal::Refusal;
use crate::custody::context::Context;
use crate::custody::message;
use crate::custody::random::Random;

/// Seals and opens a message under the primary version of every key in use.
///
/// # Errors
/// [`Refusal::Damaged`] names the key whose version does not open what it sealed; [`Refusal::Random`].
pub fn run(keyring: &Keyring, random: &Random) -> Result<(), Refusal> {
    const PROBE: &[u8] = b"servos-keyd self-test";
    let context = Context::empty();
    for (name, id) in keyring.names.iter() {
        let Some(version) = keyring.keys.get(id).and_then(|key| key.versions.get(key.primary)) else { continue };
        let sealed = message::seal(&version.secret, &context, PROBE, random)?;
        let opened = message::open(&version.secret, &context, &sealed);
        if !opened.is_ok_and(|plaintext| plaintext.as_slice() == PROBE) {
            return Err(Refusal::Damaged(format!("the primary version of {name} does not open what it sealed")));
        }
    }
    Ok(())
}
