//! What must be true after a death: before the start, after it, and once everything unanswered was asked again.
//!
//! Must never mend what it looks at, nor believe the daemon's word for which key opens the store. Used behind every death.

use crate::calls::{Asked, Change, Lost, status};
use crate::draw::Draw;
use crate::harness::{
    Daemon, Installation, block_on, cell, eventually, fingerprint, legacy_value, name, random_key, snapshot_of_files,
};
use crate::model::Model;
use crate::place::{kill_after, serve, serving};
use servos_keyd::client::error::Error;
use servos_keyd::client::key_admin::KeyFilter;
use servos_keyd::proto::v1::{Key, KeyState, RotationState};
use std::collections::BTreeMap;

/// What was done to check.
#[derive(Clone, Copy, Default)]
pub struct Done {
    pub starts: u64,
    pub values: u64,
    /// Kills during a start.
    pub start_kills: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, more: Self) {
        self.starts += more.starts;
        self.values += more.values;
        self.start_kills += more.start_kills;
    }
}

/// Passes what a death left behind; kills some of the starts that follow. Answers the daemon that serves at last.
pub fn pass(installation: &Installation, model: &mut Model, draw: &mut Draw, done: &mut Done) -> Daemon {
    opened_as_promised(installation, model);
    while draw.one_in(3) {
        let end = kill_after(&serving(installation), draw.within(35));
        assert!(end.is_none(), "an honest start ends by itself: {end:#?}");
        done.start_kills += 1;
        opened_as_promised(installation, model);
    }
    if draw.one_in(8) {
        strangers_are_refused(installation, model, done);
    }
    let daemon = serve(installation);
    done.starts += 1;
    started(&daemon, model);
    holds(&daemon, model, done);
    ask_again(&daemon, model, draw);
    settled(&daemon, installation, model, done);
    model.shorten(draw);
    daemon
}

/// Exactly the promised keys open what lies there.
fn opened_as_promised(installation: &Installation, model: &Model) {
    let mut all = vec![model.master, random_key()];
    all.extend(model.pending.iter().map(|pending| pending.new));
    all.extend(&model.former);
    all.extend(model.doubts.iter().filter_map(|doubt| match doubt.change {
        Change::Begin { new, .. } => Some(new),
        _ => None,
    }));
    all.extend(model.legacy.iter().map(|legacy| legacy.key).filter(|key| *key != model.master));
    all.sort_unstable();
    all.dedup();
    let sorted = |mut keys: Vec<[u8; 32]>| {
        keys.sort_unstable();
        keys
    };
    let opened = sorted(installation.opened_by(&all));
    let promised: Vec<_> = model.promised().into_iter().map(sorted).collect();
    assert!(promised.contains(&opened), "{} of {} keys open it, which was not promised", opened.len(), all.len());
}

/// The binary itself, on copies: a stranger's key, and each that is promised.
fn strangers_are_refused(installation: &Installation, model: &Model, done: &mut Done) {
    let copy = installation.copy();
    copy.write_key(random_key());
    copy.serve_refused().expect(78).saying(&["MASTER KEY INTEGRITY CHECK FAILED"]);
    let mut promised = vec![model.master];
    promised.extend(model.pending.iter().map(|pending| pending.new));
    for key in installation.opened_by(&promised) {
        let copy = installation.copy();
        copy.write_key(key);
        serve(&copy).kill();
        done.starts += 1;
    }
}

/// What the state says right behind READY.
fn started(daemon: &Daemon, model: &mut Model) {
    if let Some(pending) = model.pending.clone().filter(|pending| pending.in_file) {
        model.finished(pending.new);
    }
    let now = block_on(status(&daemon.admin_socket)).unwrap();
    let store = now.store.unwrap();
    if model.store_id.is_empty() {
        model.store_id.clone_from(&store.store_id);
    }
    assert_eq!(store.store_id, model.store_id, "it is another store");
    assert!(store.generation >= model.generation, "generation {} after {}", store.generation, model.generation);
    model.generation = store.generation;
    assert_eq!(now.master_key.unwrap().fingerprint, fingerprint(model.master));
    assert!(!now.salvage);
}

