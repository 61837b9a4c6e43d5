//! Tests of inspect: what a backup tells of itself, what a key proves of it, and what hostile bytes get told.
//!
//! Must never take a backup for good in which one record does not open.
//! Run as `operations::inspect::tests`.

use super::super::backup;
use super::super::test_rig::{BEGIN, MASTER_KEY, Rig};
use super::*;
use crate::store::backup_file::{decode, encode};

const OTHER_KEY: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

fn backup_of(rig: &mut Rig) -> Backup {
    let (_, pieces) = backup::contents(&rig.whole(), &mut rig.ledger).unwrap();
    decode(&pieces.collect::<Vec<_>>().concat()).unwrap()
}

fn proved(rig: &Rig, backup: &Backup, key: &str) -> Result<Proof, StartFailure> {
    prove(backup.clone(), MasterKey::parse(key.as_bytes(), &rig.memory).unwrap(), &rig.memory)
}

fn grown() -> Rig {
    let mut rig = Rig::with_legacy();
    rig.create("later", Some("6f9619ff-8b86-4011-b42d-00c04fc96400".to_owned())).unwrap();
    rig.rotate("later", None).unwrap();
    rig.create("gone", None).unwrap();
    rig.delete("gone", None).unwrap();
    rig
}

#[test]
fn a_backup_tells_what_it_holds_and_which_key_opens_it() {
    let mut rig = grown();
    let backup = backup_of(&mut rig);
    let told = inspect(&backup);
    let keyring = rig.keyring();
    assert_eq!((told.store_id, told.generation, told.made), (keyring.store_id, keyring.generation, BEGIN));
    assert_eq!((told.schema, told.records, told.versions), (1, backup.records.len(), keyring.versions.len()));
    assert_eq!((&told.opened_by[..], told.since), (&[keyring.master.fingerprint][..], BEGIN));
    assert_eq!((told.rotation.is_none(), told.is_newer, &told.problems[..]), (true, false, &[][..]));
    assert_eq!(told.legacy, [keyring.master.fingerprint]);
    let names: Vec<&str> = told.keys.iter().map(|key| key.name.as_str()).collect();
    assert!(names.is_sorted() && names.len() == 10, "{names:?}");
    let of = |name: &str| told.keys.iter().find(|key| key.name.as_str() == name).unwrap();
    let (later, gone) = (of("later"), of("gone"));
    assert_eq!(
        (later.primary, later.versions.keys().copied().collect::<Vec<_>>(), later.is_deleted),
        (2, vec![1, 2], false)
    );
    assert!(later.versions.values().all(|version| version.is_enabled));
    assert!(gone.is_deleted && gone.versions.values().all(|version| !version.is_enabled));
}

#[test]
fn its_key_opens_all_of_it_and_another_key_is_told_apart() {
    let mut rig = grown();
    let backup = backup_of(&mut rig);
    let versions = rig.keyring().versions.len();
    assert_eq!(proved(&rig, &backup, MASTER_KEY).unwrap(), Proof::Opens { versions, unopened: Vec::new() });
    assert_eq!(proved(&rig, &backup, OTHER_KEY).unwrap(), Proof::Other { held_as_legacy: false });
}

#[test]
fn no_record_can_be_changed_dropped_or_added_without_being_told() {
    let mut rig = grown();
    let good = backup_of(&mut rig);
    let names: Vec<String> = good.records.keys().cloned().collect();
    let is_told = |changed: &Backup, what: &str| {
        // As a hostile writer leaves it: with a digest that fits.
        let read = decode(&encode(changed).unwrap()).unwrap();
        let told = inspect(&read);
        match proved(&rig, &read, MASTER_KEY) {
            Ok(Proof::Opens { unopened, .. }) => assert!(!unopened.is_empty(), "{what}"),
            Ok(Proof::Other { .. }) | Err(_) => assert!(!told.problems.is_empty(), "{what}"),
        }
    };
    for name in &names {
        let length = good.records[name].len();
        for at in (0..length).step_by(7).chain(length.checked_sub(1)) {
            let mut changed = good.clone();
            changed.records.get_mut(name).unwrap()[at] ^= 0x10;
            is_told(&changed, &format!("byte {at} of {name}"));
        }
        let mut dropped = good.clone();
        dropped.records.remove(name);
        is_told(&dropped, &format!("{name} dropped"));
    }
    let mut added = good.clone();
    added.records.insert("key/00000000000000aa\u{1b}[2J".to_owned(), Vec::new());
    is_told(&added, "a record that nobody knows");
    assert!(inspect(&added).is_newer);
    let mut moved = good.clone();
    moved.store_id = [9; 16];
    is_told(&moved, "the header of another store");
    assert_eq!(inspect(&moved).problems.len(), 1);
    let mut older = good.clone();
    older.generation -= 1;
    is_told(&older, "another generation");
}

