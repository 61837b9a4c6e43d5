//! The journal of `rotate run`: what it set out to do, and each step, durably, before the step is done.
//!
//! Must never hold a key, nor lose a step that was entered: lines are only added, each synced before anything follows.
//! Called by `rotate_run`, which removes it when one end or the other is reached.

use super::step::Step;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::keyctl::durable_file::{self, Replace};
use crate::config::key_source_error::shell_quoted;
use crate::store::durable;
use nix::unistd::geteuid;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".rotation";
const FORMAT: u64 = 1;
/// More than any run writes; what is longer is none of ours.
const LIMIT_BYTES: u64 = 64 * 1024;

/// What a run set out to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// Unix seconds.
    pub(super) begun: i64,
    /// The key that is replaced: 16 hex digits.
    pub(super) old: String,
    /// 32 hex digits.
    pub(super) store_id: String,
    /// The files that hold the old key and get the new one; the new key is made beside the first. Empty: by hand.
    pub(super) files: Vec<PathBuf>,
    /// The name under which the one file is encrypted by systemd-creds.
    pub(super) credential: Option<String>,
    /// The file of the new key.
    pub(super) next: PathBuf,
    /// The command that lets the daemon read its sources anew; none: by hand.
    pub(super) restart: Option<String>,
    /// The data keys get no new versions.
    pub(super) keep_data_keys: bool,
    /// The old key's text is sealed before anything changes.
    pub(super) seal_old_text: bool,
}

/// The journal of a run that is under way; others are kept out until it is dropped.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// What it set out to do.
    pub(super) intent: Intent,
    /// The step that was entered last: perhaps done, perhaps not.
    pub(super) step: Step,
    /// The new key, once it is made.
    pub(super) new: Option<String>,
    /// Whether it is being undone.
    pub(super) undoing: bool,
}

/// Where the journal lies of a run that changes `file`.
pub(super) fn beside(file: &Path) -> PathBuf {
    durable::beside(file, SUFFIX)
}

impl Journal {
    /// Makes the journal, and enters the first step.
    ///
    /// # Errors
    /// 73 if there is one, and what keeps a file from being made.
    pub(super) fn create(path: &Path, intent: Intent) -> Result<Self, Failure> {
        let line = format!("{}\n", intent.to_value());
        durable_file::write(path, line.as_bytes(), Replace::Never)?;
        let file = open(path)?;
        let mut journal = Self { path: path.to_owned(), file, intent, step: Step::FIRST, new: None, undoing: false };
        journal.enter(Step::FIRST)?;
        Ok(journal)
    }

