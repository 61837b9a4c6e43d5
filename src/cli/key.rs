//! The master key of a command: every source read, held to agreeing, with what the operator should know of them.
//!
//! Must never print or copy a key: texts go from locked memory to `custody` and no further.
//! Called by every command that opens a store or makes a key.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::key_source::{KeySource, Sources};
use crate::config::settings;
use crate::custody::keys::MasterKey;
use crate::operations::key_choice::{Candidate, agree};
use crate::store::durable::directory_of;
use crate::sys::locked::LockedMemory;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The key with what is known of its source.
pub struct ChosenKey {
    /// The key.
    pub key: MasterKey,
    /// The first source that holds it.
    pub source: String,
    /// Whether it stands where components read it too: an env file, or the environment.
    pub shared: bool,
    /// What should be mended about its sources.
    pub warnings: Vec<String>,
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

/// Reads every source anew and chooses the key they agree on.
///
/// # Errors
/// 66 without a key, 77 for a file's mode or owner, 78 for a malformed key or two keys.
pub fn choose(sources: &Sources, memory: &LockedMemory) -> Result<ChosenKey, Failure> {
    let found = sources.read(memory)?;
    choose_among(&found, memory)
}

/// Chooses the key that sources agree on.
///
/// # Errors
/// 78 for a malformed key or two keys.
pub fn choose_among(found: &[KeySource], memory: &LockedMemory) -> Result<ChosenKey, Failure> {
    let candidates: Vec<Candidate<'_>> =
        found.iter().map(|source| Candidate { name: &source.name, text: source.text.expose_bytes() }).collect();
    let (source, key) = agree(&candidates, memory)?;
    Ok(ChosenKey {
        key,
        source,
        shared: found.iter().any(|source| source.variable.is_some()),
        warnings: found.iter().flat_map(|source| source.warnings.iter().cloned()).collect(),
    })
}

/// Locked memory for the process.
///
/// # Errors
/// 78 with the limit to raise.
pub fn memory() -> Result<LockedMemory, Failure> {
    LockedMemory::new().map_err(|error| Failure::new(exit::CONFIG, &error))
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
