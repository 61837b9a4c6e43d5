//! The store of a start: looked at first, believed in the order of trust, and only then opened for writing.
//!
//! Must never change a byte of a file that has not proved to be this daemon's, under this key.
//! Called by `serve`.

use super::key::{self, ChosenKey};
use super::place;
use super::sandbox::Entered;
use crate::cli::failure::Failure;
use crate::config::key_source::Sources;
use crate::config::settings::Config;
use crate::custody::random::Random;
use crate::operations::Fingerprint;
use crate::operations::create::{Creation, Vacancy, create, vacancy};
use crate::operations::engine::{Clock, Engine, Facts, LockedBytes};
use crate::operations::key_choice;
use crate::operations::keyring::Keyring;
use crate::operations::ledger::{Ledger, Places};
use crate::operations::rotation::at_start::take_up;
use crate::operations::rotation::key_sources::KeySources;
use crate::operations::start_failure::StartFailure;
use crate::operations::{load, mark_check, salvage as salvaging};
use crate::store::durable::length_bytes;
use crate::store::mark;
use crate::store::port::{Snapshot, StoreError};
use crate::store::redb_adapter::{self, RedbStore};
use crate::store::{backup_newer, backup_peek, backup_prune};
use crate::sys::background;
use crate::sys::locked::{LockedMemory, Protection};
use crate::telemetry::chain::chain;
use crate::telemetry::events;
use std::sync::Arc;

/// A store that was looked at, with the key to try on it.
pub struct Seen {
    snapshot: Snapshot,
    chosen: ChosenKey,
    facts: Facts,
}

/// A store that is believed.
pub struct Opened {
    /// What calls need.
    pub engine: Arc<Engine>,
    /// What the writer needs; none under salvage.
    pub ledger: Option<Ledger>,
}

/// Looks at the store, without changing it, and reads the key, behind the sandbox that was `entered`. Makes a store first
/// where the operator said so; for `salvage`, looks at a damaged file too.
///
/// # Errors
/// 66 without a store or key, 74 for a file that is none, 77 and 78 for keys.
pub fn look(
    config: &Config,
    places: &Places,
    sources: &Sources,
    salvage: bool,
    memory: &LockedMemory,
    entered: &Entered,
) -> Result<Seen, Failure> {
    let vacant = match vacancy(places) {
        Err(StartFailure::Exists { .. }) => false,
        Err(failure) => return Err(failure.into()),
        Ok(_) if config.store.create => true,
        Ok(Vacancy::Empty) => return Err(StartFailure::NoStore { store: places.store.clone() }.into()),
        Ok(Vacancy::Interrupted(_)) => {
            return Err(StartFailure::CreationInterrupted { store: places.store.clone() }.into());
        }
    };
    if vacant {
        make(config, places, sources, memory)?;
    }
    let snapshot = match view(places, salvage) {
        Ok(snapshot) => snapshot,
        Err(failure) => {
            // A key that is none comes first; which of two is right, such a store cannot tell.
            key::held(&sources.read(memory)?, memory)?;
            return Err(failure.into());
        }
    };
    let claimed = if salvage {
        key_choice::claimed_in_salvage(&snapshot).map_err(|failure| beyond_salvage(failure, places))
    } else {
        key_choice::claimed(&snapshot)
    };
    let chosen = key::choose(sources, claimed, memory)?;
    report_key(&chosen);
    let facts = Facts {
        started: key::now(),
        store_path: places.store.display().to_string(),
        backup_directory: places.backups.display().to_string(),
        key_source: chosen.source.clone(),
        memfd_secret: memory.protection() == Protection::MemfdSecret,
        lock_limit_bytes: memory.limit_bytes().unwrap_or(None),
        sandbox: Some(entered.sandbox.clone()),
        warnings: [chosen.warnings.as_slice(), &entered.warnings].concat(),
        sockets: entered.sockets.clone(),
        sources: chosen.sources.clone(),
        next_file: sources.next_file().map(|path| path.display().to_string()).unwrap_or_default(),
        ..Facts::default()
    };
    Ok(Seen { snapshot, chosen, facts })
}

/// What tells status how much memory is locked.
fn locked_bytes(memory: &LockedMemory) -> Box<LockedBytes> {
    let memory = memory.clone();
    Box::new(move || u64::try_from(memory.locked_bytes()).unwrap_or(u64::MAX))
}

