//! What the tests of a rotation play on: the rig with the calls of a rotation, and a look at which keys open the store.
//!
//! Must never believe the daemon's word for what opens: each key is tried on the records, with the mark beside them.
//! Called by the tests of this room alone.

use super::abort_rotation::abort_rotation;
use super::finish_rotation::{Request as EndRequest, finish_rotation};
use super::key_sources::Renewal;
use super::report::Report;
use super::rotate::{Request, rotate};
use super::steps::{Advance, advance};
use super::{State, Step};
use crate::custody::id::Fingerprint;
use crate::custody::keys::MasterKey;
use crate::custody::record_seal;
use crate::operations::engine::{Engine, Facts};
use crate::operations::key_records;
use crate::operations::ledger::Change;
use crate::operations::load::{self, Loaded};
use crate::operations::mark_check;
use crate::operations::refusal::Refusal;
use crate::operations::start_failure::StartFailure;
use crate::operations::test_rig::{BEGIN, MASTER_KEY, Rig, name, places, random};
use crate::store::mark;
use crate::store::port::Snapshot;
use crate::store::record;
use std::sync::Arc;

/// The key of before.
pub(super) const OLD: &str = MASTER_KEY;
/// The key that a rotation is begun with.
pub(super) const NEW: &str = "11c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e";
/// The key of the rotation after it.
pub(super) const NEXT: &str = "22c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e";
/// A key that the store never heard of.
pub(super) const THIRD: &str = "33c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e";
/// A key that was in use long before servos-keyd.
pub(super) const FORMER: &str = "44c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e";

/// All of them.
pub(super) const EVERY_KEY: [&str; 5] = [OLD, NEW, NEXT, THIRD, FORMER];

/// A begin as it is asked for.
#[derive(Clone, Default)]
pub(super) struct Begin {
    pub(super) keep_data_keys: bool,
    pub(super) dry_run: bool,
    pub(super) id: Option<String>,
}

/// How a rotation is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finish,
    Abort { new_data_keys: bool },
}

impl Ending {
    /// The key that goes on, and the one that goes out of use.
    pub(super) fn keys(self) -> (&'static str, &'static str) {
        if self == Self::Finish { (NEW, OLD) } else { (OLD, NEW) }
    }
}

impl Rig {
    pub(super) fn key(&self, text: &str) -> MasterKey {
        MasterKey::parse(text.as_bytes(), &self.memory).unwrap()
    }

    pub(super) fn fingerprint(&self, text: &str) -> Fingerprint {
        self.key(text).fingerprint()
    }

    /// Asks for a begin, with the key in the request.
    pub(super) fn begin_as(&mut self, key: &str, begin: Begin) -> Result<Report, Refusal> {
        let fingerprint = self.fingerprint(key);
        self.begin_with(fingerprint, key, begin)
    }

    /// Asks for a begin, with a fingerprint and a text that need not fit.
    pub(super) fn begin_with(&mut self, fingerprint: Fingerprint, text: &str, begin: Begin) -> Result<Report, Refusal> {
        let Begin { keep_data_keys, dry_run, id } = begin;
        let request = Request { fingerprint, new_key: text.as_bytes(), keep_data_keys, dry_run, id };
        let permit = self.whole();
        self.ledger.settle_first();
        rotate(&permit, &mut self.ledger, request)
    }

    pub(super) fn begin(&mut self, key: &str, id: Option<String>) -> Result<Report, Refusal> {
        self.begin_as(key, Begin { id, ..Begin::default() })
    }

    pub(super) fn finish(&mut self, key: &str, id: Option<String>) -> Result<Report, Refusal> {
        self.end(Ending::Finish, key, false, id)
    }

    pub(super) fn abort(&mut self, key: &str, id: Option<String>) -> Result<Report, Refusal> {
        self.end(Ending::Abort { new_data_keys: false }, key, false, id)
    }

    pub(super) fn end(
        &mut self,
        ending: Ending,
        key: &str,
        dry_run: bool,
        id: Option<String>,
    ) -> Result<Report, Refusal> {
        let request = EndRequest { fingerprint: self.fingerprint(key), dry_run, id };
        self.ledger.settle_first();
        match ending {
            Ending::Finish => {
                let permit = self.whole();
                finish_rotation(&permit, &mut self.ledger, request)
            }
            Ending::Abort { new_data_keys } => {
                let permit = self.whole();
                abort_rotation(&permit, &mut self.ledger, request, new_data_keys)
            }
        }
    }

    pub(super) fn advance(&mut self) -> Advance {
        advance(&mut self.ledger)
    }

    /// Does every step that is left.
    #[track_caller]
    pub(super) fn advance_to_the_end(&mut self) {
        for _ in 0..1000 {
            match self.advance() {
                Advance::More => {}
                Advance::Idle => return,
                Advance::Later => panic!("it waits: {}", self.problem()),
            }
        }
        panic!("it does not end");
    }

    /// Ends the rotation to [`NEW`], with the sources as that takes, to the last step.
    #[track_caller]
    pub(super) fn end_whole(&mut self, ending: Ending) {
        self.hold_key(ending.keys().0);
        self.end(ending, NEW, false, None).unwrap();
        self.advance_to_the_end();
    }

    /// Goes through a rotation to [`NEW`], and lets a test look at each moment with the keys that open the store then.
    pub(super) fn through(&mut self, ending: Ending, mut look: impl FnMut(&mut Self, &[&str])) {
        self.begin(NEW, None).unwrap();
        look(self, &[OLD, NEW]);
        self.hold_key(ending.keys().0);
        look(self, &[OLD, NEW]);
        self.end(ending, NEW, false, None).unwrap();
        while self.step().is_some() {
            look(self, &[ending.keys().0]);
            assert_ne!(self.advance(), Advance::Later);
        }
    }

