//! An installation for the room's tests: real keys in locked memory, a fake store, a clock that stands until it is set.
//!
//! Must never let a test go on with a store that would not load: each change is followed by a look at it.
//! Called by the tests of this room alone.

use super::create::{Creation, first_snapshot};
use super::create_key::{Created, create_key};
use super::decrypt::{self, Opened};
use super::delete_key::{Deleted, delete_key};
use super::encrypt::{self, Sealed};
use super::engine::{Engine, Facts};
use super::fake_store::{FakeStore, Fault, Medium, locked};
use super::health::StoreState;
use super::keyring::{DataKey, Keyring};
use super::ledger::{Ledger, Places};
use super::load::{self, Loaded};
use super::mark_check;
use super::refusal::Refusal;
use super::rotate_key::{Rotated, rotate_key};
use super::rotation::at_start::take_up;
use super::rotation::key_sources::{HeldKey, KeySources, Renewal, SourceUnreadable};
use super::start_failure::StartFailure;
use crate::auth::key_name::KeyName;
use crate::auth::operation::{Keyed, Whole};
use crate::auth::peer::{Peer, PeerCredentials, Socket};
use crate::auth::permit::{Admission, Permit};
use crate::auth::policy::Policy;
use crate::custody::context::Context;
use crate::custody::keys::{LockedMemory, MasterKey};
use crate::custody::random::RandomUnavailable;
use crate::store::mark;
use crate::store::port::Snapshot;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The master key of every rig, as an operator has it.
pub(super) const MASTER_KEY: &str = "8c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";
/// When every rig begins: Unix seconds.
pub(super) const BEGIN: i64 = 1_800_000_000;
pub(super) const DAY: i64 = 24 * 60 * 60;

pub(super) fn random(bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
    use ring::rand::SecureRandom as _;
    ring::rand::SystemRandom::new().fill(bytes).map_err(|_| RandomUnavailable)
}

pub(super) fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

pub(super) fn context(id: &str) -> Context {
    Context::new([("table", "servers"), ("id", id)]).unwrap()
}

/// The name of the `n`th request.
#[expect(clippy::unnecessary_wraps, reason = "operations take it so")]
pub(super) fn id(n: u32) -> Option<String> {
    Some(format!("00000000-0000-4000-8000-{n:012x}"))
}

