//! A pending rotation whose sources hold the old key, the new one, both, or another: what each command makes of it.
//!
//! Must never let a start choose between keys that the store does not name. Run by `cargo test`.

use crate::harness::{Installation, Invocation, KEYCTL, KEYD, cell, fingerprint, hex, name, random_key};
use servos_keyd::custody::id::StoreId;
use servos_keyd::custody::keys::{LockedMemory, MasterKey};
use servos_keyd::custody::random::RandomUnavailable;
use servos_keyd::custody::record_seal;
use servos_keyd::store::{backup_file, record};

const PENDING: &str = "a rotation of the master key is pending, and the sources differ";

fn random(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    servos_keyd::sys::random::fill(bytes).map_err(|_| RandomUnavailable)
}

/// An installation whose store both keys open, and the key to come.
fn pending() -> (Installation, [u8; 32]) {
    let (installation, new) = (Installation::made(), random_key());
    let memory = LockedMemory::new().unwrap();
    let key = |key: [u8; 32]| MasterKey::parse(hex(&key).as_bytes(), &memory).unwrap();
    let (old_key, new_key) = (key(installation.key), key(new));
    installation.change_records_and_mac(|snapshot| {
        let mut master: record::Master = record::decode(record::MASTER, &snapshot.records[record::MASTER]).unwrap();
        let mut canary: record::Canary = record::decode(record::CANARY, &snapshot.records[record::CANARY]).unwrap();
        let store_id = StoreId::from_slice(&master.store_id).unwrap();
        let current = master.current.clone().unwrap();
        let root = record_seal::open_root(&old_key, &current.root, &store_id, &memory).unwrap();
        let root = record_seal::seal_root(&new_key, &root, &store_id, &random).unwrap();
        master.pending = Some(record::MasterSeal { root, ..current.clone() });
        master.rotation = Some(record::Rotation {
            step: record::RotationStep::Pending.into(),
            old_fingerprint: old_key.fingerprint().as_bytes().to_vec(),
            new_fingerprint: new_key.fingerprint().as_bytes().to_vec(),
            begun: current.since,
            ..record::Rotation::default()
        });
        canary.seals.push(record_seal::seal_canary(&new_key, &store_id, &random).unwrap());
        snapshot.records.insert(record::MASTER.to_owned(), record::encode(&master));
        snapshot.records.insert(record::CANARY.to_owned(), record::encode(&canary));
    });
    (installation, new)
}

/// A command on a key file with one key and, if one is given, an environment with another.
fn with_keys(
    installation: &Installation,
    file: [u8; 32],
    environment: Option<[u8; 32]>,
    command: &[&str],
) -> Invocation {
    installation.write_key(file);
    let run = installation.command(command[0], &command[1..]);
    match environment {
        Some(key) => run.variable("SERVOS_MASTER_KEY", hex(&key)),
        None => run,
    }
}

/// Each way in which the sources can hold one or both of the two keys.
fn ways(old: [u8; 32], new: [u8; 32]) -> [([u8; 32], Option<[u8; 32]>); 4] {
    [(old, None), (new, None), (old, Some(new)), (new, Some(old))]
}

#[test]
fn a_start_goes_on_with_either_key_and_warns_where_the_sources_hold_both() {
    for at in 0..4 {
        let (installation, new) = pending();
        let old = installation.key;
        let (file, environment) = ways(old, new)[at];
        let daemon = installation.serve_with(&with_keys(&installation, file, environment, &["serve"]));
        crate::harness::block_on(async {
            let (client, key) = (daemon.component(), name("default"));
            let sealed = client.encrypt(&key, b"x", &cell("1")).await.unwrap().ciphertext;
            client.decrypt(&key, &sealed, &cell("1")).await.unwrap();
        });
        let stopped = daemon.stop().expect(0);
        let said = stopped.said();
        let (verified, warned) = (said.find("the master key opens the store"), said.find(PENDING));
        assert_eq!(warned.is_some(), environment.is_some(), "{said}");
        // It rests on what the store says, which is believed by then.
        assert!(warned.is_none_or(|warned| warned > verified.unwrap()), "{said}");
        if environment.is_some() {
            let (old, new) = (fingerprint(old), fingerprint(new));
            stopped.saying(&[
                &format!("{old} (in use)"),
                &format!("{new} (to come)"),
                &format!("hold {new}, then run `servos-keyctl rotate finish`"),
                &format!("{old}, then `servos-keyctl rotate abort`"),
            ]);
        }
    }
}