fn view(places: &Places, salvage: bool) -> Result<Snapshot, StartFailure> {
    match redb_adapter::view(&places.store).map_err(StartFailure::of_file) {
        Err(failure) if salvage => {
            tracing::warn!(event = events::SALVAGE_UNOPENED, "the file is damaged: {}", in_short(&failure));
            redb_adapter::danger_view_unchecked(&places.store).map_err(|error| beyond_salvage(error.into(), places))
        }
        viewed => viewed,
    }
}

/// Names what should be mended about a chosen key's sources.
fn report_key(chosen: &ChosenKey) {
    for warning in &chosen.warnings {
        tracing::warn!(event = events::MASTER_KEY_SOURCE_WARNING, source = chosen.source, "{warning}");
    }
}

fn make(config: &Config, places: &Places, sources: &Sources, memory: &LockedMemory) -> Result<(), Failure> {
    place::check_backup_directory(places)?;
    let chosen = key::choose(sources, key_choice::no_store(), memory)?;
    let backups_are_new = place::backups_are_new(places);
    let store_id = create(&Creation {
        places,
        master: &chosen.key,
        shared: chosen.shared || config.legacy.adopt,
        adopt_legacy: config.legacy.adopt,
        memory,
        random: &key::random,
        now: key::now(),
    })?;
    place::give_to_owner(places, backups_are_new)?;
    let fingerprint = chosen.key.fingerprint();
    tracing::info!(event = events::STORE_CREATED, path = %places.store.display(), %store_id, %fingerprint, "store made");
    Ok(())
}

/// Believes the store step by step, and opens it for writing.
///
/// # Errors
/// 78 for another key, 74 for damage and for a mark that refuses it.
pub fn open(
    seen: Seen,
    places: &Places,
    key_sources: Box<dyn KeySources>,
    memory: &LockedMemory,
) -> Result<Opened, Failure> {
    open_with(seen, places, key_sources, memory, Box::new(key::random), Box::new(key::now))
}

/// The same with another source of randomness and another clock than the daemon's: for tests that are replayed.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    seen: Seen,
    places: &Places,
    key_sources: Box<dyn KeySources>,
    memory: &LockedMemory,
    random: Box<Random>,
    clock: Box<Clock>,
) -> Result<Opened, Failure> {
    let Seen { snapshot, chosen, mut facts } = seen;
    facts.restart_command = key_sources.restart_command();
    let ChosenKey { key, other, source, pending, .. } = chosen;
    let given = key.fingerprint();
    let stranger = stranger(&snapshot, places);
    let authentic = load::authenticate(snapshot, key, memory)
        .inspect_err(report_wrong_key)
        .map_err(|failure| told_of(stranger, failure))?;
    let (state, previous) = authentic.state();
    let generation = state.generation;
    let mark = mark::read(&places.mark).map_err(|source| match source {
        mark::MarkError::Damaged { .. } => StartFailure::MarkUnusable { generation, source },
        mark::MarkError::File(error) => StartFailure::Store(error),
    })?;
    mark_check::check(&places.mark, mark.as_ref(), &state, previous)?;
    let loaded = load::open(authentic, memory)?;
    report_opened(&loaded.keyring, given, &source, pending.as_deref());
    let engine = Engine::new(loaded.keyring, random, clock, facts)
        .with_background(background::run)
        .with_locked_bytes(locked_bytes(memory));
    let engine = Arc::new(engine);
    // What an interrupted rewrite left goes only now: under another key, or beside a damaged store, it may be all there is.
    redb_adapter::discard_unfinished(&places.store).map_err(StartFailure::from)?;
    if let Err(error) = backup_prune::discard_unfinished(&places.backups, &state.store_id) {
        let problem = "what a backup left that was cut off could not be removed";
        tracing::warn!(event = events::BACKUP_PRUNE_FAILED, error = %chain(&error), "{problem}");
    }
    note_newest_backup(&engine, places);
    let store = RedbStore::open(&places.store).map_err(StartFailure::from)?;
    let mut ledger =
        Ledger::new(Box::new(store), places.clone(), loaded.secrets, Arc::clone(&engine), memory.clone(), key_sources)?;
    ledger.complete_mark(mark.as_ref()).map_err(StartFailure::from)?;
    take_up(&mut ledger, other);
    Ok(Opened { engine, ledger: Some(ledger) })
}

