//! One installation: key, configuration, store, mark, backups and sockets under a directory of its own.
//!
//! Must never share a path with another; its layout is that of `serve --dev`, so that either way serves it.
//! Used by every test.

use super::daemon::Daemon;
use super::run::{Invocation, KEYCTL, KEYD, Outcome};
use super::{Files, NOBODY, hex, is_root, random_key, snapshot_of_files};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where the configuration says that the key is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyFile {
    /// `master.key` under the directory.
    Own,
    /// Nowhere: a credential or the environment brings it.
    None,
    /// There.
    At(PathBuf),
}

/// An installation. The public fields go into the configuration at each run.
pub struct Installation {
    directory: TempDir,
    /// The bytes of the key in `master.key`.
    pub key: [u8; 32],
    /// `[master_key] file`
    pub key_file: KeyFile,
    /// `[master_key] allow_readable`
    pub allow_readable: bool,
    /// `[store] create`
    pub create: bool,
    /// `[store] path`
    pub store_path: Option<PathBuf>,
    /// `[store] mark`
    pub mark_path: Option<PathBuf>,
    /// `[store] self_check`
    pub self_check: Option<&'static str>,
    /// `[backup] interval`
    pub backup_interval: Option<&'static str>,
    /// `[backup] dir`
    pub backup_path: Option<PathBuf>,
    /// `[legacy] adopt`
    pub adopt: bool,
    /// `[log] level`
    pub level: &'static str,
    /// `[log] format`
    pub format: &'static str,
    /// Whole sections that are added, such as `[limits]`.
    pub more: String,
}

impl Installation {
    /// A directory with a key file of random bytes in hex, and no store.
    pub fn new() -> Self {
        Self::with_key(random_key())
    }

    /// A directory with this key in hex, and no store.
    pub fn with_key(key: [u8; 32]) -> Self {
        let directory = tempfile::Builder::new().prefix("keyd-").tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let installation = Self {
            directory,
            key,
            key_file: KeyFile::Own,
            allow_readable: false,
            create: false,
            store_path: None,
            mark_path: None,
            self_check: None,
            backup_interval: None,
            backup_path: None,
            adopt: false,
            level: "info",
            format: "text",
            more: String::new(),
        };
        installation.write_key(key);
        installation
    }

    /// One with a store.
    pub fn made() -> Self {
        let installation = Self::new();
        installation.init(&[]).expect(0);
        installation
    }

    /// One with a store, all of it nobody's: only for root.
    pub fn made_for_nobody() -> Self {
        let installation = Self::new();
        installation.give_to_nobody(&[installation.directory().to_owned(), installation.path("master.key")]);
        // Its files are given to the owner of the directory.
        installation.init(&[]).expect(0);
        installation
    }

