//! Walks over the bytes of a store and its mark: each flip, cut and garbage is refused, or nothing of it is seen.
//!
//! Must never take other data for the store's: what is not the whole truth must have been refused.
//! Called by cargo. `KEYD_DAMAGE_SEED` plays the places of a run again; `--ignored` walks over every byte.

use super::accept::accept;
use super::claim::claim_of_master;
use super::create::{Creation, create};
use super::ledger::Places;
use super::start_failure::StartFailure;
use super::test_rig::{BEGIN, MASTER_KEY, places, random};
use super::{load, mark_check, salvage};
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::store::mark::{self, MarkError};
use crate::store::port::{Snapshot, StoreError};
use crate::store::redb_adapter::{RedbStore, danger_view_unchecked, view};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than this takes only what hangs.
const SOON: Duration = Duration::from_secs(10);

/// A store of two commits and its mark.
struct Whole {
    directory: TempDir,
    places: Places,
    memory: LockedMemory,
    truth: Snapshot,
}

impl Whole {
    fn made() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (places, memory) = (places(&directory), LockedMemory::new().unwrap());
        let master = key(&memory);
        let creation = Creation {
            places: &places,
            master: &master,
            shared: false,
            adopt_legacy: true,
            memory: &memory,
            random: &random,
            now: BEGIN,
        };
        create(&creation).unwrap();
        let authentic = load::authenticate(view(&places.store).unwrap(), key(&memory), &memory).unwrap();
        accept(&places, &authentic, &mut RedbStore::open(&places.store).unwrap(), 1).unwrap();
        let truth = view(&places.store).unwrap();
        Self { directory, places, memory, truth }
    }

    /// A start up to the point where it would serve.
    fn start(&self) -> Result<Snapshot, StartFailure> {
        let seen = view(&self.places.store).map_err(StartFailure::of_file)?;
        if seen == self.truth {
            return self.judge_mark(seen);
        }
        let authentic = load::authenticate(seen.clone(), key(&self.memory), &self.memory)?;
        drop(authentic);
        self.judge_mark(seen)
    }

    fn judge_mark(&self, seen: Snapshot) -> Result<Snapshot, StartFailure> {
        let generation = seen.generation;
        let mark = mark::read(&self.places.mark).map_err(|source| match source {
            MarkError::Damaged { .. } => StartFailure::MarkUnusable { generation, source },
            MarkError::File(error) => StartFailure::Store(error),
        })?;
        let authentic = load::authenticate(seen.clone(), key(&self.memory), &self.memory)?;
        let (state, previous) = authentic.state();
        mark_check::check(&self.places.mark, mark.as_ref(), &state, previous)?;
        load::open(authentic, &self.memory)?;
        Ok(seen)
    }

    /// What salvage opens is what was sealed, under its own name.
    fn salvaged(&self, case: &str) -> bool {
        let Ok(found) = danger_view_unchecked(&self.places.store) else { return false };
        if claim_of_master(&found).is_err() {
            return false;
        }
        let Ok(salvaged) = salvage::salvage(found.clone(), key(&self.memory), &self.memory) else { return false };
        for id in salvaged.keyring.versions.keys() {
            let name = crate::store::record::version(id);
            let seal = |snapshot: &Snapshot| {
                let bytes = snapshot.records.get(&name).unwrap_or_else(|| panic!("{case}: {name} was never there"));
                crate::store::record::decode::<crate::store::record::Version>(&name, bytes).unwrap().seal
            };
            assert!(seal(&found) == seal(&self.truth), "{case}: {name} opens, and is not what was sealed");
        }
        if found != self.truth {
            assert!(!salvaged.unopened.is_empty(), "{case}: something is lost, and nothing is said");
        }
        true
    }
}

fn key(memory: &LockedMemory) -> MasterKey {
    MasterKey::parse(MASTER_KEY.as_bytes(), memory).unwrap()
}

