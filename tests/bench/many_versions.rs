//! A store of many versions, made at once: one by one, 100,000 would take an hour.
//!
//! Must never make a record that the daemon would not: the operations' own makers make them.
//! Called by `installation`.

use super::Outcome;
use super::installation::random;
use servos_keyd::auth::key_name::KeyName;
use servos_keyd::custody::id::StoreId;
use servos_keyd::custody::keys::{LockedMemory, MasterKey, RootKey};
use servos_keyd::custody::{record_seal, snapshot};
use servos_keyd::operations::create::FIRST_KEYS;
use servos_keyd::operations::key_records::{Maker, key_record, new_version_record};
use servos_keyd::operations::ledger::Places;
use servos_keyd::store::mark::{self, Mark, State};
use servos_keyd::store::port::Snapshot;
use servos_keyd::store::{record, redb_adapter};
use std::sync::Arc;

/// Takes the place of a store that was just created, with this many keys and versions more.
pub fn fill(
    places: &Places,
    master: &MasterKey,
    memory: &LockedMemory,
    keys: usize,
    versions: usize,
    now: i64,
) -> Outcome<()> {
    let mut snapshot = redb_adapter::view(&places.store)?;
    let sealed: record::Master = of(&snapshot, record::MASTER)?;
    let store_id = StoreId::from_slice(&sealed.store_id).ok_or("no store id")?;
    let seal = sealed.current.ok_or("no root")?.root;
    let root = record_seal::open_root(master, &seal, &store_id, memory)?;
    let maker = Maker { store_id: &store_id, root: &root, memory, random: &random, now };
    let (more_keys, more_versions) = (keys - FIRST_KEYS.len(), versions - FIRST_KEYS.len());
    for number in 0..more_keys {
        let count = more_versions / more_keys + usize::from(number < more_versions % more_keys);
        add_key(&maker, &mut snapshot, number, count)?;
    }
    snapshot.generation += 1;
    authenticate(&mut snapshot, &root, &store_id);
    std::fs::remove_file(&places.store)?;
    redb_adapter::create(&places.store, &snapshot)?;
    let root_id = *root.id().as_bytes();
    let state = State { store_id: *store_id.as_bytes(), generation: snapshot.generation, root_id };
    Ok(mark::write(&places.mark, &Mark { now: Some(state), to_come: None })?)
}

fn of<T: record::Record>(snapshot: &Snapshot, name: &str) -> Outcome<T> {
    Ok(record::decode(name, snapshot.records.get(name).ok_or("a record is missing")?)?)
}

fn add_key(maker: &Maker<'_>, snapshot: &mut Snapshot, number: usize, versions: usize) -> Outcome<()> {
    let mut key = maker.key(KeyName::parse(&format!("bench-{number}"))?)?;
    for _ in 0..versions {
        let new = maker.version(&key)?;
        key.primary = new.version.number;
        key.versions.insert(Arc::clone(&new.version));
        snapshot.records.extend([new_version_record(&new)]);
    }
    snapshot.records.extend([key_record(&key)]);
    Ok(())
}

fn authenticate(snapshot: &mut Snapshot, root: &RootKey, store_id: &StoreId) {
    let records = snapshot.records.iter().filter(|(name, _)| *name != record::MAC);
    let digests = records.map(|(name, value)| (name.clone(), snapshot::digest(value))).collect();
    let mac = snapshot::mac(root, store_id, snapshot.generation, &digests);
    snapshot.records.insert(record::MAC.to_owned(), mac.to_vec());
}