    /// Gives files to nobody, as which a daemon is then run.
    pub fn give_to_nobody(&self, paths: &[PathBuf]) {
        for path in paths {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A path below its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.store_path.clone().unwrap_or_else(|| self.path("keyd.redb"))
    }

    /// The mark.
    pub fn mark(&self) -> PathBuf {
        self.mark_path.clone().unwrap_or_else(|| beside(&self.store(), ".mark"))
    }

    /// Every backup, the oldest first.
    pub fn backups(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path("backup")) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// Makes `bytes` the key of `master.key`, in hex.
    pub fn write_key(&self, key: [u8; 32]) {
        self.write_private("master.key", format!("{}\n", hex(&key)).as_bytes());
    }

    /// Writes a file of mode 0600 below its directory.
    pub fn write_private(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Everything that an operator keeps below its directory: not the configuration, which each run writes anew, and not
    /// the sockets, which a run may clear away.
    pub fn files(&self) -> Files {
        let mut files = snapshot_of_files(self.directory());
        files.retain(|path, found| path != Path::new("keyd.toml") && found.kind != "socket");
        files
    }

    /// Socket files that nobody removed.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let found = snapshot_of_files(self.directory());
        found.into_iter().filter(|(_, found)| found.kind == "socket").map(|(path, _)| path).collect()
    }

    /// Writes the configuration and returns its path.
    pub fn write_configuration(&self) -> PathBuf {
        let text = |path: PathBuf| format!("{:?}", path.to_str().unwrap());
        let file = match &self.key_file {
            KeyFile::Own => format!("file = {}\n", text(self.path("master.key"))),
            KeyFile::None => String::new(),
            KeyFile::At(path) => format!("file = {}\n", text(path.clone())),
        };
        let configuration = format!(
            "[socket]\npath = {}\nadmin_path = {}\ngroup = \"\"\n\
             [store]\npath = {}\nmark = {}\ncreate = {}\n{}[backup]\ndir = {}\n{}\
             [master_key]\nallow_readable = {}\n{file}[legacy]\nadopt = {}\n\
             [log]\nlevel = \"{}\"\nformat = \"{}\"\n{}\n",
            text(self.path("keyd.sock")),
            text(self.path("keyd-admin.sock")),
            text(self.store()),
            text(self.mark()),
            self.create,
            self.self_check.map(|every| format!("self_check = \"{every}\"\n")).unwrap_or_default(),
            text(self.backup_path.clone().unwrap_or_else(|| self.path("backup"))),
            self.backup_interval.map(|age| format!("interval = \"{age}\"\n")).unwrap_or_default(),
            self.allow_readable,
            self.adopt,
            self.level,
            self.format,
            self.more,
        );
        let path = self.path("keyd.toml");
        std::fs::write(&path, configuration).unwrap();
        path
    }

    /// A command of the daemon with this configuration and more arguments.
    pub fn command(&self, command: &str, arguments: &[&str]) -> Invocation {
        let configuration = self.write_configuration();
        let mut all = vec![command.to_owned(), "--config".to_owned(), configuration.to_str().unwrap().to_owned()];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Invocation::new(all)
    }

    /// `servos-keyd init`
    pub fn init(&self, arguments: &[&str]) -> Outcome {
        self.command("init", arguments).run(KEYD)
    }

    /// `servos-keyd restore FILE`
    pub fn restore(&self, file: &Path) -> Outcome {
        self.command("restore", &[file.to_str().unwrap()]).run(KEYD)
    }

    /// `servos-keyd restore` with more than the file.
    pub fn restore_with(&self, arguments: &[&str]) -> Outcome {
        self.command("restore", arguments).run(KEYD)
    }

    /// `servos-keyd restore --older FILE`
    pub fn restore_older(&self, file: &Path) -> Outcome {
        self.restore_with(&["--older", file.to_str().unwrap()])
    }

    /// `servos-keyd accept`
    pub fn accept(&self, arguments: &[&str]) -> Outcome {
        self.command("accept", arguments).run(KEYD)
    }

    /// `servos-keyctl` with these arguments.
    pub fn keyctl(&self, arguments: &[&str]) -> Outcome {
        Invocation::new(arguments.iter().copied()).run(KEYCTL)
    }

    /// Serves, and returns when the daemon is ready.
    #[track_caller]
    pub fn serve(&self) -> Daemon {
        self.serve_with(&self.command("serve", &[]))
    }

    /// Serves with arguments or an environment of its own.
    #[track_caller]
    pub fn serve_with(&self, invocation: &Invocation) -> Daemon {
        Daemon::start(invocation, self.path("keyd.sock"), self.path("keyd-admin.sock"))
    }

    /// Serves what is left of a damaged store.
    #[track_caller]
    pub fn serve_salvage(&self) -> Daemon {
        self.serve_with(&self.command("serve", &["--salvage"]))
    }

    /// Puts a file where backups go, until [`Self::mend_backups`].
    pub fn break_backups(&self) {
        std::fs::write(self.path("backup.away"), b"in the way").unwrap();
        self.exchange("backup", "backup.away");
    }

    /// Lets backups go where they went before.
    pub fn mend_backups(&self) {
        self.exchange("backup", "backup.away");
        std::fs::remove_file(self.path("backup.away")).unwrap();
    }

    /// Gives each the other's name, at once: what a daemon finds missing it makes anew.
    fn exchange(&self, one: &str, other: &str) {
        let (one, other) = (self.path(one), self.path(other));
        renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
    }

    /// Serves so that this process may administer: as root on the admin socket, else as `--dev` does.
    #[track_caller]
    pub fn serve_for_admin(&self) -> Daemon {
        if is_root() {
            return self.serve();
        }
        let invocation = Invocation::new(["serve", "--dev", self.directory().to_str().unwrap()]);
        Daemon::start(&invocation, self.path("keyd.sock"), self.path("keyd.sock"))
    }

    /// Serves, and passes if the daemon ends before it is ready.
    #[track_caller]
    pub fn serve_refused(&self) -> Outcome {
        Daemon::refused(&self.command("serve", &[]))
    }
}

/// A path with more behind it.
pub fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}