    /// The step that a rotation is at.
    pub(super) fn step(&self) -> Option<Step> {
        self.keyring().rotation.as_ref().map(|rotation| rotation.step)
    }

    pub(super) fn state(&self) -> Option<State> {
        self.keyring().rotation.as_ref().map(super::Rotation::state)
    }

    /// What keeps the rotation from going on.
    pub(super) fn problem(&self) -> String {
        self.engine.progress.rotation().2
    }

    /// What the environment gave to the start, which no start takes for lasting.
    pub(super) fn hold_in_environment(&self, key: &str) {
        self.hold(&[("SERVOS_MASTER_KEY", Renewal::Environment, key)]);
    }

    /// The store as a start with this key would find it, with the mark that lies beside it.
    pub(super) fn opened_by(&self, key: &str) -> Result<Loaded, StartFailure> {
        self.holds(self.snapshot(), key, true)
    }

    /// Records as a start with this key would find them.
    pub(super) fn holds(&self, snapshot: Snapshot, key: &str, marked: bool) -> Result<Loaded, StartFailure> {
        let authentic = load::authenticate(snapshot, self.key(key), &self.memory)?;
        if marked {
            let (state, previous) = authentic.state();
            let path = places(&self.directory).mark;
            let seen = mark::read(&path).unwrap();
            if seen.is_some() {
                mark_check::check(&path, seen.as_ref(), &state, previous)?;
            }
        }
        load::open(authentic, &self.memory)
    }

    /// Holds the store to being opened by exactly these keys of all that a test knows.
    #[track_caller]
    pub(super) fn opens_with(&self, promised: &[&str]) {
        for key in EVERY_KEY {
            match self.opened_by(key) {
                Ok(_) => assert!(promised.contains(&key), "{key} opens the store"),
                Err(StartFailure::WrongKey { .. }) => {
                    assert!(!promised.contains(&key), "{key} does not open the store")
                }
                Err(failure) => panic!("{key}: {failure}"),
            }
        }
    }

    /// Makes `keys` keys with so many versions each, in as few commits as that takes.
    pub(super) fn grow(&mut self, prefix: &str, keys: u32, versions: u32) {
        let engine = Arc::clone(&self.engine);
        let (mut change, mut made) = (Change::default(), Vec::new());
        for n in 0..keys {
            let maker = self.ledger.maker(&engine);
            let mut key = maker.key(name(&format!("{prefix}-{n}"))).unwrap();
            for _ in 0..versions {
                let new = maker.version(&key).unwrap();
                key.primary = new.version.number;
                key.versions.insert(Arc::clone(&new.version));
                change.put(key_records::new_version_record(&new));
            }
            change.put(key_records::key_record(&key));
            made.push(key);
            if change.batch.puts.len() > 60 || n + 1 == keys {
                let made = std::mem::take(&mut made);
                let change = std::mem::take(&mut change);
                self.ledger
                    .commit(change, |keyring| made.into_iter().for_each(|key| keyring.replace_key(key)))
                    .unwrap();
            }
        }
    }

    /// Lets the mark be neither read nor written: a directory lies in its place.
    pub(super) fn break_mark(&self) {
        let mark = places(&self.directory).mark;
        let _ = std::fs::remove_file(&mark);
        std::fs::create_dir(mark).unwrap();
    }

    pub(super) fn mend_mark(&self) {
        std::fs::remove_dir(places(&self.directory).mark).unwrap();
    }

    /// What calls would see if the daemon were started now with this key.
    pub(super) fn engine_of(&self, key: &str) -> Result<Engine, StartFailure> {
        let loaded = self.opened_by(key)?;
        Ok(Engine::new(loaded.keyring, Box::new(random), Box::new(|| BEGIN), Facts::default()))
    }

    /// Every seal that the store holds, by the name of its record.
    pub(super) fn seals(&self) -> Vec<(String, Vec<u8>)> {
        let mut seals = Vec::new();
        for (name, value) in &self.snapshot().records {
            let mut add = |seal: Vec<u8>| seals.push((name.clone(), seal));
            match record::RecordName::parse(name).unwrap() {
                record::RecordName::Master => {
                    let master: record::Master = record::decode(name, value).unwrap();
                    master.current.into_iter().chain(master.pending).for_each(|seal| add(seal.root));
                    add(master.previous_root);
                }
                record::RecordName::Canary => {
                    record::decode::<record::Canary>(name, value).unwrap().seals.into_iter().for_each(add);
                }
                record::RecordName::Identity => add(record::decode::<record::Identity>(name, value).unwrap().seal),
                record::RecordName::Legacy(_) => add(record::decode::<record::Legacy>(name, value).unwrap().seal),
                record::RecordName::Version(_) => add(record::decode::<record::Version>(name, value).unwrap().seal),
                _ => {}
            }
        }
        seals.retain(|(_, seal)| !seal.is_empty());
        seals
    }

    /// Holds every seal under the root to naming the root in use.
    #[track_caller]
    pub(super) fn every_seal_is_under_the_root_in_use(&self) {
        let root = self.ledger.root.id().prefix();
        let under_root = |name: &str| super::reseal::is_sealed(name);
        for (name, seal) in self.seals().iter().filter(|(name, _)| under_root(name)) {
            assert!(record_seal::header_owner(seal) == Some(root), "{name} is under another root");
        }
    }
}
