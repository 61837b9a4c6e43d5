//! Tests of a store with a pending rotation, as starts and offline commands meet it: with either key, both, and neither.
//!
//! Must never make such a store by the operation that begins a rotation: what is on the disk is held to here.
//! Run as `operations::key_choice::pending_tests`.

use super::super::check_key::{Verdict, check_key};
use super::super::create::{Creation, first_snapshot};
use super::super::load::{self, authenticate, open};
use super::super::test_rig::{BEGIN, MASTER_KEY as OLD, places, random};
use super::super::{accept, backup, install, restore, salvage};
use super::*;
use crate::custody::keys::RootKey;
use crate::custody::{record_seal, snapshot};
use crate::store::mark::{self, Mark, State};
use crate::store::redb_adapter::{RedbStore, view};
use crate::store::{backup_file, record};
use tempfile::TempDir;

const NEW: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const THIRD: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

struct Installation {
    directory: TempDir,
    memory: LockedMemory,
    snapshot: Snapshot,
    root: RootKey,
    store_id: crate::custody::id::StoreId,
}

impl Installation {
    fn before_a_rotation() -> Self {
        let (directory, memory) = (tempfile::tempdir().unwrap(), LockedMemory::new().unwrap());
        let places = places(&directory);
        let master = MasterKey::parse(OLD.as_bytes(), &memory).unwrap();
        let creation = Creation {
            places: &places,
            master: &master,
            shared: false,
            adopt_legacy: false,
            memory: &memory,
            random: &random,
            now: BEGIN,
        };
        let (store_id, root, snapshot) = first_snapshot(&creation).unwrap();
        Self { directory, memory, snapshot, root, store_id }
    }

    /// The same root under two master keys, the second to come; and both canaries.
    fn pending() -> Self {
        let mut it = Self::before_a_rotation();
        let new = it.key(NEW);
        it.change(record::MASTER, |it, master: &mut record::Master| {
            let root = record_seal::seal_root(&new, &it.root, &it.store_id, &random).unwrap();
            master.pending = Some(record::MasterSeal { root, since: BEGIN + 9, shared: false });
            master.rotation = Some(record::Rotation {
                step: record::RotationStep::Pending.into(),
                old_fingerprint: it.key(OLD).fingerprint().as_bytes().to_vec(),
                new_fingerprint: new.fingerprint().as_bytes().to_vec(),
                begun: BEGIN + 9,
                ..record::Rotation::default()
            });
        });
        it.change(record::CANARY, |it, canary: &mut record::Canary| {
            canary.seals.push(record_seal::seal_canary(&it.key(NEW), &it.store_id, &random).unwrap());
        });
        it
    }

    /// Of `pending`, what finish keeps: the key in use is the one that was to come, and the history says so.
    fn finished() -> Self {
        let mut it = Self::pending();
        it.change(record::MASTER, |_, master: &mut record::Master| {
            master.current = master.pending.take();
            master.rotation = None;
        });
        it.change(record::CANARY, |_, canary: &mut record::Canary| drop(canary.seals.remove(0)));
        let fingerprint = it.key(NEW).fingerprint();
        it.change(&record::history(0), |_, history: &mut record::History| {
            history.entries.push(record::HistoryEntry {
                fingerprint: fingerprint.as_bytes().to_vec(),
                at: BEGIN + 10,
                kind: record::HistoryKind::Rotated.into(),
            });
        });
        it
    }

    fn change<T: record::Record>(&mut self, name: &str, change: impl FnOnce(&Self, &mut T)) {
        let mut value: T = record::decode(name, &self.snapshot.records[name]).unwrap();
        change(self, &mut value);
        self.snapshot.records.insert(name.to_owned(), record::encode(&value));
        let digests = load::digests(&self.snapshot);
        let mac = snapshot::mac(&self.root, &self.store_id, self.snapshot.generation, &digests);
        self.snapshot.records.insert(record::MAC.to_owned(), mac.to_vec());
    }

