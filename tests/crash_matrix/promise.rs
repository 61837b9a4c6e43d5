//! What was acknowledged, and when: states that were published, and values that were sealed under them.
//!
//! Must never promise more than a caller could know at that moment.
//! Filled by the recorder; held against every disk that a cut left.

use super::room::{NEW, OLD, Room, STRANGER, context, peer};
use servos_keyd::auth::key_name::KeyName;
use servos_keyd::auth::policy::Policy;
use servos_keyd::custody::keys::MasterKey;
use servos_keyd::operations::engine::Engine;
use servos_keyd::operations::keyring::Keyring;
use servos_keyd::operations::load;
use servos_keyd::operations::refusal::Refusal;
use servos_keyd::operations::start_failure::StartFailure;
use servos_keyd::operations::{decrypt, encrypt};
use servos_keyd::store::port::Snapshot;
use std::collections::BTreeSet;

/// The keys whose values are watched: one that nothing happens to but by rotations, one that operations change, and one
/// that they make.
pub const WATCHED: [&str; 3] = ["default", "changing", "made"];

/// A state of the store that calls saw.
#[derive(Clone, Debug)]
pub struct State {
    /// So many operations of the disk were done when it was first seen.
    pub at: usize,
    pub generation: u64,
    /// The fingerprints of the master keys that open it.
    pub opens: BTreeSet<String>,
    names: BTreeSet<String>,
    legacy: BTreeSet<String>,
    picture: Vec<String>,
}

impl State {
    pub fn of(keyring: &Keyring, at: usize) -> Self {
        let opens = match &keyring.rotation {
            Some(rotation) => rotation.opens(),
            None => vec![keyring.master.fingerprint],
        };
        Self {
            at,
            generation: keyring.generation,
            opens: opens.iter().map(ToString::to_string).collect(),
            names: keyring.names.keys().map(ToString::to_string).collect(),
            legacy: keyring.legacy.iter().map(|legacy| legacy.fingerprint.to_string()).collect(),
            picture: picture(keyring),
        }
    }
}

/// Everything of a keyring but its secrets.
fn picture(keyring: &Keyring) -> Vec<String> {
    let Keyring { store_id, generation, rotations, gaps, master, rotation, drills, .. } = keyring;
    let newest = keyring.keyring;
    let mut lines =
        vec![format!("{store_id} {generation} {newest} {rotations} {gaps:?} {master:?} {rotation:?} {drills:?}")];
    for key in keyring.keys.values() {
        lines.push(format!("{} {} {} {} {}", key.id, key.name, key.primary, key.promoting, key.deleted));
        for version in key.versions.iter() {
            // The versions of a deleted key are disabled at once in memory, and one by one in the store.
            let state = (!key.is_deleted()).then_some(version.state);
            lines.push(format!("{} {} {} {state:?}", version.id, version.key, version.number));
        }
    }
    lines.extend(keyring.legacy.iter().map(|legacy| format!("legacy {}", legacy.fingerprint)));
    lines.sort();
    lines
}

/// A value that a caller holds.
#[derive(Clone, Debug)]
pub struct Value {
    pub at: usize,
    /// The key's name; of a legacy value, the fingerprint of its key.
    key: String,
    is_legacy: bool,
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl Value {
    /// One under each of the watched keys that can seal.
    pub fn seal_some(engine: &Engine, at: usize) -> Vec<Self> {
        let policy = Policy::new(0);
        let admission = policy.admit(peer()).unwrap();
        let mut values = Vec::new();
        for name in WATCHED {
            let plaintext = format!("a secret of {name} at {}", engine.keyring().generation).into_bytes();
            let (key, context) = (KeyName::parse(name).unwrap(), context());
            let request = encrypt::Request { key: &key, plaintext: &plaintext, context: &context, allow_nested: false };
            if let Ok(sealed) = encrypt::encrypt(&admission, engine, &request) {
                values.push(Self {
                    at,
                    key: name.to_owned(),
                    is_legacy: false,
                    plaintext,
                    ciphertext: sealed.ciphertext,
                });
            }
        }
        values
    }

    /// One from before the daemon, under a raw key.
    pub fn legacy(key_hex: &str, fingerprint: &str) -> Self {
        use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
        let key = base16ct::lower::decode_vec(key_hex).unwrap();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let plaintext = b"a secret from before".to_vec();
        let mut sealed = plaintext.clone();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key([7; 12]), Aad::empty(), &mut sealed).unwrap();
        let ciphertext = [[7; 12].as_slice(), &sealed].concat();
        Self { at: 0, key: fingerprint.to_owned(), is_legacy: true, plaintext, ciphertext }
    }