    /// Reads the journal of a run that was interrupted; none if there is none.
    ///
    /// # Errors
    /// 75 if the run is still under way, 65 for what is no journal.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, Failure> {
        if let Err(error) = path.symlink_metadata() {
            return match error.kind() {
                std::io::ErrorKind::NotFound => Ok(None),
                _ => Err(Failure::reading(path, &error)),
            };
        }
        let mut file = open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(LIMIT_BYTES).read_to_end(&mut bytes).map_err(|error| Failure::reading(path, &error))?;
        let foreign = || {
            let text = format!("{} is no journal of `rotate run`, or of another version", path.display());
            Failure::say(exit::DATA, text).with_hint(format!(
                "see with `servos-keyctl rotate status` whether a rotation is under way; then move it away: `mv {0} {0}.unknown`",
                shell_quoted(path)
            ))
        };
        // A line that a crash cut short was never rested on.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = std::str::from_utf8(bytes.get(..whole).unwrap_or_default()).map_err(|_| foreign())?;
        let mut lines = text.lines().map(serde_json::from_str::<Value>);
        let first = lines.next().and_then(Result::ok).ok_or_else(foreign)?;
        let intent = Intent::of_value(&first).ok_or_else(foreign)?;
        if whole < bytes.len() {
            let whole = u64::try_from(whole).unwrap_or_default();
            file.set_len(whole).map_err(|error| Failure::writing(path, &error))?;
        }
        let mut journal = Self { path: path.to_owned(), file, intent, step: Step::FIRST, new: None, undoing: false };
        for line in lines {
            journal.follow(&line.map_err(|_| foreign())?).ok_or_else(foreign)?;
        }
        Ok(Some(journal))
    }

    fn follow(&mut self, line: &Value) -> Option<()> {
        if let Some(step) = line.get("step") {
            self.step = Step::of_name(step.as_str()?)?;
        } else if let Some(new) = line.get("new") {
            self.new = Some(new.as_str()?.to_owned());
        } else {
            self.undoing = line.get("undo")?.as_bool()?;
        }
        Some(())
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Enters a step: after this, it may have been done.
    ///
    /// # Errors
    /// What keeps the line from the disk: then the step must not be done.
    pub(super) fn enter(&mut self, step: Step) -> Result<(), Failure> {
        self.add(&json!({"step": step.name()}))?;
        self.step = step;
        Ok(())
    }

    /// Names the new key.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub(super) fn name_new(&mut self, fingerprint: &str) -> Result<(), Failure> {
        if self.new.as_deref() == Some(fingerprint) {
            return Ok(());
        }
        self.add(&json!({"new": fingerprint}))?;
        self.new = Some(fingerprint.to_owned());
        Ok(())
    }

    /// From here on the run goes back.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub(super) fn turn_back(&mut self) -> Result<(), Failure> {
        if !self.undoing {
            self.add(&json!({"undo": true}))?;
            self.undoing = true;
        }
        Ok(())
    }

    /// From here on the run goes on again, from where the files are looked at: the new key alone opens the store.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub(super) fn turn_forward(&mut self) -> Result<(), Failure> {
        if self.undoing {
            self.enter(Step::Replace)?;
            self.add(&json!({"undo": false}))?;
            self.undoing = false;
        }
        Ok(())
    }

    /// Takes the journal away: one end is reached.
    ///
    /// # Errors
    /// What keeps it from being removed; to go on with it again does nothing twice.
    pub(super) fn close(self) -> Result<(), Failure> {
        durable_file::remove(&self.path).map_err(|error| Failure::writing(&self.path, &error))
    }

    fn add(&mut self, line: &Value) -> Result<(), Failure> {
        let line = format!("{line}\n");
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| Failure::writing(&self.path, &error))
    }
}

/// Opens the journal for adding, and keeps every other run out.
fn open(path: &Path) -> Result<File, Failure> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).append(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| {
        Failure::reading(path, &error).with_hint("see what lies there and who made it, and move it away")
    })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let text = format!("another `rotate run` is under way: it has {}", path.display());
            return Err(
                Failure::say(exit::TRY_AGAIN, text).with_hint("wait until it ends, or end it; what it did is kept")
            );
        }
        Err(TryLockError::Error(error)) => return Err(Failure::reading(path, &error)),
    }
    // What stands in it is done as root: nobody else may have written it. Nor is one followed that came to its end meanwhile:
    // it has no name any more.
    let of = file.metadata().map_err(|error| Failure::reading(path, &error))?;
    if !of.is_file() || of.uid() != geteuid().as_raw() || of.nlink() != 1 || of.mode() & 0o022 != 0 {
        let text = format!("{} is not this user's own file, and is not followed", path.display());
        return Err(Failure::say(exit::NOT_PERMITTED, text).with_hint("see who made it, and move it away"));
    }
    Ok(file)
}

impl Intent {
    fn to_value(&self) -> Value {
        let path = |path: &PathBuf| path.to_str().map(str::to_owned);
        json!({
            "rotate_run": FORMAT,
            "begun": self.begun,
            "old": self.old,
            "store_id": self.store_id,
            "files": self.files.iter().map(path).collect::<Vec<_>>(),
            "credential": self.credential,
            "next": path(&self.next),
            "restart": self.restart,
            "keep_data_keys": self.keep_data_keys,
            "seal_old_text": self.seal_old_text,
        })
    }