#[test]
fn records_that_contradict_each_other_are_told_without_a_key() {
    let mut rig = grown();
    let good = backup_of(&mut rig);
    let version = |backup: &Backup| backup.records.keys().find(|name| name.starts_with("version/")).cloned().unwrap();
    let told = |change: &dyn Fn(&mut Backup)| {
        let mut changed = good.clone();
        change(&mut changed);
        inspect(&changed).problems
    };
    let orphan = told(&|backup| backup.records.retain(|name, _| !name.starts_with("key/")));
    assert!(orphan.iter().all(|(_, problem)| problem == "it belongs to no key") && !orphan.is_empty());
    let twice = told(&|backup| {
        let value = backup.records[&version(backup)].clone();
        backup.records.insert("version/00000000000000bb".to_owned(), value);
    });
    assert_eq!(twice.len(), 1, "{twice:?}");
    let lost = told(&|backup| backup.records.retain(|name, _| !name.starts_with("version/")));
    assert!(lost.len() == 9 && lost.iter().all(|(_, problem)| problem.contains("primary version")), "{lost:?}");
    for name in ["master", "canary", "mac", "meta", "identity"] {
        let missing = told(&|backup| drop(backup.records.remove(name)));
        assert_eq!(missing.len(), 1, "{name}: {missing:?}");
        assert!(missing[0].1.contains("missing"), "{missing:?}");
    }
}

#[test]
fn the_vector_is_told_as_it_is_records_that_are_none_included() {
    let all: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/store.json")).unwrap();
    let bytes = |value: &serde_json::Value| base16ct::lower::decode_vec(value.as_str().unwrap()).unwrap();
    let file = bytes(&all["backup"]["file"]);
    let backup = decode(&file).unwrap();
    assert!(encode(&backup).unwrap() == file);
    let told = inspect(&backup);
    assert_eq!(told.store_id.as_bytes().as_slice(), bytes(&all["store_id"]));
    assert_eq!((told.generation, told.made, told.records), (41, 1_780_000_000, 5));
    // It shows the format, not a store: there is no root in it, and its values are letters.
    let named: Vec<&str> = told.problems.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(named, ["identity", "key/00000000000000aa", "meta", "version/00000000000000bb", "master"]);
    assert!(told.keys.is_empty() && told.opened_by.is_empty() && !told.is_newer);
}

/// A backup whose every seal is the vector's, made by an independent implementation; but for the MAC, which is no seal.
fn of_the_vector(rig: &Rig) -> (Backup, String) {
    use crate::store::record::{Canary, Identity, Key, Legacy, Master, MasterSeal, Meta, Version, encode};
    let all: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/store.json")).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let bytes = |value: &serde_json::Value| base16ct::lower::decode_vec(text(value)).unwrap();
    let seal = |name: &str| all["seals"].as_array().unwrap().iter().find(|seal| seal["name"] == name).unwrap();
    let sealed = |name: &str| bytes(&seal(name)["sealed"]);
    let version = &seal("version 3 of env-vars under root")["context"];
    let master = Master {
        store_id: bytes(&all["store_id"]),
        current: Some(MasterSeal { root: sealed("root under master"), since: BEGIN, shared: false }),
        previous_root: sealed("previous root under root"),
        ..Master::default()
    };
    let key = Key { name: "env-vars".to_owned(), primary: 3, newest: 3, created: BEGIN, ..Key::default() };
    let key = Key { purpose: record::Purpose::Encrypt.into(), ..key };
    let version_record = Version {
        key_id: bytes(&version["key"]),
        number: text(&version["version"]).parse().unwrap(),
        state: record::VersionState::Enabled.into(),
        seal: sealed("version 3 of env-vars under root"),
        ..Version::default()
    };
    let legacy = Legacy { seal: sealed("legacy key under root"), adopted: BEGIN, ..Legacy::default() };
    let records = [
        (record::MASTER.to_owned(), encode(&master)),
        (record::CANARY.to_owned(), encode(&Canary { schema: 1, seals: vec![sealed("canary under master")] })),
        (record::IDENTITY.to_owned(), encode(&Identity { schema: 1, seal: sealed("identity under root") })),
        (record::META.to_owned(), encode(&Meta { created: BEGIN, ..Meta::default() })),
        (record::key(text(&version["key"])), encode(&key)),
        (text(&version["record"]), encode(&version_record)),
        (text(&seal("legacy key under root")["context"]["record"]), encode(&legacy)),
    ];
    let mut snapshot = Snapshot { generation: 41, records: records.into() };
    let (store_id, key) = (StoreId::from_slice(&bytes(&all["store_id"])).unwrap(), text(&all["master_key"]));
    let parsed = MasterKey::parse(key.as_bytes(), &rig.memory).unwrap();
    let (authentic, lost) = load::open_root(snapshot.clone(), parsed, &rig.memory).unwrap();
    assert!(lost.is_none(), "the vector's previous root opens");
    let mac = crate::custody::snapshot::mac(&authentic.root, &store_id, 41, &load::digests(&snapshot));
    snapshot.records.insert(record::MAC.to_owned(), mac.to_vec());
    (Backup::of(*store_id.as_bytes(), 1_780_000_000, snapshot), key)
}

#[test]
fn the_vector_s_key_opens_every_seal_of_the_vector_in_a_backup() {
    let rig = Rig::new();
    let (backup, key) = of_the_vector(&rig);
    let read = decode(&encode(&backup).unwrap()).unwrap();
    let told = inspect(&read);
    assert!(told.problems.is_empty(), "{:?}", told.problems);
    let all: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/store.json")).unwrap();
    assert_eq!(told.opened_by[0].to_string(), all["fingerprint"].as_str().unwrap());
    assert_eq!((told.keys[0].name.as_str(), told.keys[0].primary, told.legacy.len()), ("env-vars", 3, 1));
    assert_eq!(proved(&rig, &read, &key).unwrap(), Proof::Opens { versions: 1, unopened: Vec::new() });
    assert_eq!(proved(&rig, &read, MASTER_KEY).unwrap(), Proof::Other { held_as_legacy: false });
}
