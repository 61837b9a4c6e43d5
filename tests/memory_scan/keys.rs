//! Every key of an installation, opened offline from its records by the formats that the crate's page publishes.
//!
//! Must never ask the daemon for a key: there is nothing that could give one. Called by `moments`.

use crate::known::Known;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::{digest, hkdf};
use servos_keyd::store::record::{self, RecordName};
use std::collections::{BTreeMap, BTreeSet};

/// What went wrong is told and ends the test.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Key = [u8; 32];

/// The keys that were ever in use, by what they are.
#[derive(Default)]
pub struct Keys {
    pub masters: Vec<(String, Key)>,
    roots: Vec<Key>,
    /// The names of those that are sealed in records, and of the root.
    below: BTreeSet<String>,
    versions: BTreeMap<[u8; 8], Key>,
}

impl Keys {
    /// Adds a master key and what is derived of it.
    pub fn add_master(&mut self, name: &str, key: Key, known: &mut Known) {
        self.masters.push((name.to_owned(), key));
        known.add_key(name, &key);
        for label in ["seal", "canary"] {
            known.add_key(&format!("{name}'s {label} key"), &expand(&key, &[b"servos-keyd/master/", label.as_bytes()]));
        }
    }

    /// Adds every key that is sealed in these records.
    ///
    /// # Errors
    /// A seal that none of the keys opens.
    pub fn add_all(&mut self, records: &BTreeMap<String, Vec<u8>>, known: &mut Known) -> Outcome<()> {
        let master: record::Master = record::decode(record::MASTER, &records[record::MASTER])?;
        let store = base16ct::lower::encode_string(&master.store_id);
        for seal in [&master.current, &master.pending].into_iter().flatten() {
            self.add_root(&store, &seal.root, known)?;
        }
        if !master.previous_root.is_empty() {
            let place = Place { store: &store, record: "master", purpose: "previous-root", ..Place::default() };
            let root = self.open_by_root(&place, &master.previous_root)?;
            self.add_opened_root(root, known);
        }
        for (name, value) in records {
            let place = Place { store: &store, record: name, ..Place::default() };
            match RecordName::parse(name) {
                Some(RecordName::Identity) => {
                    let seal = record::decode::<record::Identity>(name, value)?.seal;
                    let key = self.open_by_root(&Place { purpose: "identity", ..place }, &seal)?;
                    self.add_held("identity", &key, known);
                    known.add_key("identity's canary key", &expand(&key, &[b"servos-keyd/identity/canary"]));
                }
                Some(RecordName::Legacy(_)) => {
                    let seal = record::decode::<record::Legacy>(name, value)?.seal;
                    let key = self.open_by_root(&Place { purpose: "legacy", ..place }, &seal)?;
                    self.add_held("legacy key", &key, known);
                }
                Some(RecordName::Version(id)) => self.add_version(place, id, &record::decode(name, value)?, known)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The key of a message that was sealed under one of the versions, by its header.
    ///
    /// # Errors
    /// It was sealed under a version that is not known, or the key that is derived for it does not commit to it.
    pub fn message_key(&self, sealed: &[u8], context: &[(&str, &str)]) -> Outcome<Key> {
        let header = sealed.first_chunk().ok_or("a message without a header")?;
        let version = self.versions.get(&header[4..12]).ok_or("a message of a version that is not known")?;
        let okm =
            derived(version, b"servos-keyd/SKD1", header, context).ok_or("a message whose commitment is another")?;
        okm.first_chunk().copied().ok_or_else(|| "32 bytes and more are derived".into())
    }

    /// The names of all keys that outlive a call, while none of them is dropped.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        self.masters.iter().map(|(name, _)| name).chain(&self.below).map(String::as_str)
    }

    fn add_held(&mut self, name: &str, key: &Key, known: &mut Known) {
        self.below.insert(name.to_owned());
        known.add_key(name, key);
    }

    fn add_root(&mut self, store: &str, seal: &[u8], known: &mut Known) -> Outcome<()> {
        let place = Place { store, record: "master", purpose: "root", ..Place::default() };
        let owner = self.masters.iter().map(|(_, key)| key).find(|key| fingerprint(key) == seal[4..12]);
        let owner = owner.ok_or("a root is sealed under a master key that the test does not know")?;
        let root = open(&expand(owner, &[b"servos-keyd/master/seal"]), &place, seal).ok_or("a root does not open")?;
        self.add_opened_root(root, known);
        Ok(())
    }

    fn add_opened_root(&mut self, root: Key, known: &mut Known) {
        if !self.roots.contains(&root) {
            self.roots.push(root);
            self.add_held("root key", &root, known);
            known.add_key("root's seal key", &expand(&root, &[b"servos-keyd/root/seal"]));
            known.add_key("root's MAC key", &expand(&root, &[b"servos-keyd/root/mac"]));
        }
    }

    fn add_version(
        &mut self,
        place: Place<'_>,
        id: [u8; 8],
        version: &record::Version,
        known: &mut Known,
    ) -> Outcome<()> {
        let (key, number) = (base16ct::lower::encode_string(&version.key_id), version.number.to_string());
        let place = Place { key: &key, version: &number, purpose: "version", ..place };
        let opened = self.open_by_root(&place, &version.seal)?;
        self.add_held(&format!("version {number} of key {key}"), &opened, known);
        self.versions.insert(id, opened);
        Ok(())
    }

    fn open_by_root(&self, place: &Place<'_>, seal: &[u8]) -> Outcome<Key> {
        let opened = self.roots.iter().find_map(|root| open(&expand(root, &[b"servos-keyd/root/seal"]), place, seal));
        opened.ok_or_else(|| format!("no root opens the {} of {}", place.purpose, place.record).into())
    }
}

/// The fingerprint of a master key.
pub fn fingerprint(key: &Key) -> [u8; 8] {
    expand(key, &[b"servos-keyd/master/fingerprint"])
}

/// Where a seal belongs.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    store: &'a str,
    record: &'a str,
    key: &'a str,
    version: &'a str,
    purpose: &'a str,
}

/// Opens an SKR1 message; `None` if it is another key's.
fn open(sealer: &Key, place: &Place<'_>, seal: &[u8]) -> Option<Key> {
    let context = [
        ("key", place.key),
        ("purpose", place.purpose),
        ("record", place.record),
        ("store", place.store),
        ("version", place.version),
    ];
    let (header, body) = seal.split_first_chunk()?;
    let okm = derived(sealer, b"servos-keyd/SKR1", header, &context)?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &okm[..32]).ok()?);
    let mut body = body.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(&okm[32..44]).ok()?;
    let opened = key.open_in_place(nonce, Aad::from(header), &mut body).ok()?;
    (&*opened).try_into().ok()
}

/// Key, nonce and commitment of one message; `None` if its header has another commitment: then it is another key's.
fn derived(owner: &Key, label: &[u8], header: &[u8; 76], context: &[(&str, &str)]) -> Option<[u8; 76]> {
    let context = digest::digest(&digest::SHA256, &encoded(context));
    let okm: [u8; 76] = expand(owner, &[label, &header[4..12], &header[12..44], context.as_ref()]);
    (okm[44..] == header[44..]).then_some(okm)
}

/// A context in its one encoding; the pairs in order.
fn encoded(pairs: &[(&str, &str)]) -> Vec<u8> {
    let length = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
    let mut encoded = length(pairs.len()).to_vec();
    for part in pairs.iter().flat_map(|(key, value)| [key, value]) {
        encoded.extend_from_slice(&length(part.len()));
        encoded.extend_from_slice(part.as_bytes());
    }
    encoded
}

fn expand<const N: usize>(secret: &Key, info: &[&[u8]]) -> [u8; N] {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut okm = [0; N];
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret);
    prk.expand(info, Length(N)).and_then(|output| output.fill(&mut okm)).expect("76 bytes at most");
    okm
}