    fn of_value(value: &Value) -> Option<Self> {
        if value.get("rotate_run")?.as_u64()? != FORMAT {
            return None;
        }
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        let files = value.get("files")?.as_array()?.iter().map(|file| file.as_str().map(PathBuf::from));
        Some(Self {
            begun: value.get("begun")?.as_i64()?,
            old: text("old")?,
            store_id: text("store_id")?,
            files: files.collect::<Option<_>>()?,
            credential: text("credential"),
            next: text("next")?.into(),
            restart: text("restart"),
            keep_data_keys: value.get("keep_data_keys")?.as_bool()?,
            seal_old_text: value.get("seal_old_text")?.as_bool()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn intent() -> Intent {
        Intent {
            begun: 1_795_446_000,
            old: "00aabb2233445566".into(),
            store_id: "0".repeat(32),
            files: vec!["/etc/servos/servos.env".into()],
            credential: None,
            next: "/etc/servos/servos.env.next".into(),
            restart: Some("systemctl restart 'servos-keyd'".into()),
            keep_data_keys: false,
            seal_old_text: true,
        }
    }

    #[test]
    fn a_journal_is_read_as_it_was_written_and_a_torn_line_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = beside(&dir.path().join("master.key"));
        assert!(path.ends_with("master.key.rotation"));
        assert!(Journal::load(&path).unwrap().is_none());
        let mut journal = Journal::create(&path, intent()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        journal.name_new("8899aabbccddeeff").unwrap();
        journal.enter(Step::Begin).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for torn in ["", "{", "{\"step\": \"repl", "{\"step\": \"replace\"}"] {
            std::fs::write(&path, [&whole, torn.as_bytes()].concat()).unwrap();
            let mut journal = Journal::load(&path).unwrap().unwrap();
            assert_eq!((journal.step, journal.new.as_deref()), (Step::Begin, Some("8899aabbccddeeff")), "{torn}");
            assert_eq!((&journal.intent, journal.undoing), (&intent(), false));
            journal.turn_back().unwrap();
            journal.turn_back().unwrap();
            drop(journal);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.ends_with("\n{\"undo\":true}\n") && text.matches("undo").count() == 1, "{torn}: {text}");
            assert!(Journal::load(&path).unwrap().unwrap().undoing);
        }
        Journal::load(&path).unwrap().unwrap().close().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_runs_do_not_share_a_journal_and_one_that_is_there_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = beside(&dir.path().join("master.key"));
        let journal = Journal::create(&path, intent()).unwrap();
        assert_eq!(Journal::load(&path).map(|_| ()).unwrap_err().exit, exit::TRY_AGAIN);
        assert_eq!(Journal::create(&path, intent()).map(|_| ()).unwrap_err().exit, exit::CANNOT_CREATE);
        drop(journal);
        assert_eq!(Journal::create(&path, intent()).map(|_| ()).unwrap_err().exit, exit::CANNOT_CREATE);
        assert!(Journal::load(&path).unwrap().is_some());
    }

    #[test]
    fn what_is_no_journal_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key.rotation");
        let good = intent().to_value();
        let changed = |name: &str, value: Value| {
            let mut other = good.clone();
            other[name] = value;
            format!("{other}\n")
        };
        for text in [
            String::new(),
            "\n".into(),
            "{}\n".into(),
            "SERVOS_MASTER_KEY=x\n".into(),
            changed("rotate_run", json!(2)),
            changed("files", json!("/etc/servos/master.key")),
            changed("old", json!(null)),
            format!("{good}\n{{\"step\": \"dance\"}}\n"),
            format!("{good}\n{{\"other\": true}}\n"),
            format!("{good}\nnot JSON\n"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let failure = Journal::load(&path).map(|_| ()).unwrap_err();
            assert_eq!(failure.exit, exit::DATA, "{text}");
            assert!(failure.hint.unwrap().contains("mv "), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(Journal::load(&path).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }
}