    fn key(&self, text: &str) -> MasterKey {
        MasterKey::parse(text.as_bytes(), &self.memory).unwrap()
    }

    fn fingerprint(&self, text: &str) -> String {
        self.key(text).fingerprint().to_string()
    }

    /// The key that a start goes on with, on sources that hold these.
    fn chosen(&self, texts: &[&str], snapshot: &Snapshot) -> Result<MasterKey, StartFailure> {
        self.choice(texts, snapshot).map(|choice| choice.key)
    }

    fn choice(&self, texts: &[&str], snapshot: &Snapshot) -> Result<Choice, StartFailure> {
        let each = texts.iter().enumerate();
        let held = each.map(|(at, text)| held(&format!("source {at}"), Renewal::Reread, text.as_bytes(), &self.memory));
        choose(held.collect::<Result<_, _>>()?, claimed(snapshot))
    }

    fn opens(&self, snapshot: &Snapshot, texts: &[&str]) -> Result<(), StartFailure> {
        let key = self.chosen(texts, snapshot)?;
        open(authenticate(snapshot.clone(), key, &self.memory)?, &self.memory).map(drop)
    }
}

/// What opens a store while a rotation is pending.
const GOOD: [&[&str]; 5] = [&[OLD], &[NEW], &[OLD, NEW], &[NEW, OLD], &[OLD, NEW, OLD]];

#[test]
fn a_pending_store_opens_with_either_key_and_with_sources_that_hold_both() {
    let it = Installation::pending();
    for texts in GOOD {
        it.opens(&it.snapshot, texts).unwrap_or_else(|failure| panic!("{texts:?}: {failure}"));
        let verdict = check_key(it.snapshot.clone(), it.chosen(texts, &it.snapshot).unwrap(), &it.memory).unwrap();
        assert!(matches!(verdict, Verdict::Opens { .. }), "{texts:?}");
    }
    let both = it.choice(&[NEW, OLD], &it.snapshot).unwrap();
    assert_eq!(both.other.unwrap().fingerprint().to_string(), it.fingerprint(OLD));
    assert!(matches!(it.opens(&it.snapshot, &[OLD, THIRD]), Err(StartFailure::SourcesDisagree { .. })));
    let settled = Installation::before_a_rotation();
    assert!(matches!(settled.opens(&settled.snapshot, &[OLD, NEW]), Err(StartFailure::SourcesDisagree { .. })));
}

