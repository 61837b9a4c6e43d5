//! `servos-keyd restore --drill`: a backup restored into a scratch place with a copy of the master key, and opened
//! there.
//!
//! Must never touch the store, its mark or its backups, nor leave the scratch place behind.
//! Called by `restore`.

use super::drill_sample::{self, Opened};
use super::restore_arguments::{Arguments, DrillArguments};
use super::{drill_key, key, output, restore_input};
use crate::cli::drill::{self, Drill};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::socket_variable::socket_of_variable;
use crate::config::key_source_error::shell_quoted;
use crate::config::settings::Config;
use crate::custody::id::Fingerprint;
use crate::operations::ledger::Places;
use crate::operations::restore::proof::{Unproven, prove, read_backup};
use crate::operations::restore::rehearsal::{Contents, rehearse};
use crate::operations::start_failure::StartFailure;
use crate::operations::{count, rfc3339};
use crate::proto::v1::DrillKind;
use crate::store::backup_file::{self, BackupError};
use crate::store::{backup_newer, mark};
use crate::sys::signals::Held;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What a drill showed.
struct Report {
    backup: PathBuf,
    store_id: String,
    generation: u64,
    made: i64,
    fingerprint: Fingerprint,
    source: String,
    contents: Contents,
    sealed: usize,
    samples: Option<Opened>,
    /// When the daemon kept it, or why not; none if it was not to.
    recorded: Option<Result<i64, String>>,
}

/// A directory of its own, for this user alone, that goes when this does; who ends the process before waits for that.
struct Scratch {
    path: PathBuf,
    /// Locked while it is in use: one that is not was left by a drill that was killed.
    _lock: File,
    _held: Held,
}

/// What the name of one begins with; 32 hex digits follow.
const SCRATCH: &str = "servos-keyd-drill-";

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let held =
            Held::begin().map_err(|error| Failure::say(exit::BUG, format!("signals cannot be held: {error}")))?;
        let directory = std::env::temp_dir();
        sweep(&directory);
        let path = directory.join(format!("{SCRATCH}{}", uuid::Uuid::new_v4().simple()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path).and_then(|()| locked(&path));
        let lock = made.map_err(|error| {
            Failure::writing(&path, &error).with_hint("name a directory to make it in with the variable TMPDIR")
        })?;
        Ok(Self { path, _lock: lock, _held: held })
    }
}

/// The directory, locked for who has it open.
fn locked(path: &Path) -> std::io::Result<File> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    opened.try_lock()?;
    Ok(opened)
}

/// Removes what drills of this user left that were killed, and nothing else: by name, owner and mode, and that no drill
/// has it locked.
fn sweep(directory: &Path) {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(SCRATCH));
        let named = name.is_some_and(|id| id.len() == 32 && id.bytes().all(|one| one.is_ascii_hexdigit()));
        let own = nix::unistd::geteuid().as_raw();
        named
            && std::fs::symlink_metadata(path)
                .is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o7777 == 0o700)
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(is_ours) {
        // One that another drill makes at this moment is locked before anything is in it.
        let is_empty = std::fs::read_dir(&path).is_ok_and(|mut inside| inside.next().is_none());
        let Ok(_lock) = locked(&path) else { continue };
        if !is_empty && std::fs::remove_dir_all(&path).is_ok() {
            output::remark(&format!("removed {}, which a drill left that was cut off", path.display()));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            output::remark(&format!("the scratch place {} could not be removed: {error}", self.path.display()));
        }
    }
}