/// Lets status tell how old the newest backup is from the start on; whether it is any good, the self-check finds out.
fn note_newest_backup(engine: &Engine, places: &Places) {
    let store_id = engine.keyring().store_id;
    let found = backup_newer::newest_first(&places.backups, store_id.as_bytes()).unwrap_or_default();
    if let Some((generation, made)) = found.iter().find_map(|path| backup_peek::header(path).ok()) {
        engine.progress.found_backup(generation, i64::try_from(made).unwrap_or(i64::MAX));
    }
}

/// Opens what opens, and changes nothing.
///
/// # Errors
/// 78 for another key; 74 if the root is lost.
pub fn salvage(seen: Seen, places: &Places, memory: &LockedMemory) -> Result<Opened, Failure> {
    let Seen { snapshot, chosen, mut facts } = seen;
    let (records, given) = (snapshot.records.len(), chosen.key.fingerprint());
    let salvaged = salvaging::salvage(snapshot, chosen.key, memory)
        .inspect_err(report_wrong_key)
        .map_err(|failure| beyond_salvage(failure, places))?;
    for (record, reason) in &salvaged.unopened {
        tracing::warn!(event = events::SALVAGE_UNOPENED, record, reason, "this record does not open");
    }
    facts.salvage = true;
    facts.unopened = salvaged.unopened.into_iter().map(|(record, _)| record).collect();
    report_opened(&salvaged.keyring, given, &chosen.source, chosen.pending.as_deref());
    let engine = Engine::new(salvaged.keyring, Box::new(key::random), Box::new(key::now), facts)
        .with_locked_bytes(locked_bytes(memory));
    engine.progress.measured(length_bytes(&places.store).unwrap_or(0));
    engine.progress.counted(records);
    Ok(Opened { engine: Arc::new(engine), ledger: None })
}

/// What there is to say of a file that says of itself that it is another store than the mark's.
fn stranger(snapshot: &Snapshot, places: &Places) -> Option<String> {
    let mark = mark::read(&places.mark).ok().flatten()?;
    mark_check::is_claimed_by_another_store(&mark, snapshot).then(|| {
        format!(
            ". The mark {} is of another store than {} says it is: it may be the file of another installation. Put the right \
             one back, or move it away and restore a backup with `servos-keyd restore FILE`",
            places.mark.display(),
            places.store.display()
        )
    })
}

/// A wrong key may be the right key of another store.
fn told_of(stranger: Option<String>, failure: StartFailure) -> Failure {
    let is_wrong_key = matches!(failure, StartFailure::WrongKey { .. });
    let mut failure = Failure::from(failure);
    failure.message.extend(stranger.filter(|_| is_wrong_key));
    failure
}

/// What is wrong, without advice that this very start follows.
fn in_short(failure: &StartFailure) -> String {
    match failure {
        StartFailure::UnusableFile(error) => chain(error),
        failure => chain(failure),
    }
}

/// Salvage is no remedy for what salvage found.
fn beyond_salvage(failure: StartFailure, places: &Places) -> StartFailure {
    let problem = match failure {
        StartFailure::Damaged(problem) => problem,
        StartFailure::Store(
            error @ (StoreError::Empty { .. } | StoreError::Foreign { .. } | StoreError::Damaged { .. }),
        ) => chain(&error),
        other => return other,
    };
    StartFailure::Unsalvageable { store: places.store.clone(), problem }
}

/// The line that monitoring looks for.
fn report_wrong_key(failure: &StartFailure) {
    if let StartFailure::WrongKey { expected, to_come, since, given, .. } = failure {
        tracing::error!(
            event = events::MASTER_KEY_INTEGRITY_FAILED,
            expected_in_the_stores_word = expected,
            to_come_in_the_stores_word = to_come.as_ref().map(tracing::field::display),
            since_in_the_stores_word = since,
            %given,
            "MASTER KEY INTEGRITY CHECK FAILED"
        );
    }
}

fn report_opened(keyring: &Keyring, given: Fingerprint, source: &str, pending: Option<&str>) {
    tracing::info!(
        event = events::MASTER_KEY_VERIFIED,
        fingerprint = %given,
        source,
        shared = keyring.master.shared,
        "the master key opens the store"
    );
    if let Some(pending) = pending {
        tracing::warn!(event = events::MASTER_KEY_SOURCE_WARNING, source, "{pending}");
    }
    tracing::info!(
        event = events::STORE_OPENED,
        store_id = %keyring.store_id,
        generation = keyring.generation,
        keys = keyring.names.len(),
        versions = keyring.versions.len(),
        "store opened"
    );
}
