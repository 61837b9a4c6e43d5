//! What a daemon has acknowledged, over all its deaths, and what it was asked and never answered.
//!
//! Must never count a change as done before its answer was read, nor as undone because there was none.
//! Filled by the load, held to the daemon by the checks.

use crate::calls::{Answer, Asked, Change};
use crate::draw::Draw;
use crate::harness::fingerprint;
use servos_keyd::operations::create::FIRST_KEYS;

/// A ciphertext with what it holds.
#[derive(Clone)]
pub struct Value {
    pub name: String,
    /// In hex, as it stands in the ciphertext.
    pub version_id: String,
    pub ciphertext: Vec<u8>,
    pub plaintext: Vec<u8>,
}

/// A data key.
#[derive(Clone)]
pub struct Key {
    pub name: String,
    /// None until it is seen: of those that were made with the store.
    pub id: Option<String>,
    /// The primary version that was acknowledged last.
    pub primary: u32,
    pub deleted: bool,
}

/// A rotation of the master key that was begun.
#[derive(Clone)]
pub struct Pending {
    pub new: [u8; 32],
    pub new_data_keys: bool,
    /// The key file holds the new key: a start finishes.
    pub in_file: bool,
}

/// A legacy key that is held.
#[derive(Clone)]
pub struct Legacy {
    pub key: [u8; 32],
    pub fingerprint: String,
}

/// The most values, and requests with their answers, that are kept.
const KEPT: usize = 260;

/// Everything acknowledged so far.
#[derive(Clone)]
pub struct Model {
    pub keys: Vec<Key>,
    pub values: Vec<Value>,
    pub legacy: Vec<Legacy>,
    pub retired: Vec<[u8; 32]>,
    pub master: [u8; 32],
    pub pending: Option<Pending>,
    /// Master keys that open nothing any more, or never did.
    pub former: Vec<[u8; 32]>,
    /// Ends of rotations that give every key a new version, since the versions were last counted.
    pub new_versions: u32,
    pub generation: u64,
    pub store_id: String,
    /// Answered.
    pub requests: Vec<Asked>,
    /// Not answered.
    pub doubts: Vec<Asked>,
}

impl Model {
    /// That of a new store.
    pub fn new(master: [u8; 32], adopted: bool) -> Self {
        let first = |name: &&str| Key { name: (*name).to_owned(), id: None, primary: 1, deleted: false };
        let legacy = if adopted { vec![Legacy { key: master, fingerprint: fingerprint(master) }] } else { Vec::new() };
        Self {
            keys: FIRST_KEYS.iter().map(first).collect(),
            values: Vec::new(),
            legacy,
            retired: Vec::new(),
            master,
            pending: None,
            former: Vec::new(),
            new_versions: 0,
            generation: 1,
            store_id: String::new(),
            requests: Vec::new(),
            doubts: Vec::new(),
        }
    }

    /// The key that has this name now.
    pub fn live(&mut self, name: &str) -> Option<&mut Key> {
        self.keys.iter_mut().find(|key| key.name == name && !key.deleted)
    }

    /// Whether a change is in doubt that this tells of.
    pub fn doubts_any(&self, is_so: impl Fn(&Change) -> bool) -> bool {
        self.doubts.iter().any(|asked| is_so(&asked.change))
    }

    /// A change was answered. Of one that is asked again, nothing is taken twice.
    pub fn settle(&mut self, asked: &Asked, answer: Answer) {
        self.doubts.retain(|doubt| doubt.id != asked.id);
        match (&asked.change, &answer) {
            (Change::Create(name), Answer::Created(id)) => {
                assert!(self.live(name).is_none(), "{name} was there when it was made");
                self.keys.push(Key { name: name.clone(), id: Some(id.clone()), primary: 1, deleted: false });
            }
            (Change::Rotate(name), Answer::Rotated(version)) => {
                let key = self.live(name).expect("only live keys are rotated");
                assert!(*version > key.primary, "{name}: version {version} is new, {} was primary", key.primary);
                key.primary = *version;
            }
            (Change::Delete(name), Answer::Deleted(id, _)) => {
                let key = self.live(name).expect("only live keys are deleted");
                assert!(key.id.is_none() || key.id.as_ref() == Some(id), "{name}: another key was deleted");
                (key.id, key.deleted) = (Some(id.clone()), true);
            }
            (Change::Adopt(key), Answer::Adopted(shown)) => {
                assert_eq!(*shown, fingerprint(*key));
                self.hold(*key);
            }
            (Change::Retire(gone), Answer::Retired(_)) => {
                self.retired.extend(self.legacy.iter().filter(|held| held.fingerprint == *gone).map(|held| held.key));
                self.legacy.retain(|held| held.fingerprint != *gone);
            }
            (Change::Begin { new, new_data_keys }, Answer::Begun(..)) => {
                if !self.legacy.is_empty() {
                    self.hold(self.master);
                }
                self.pending = Some(Pending { new: *new, new_data_keys: *new_data_keys, in_file: false });
            }
            (Change::Finish(new), Answer::Ended(..)) => self.finished(*new),
            (Change::Abort { new, new_data_keys }, Answer::Ended(..)) => {
                self.pending = None;
                self.former.push(*new);
                self.new_versions += u32::from(*new_data_keys);
            }
            _ => panic!("{} is answered {answer:?}", asked.change.row()),
        }
        self.requests.push(Asked { answer: Some(answer), ..asked.clone() });
    }

    /// The pending rotation is over, and the new key in use.
    pub fn finished(&mut self, new: [u8; 32]) {
        let Some(pending) = self.pending.take_if(|pending| pending.new == new) else { return };
        self.new_versions += u32::from(pending.new_data_keys);
        self.former.push(self.master);
        self.master = new;
        if !self.legacy.is_empty() {
            self.hold(new);
        }
    }

    fn hold(&mut self, key: [u8; 32]) {
        let fingerprint = fingerprint(key);
        if self.legacy.iter().all(|held| held.fingerprint != fingerprint) {
            self.retired.retain(|retired| *retired != key);
            self.legacy.push(Legacy { key, fingerprint });
        }
    }

    /// The sets of keys of which one must be what opens the store as it lies there.
    pub fn promised(&self) -> Vec<Vec<[u8; 32]>> {
        let mut sets = Vec::new();
        match &self.pending {
            None => sets.push(vec![self.master]),
            Some(pending) => {
                sets.push(vec![self.master, pending.new]);
                if pending.in_file {
                    sets.push(vec![pending.new]);
                }
            }
        }
        for doubt in &self.doubts {
            match &doubt.change {
                Change::Begin { new, .. } => sets.push(vec![self.master, *new]),
                Change::Abort { .. } => sets.push(vec![self.master]),
                _ => {}
            }
        }
        sets
    }

    /// Forgets some of what was checked often.
    pub fn shorten(&mut self, draw: &mut Draw) {
        while self.values.len() > KEPT {
            self.values.swap_remove(draw.below(KEPT / 2));
        }
        while self.requests.len() > KEPT {
            self.requests.remove(draw.below(KEPT / 2));
        }
        let from = self.retired.len().saturating_sub(4);
        self.retired.drain(..from);
        let from = self.former.len().saturating_sub(6);
        self.former.drain(..from);
    }
}