pub(super) struct Rig {
    pub(super) memory: LockedMemory,
    pub(super) medium: Arc<Mutex<Medium>>,
    pub(super) clock: Arc<AtomicI64>,
    pub(super) directory: TempDir,
    pub(super) sources: Arc<Mutex<Sources>>,
    pub(super) policy: Policy,
    pub(super) ledger: Ledger,
    pub(super) engine: Arc<Engine>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::made(false)
    }

    /// One that adopted its own master key for legacy values.
    pub(super) fn with_legacy() -> Self {
        Self::made(true)
    }

    fn made(adopt_legacy: bool) -> Self {
        let memory = LockedMemory::new().unwrap();
        let directory = directory();
        let places = places(&directory);
        let master = MasterKey::parse(MASTER_KEY.as_bytes(), &memory).unwrap();
        let creation = Creation {
            places: &places,
            master: &master,
            shared: false,
            adopt_legacy,
            memory: &memory,
            random: &random,
            now: BEGIN,
        };
        let (_, _, snapshot) = first_snapshot(&creation).unwrap();
        let medium = Arc::new(Mutex::new(Medium { snapshot, ..Medium::default() }));
        let clock = Arc::new(AtomicI64::new(BEGIN));
        let sources = Arc::new(Mutex::new(Sources::of(MASTER_KEY)));
        let ledger = started(&memory, &medium, &clock, places, &sources).unwrap();
        let engine = Arc::clone(ledger.engine());
        Self { memory, medium, clock, directory, sources, policy: Policy::new(0), ledger, engine }
    }

    /// As after a crash: nothing of memory is left, and the store is what the medium holds.
    pub(super) fn restarted(self) -> Self {
        self.try_restarted().unwrap_or_else(|(_, failure)| panic!("{failure}"))
    }

    /// The same, where the start may be refused: then what the medium holds, and why.
    pub(super) fn try_restarted(self) -> Result<Self, (Snapshot, StartFailure)> {
        let Self { memory, medium, clock, directory, sources, policy, ledger, engine } = self;
        drop((ledger, engine));
        {
            let mut medium = locked(&medium);
            (medium.unreadable, medium.refuses, medium.refuses_rewrites) = (false, None, None);
        }
        let ledger = match started(&memory, &medium, &clock, places(&directory), &sources) {
            Ok(ledger) => ledger,
            Err(failure) => return Err((locked(&medium).snapshot.clone(), failure)),
        };
        let engine = Arc::clone(ledger.engine());
        Ok(Self { memory, medium, clock, directory, sources, policy, ledger, engine })
    }

    /// What the key sources hold from now on, by name and key.
    pub(super) fn hold(&self, held: &[(&str, Renewal, &str)]) {
        let held = held.iter().map(|(name, renewal, key)| ((*name).to_owned(), *renewal, (*key).to_owned()));
        self.sources.lock().unwrap().held = held.collect();
    }

    pub(super) fn key_sources(&self) -> Box<dyn KeySources> {
        Box::new(FakeSources(Arc::clone(&self.sources), self.memory.clone()))
    }

    /// The key file holds this key, and there is no other source.
    pub(super) fn hold_key(&self, key: &str) {
        self.hold(&[("master.key", Renewal::Reread, key)]);
    }

    /// The same, decrypt-only.
    pub(super) fn salvaged(&self) -> Engine {
        let keyring = self.loaded().keyring;
        let facts = Facts { salvage: true, ..Facts::default() };
        Engine::new(keyring, Box::new(random), Box::new(|| BEGIN), facts)
    }

    /// The next commit goes wrong.
    pub(super) fn break_next(&self, fault: Fault) {
        locked(&self.medium).faults.push_back(fault);
    }

    pub(super) fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        locked(&self.medium).snapshot.clone()
    }

    pub(super) fn commits(&self) -> Vec<(usize, bool)> {
        locked(&self.medium).commits.clone()
    }

    pub(super) fn backups(&self) -> PathBuf {
        self.directory.path().join("backup")
    }

    /// Lets backups fail: a file lies where their directory should be.
    pub(super) fn break_backups(&self) {
        let _ = std::fs::remove_dir_all(self.backups());
        std::fs::write(self.backups(), "in the way").unwrap();
    }

    pub(super) fn mend_backups(&self) {
        std::fs::remove_file(self.backups()).unwrap();
    }

    pub(super) fn admit<Op: crate::auth::operation::Operation>(&self) -> Admission<'_, Op> {
        self.policy.admit(peer()).unwrap()
    }

    pub(super) fn permit<Op: Keyed>(&self, key: &str) -> Permit<Op> {
        self.admit::<Op>().for_key(&name(key)).unwrap()
    }

    pub(super) fn whole<Op: Whole>(&self) -> Permit<Op> {
        self.admit::<Op>().permit()
    }

    pub(super) fn keyring(&self) -> Arc<Keyring> {
        self.engine.keyring()
    }

    /// A change as the writer does it: what is not known of the one before comes first.
    pub(super) fn create(&mut self, key: &str, request: Option<String>) -> Result<Created, Refusal> {
        let permit = self.permit(key);
        self.ledger.settle_first();
        create_key(&permit, &mut self.ledger, request)
    }

    pub(super) fn rotate(&mut self, key: &str, request: Option<String>) -> Result<Rotated, Refusal> {
        let permit = self.permit(key);
        self.ledger.settle_first();
        rotate_key(&permit, &mut self.ledger, request)
    }

    pub(super) fn delete(&mut self, key: &str, request: Option<String>) -> Result<Deleted, Refusal> {
        let permit = self.permit(key);
        self.ledger.settle_first();
        delete_key(&permit, &mut self.ledger, request)
    }

    pub(super) fn encrypt(&self, key: &str, plaintext: &[u8]) -> Result<Sealed, Refusal> {
        let key = name(key);
        let request = encrypt::Request { key: &key, plaintext, context: &context("1"), allow_nested: false };
        encrypt::encrypt(&self.admit(), &self.engine, &request)
    }

    pub(super) fn decrypt(&self, ciphertext: &[u8]) -> Result<Opened, Refusal> {
        let request = decrypt::Request { expected_key: None, ciphertext, context: &context("1"), allow_legacy: false };
        decrypt::decrypt(&self.admit(), &self.engine, &request)
    }

    /// The store as a start would load it.
    pub(super) fn loaded(&self) -> Loaded {
        let master = MasterKey::parse(self.sources.lock().unwrap().held[0].2.as_bytes(), &self.memory).unwrap();
        let authentic = load::authenticate(self.snapshot(), master, &self.memory).expect("the MAC fits");
        load::open(authentic, &self.memory).expect("everything opens")
    }

    /// What health says of the store, and why.
    pub(super) fn store_state(&self) -> (StoreState, String) {
        let health = self.engine.health.now();
        (health.store, health.store_problem)
    }

    /// Holds memory to what the store would load as.
    #[track_caller]
    pub(super) fn check(&self) {
        let loaded = self.loaded();
        assert_eq!(picture(&self.keyring()), picture(&loaded.keyring));
        assert_eq!(self.ledger.generation, loaded.keyring.generation);
        assert!(self.ledger.digests == loaded.secrets.digests, "digests differ");
        assert!(self.ledger.meta == loaded.secrets.meta, "meta differs");
        assert!(self.ledger.requests == loaded.secrets.requests, "requests differ");
        for (records, _) in self.commits() {
            assert!(records <= crate::store::port::MAX_BATCH_RECORDS, "{records} records in one commit");
        }
    }
}