#[test]
fn a_third_key_is_told_which_key_is_in_use_which_is_to_come_and_both_ways_on() {
    let it = Installation::pending();
    let failure = it.opens(&it.snapshot, &[THIRD]).unwrap_err();
    let (old, new) = (it.fingerprint(OLD), it.fingerprint(NEW));
    let told = failure.to_string();
    for words in [
        "MASTER KEY INTEGRITY CHECK FAILED",
        &format!("the store says it was sealed under master key {old} (in use since "),
        &format!("and that a rotation to master key {new} is pending, the key given is {}.", it.fingerprint(THIRD)),
        "Bring back either of the two",
        &format!("with {new} by `servos-keyctl rotate finish`, with {old} by `servos-keyctl rotate abort`"),
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    let of_backup = failure.in_backup(std::path::Path::new("b.skb1")).to_string();
    assert!(of_backup.contains(&format!("a rotation to master key {new} is pending")), "{of_backup}");
    assert!(of_backup.ends_with("Bring back either key of its time"), "{of_backup}");
}

#[test]
fn a_settled_store_speaks_of_no_rotation_and_knows_a_key_that_was_replaced() {
    let it = Installation::before_a_rotation();
    let told = it.opens(&it.snapshot, &[NEW]).unwrap_err().to_string();
    assert!(told.contains("Bring back the right key, or find") && !told.contains("rotat"), "{told}");

    let it = Installation::finished();
    it.opens(&it.snapshot, &[NEW]).unwrap();
    assert!(matches!(it.opens(&it.snapshot, &[NEW, OLD]), Err(StartFailure::SourcesDisagree { .. })));
    let told = it.opens(&it.snapshot, &[OLD]).unwrap_err().to_string();
    assert!(told.contains(&format!("sealed under master key {} ", it.fingerprint(NEW))), "{told}");
    assert!(told.contains("of which it says that a rotation replaced it. Nothing was written"), "{told}");
}

#[test]
fn a_pending_store_is_restored_with_either_key_and_stays_pending() {
    for texts in GOOD {
        let it = Installation::pending();
        let places = places(&it.directory);
        let made = backup::of_snapshot(it.store_id, it.snapshot.clone(), BEGIN);
        let file = backup_file::write_durably(&it.directory.path().join("elsewhere"), &made).unwrap();
        let read = restore::proof::read_backup(&file, String::new()).unwrap();
        assert_eq!(read.claimed().unwrap(), claimed(&it.snapshot).unwrap());
        let proven = restore::proof::prove(read, it.chosen(texts, &it.snapshot).unwrap(), &it.memory).unwrap();
        assert_eq!(proven.owners(), claimed(&it.snapshot).unwrap());
        let known = restore::known::survey(&places, &proven, Vec::new(), &it.memory).unwrap();
        let key = it.chosen(texts, &it.snapshot).unwrap();
        restore::restore(&places, proven, &known, None, key, &it.memory, 0).unwrap();
        let restored = view(&places.store).unwrap();
        assert_eq!(claimed(&restored).unwrap(), claimed(&it.snapshot).unwrap(), "{texts:?}");
        for texts in GOOD {
            it.opens(&restored, texts).unwrap();
        }
    }
}

#[test]
fn a_pending_store_is_accepted_with_either_key_and_stays_pending() {
    for texts in GOOD {
        let it = Installation::pending();
        let places = places(&it.directory);
        let generation = it.snapshot.generation;
        let state = State { store_id: *it.store_id.as_bytes(), generation, root_id: *it.root.id().as_bytes() };
        install::install(&places, &it.snapshot, Mark { now: None, to_come: Some(state) }, None).unwrap();
        std::fs::remove_file(&places.mark).unwrap();
        let authentic = authenticate(it.snapshot.clone(), it.chosen(texts, &it.snapshot).unwrap(), &it.memory).unwrap();
        let mut store = RedbStore::open(&places.store).unwrap();
        let next = accept::accept(&places, &authentic, &mut store, generation).unwrap();
        drop(store);
        assert_eq!(mark::read(&places.mark).unwrap().unwrap().now.unwrap().generation, next);
        let accepted = view(&places.store).unwrap();
        for texts in GOOD {
            it.opens(&accepted, texts).unwrap();
        }
    }
}

#[test]
fn a_damaged_pending_store_is_salvaged_with_either_key() {
    for texts in GOOD {
        let mut it = Installation::pending();
        it.snapshot.records.remove(record::META);
        let salvaged =
            salvage::salvage(it.snapshot.clone(), it.chosen(texts, &it.snapshot).unwrap(), &it.memory).unwrap();
        assert!(!salvaged.keyring.versions.is_empty(), "{texts:?}");
        let unopened: Vec<&str> = salvaged.unopened.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(unopened, ["mac", "meta"], "{texts:?}");
    }
}

#[test]
fn where_a_damaged_store_cannot_tell_its_keys_that_is_said_of_sources_that_differ() {
    let mut no_record = Installation::pending();
    no_record.snapshot.records.insert(record::MASTER.to_owned(), b"not a record".to_vec());
    // The canary names one key only: root and canary contradict each other.
    let mut half = Installation::pending();
    half.change(record::CANARY, |_, canary: &mut record::Canary| drop(canary.seals.pop()));
    for it in [no_record, half] {
        for texts in [[OLD, NEW], [OLD, THIRD]] {
            assert!(matches!(it.choice(&texts, &it.snapshot), Err(StartFailure::Damaged(_))));
        }
        it.choice(&[OLD, OLD], &it.snapshot).unwrap();
    }
}