/// The word for a refusal that a damaged store may meet; any other is a fault of this daemon.
fn kind(failure: &StartFailure, case: &str) -> &'static str {
    match failure {
        StartFailure::UnusableFile(StoreError::Empty { .. }) => "empty",
        StartFailure::UnusableFile(StoreError::Foreign { .. }) => "foreign",
        StartFailure::UnusableFile(_) => "damaged file",
        StartFailure::Store(StoreError::NewerFormat { .. }) => "newer format",
        StartFailure::Damaged(_) => "damaged records",
        StartFailure::MarkRefuses { .. } => "refused by the mark",
        StartFailure::MarkUnusable { .. } => "damaged mark",
        other => panic!("{case}: {other}"),
    }
}

/// What a walk met, by kind.
#[derive(Default)]
struct Counts {
    met: BTreeMap<&'static str, usize>,
    salvaged: usize,
}

impl Counts {
    fn add(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }
}

/// Judges one damage of the store's file. `deep` opens it for writing and salvages it too.
fn judge(whole: &Whole, bytes: &[u8], deep: bool, case: &str, counts: &mut Counts) {
    fs::write(&whole.places.store, bytes).unwrap();
    let begun = Instant::now();
    match whole.start() {
        Ok(seen) => {
            assert!(seen == whole.truth, "{case}: other data");
            counts.add("no harm");
            if deep {
                let mut store = RedbStore::open(&whole.places.store).unwrap_or_else(|e| panic!("{case}: {e}"));
                assert!(crate::store::port::Store::load(&mut store).unwrap() == whole.truth, "{case}: other data");
            }
        }
        Err(failure) => {
            counts.add(kind(&failure, case));
            if deep {
                counts.salvaged += usize::from(whole.salvaged(case));
                assert!(fs::read(&whole.places.store).unwrap() == bytes, "{case}: it was written to");
            }
        }
    }
    assert!(begun.elapsed() < SOON, "{case}: {:?}", begun.elapsed());
}

fn closed(whole: &Whole) -> Vec<u8> {
    fs::read(&whole.places.store).unwrap()
}

/// As a crash leaves it.
fn crashed(whole: &Whole) -> Vec<u8> {
    let open = RedbStore::open(&whole.places.store).unwrap();
    let bytes = fs::read(&whole.places.store).unwrap();
    drop(open);
    bytes
}

struct Numbers(u64);

impl Numbers {
    /// Source: SplitMix64.
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(below).unwrap()).unwrap()
    }
}

fn walk(places_of: impl Fn(&[u8]) -> Vec<usize> + Sync, deep_every: usize) {
    let places_of = &places_of;
    std::thread::scope(|scope| {
        for state in [closed as fn(&Whole) -> Vec<u8>, crashed] {
            scope.spawn(move || walk_over(state, places_of, deep_every));
        }
    });
}

fn walk_over(state: fn(&Whole) -> Vec<u8>, places_of: &impl Fn(&[u8]) -> Vec<usize>, deep_every: usize) {
    let whole = Whole::made();
    let (good, mut counts) = (state(&whole), Counts::default());
    let flipped = places_of(&good);
    for (n, at) in flipped.iter().enumerate() {
        for mask in [1 << (at % 8), 0xff] {
            let mut bytes = good.clone();
            bytes[*at] ^= mask;
            judge(&whole, &bytes, n % deep_every == 0, &format!("byte {at} with {mask:#04x}"), &mut counts);
        }
    }
    for (n, at) in flipped.iter().enumerate() {
        judge(&whole, &good[..*at], n % deep_every == 0, &format!("cut to {at}"), &mut counts);
    }
    for garbage in [1, 100, 4095, 4096, 8192, 1 << 20] {
        let bytes = [&good[..], &vec![0xa5; garbage]].concat();
        judge(&whole, &bytes, true, &format!("{garbage} bytes appended"), &mut counts);
    }
    eprintln!("{} bytes, {} places: {:?}, {} salvaged", good.len(), flipped.len(), counts.met, counts.salvaged);
    assert!(counts.met.get("damaged file").is_some_and(|n| *n > flipped.len()), "{:?}", counts.met);
    assert!(counts.salvaged > 20, "{}", counts.salvaged);
    drop(whole.directory);
}

