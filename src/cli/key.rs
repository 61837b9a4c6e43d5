//! The master key of a command: every source read, one key chosen, with what the operator should know of the sources.
//!
//! Must never print or copy a key: texts go from locked memory to `custody` and no further.
//! Called by every command that opens a store or makes a key.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::service;
use crate::config::key_source::{KeySource, SourceKind, Sources, Trust};
use crate::config::key_source_error::KeySourceError;
use crate::config::settings;
use crate::custody::keys::MasterKey;
use crate::operations::key_choice::{self, Choice, ClaimedKeys};
use crate::operations::rotation::key_sources::{self, HeldKey, Renewal, SourceView};
use crate::operations::start_failure::StartFailure;
use crate::store::durable::directory_of;
use crate::sys::locked::{LockedMemory, LockedMemoryError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The key with what is known of its source.
pub struct ChosenKey {
    /// The key.
    pub key: MasterKey,
    /// The other key of a pending rotation, if the sources hold both.
    pub other: Option<MasterKey>,
    /// The first source that holds it.
    pub source: String,
    /// Whether it stands where components read it too: an env file, or the environment.
    pub shared: bool,
    /// What should be mended about its sources.
    pub warnings: Vec<String>,
    /// Where they hold both keys of a pending rotation: which holds which, and what to do. In the store's own word: to be
    /// said once the store is believed.
    pub pending: Option<String>,
    /// Every source, with what it yields.
    pub sources: Vec<SourceView>,
}

/// Takes what the process was given; afterwards its environment holds no key. Single-threaded only.
///
/// # Errors
/// 77 or 78, as `config` says.
pub fn sources(configured: &settings::MasterKey, memory: &LockedMemory) -> Result<Sources, Failure> {
    Ok(Sources::from_process(configured, memory)?)
}

/// Like [`sources`], for a command that root runs in the daemon's place on the store at `store`: a key file is judged
/// as the daemon will judge it.
///
/// # Errors
/// 77 or 78, as `config` says.
pub fn sources_of_daemon(
    configured: &settings::MasterKey,
    store: &Path,
    memory: &LockedMemory,
) -> Result<Sources, Failure> {
    let mut sources = sources(configured, memory)?;
    (sources.trust.daemon_uid, sources.trust.daemon_gid) = daemon_of(store);
    Ok(sources)
}

/// The user and group whose key files are good: for root, those of the store directory's owner, who runs the daemon.
pub fn daemon_of(store: &Path) -> (u32, u32) {
    let own = (nix::unistd::geteuid(), nix::unistd::getegid());
    match directory_of(store).metadata() {
        Ok(directory) if own.0.is_root() => (directory.uid(), directory.gid()),
        _ => (own.0.as_raw(), own.1.as_raw()),
    }
}

/// Reads a file that was named on the command line as the daemon reads key files and env files: at least one source.
///
/// # Errors
/// [`KeySourceError`]; `allow_readable` lets a mode pass that lets others read it.
pub fn read_given(file: &Path, allow_readable: bool, memory: &LockedMemory) -> Result<Vec<KeySource>, KeySourceError> {
    // To read it is up to the caller, not to the daemon: for root, whoever has it may own it.
    let own = nix::unistd::geteuid();
    let owner = if own.is_root() { file.metadata().map_or(0, |file| file.uid()) } else { own.as_raw() };
    read_of(owner, file, allow_readable, memory)
}

/// The same of a file that must belong to `owner` or to root.
///
/// # Errors
/// As [`read_given`].
pub fn read_of(
    owner: u32,
    file: &Path,
    allow_readable: bool,
    memory: &LockedMemory,
) -> Result<Vec<KeySource>, KeySourceError> {
    let daemon_gid = nix::unistd::getegid().as_raw();
    let trust = Trust { credentials_directory: None, allow_readable, daemon_uid: owner, daemon_gid };
    let sources = Sources { key_files: Vec::new(), environment_key: Vec::new(), trust };
    sources.read_file(file, memory)
}

/// Reads every source anew and chooses the key they agree on, or one of the two of a pending rotation; `claimed` is what
/// the store says of its keys.
///
/// # Errors
/// 66 without a key, 77 for a file's mode or owner, 78 for a malformed key or two keys; 74 for two keys where the store
/// cannot tell its own.
pub fn choose(sources: &Sources, claimed: ClaimedKeys, memory: &LockedMemory) -> Result<ChosenKey, Failure> {
    let found = sources.read(memory).map_err(told_where)?;
    choose_among(&found, claimed, memory)
}

/// Of a shell that has no key, where the service has its own.
fn told_where(error: KeySourceError) -> Failure {
    let is_none = matches!(error, KeySourceError::NoSource);
    let failure = Failure::from(error);
    match service::key_file(Path::new("/")).filter(|_| is_none) {
        Some(file) => failure.with_hint(format!(
            "if it is to be the one in {}, put that in front of the command: {}",
            file.display(),
            service::with_key_file(&file, "servos-keyd ...")
        )),
        None => failure,
    }
}

/// Chooses among sources that were read, as [`choose`] does.
///
/// # Errors
/// 78 for a malformed key or two keys; 74 for two keys where the store cannot tell its own.
pub fn choose_among(found: &[KeySource], claimed: ClaimedKeys, memory: &LockedMemory) -> Result<ChosenKey, Failure> {
    let held = held(found, memory)?;
    let sources = key_sources::views(&held);
    let Choice { key, other, source, pending } = key_choice::choose(held, claimed)?;
    Ok(ChosenKey {
        key,
        other,
        source,
        shared: found.iter().any(|source| source.variable.is_some()),
        warnings: found.iter().flat_map(|source| source.warnings.iter().map(ToString::to_string)).collect(),
        pending,
        sources,
    })
}

/// The key of each source.
///
/// # Errors
/// [`StartFailure::MalformedKey`] for the first that is none.
pub fn held(found: &[KeySource], memory: &LockedMemory) -> Result<Vec<HeldKey>, StartFailure> {
    let key =
        |source: &KeySource| key_choice::held(&source.name, renewal(source.kind), source.text.expose_bytes(), memory);
    found.iter().map(key).collect()
}

const fn renewal(kind: SourceKind) -> Renewal {
    match kind {
        SourceKind::File => Renewal::Reread,
        SourceKind::Credential | SourceKind::Mounted => Renewal::Restart,
        SourceKind::Environment => Renewal::Environment,
    }
}

/// Locked memory for the process.
///
/// # Errors
/// 78 with the limit to raise.
pub fn memory() -> Result<LockedMemory, Failure> {
    LockedMemory::new().map_err(|error| Failure::new(exit::CONFIG, &error))
}

/// Locked memory for a process with a configuration, which may refuse what root can read.
///
/// # Errors
/// 78 with the limit to raise, 71 where memfd_secret is required and not to be had.
pub fn memory_as(configured: settings::Memory) -> Result<LockedMemory, Failure> {
    if !configured.require_memfd_secret {
        return memory();
    }
    LockedMemory::without_fallback().map_err(|error| {
        let exit = match error {
            LockedMemoryError::SecretMemoryRefused { .. } => exit::NO_PROTECTION,
            _ => exit::CONFIG,
        };
        Failure::new(exit, &error)
    })
}

/// The kernel's randomness, as `custody` takes it.
pub fn random(bytes: &mut [u8]) -> Result<(), crate::custody::random::RandomUnavailable> {
    crate::sys::random::fill(bytes).map_err(|_| crate::custody::random::RandomUnavailable)
}

/// The clock: Unix seconds.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