/// Tries a copy of the key on a backup, and has it kept that it succeeded.
///
/// # Errors
/// 1 for another key, 65 for a damaged backup or a sample that does not open, 66 without a backup, 78 for a key that is
/// none.
pub(super) fn run(arguments: &Arguments, asked: &DrillArguments) -> Result<(), Failure> {
    asked.check()?;
    let config = arguments.config.load()?;
    let memory = key::memory_as(config.memory)?;
    let samples = asked.sample.as_deref().map(drill_sample::read).transpose()?;
    let (file, backup) = backup(arguments, &crate::cli::places::places(&config))?;
    let tried = drill_key::read(asked, &memory)?;
    tried.warnings().iter().for_each(|warning| output::remark(&format!("warning: {warning}")));
    let judged = |failure: StartFailure| judged(failure, &file, arguments);
    let claimed = backup.claimed().map_err(judged)?;
    let chosen = tried.chosen(Ok(claimed.clone()), &memory)?;
    let (fingerprint, source) = (chosen.key.fingerprint(), chosen.source.clone());
    let proven = prove(backup, chosen.key, &memory).map_err(judged)?;
    let (store_id, generation, made) = (proven.store_id, proven.generation, proven.made);
    let again = || tried.chosen(Ok(claimed.clone()), &memory).map(|chosen| chosen.key);
    let keys = [again()?, again()?];
    let scratch = Scratch::new()?;
    let rehearsed =
        rehearse(&scratch.path, proven, keys, &memory, Box::new(key::random), key::now()).map_err(judged)?;
    let opened = samples.as_ref().map(|samples| samples.open(&rehearsed)).transpose()?;
    let mut report = Report {
        backup: file,
        store_id: store_id.to_string(),
        generation,
        made: i64::try_from(made).unwrap_or(i64::MAX),
        fingerprint,
        source,
        contents: rehearsed.contents(),
        sealed: rehearsed.sealed,
        samples: opened,
        recorded: None,
    };
    drop(scratch);
    let drill = Drill {
        kind: DrillKind::Restore,
        fingerprint: &fingerprint.to_string(),
        store_id: &report.store_id,
        files: asked.key_file.iter().cloned().chain(asked.paper.read_from()).collect(),
    };
    report.recorded = (!asked.no_record).then(|| record(&config, &drill));
    report.show(arguments.json);
    Ok(())
}

/// The backup that was named, or the newest of this store.
fn backup(arguments: &Arguments, places: &Places) -> Result<(PathBuf, Unproven), Failure> {
    if let Some(export) = &arguments.from_export {
        let refused = |failure| judged(failure, export, arguments);
        return Ok((export.clone(), restore_input::backup(arguments, refused)?));
    }
    let file = match &arguments.file {
        Some(file) => file.clone(),
        None => newest(places)?,
    };
    let backup = read_backup(&file, shell_quoted(&file)).map_err(|failure| judged(failure, &file, arguments))?;
    Ok((file, backup))
}

/// The newest backup in the directory: of the store that the mark names, or of the only one that has backups there.
fn newest(places: &Places) -> Result<PathBuf, Failure> {
    let directory = &places.backups;
    let name_it = "name the backup: servos-keyd restore --drill FILE";
    let marked = mark::read(&places.mark).ok().flatten().and_then(|mark| mark.now.or(mark.to_come));
    let found = match marked {
        Some(state) => backup_newer::newest_first(directory, &state.store_id)?,
        None => {
            let mut all = backup_file::list(directory)?;
            // A name begins with the store's id and ends with the generation.
            let store = |path: &PathBuf| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                name.get(..37).unwrap_or(&name).to_owned()
            };
            if all.first().map(store) != all.last().map(store) {
                let several =
                    format!("{} holds backups of several stores, and no mark tells which", directory.display());
                return Err(Failure::say(exit::MISSING, several).with_hint(name_it));
            }
            all.reverse();
            all
        }
    };
    let none = || Failure::say(exit::MISSING, format!("no backup lies in {}", directory.display())).with_hint(name_it);
    found.into_iter().next().ok_or_else(none)
}

/// A failure as the answer to a question: another key is a no, a damaged backup rejected data.
fn judged(failure: StartFailure, file: &Path, arguments: &Arguments) -> Failure {
    let config = arguments.config.config.as_ref().map(|file| format!(" --config {}", shell_quoted(file)));
    let drill = format!("servos-keyd restore{} --drill", config.unwrap_or_default());
    let kind = match &failure {
        StartFailure::InBackup { kind, .. } => kind,
        other => other,
    };
    match kind {
        StartFailure::WrongKey { expected, to_come, given, .. } => {
            let or = to_come.map(|key| format!(" or {key}")).unwrap_or_default();
            let message = format!("key {given} does not open the backup {}, key {expected}{or} does", file.display());
            Failure::say(exit::NO, message).with_hint(format!("try the copy of that key: {drill} --key-file FILE"))
        }
        StartFailure::Damaged(_) | StartFailure::Backup(BackupError::Foreign | BackupError::Damaged { .. }) => {
            let hint =
                format!("try an older one: {drill} BACKUP --key-file FILE; and make a new one: servos-keyctl backup");
            Failure { exit: exit::DATA, ..Failure::from(failure) }.with_hint(hint)
        }
        _ => failure.into(),
    }
}