#[test]
fn damage_of_a_store_at_places_that_a_seed_chooses_is_refused_or_does_no_harm() {
    let seed = std::env::var("KEYD_DAMAGE_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("KEYD_DAMAGE_SEED={seed}");
    let chosen = |good: &[u8]| {
        let mut places = Numbers(seed);
        // The header whole; then places where something is, and places where nothing is.
        let anywhere: Vec<usize> = (0..100).map(|_| places.next(good.len())).collect();
        let used: Vec<usize> = (320..good.len()).filter(|at| good[*at] != 0).collect();
        let used = (0..300).map(|_| used[places.next(used.len())]);
        (0..320).step_by(2).chain(used).chain(anywhere).collect()
    };
    walk(chosen, 5);
}

#[test]
#[ignore = "the whole walk: every byte and every length, four minutes of a release build"]
fn damage_of_a_store_at_every_byte_is_refused_or_does_no_harm() {
    walk(|good| (0..good.len()).collect(), 7);
}

/// A damaged mark lets nothing in but the store that is there; it never shows other data, only less of what was seen.
#[test]
fn damage_of_a_mark_at_every_bit_and_length_refuses_the_store_or_has_seen_less() {
    let whole = Whole::made();
    let good = fs::read(&whole.places.mark).unwrap();
    let named = mark::read(&whole.places.mark).unwrap().unwrap().now.unwrap();
    let mut cases: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    for at in 0..good.len() {
        for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            let mut bytes = good.clone();
            bytes[at] ^= mask;
            cases.push(bytes);
        }
    }
    cases.extend([&b"\n"[..], b"x", &good, &[0; 5000]].map(|more| [&good[..], more].concat()));
    let mut counts = Counts::default();
    for bytes in cases {
        fs::write(&whole.places.mark, &bytes).unwrap();
        let case = String::from_utf8_lossy(&bytes).into_owned();
        match whole.start() {
            Ok(seen) => {
                assert!(seen == whole.truth, "{case}: other data");
                let read = mark::read(&whole.places.mark).unwrap().unwrap();
                // The generation's own digits alone can change so that the store still fits; or the line stands twice.
                let states = [read.now, read.to_come].into_iter().flatten();
                for state in states {
                    assert_eq!((state.store_id, state.root_id), (named.store_id, named.root_id), "{case}");
                    assert!(state.generation <= named.generation, "{case}");
                }
                counts.add("no harm");
            }
            Err(failure) => counts.add(kind(&failure, &case)),
        }
        assert!(fs::read(&whole.places.mark).unwrap() == bytes, "{case}: it was written to");
    }
    eprintln!("mark of {} bytes: {:?}", good.len(), counts.met);
    assert!(counts.met.values().sum::<usize>() > 9 * good.len());
    assert!(counts.met.get("no harm").is_some_and(|n| *n < 40), "{:?}", counts.met);
}

#[test]
fn the_newest_backup_is_refused_with_any_bit_flipped_and_at_any_other_length() {
    let whole = Whole::made();
    let file = crate::store::backup_file::list(&whole.places.backups).unwrap().pop().unwrap();
    let good = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], case: String| {
        fs::write(&file, bytes).unwrap();
        assert!(super::restore::proof::read_backup(Path::new(&file), "FILE".to_owned()).is_err(), "{case}");
        let store_id = [7; 16];
        let _ = crate::store::backup_peek::first_record(&file, &store_id, "canary");
    };
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(&bytes, format!("byte {at}"));
        bytes[at] = !good[at];
        refused(&bytes, format!("byte {at} inverted"));
        refused(&good[..at], format!("cut to {at}"));
    }
    refused(&[&good[..], b"\0"].concat(), "a byte appended".to_owned());
    refused(&good.repeat(2), "twice".to_owned());
}