/// Keys and values, as far as no change is in doubt.
fn holds(daemon: &Daemon, model: &mut Model, done: &mut Done) {
    let listed = keys_as_listed(daemon, model);
    let owner: BTreeMap<&str, &Key> =
        listed.iter().flat_map(|key| key.versions.iter().map(move |version| (version.id.as_str(), key))).collect();
    block_on(async {
        let client = daemon.component();
        for value in &model.values {
            let key =
                owner.get(value.version_id.as_str()).unwrap_or_else(|| panic!("a version of {} is gone", value.name));
            assert_eq!(key.name, value.name);
            match client.decrypt(&name(&value.name), &value.ciphertext, &cell("1")).await {
                Ok(opened) => {
                    assert_eq!(opened.plaintext.as_slice(), value.plaintext, "{}: another plaintext", value.name);
                    assert!(key.state() == KeyState::Active, "{}: a value of a deleted key opens", value.name);
                }
                Err(Error::Precondition { .. } | Error::Rejected) if key.state() == KeyState::Deleted => {}
                Err(error) => panic!("a value of {} is lost: {error:?}", value.name),
            }
            done.values += 1;
        }
    });
}

/// Every key that was acknowledged, and no other, as far as no change is in doubt.
fn keys_as_listed(daemon: &Daemon, model: &mut Model) -> Vec<Key> {
    let all = KeyFilter { key: None, include_deleted: true };
    let listed = block_on(async { daemon.admin().list_keys(&all).await }).unwrap();
    let mut seen = 0;
    for key in &listed {
        let known = model.keys.iter_mut().find(|known| match &known.id {
            Some(id) => *id == key.id,
            None => known.name == key.name,
        });
        let Some(known) = known else {
            assert!(in_doubt(model, &key.name), "{} was never made", key.name);
            continue;
        };
        seen += 1;
        known.id = Some(key.id.clone());
        let known = known.clone();
        let doubted = in_doubt(model, &key.name);
        assert_eq!(known.name, key.name);
        assert!(doubted || known.deleted == (key.state() == KeyState::Deleted), "{} {}", key.name, key.id);
        let most = known.primary + model.new_versions + u32::from(doubted);
        assert!((known.primary..=most).contains(&key.primary), "{}: {} is primary", key.name, key.primary);
        let versions: Vec<u32> = key.versions.iter().map(|version| version.number).rev().collect();
        let count = versions.len() as u32;
        assert_eq!(versions, (1..=count).collect::<Vec<_>>(), "{}: a version is missing", key.name);
        assert!(count >= key.primary && count <= most + 1, "{}: {count} versions", key.name);
    }
    assert_eq!(seen, model.keys.len(), "keys are gone");
    listed
}

/// Whether a change of the key of this name was not answered.
fn in_doubt(model: &Model, wanted: &str) -> bool {
    model.doubts_any(
        |change| matches!(change, Change::Create(name) | Change::Rotate(name) | Change::Delete(name) if name == wanted),
    )
}

/// Asks for everything again that was not answered, and for some of what was: with the same id, the same is answered.
fn ask_again(daemon: &Daemon, model: &mut Model, draw: &mut Draw) {
    for doubt in model.doubts.clone() {
        match block_on(doubt.send(&daemon.admin_socket)) {
            Ok(answer) => model.settle(&doubt, answer),
            // It was not done: had it been, its id would stand for it.
            Err(Lost::Refused) => model.doubts.retain(|one| one.id != doubt.id),
            Err(Lost::Unanswered(status)) => panic!("{} asked again is lost: {status:?}", doubt.change.row()),
        }
    }
    let latest = model.requests.iter().rev().take(6);
    let mut again: Vec<Asked> = latest.cloned().collect();
    again.extend((0..4).filter_map(|_| draw.pick(&model.requests).cloned()));
    for asked in again {
        let answer = block_on(asked.send(&daemon.admin_socket)).unwrap_or_else(|lost| {
            panic!("{} {} was answered, and now {lost:?}", asked.change.row(), asked.id);
        });
        assert_eq!(Some(answer), asked.answer, "{} {} is answered otherwise", asked.change.row(), asked.id);
    }
}