pub(super) fn peer() -> Peer {
    Peer { credentials: PeerCredentials { uid: 0, gid: 0, pid: 1 }, socket: Socket::Admin }
}

/// In memory, where the system has such a place: each commit syncs a mark, and no test here is about the disk.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn places(directory: &TempDir) -> Places {
    let at = |name: &str| directory.path().join(name);
    Places { store: at("keyd.redb"), mark: at("keyd.redb.mark"), backups: at("backup"), keep: 10, keep_for: 0 }
}

fn started(
    memory: &LockedMemory,
    medium: &Arc<Mutex<Medium>>,
    clock: &Arc<AtomicI64>,
    places: Places,
    sources: &Arc<Mutex<Sources>>,
) -> Result<Ledger, StartFailure> {
    let sources = FakeSources(Arc::clone(sources), memory.clone());
    let mut held = sources.read().unwrap();
    let master = held.remove(0).key;
    let other = held.into_iter().map(|held| held.key).find(|key| key.fingerprint() != master.fingerprint());
    let snapshot = locked(medium).snapshot.clone();
    let authentic = load::authenticate(snapshot, master, memory)?;
    let (state, previous) = authentic.state();
    let seen = mark::read(&places.mark).unwrap();
    if seen.is_some() {
        mark_check::check(&places.mark, seen.as_ref(), &state, previous)?;
    }
    let loaded = load::open(authentic, memory)?;
    let clock = Arc::clone(clock);
    let clock = Box::new(move || clock.load(Ordering::Relaxed));
    let engine = Arc::new(Engine::new(loaded.keyring, Box::new(random), clock, Facts::default()));
    let store = Box::new(FakeStore(Arc::clone(medium)));
    let mut ledger = Ledger::new(store, places, loaded.secrets, engine, memory.clone(), Box::new(sources))?;
    ledger.complete_mark(seen.as_ref())?;
    take_up(&mut ledger, other);
    Ok(ledger)
}