/// Has the daemon keep that the drill succeeded; says why it did not.
fn record(config: &Config, drill: &Drill<'_>) -> Result<i64, String> {
    let socket =
        socket_of_variable().or_else(|| config.socket.admin_path.clone()).ok_or("no admin socket is configured")?;
    drill::record(&socket, drill)
}

impl Report {
    fn show(&self, as_json: bool) {
        if as_json {
            return output::value(&self.value());
        }
        let Contents { keys, versions, legacy_keys } = self.contents;
        let legacy =
            if legacy_keys == 0 { String::new() } else { format!(", {} of legacy values", count(legacy_keys, "key")) };
        let (made, generation) = (rfc3339(self.made), self.generation);
        output::line(&format!("backup      {}", self.backup.display()));
        output::line(&format!("of          store {}, generation {generation}, made {made}", self.store_id));
        output::line(&format!("key         {} from {}: it opens the backup", self.fingerprint, self.source));
        let (keys, versions) = (count(keys, "key"), count(versions, "version"));
        output::line(&format!("restored    {keys}, {versions}{legacy}, in a scratch place that is removed"));
        output::line("opened      root, MAC, mark, canary, identity and every version");
        output::line(&format!("sealed      and opened again: {}, one under each key", count(self.sealed, "value")));
        output::line(&match self.samples {
            None => "samples     none was given: --sample FILE tries values of the database".to_owned(),
            Some(Opened { messages, legacy: 0 }) => format!("samples     {} opened", count(messages, "value")),
            Some(Opened { messages, legacy }) => {
                format!("samples     {} and {} opened", count(messages, "value"), count(legacy, "legacy value"))
            }
        });
        output::line(&match &self.recorded {
            None => "recorded    no: --no-record".to_owned(),
            Some(Ok(at)) => format!("recorded    {}", rfc3339(*at)),
            Some(Err(why)) => format!("recorded    NO: {why}. The drill succeeded all the same"),
        });
    }

    fn value(&self) -> Value {
        json!({
            "backup": self.backup.display().to_string(),
            "store_id": self.store_id,
            "generation": self.generation,
            "made": rfc3339(self.made),
            "key": {"fingerprint": self.fingerprint.to_string(), "source": self.source},
            "keys": self.contents.keys,
            "versions": self.contents.versions,
            "legacy_keys": self.contents.legacy_keys,
            "sealed_and_opened": self.sealed,
            "samples": self.samples.map(|opened| json!({"messages": opened.messages, "legacy": opened.legacy})),
            "recorded": self.recorded.as_ref().and_then(|recorded| recorded.as_ref().ok()).map(|at| rfc3339(*at)),
            "not_recorded": self.recorded.as_ref().and_then(|recorded| recorded.as_ref().err()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{SigSet, Signal};

    #[test]
    fn what_a_killed_drill_left_is_removed_and_nothing_that_could_be_anybody_else_s() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, mode| {
            let path = directory.path().join(name);
            std::fs::DirBuilder::new().mode(mode).create(&path).unwrap();
            std::fs::write(path.join("keyd.redb"), "x").unwrap();
            path
        };
        let named = |digit: &str| format!("{SCRATCH}{}", digit.repeat(32));
        let left = make(&named("a"), 0o700);
        let (used, open) = (make(&named("b"), 0o700), make(&named("c"), 0o755));
        let (short, other) = (make(&format!("{SCRATCH}aa"), 0o700), make("servos-keyd-dev", 0o700));
        let begun = directory.path().join(named("d"));
        std::fs::DirBuilder::new().mode(0o700).create(&begun).unwrap();
        let link = directory.path().join(named("e"));
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let lock = locked(&used).unwrap();
        sweep(directory.path());
        assert!(!left.exists());
        assert!([&used, &open, &short, &other, &begun, &link].into_iter().all(|path| path.exists()));
        assert!(other.join("keyd.redb").exists());
        drop(lock);
        sweep(directory.path());
        assert!(!used.exists());
    }

    #[test]
    fn nobody_ends_a_drill_before_its_scratch_place_is_gone() {
        let is_held = |signal| SigSet::thread_get_mask().unwrap().contains(signal);
        let scratch = Scratch::new().unwrap();
        let path = scratch.path.clone();
        assert!(path.is_dir());
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            assert!(is_held(signal), "{signal}");
        }
        drop(scratch);
        assert!(!path.exists() && !is_held(Signal::SIGTERM));
    }
}