/// Nothing is in doubt any more.
fn settled(daemon: &Daemon, installation: &Installation, model: &mut Model, done: &mut Done) {
    let now = block_on(status(&daemon.admin_socket)).unwrap();
    match (&model.pending, &now.rotation) {
        (None, None) => {}
        (None, Some(rotation)) => assert!(rotation.state() != RotationState::Pending, "a rotation nobody began"),
        (Some(pending), shown) => {
            let shown = shown.as_ref().expect("a rotation that was begun is pending");
            assert!(shown.state() == RotationState::Pending, "it is pending");
            assert_eq!(shown.opens, [model.master, pending.new].map(fingerprint));
        }
    }
    let over = now.rotation.is_none();
    let held: Vec<&str> = now.legacy_keys.iter().map(|held| held.fingerprint.as_str()).collect();
    for legacy in &model.legacy {
        assert!(held.contains(&legacy.fingerprint.as_str()), "legacy key {} is gone", legacy.fingerprint);
    }
    let coming = model.pending.as_ref().map(|pending| fingerprint(pending.new));
    let others = held.iter().filter(|held| model.legacy.iter().all(|known| known.fingerprint != **held));
    assert!(others.into_iter().all(|other| coming.as_deref() == Some(*other)), "a legacy key nobody adopted is held");
    rows_open(daemon, model, done);
    let listed = keys_as_listed(daemon, model);
    if over {
        for key in listed {
            let known = model.keys.iter_mut().find(|known| known.id.as_ref() == Some(&key.id)).unwrap();
            assert_eq!(key.versions.len() as u32, key.primary, "{}: a version waits for ever", key.name);
            known.primary = key.primary;
        }
        model.new_versions = 0;
    }
    eventually("the mark is where the store is", || {
        let store = block_on(status(&daemon.admin_socket)).unwrap().store.unwrap();
        store.generation == store.mark_generation && unfinished(installation).is_empty() || !over_now(daemon)
    });
}

fn over_now(daemon: &Daemon) -> bool {
    block_on(status(&daemon.admin_socket)).unwrap().rotation.is_none_or(|r| r.state() == RotationState::Pending)
}

fn unfinished(installation: &Installation) -> Vec<std::path::PathBuf> {
    let files = snapshot_of_files(installation.directory());
    let is_unfinished = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "tmp" || end == "new");
    files.into_keys().filter(is_unfinished).collect()
}

/// Values that components sealed themselves open under the legacy keys that are held, and under no other.
fn rows_open(daemon: &Daemon, model: &Model, done: &mut Done) {
    block_on(async {
        let client = daemon.component();
        for (keys, opens) in
            [(model.legacy.iter().map(|held| held.key).collect(), true), (model.retired.clone(), false)]
        {
            for key in keys {
                let row = legacy_value(key, b"a row");
                let opened = client.danger_decrypt_legacy(&name("default"), &row, &cell("1")).await;
                assert_eq!(opened.is_ok_and(|opened| opened.plaintext.as_slice() == b"a row"), opens, "a legacy value");
                done.values += 1;
            }
        }
    });
}

/// The newest backup alone, on another machine, opens everything that is in use, but what a change is in doubt of: whatever
/// seals was in one before.
pub fn pass_backup(installation: &Installation, model: &Model, done: &mut Done) {
    let newest = installation.backups().into_iter().filter(|path| path.extension().is_some_and(|end| end == "skb1"));
    let newest = newest.max().expect("there is a backup");
    let mut keys = vec![model.master];
    keys.extend(model.pending.iter().map(|pending| pending.new));
    keys.extend(model.former.iter().rev());
    let place = keys.into_iter().find_map(|key| {
        let place = Installation::with_key(key);
        (place.restore(&newest).code == Some(0)).then_some(place)
    });
    let place = place.expect("a key of its time opens the newest backup");
    let daemon = serve(&place);
    done.starts += 1;
    block_on(async {
        let client = daemon.component();
        for value in &model.values {
            let is_live = model.keys.iter().any(|key| key.name == value.name && !key.deleted);
            let names = model.keys.iter().filter(|key| key.name == value.name).count();
            if is_live && names == 1 && !in_doubt(model, &value.name) {
                let opened = client.decrypt(&name(&value.name), &value.ciphertext, &cell("1")).await;
                let opened = opened.unwrap_or_else(|error| panic!("{} is in no backup: {error:?}", value.name));
                assert_eq!(opened.plaintext.as_slice(), value.plaintext);
                done.values += 1;
            }
        }
    });
}