    fn opens(&self, engine: &Engine) -> Result<bool, String> {
        let policy = Policy::new(0);
        let context = context();
        let request = decrypt::Request {
            expected_key: None,
            ciphertext: &self.ciphertext,
            context: &context,
            allow_legacy: self.is_legacy,
        };
        match decrypt::decrypt(&policy.admit(peer()).unwrap(), engine, &request) {
            Ok(opened) if *opened.plaintext == self.plaintext => Ok(true),
            Ok(_) => Err(format!("a value of {} opens as something else", self.key)),
            Err(Refusal::VersionDisabled(_) | Refusal::Rejected(_)) => Ok(false),
            // What a daemon says of it that holds no legacy key.
            Err(Refusal::NotAMessage | Refusal::LegacyNotAllowed) if self.is_legacy => Ok(false),
            Err(refusal) => Err(format!("a value of {} is refused: {refusal}", self.key)),
        }
    }
}

/// What was promised so far.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    pub states: Vec<State>,
    pub values: Vec<Value>,
    /// What may open a state that is reached and was not published: where a fault kept it from being.
    pub foreseen: Vec<BTreeSet<String>>,
}

impl Promise {
    /// What was promised when the power was cut, `at` operations done.
    pub fn until(&self, at: usize) -> Self {
        let states = self.states.iter().filter(|state| state.at <= at).cloned().collect();
        let values = self.values.iter().filter(|value| value.at <= at).cloned().collect();
        Self { states, values, foreseen: self.foreseen.clone() }
    }

    /// The same as what was promised before anything else is done.
    pub fn before(mut self) -> Self {
        self.states.iter_mut().for_each(|state| state.at = 0);
        self.values.iter_mut().for_each(|value| value.at = 0);
        self
    }

    /// The newest generation that was acknowledged.
    pub fn floor(&self) -> u64 {
        self.states.iter().map(|state| state.generation).max().unwrap_or(0)
    }

    /// Holds a store, as it lies there, to what was promised at the cut: `self` is what was promised by the end, had the
    /// power stayed. Answers the state that was found; `None` if no promise tells of it, which only a new store may be.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_store(&self, room: &Room, snapshot: &Snapshot, at: usize) -> Result<Option<State>, String> {
        let (found, floor) = (snapshot.generation, self.until(at).floor());
        if found < floor {
            return Err(format!("the store is at generation {found}, and {floor} was acknowledged"));
        }
        let state = self.states.iter().find(|state| state.generation == found);
        let mut opened = BTreeSet::new();
        for text in [OLD, NEW, STRANGER] {
            let key = MasterKey::parse(text.as_bytes(), &room.memory).unwrap();
            let fingerprint = key.fingerprint().to_string();
            match load::authenticate(snapshot.clone(), key, &room.memory) {
                // The second key opens the same.
                Ok(_) if !opened.is_empty() => drop(opened.insert(fingerprint)),
                Ok(authentic) => {
                    let loaded = load::open(authentic, &room.memory).map_err(|e| format!("{fingerprint}: {e}"))?;
                    if let Some(state) = state
                        && picture(&loaded.keyring) != state.picture
                    {
                        return Err(differs(&state.picture, &picture(&loaded.keyring)));
                    }
                    opened.insert(fingerprint);
                }
                Err(StartFailure::WrongKey { .. }) => {}
                Err(failure) => return Err(format!("with {fingerprint}: {failure}")),
            }
        }
        match state {
            Some(state) if state.opens != opened => {
                Err(format!("{opened:?} open generation {found}, and {:?} should", state.opens))
            }
            Some(state) => Ok(Some(state.clone())),
            None if self.foreseen.contains(&opened) => Ok(None),
            None if self.states.is_empty() && opened.len() == 1 => Ok(None),
            None => Err(format!("{opened:?} open generation {found}, which was never published")),
        }
    }

    /// Holds what a backup opens to every value that the daemon sealed, of keys that are still there.
    ///
    /// # Errors
    /// The first that does not open.
    pub fn check_backup(&self, engine: &Engine) -> Result<(), String> {
        let keyring = engine.keyring();
        let names: BTreeSet<String> = keyring.names.keys().map(ToString::to_string).collect();
        for value in self.values.iter().filter(|value| !value.is_legacy) {
            if !value.opens(engine)? && names.contains(&value.key) {
                return Err(format!("it does not open a value of {}", value.key));
            }
        }
        Ok(())
    }

    /// Holds a daemon that was started to opening every value that was sealed, whose key is still there. Answers how many
    /// were tried.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check_values(&self, engine: &Engine) -> Result<usize, String> {
        let now = State::of(&engine.keyring(), 0);
        for value in &self.values {
            let held = if value.is_legacy { &now.legacy } else { &now.names };
            let (opens, should) = (value.opens(engine)?, held.contains(&value.key));
            if opens != should {
                let (key, generation) = (&value.key, now.generation);
                return Err(format!("a value of {key}: opens {opens}, should {should}, at generation {generation}"));
            }
        }
        Ok(self.values.len())
    }
}

fn differs(promised: &[String], found: &[String]) -> String {
    let lost: Vec<_> = promised.iter().filter(|line| !found.contains(line)).collect();
    let other: Vec<_> = found.iter().filter(|line| !promised.contains(line)).collect();
    format!("the store holds something else than was published: promised {lost:#?}, found {other:#?}")
}
