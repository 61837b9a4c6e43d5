//! A rotation of the master key as an operator makes it with a key file, and what is left of it on the disk.
//!
//! Must never make by hand what tool and daemon can make, nor believe the daemon's word for which key opens the store.
//! Used by the tests of rotations.

use super::daemon::{Daemon, eventually};
use super::installation::Installation;
use super::run::{KEYCTL, Outcome};
use super::{block_on, fingerprint, hex};
use servos_keyd::client::rotation::AbortRotation;
use servos_keyd::custody::keys::{LockedMemory, MasterKey};
use servos_keyd::operations::load;
use servos_keyd::store::port::Snapshot;
use servos_keyd::store::record::{self, RecordName, RotationStep};
use std::collections::{BTreeSet, HashMap};

impl Installation {
    /// The same again in a directory of its own: store, mark and backups to the byte, and no key but `master.key`.
    pub fn copy(&self) -> Self {
        let copy = Self::with_key(self.key);
        for file in ["keyd.redb", "keyd.redb.new", "keyd.redb.mark"] {
            if self.path(file).exists() {
                std::fs::copy(self.path(file), copy.path(file)).unwrap();
            }
        }
        std::fs::create_dir(copy.path("backup")).unwrap();
        for backup in self.backups() {
            std::fs::copy(&backup, copy.path("backup").join(backup.file_name().unwrap())).unwrap();
        }
        copy
    }

    /// Puts a new key beside `master.key`, and begins a rotation to it.
    #[track_caller]
    pub fn begin_rotation(&self, daemon: &Daemon, new: [u8; 32]) -> Outcome {
        self.write_private("master.key.next", format!("{}\n", hex(&new)).as_bytes());
        daemon.keyctl(&["rotate", "begin", "--yes"]).run(KEYCTL).expect(0)
    }

    /// Puts the new key in the place of the old, and finishes the rotation to its last step.
    #[track_caller]
    pub fn finish_rotation(&self, daemon: &Daemon, new: [u8; 32]) -> Outcome {
        self.write_key(new);
        daemon.keyctl(&["rotate", "finish", "--yes"]).run(KEYCTL).expect(0)
    }

    /// Aborts the rotation to its last step.
    #[track_caller]
    pub fn abort_rotation(&self, daemon: &Daemon) -> Outcome {
        daemon.keyctl(&["rotate", "abort", "--yes"]).run(KEYCTL).expect(0)
    }

    /// Which of these keys open the store as it lies there, with a MAC that fits.
    pub fn opened_by(&self, keys: &[[u8; 32]]) -> Vec<[u8; 32]> {
        let (memory, snapshot) = (LockedMemory::new().unwrap(), self.records());
        let opens = |key: &&[u8; 32]| {
            let key = MasterKey::parse(hex(&key[..]).as_bytes(), &memory).unwrap();
            load::authenticate(snapshot.clone(), key, &memory).and_then(|good| load::open(good, &memory)).is_ok()
        };
        keys.iter().filter(opens).copied().collect()
    }

    /// What the rotation under way does next; `None` if there is none.
    pub fn rotation_step(&self) -> Option<RotationStep> {
        let master = &self.records().records[record::MASTER];
        let master: record::Master = record::decode(record::MASTER, master).unwrap();
        master.rotation.map(|rotation| rotation.step())
    }

    /// A copy whose pending rotation was ended, and the daemon killed behind the answer, before the last step.
    pub fn interrupted(&self, new: [u8; 32], aborting: bool) -> Self {
        // How far it comes until the kill depends on the machine.
        for _ in 0..50 {
            let copy = self.copy();
            let daemon = copy.serve_for_admin();
            if !aborting {
                copy.write_key(new);
            }
            end_rotation(&daemon, new, aborting);
            daemon.kill();
            if copy.rotation_step().is_some() {
                return copy;
            }
        }
        panic!("the rest of a rotation is always done before a kill");
    }
}

/// The one call that ends a rotation: it answers before the rest is done.
fn end_rotation(daemon: &Daemon, new: [u8; 32], aborting: bool) {
    let new = fingerprint(new);
    block_on(async {
        let admin = daemon.admin();
        match aborting {
            true => {
                let abort = AbortRotation { new_key_fingerprint: &new, ..AbortRotation::default() };
                drop(admin.abort_rotation(&abort).await.unwrap());
            }
            false => drop(admin.finish_rotation(&new, false).await.unwrap()),
        }
    });
}

/// Waits until the daemon said that the last step of a rotation is done.
#[track_caller]
pub fn rotation_complete(daemon: &Daemon) {
    eventually("the rotation is complete", || daemon.said().contains("rotation.complete"));
}

/// A value as ServOS sealed it before there was a daemon: nonce, ciphertext and tag under the raw key.
pub fn legacy_value(key: [u8; 32], plaintext: &[u8]) -> Vec<u8> {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let mut nonce = [0; 12];
    servos_keyd::sys::random::fill(&mut nonce).unwrap();
    // Never by chance the magic of a message.
    nonce[0] |= 0x80;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let mut sealed = plaintext.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).unwrap();
    [&nonce[..], &sealed].concat()
}

/// Every seal in the records, with the name of its record.
pub fn seals(snapshot: &Snapshot) -> Vec<(String, Vec<u8>)> {
    let mut seals = Vec::new();
    for (name, value) in &snapshot.records {
        let found = match RecordName::parse(name) {
            Some(RecordName::Master) => {
                let master: record::Master = record::decode(name, value).unwrap();
                let roots = master.current.into_iter().chain(master.pending).map(|seal| seal.root);
                roots.chain([master.previous_root]).collect()
            }
            Some(RecordName::Canary) => record::decode::<record::Canary>(name, value).unwrap().seals,
            Some(RecordName::Identity) => vec![record::decode::<record::Identity>(name, value).unwrap().seal],
            Some(RecordName::Legacy(_)) => vec![record::decode::<record::Legacy>(name, value).unwrap().seal],
            Some(RecordName::Version(_)) => vec![record::decode::<record::Version>(name, value).unwrap().seal],
            _ => Vec::new(),
        };
        seals.extend(found.into_iter().filter(|seal| !seal.is_empty()).map(|seal| (name.clone(), seal)));
    }
    seals
}

/// The records of those seals of which any part stands in some bytes.
pub fn seals_in<'s>(bytes: &[u8], seals: &'s [(String, Vec<u8>)]) -> BTreeSet<&'s str> {
    // Behind magic and owner, which many share, eight bytes in a row are there by no chance.
    let part = |window: &[u8]| u64::from_le_bytes(window.try_into().unwrap());
    let known = seals.iter().flat_map(|(name, seal)| seal[12..].windows(8).map(move |w| (part(w), name.as_str())));
    let known: HashMap<u64, &str> = known.collect();
    bytes.windows(8).filter_map(|window| known.get(&part(window)).copied()).collect()
}