#[test]
fn a_third_key_is_refused_beside_either_and_alone() {
    let (installation, new) = pending();
    let (old, third) = (installation.key, random_key());
    let before = std::fs::read(installation.store()).unwrap();
    for key in [old, new] {
        for (file, environment) in [(key, third), (third, key)] {
            let run = with_keys(&installation, file, Some(environment), &["serve"]);
            let refused = crate::harness::Daemon::refused(&run).expect(78);
            refused.saying(&["two sources hold different master keys", &fingerprint(key), &fingerprint(third)]);
        }
    }
    let refused = crate::harness::Daemon::refused(&with_keys(&installation, third, None, &["serve"])).expect(78);
    refused.saying(&[
        "MASTER KEY INTEGRITY CHECK FAILED",
        &format!("a rotation to master key {} is pending", fingerprint(new)),
        &fingerprint(old),
        &fingerprint(third),
        "Bring back either of the two",
    ]);
    assert_eq!(std::fs::read(installation.store()).unwrap(), before);
}

#[test]
fn salvage_acceptance_restore_and_check_key_go_on_with_either_key_and_with_both() {
    for at in 0..4 {
        let (installation, new) = pending();
        let old = installation.key;
        let (file, environment) = ways(old, new)[at];
        let both: &[&str] = if environment.is_some() { &[PENDING] } else { &[] };
        let configuration = installation.write_configuration().display().to_string();

        let mut check = Invocation::new(["check-key", "--config", &configuration]);
        installation.write_key(file);
        if let Some(key) = environment {
            check = check.variable("SERVOS_MASTER_KEY", hex(&key));
        }
        check.run(KEYCTL).expect(0).saying(&[&fingerprint(old), &fingerprint(new)]).saying(both);

        std::fs::remove_file(installation.mark()).unwrap();
        let accept = with_keys(&installation, file, environment, &["accept", "--generation", "1", "--yes"]);
        accept.run(KEYD).expect(0).saying(both);

        let snapshot = installation.records();
        let master: record::Master = record::decode(record::MASTER, &snapshot.records[record::MASTER]).unwrap();
        let id = master.store_id.try_into().unwrap();
        let backup = backup_file::Backup::of(id, 1_800_000_000, snapshot);
        let backup = backup_file::write_durably(&installation.path("kept"), &backup).unwrap();
        let whole = std::fs::read(installation.store()).unwrap();
        std::fs::remove_file(installation.store()).unwrap();
        let restore = with_keys(&installation, file, environment, &["restore", backup.to_str().unwrap()]);
        restore.run(KEYD).expect(0).saying(both);

        std::fs::write(installation.store(), whole).unwrap();
        installation.change_records(|snapshot| drop(snapshot.records.insert("meta".into(), Vec::new())));
        let salvage = with_keys(&installation, file, environment, &["serve", "--salvage"]);
        installation.serve_with(&salvage).stop().expect(0).saying(both).saying(&["meta"]);
    }
}

#[test]
fn a_damaged_store_whose_keys_cannot_be_told_accuses_no_source() {
    let (installation, new) = pending();
    installation.change_records(|snapshot| drop(snapshot.records.insert("canary".into(), Vec::new())));
    let run = with_keys(&installation, installation.key, Some(new), &["serve"]);
    let refused = crate::harness::Daemon::refused(&run).expect(74);
    refused.saying(&["the store is damaged"]).not_saying(&["Remove the wrong one"]);
}