/// What a test says that the key sources hold.
pub(super) struct Sources {
    pub(super) held: Vec<(String, Renewal, String)>,
    pub(super) next: Option<String>,
    /// The source that the disk does not take.
    pub(super) unsettled: Option<String>,
}

impl Sources {
    fn of(key: &str) -> Self {
        Self { held: vec![("master.key".to_owned(), Renewal::Reread, key.to_owned())], next: None, unsettled: None }
    }
}

struct FakeSources(Arc<Mutex<Sources>>, LockedMemory);

impl FakeSources {
    fn key(&self, source: &str, renewal: Renewal, text: &str) -> Result<HeldKey, SourceUnreadable> {
        let key = MasterKey::parse(text.as_bytes(), &self.1);
        let key = key.map_err(|error| SourceUnreadable(format!("{source}: {error}")))?;
        Ok(HeldKey { source: source.to_owned(), renewal, key })
    }
}

impl KeySources for FakeSources {
    fn read(&self) -> Result<Vec<HeldKey>, SourceUnreadable> {
        let sources = self.0.lock().unwrap();
        sources.held.iter().map(|(name, renewal, text)| self.key(name, *renewal, text)).collect()
    }

    fn read_next(&self) -> Result<Option<HeldKey>, SourceUnreadable> {
        let sources = self.0.lock().unwrap();
        sources.next.as_ref().map(|text| self.key("master.key.next", Renewal::Reread, text)).transpose()
    }

    fn settle(&self) -> Result<(), SourceUnreadable> {
        match &self.0.lock().unwrap().unsettled {
            Some(source) => Err(SourceUnreadable(format!("{source}: cannot be read"))),
            None => Ok(()),
        }
    }

    fn next_file(&self) -> Option<String> {
        let sources = self.0.lock().unwrap();
        sources.held.iter().any(|(_, renewal, _)| *renewal == Renewal::Reread).then(|| "master.key.next".to_owned())
    }

    fn restart_command(&self) -> String {
        "systemctl restart servos-keyd".to_owned()
    }
}

/// Everything of a keyring but its secrets, in an order of its own.
pub(super) fn picture(keyring: &Keyring) -> Vec<String> {
    let mut lines = vec![format!(
        "{} generation {} keyring {} rotations {} gaps {:?} master {:?} rotation {:?} drills {:?}",
        keyring.store_id,
        keyring.generation,
        keyring.keyring,
        keyring.rotations,
        keyring.gaps,
        keyring.master,
        keyring.rotation,
        keyring.drills
    )];
    for key in keyring.keys.values() {
        let DataKey { id, name, created, primary, promoting, deleted, versions } = &**key;
        lines.push(format!("key {id} {name} {created} primary {primary} promoting {promoting} deleted {deleted}"));
        for version in versions.iter() {
            let held = keyring.versions.get(&version.id).expect("a version is found by its id");
            assert!(Arc::ptr_eq(held, version), "both ways lead to the same version");
            let (id, state) = (version.id, version.state);
            lines.push(format!("version {id} {} {} {state:?} {}", version.key, version.number, version.created));
        }
    }
    assert_eq!(keyring.versions.len(), keyring.keys.values().map(|key| key.versions.len()).sum::<usize>());
    lines.extend(keyring.names.iter().map(|(name, id)| format!("name {name} {id}")));
    lines.extend(keyring.legacy.iter().map(|legacy| format!("legacy {} {}", legacy.fingerprint, legacy.adopted)));
    lines.sort();
    lines
}

/// A legacy value as ServOS made it before servos-keyd: under a raw key, with a nonce of the test's choice.
pub(super) fn legacy_value(key_hex: &str, nonce: [u8; 12], plaintext: &[u8]) -> Vec<u8> {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = base16ct::lower::decode_vec(key_hex).unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let mut value = plaintext.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut value).unwrap();
    [nonce.as_slice(), &value].concat()
}
