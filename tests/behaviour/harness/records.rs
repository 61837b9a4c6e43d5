//! The records of a store, taken out, changed and put back: states that only damage, time or an attacker leaves.
//!
//! Must never be used where the binaries themselves can make the state.
//! Used by tests of refusals.

use super::{Installation, hex};
use servos_keyd::custody::id::StoreId;
use servos_keyd::custody::keys::{LockedMemory, MasterKey};
use servos_keyd::custody::{record_seal, snapshot};
use servos_keyd::store::mark::{self, Mark, State};
use servos_keyd::store::port::Snapshot;
use servos_keyd::store::{record, redb_adapter};

impl Installation {
    /// What the store holds.
    pub fn records(&self) -> Snapshot {
        redb_adapter::view(&self.store()).unwrap()
    }

    /// Puts records in the store's place.
    pub fn write_records(&self, snapshot: &Snapshot) {
        let _ = std::fs::remove_file(self.store());
        redb_adapter::create(&self.store(), snapshot).unwrap();
    }

    /// Changes the records, whose MAC does not fit then.
    pub fn change_records(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = self.records();
        change(&mut snapshot);
        self.write_records(&snapshot);
    }

    /// Changes the records as one who has the master key could: their MAC fits.
    pub fn change_records_and_mac(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = self.records();
        change(&mut snapshot);
        sign(&mut snapshot, self.key);
        self.write_records(&snapshot);
    }

    /// The state that the mark names.
    pub fn marked(&self) -> Mark {
        mark::read(&self.mark()).unwrap().unwrap()
    }

    /// The one state of a plain mark.
    pub fn marked_state(&self) -> State {
        let mark = self.marked();
        assert_eq!(mark.to_come, None);
        mark.now.unwrap()
    }

    /// Puts a mark in place.
    pub fn write_mark(&self, now: Option<State>, to_come: Option<State>) {
        mark::write(&self.mark(), &Mark { now, to_come }).unwrap();
    }
}

/// Gives a snapshot the MAC that fits it.
pub fn sign(snapshot: &mut Snapshot, key: [u8; 32]) {
    let memory = LockedMemory::new().unwrap();
    let master = MasterKey::parse(hex(&key).as_bytes(), &memory).unwrap();
    let sealed: record::Master = record::decode(record::MASTER, &snapshot.records[record::MASTER]).unwrap();
    let store_id = StoreId::from_slice(&sealed.store_id).unwrap();
    let root = record_seal::open_root(&master, &sealed.current.unwrap().root, &store_id, &memory).unwrap();
    let others = snapshot.records.iter().filter(|(name, _)| *name != record::MAC);
    let digests = others.map(|(name, value)| (name.clone(), snapshot::digest(value))).collect();
    let mac = snapshot::mac(&root, &store_id, snapshot.generation, &digests);
    snapshot.records.insert(record::MAC.to_owned(), mac.to_vec());
}

/// The fingerprint of a master key, as people compare it.
pub fn fingerprint(key: [u8; 32]) -> String {
    let memory = LockedMemory::new().unwrap();
    MasterKey::parse(hex(&key).as_bytes(), &memory).unwrap().fingerprint().to_string()
}
