//! What opens a store: a daemon's word, or what the store's file says and the key proves.
//!
//! Must never take the word of a daemon that serves another store than the one that was named.
//! Called by `check_key_sources`, and told by those who look for a key.

use super::socket::SocketArguments;
use crate::cli::drill::is_same_file;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key::ChosenKey;
use crate::cli::offered_key::Offered;
use crate::cli::runtime;
use crate::client::error::Error;
use crate::client::key_admin::AdminClient;
use crate::client::key_service::Client;
use crate::operations::check_key::{Verdict, check_key, claim};
use crate::operations::start_failure::StartFailure;
use crate::store::directory_lock::DirectoryLock;
use crate::store::durable::directory_of;
use crate::store::port::StoreError;
use crate::store::redb_adapter;
use crate::sys::locked::LockedMemory;
use std::path::{Path, PathBuf};

/// What opens the store, or a backup.
pub(super) struct Opener {
    /// "store" or "backup".
    pub(super) what: &'static str,
    /// Whether the key that was given does; none if none was given.
    pub(super) opens: Option<bool>,
    /// The fingerprints of the keys that do: one, or two while a rotation is pending.
    pub(super) fingerprints: Vec<String>,
    /// Since when the first is in use: Unix seconds.
    pub(super) since: i64,
    /// Whether a key has proved it; else it is the store's own word.
    pub(super) is_verified: bool,
    /// Whether the store keeps the key that was given to open legacy values.
    pub(super) held_as_legacy: bool,
    /// Path of the store, if it was told.
    pub(super) store: Option<String>,
    /// 32 hex digits.
    pub(super) store_id: String,
    /// Who told this.
    pub(super) asked: String,
    /// The socket of the daemon that did, if one did.
    pub(super) socket: Option<PathBuf>,
}

/// The key that was given, as far as it may be shown; of two of a pending rotation, the first source's.
pub(super) struct Given {
    pub(super) fingerprint: String,
    pub(super) source: String,
    /// What should be mended about its source.
    pub(super) warnings: Vec<String>,
}

impl Given {
    pub(super) fn of(chosen: &ChosenKey) -> Self {
        Self {
            fingerprint: chosen.key.fingerprint().to_string(),
            source: chosen.source.clone(),
            warnings: chosen.warnings.iter().chain(&chosen.pending).cloned().collect(),
        }
    }
}

/// The first that answers, with what it tells; and what is to be said where none does.
pub(super) fn first_answer<'s>(
    sockets: &[&'s PathBuf],
    store: Option<&Path>,
) -> (Option<(&'s PathBuf, Told)>, Option<Failure>) {
    let mut unanswered = None;
    for path in sockets {
        match ask(path, store) {
            Ok(Some(told)) => return (Some((*path, told)), unanswered),
            Ok(None) => {}
            Err(failure) if failure.exit == exit::NO_DAEMON && unanswered.is_some() => {}
            Err(failure) => unanswered = Some(failure),
        }
    }
    (None, unanswered)
}

/// What the daemon on a socket tells; none if it serves another store than the one that was named, or may do so.
fn ask(socket: &Path, store: Option<&Path>) -> Result<Option<Told>, Failure> {
    let runtime = runtime::of_this_thread()?;
    let client = SocketArguments::client_of(socket);
    let told = match runtime.block_on(AdminClient::new(&client).status()) {
        Ok(status) => {
            let (master, kept) = (status.master_key.unwrap_or_default(), status.store.unwrap_or_default());
            let legacy = status.legacy_keys.into_iter().map(|key| key.fingerprint).collect();
            // Two of them while a rotation is pending.
            let opens = status.rotation.map(|rotation| rotation.opens).filter(|opens| !opens.is_empty());
            Told {
                opens: opens.unwrap_or_else(|| vec![master.fingerprint]),
                since: master.since,
                store: Some(kept.path),
                id: kept.store_id,
                legacy,
            }
        }
        Err(Error::NotServed { .. } | Error::NotPermitted { .. }) => ask_as_component(&runtime, &client)?,
        Err(error) => return Err(error.into()),
    };
    let is_other =
        store.is_some_and(|named| !told.store.as_ref().is_some_and(|its| is_same_file(named, Path::new(its))));
    Ok((!is_other).then_some(told))
}

/// Components learn the fingerprint with the canary; not where the store is.
fn ask_as_component(runtime: &tokio::runtime::Runtime, client: &Client) -> Result<Told, Failure> {
    let report = runtime.block_on(client.verify_own_canary()).map_err(|error| match error {
        Error::Canary(_) => Failure::say(exit::DAMAGED, "the daemon's own canary does not open: its store is damaged"),
        error => error.into(),
    })?;
    let since = report.since_unix_seconds;
    Ok(Told { opens: vec![report.fingerprint], since, store: None, id: report.store_id, legacy: Vec::new() })
}

/// What a daemon told, whose key has opened its store.
pub(super) struct Told {
    pub(super) opens: Vec<String>,
    since: i64,
    store: Option<String>,
    id: String,
    legacy: Vec<String>,
}

impl Told {
    pub(super) fn opener(self, socket: &Path, given: Option<&Given>) -> Opener {
        Opener {
            what: "store",
            opens: given.map(|given| self.opens.contains(&given.fingerprint)),
            is_verified: true,
            held_as_legacy: given.is_some_and(|given| self.legacy.contains(&given.fingerprint)),
            fingerprints: self.opens,
            since: self.since,
            store: self.store,
            store_id: self.id,
            asked: format!("the daemon on {}", socket.display()),
            socket: Some(socket.to_owned()),
        }
    }
}

/// What the file says, and the key proves.
pub(super) fn read_store(
    store: &Path,
    offered: Option<&Offered>,
    memory: &LockedMemory,
    unanswered: Option<Failure>,
) -> Result<(Option<Given>, Opener), Failure> {
    let _lock = DirectoryLock::shared(directory_of(store)).map_err(|error| match (error, unanswered) {
        (StoreError::Missing { .. }, _) => StartFailure::NoStore { store: store.to_owned() }.into(),
        // A daemon has the store, and would not say.
        (StoreError::InUse { .. }, Some(failure)) if failure.exit != exit::NO_DAEMON => failure,
        (error @ StoreError::InUse { .. }, _) => {
            Failure::from(error).with_hint("a daemon has this store: ask it on its own socket, with --socket PATH")
        }
        (error, _) => error.into(),
    })?;
    let snapshot = redb_adapter::view(store).map_err(StartFailure::from)?;
    let claim = claim(&snapshot)?;
    let chosen = offered.map(|offered| offered.chosen(Ok(claim.fingerprints.clone()), memory)).transpose()?;
    let given = chosen.as_ref().map(Given::of);
    let verdict = chosen.map(|chosen| check_key(snapshot, chosen.key, memory)).transpose()?;
    let (opens, since, held_as_legacy) = match verdict {
        None => (None, claim.since, false),
        Some(Verdict::Opens { since }) => (Some(true), since, false),
        Some(Verdict::Other { held_as_legacy }) => (Some(false), claim.since, held_as_legacy),
    };
    let opener = Opener {
        what: "store",
        opens,
        fingerprints: claim.fingerprints.iter().map(ToString::to_string).collect(),
        since,
        is_verified: opens == Some(true),
        held_as_legacy,
        store: Some(store.display().to_string()),
        store_id: claim.store_id.to_string(),
        asked: "the store's file, which was not changed".to_owned(),
        socket: None,
    };
    Ok((given, opener))
}
