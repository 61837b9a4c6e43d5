//! The configuration once it is checked: what every part of the daemon may rely on without looking again.
//!
//! Must never hold what `config::file` would refuse; its defaults are the names that users meet.
//! Made by `config::file` or for `--dev`; read by `cli`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The whole configuration; each part is one section of the file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// `[socket]`
    pub socket: Socket,
    /// `[store]`
    pub store: Store,
    /// `[backup]`
    pub backup: Backup,
    /// `[drill]`
    pub drill: Drill,
    /// `[master_key]`
    pub master_key: MasterKey,
    /// `[memory]`
    pub memory: Memory,
    /// `[legacy]`
    pub legacy: Legacy,
    /// `[other_uses]`: what else the master key's text is used for, by a name, and how long a replaced key's text must
    /// be kept for it (1 to 3,650 days); at most 100.
    pub other_uses: BTreeMap<String, Duration>,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// `[sandbox]`
    pub sandbox: Sandbox,
    /// `[metrics]`
    pub metrics: Metrics,
}

/// `[socket]`: where callers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The components' socket (absolute, at most 107 bytes).
    pub path: PathBuf,
    /// The operators' socket; `None` only in `--dev`, where one socket serves everything.
    pub admin_path: Option<PathBuf>,
    /// The group that may open the components' socket; `None` leaves the daemon's primary group.
    pub group: Option<String>,
}

/// `[store]`: the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The store's file (absolute).
    pub path: PathBuf,
    /// Whether a start without store and mark makes them; for containers and `--dev`.
    pub create: bool,
    /// The high-water mark (absolute); by default [`mark_beside`] the store.
    pub mark: PathBuf,
    /// How often the daemon checks the store and its newest backup by itself (1 second to 365 days).
    pub self_check: Duration,
}

/// `[backup]`: copies of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Their directory (absolute).
    pub dir: PathBuf,
    /// So many of the newest stay whatever their age (1 to 10,000).
    pub keep: u32,
    /// One younger than this stays whatever their number (1 minute to 3,650 days).
    pub keep_for: Duration,
    /// How old the newest may become, while the store changes, before status warns (1 second to 3,650 days).
    pub interval: Duration,
}

/// `[drill]`: trying whether the copies of the master key are any good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    /// How long ago the last one may be before status warns (1 second to 3,650 days).
    pub interval: Duration,
}

/// `[master_key]`: where the key is, never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MasterKey {
    /// A key file or env file (absolute); `None` where a credential or the environment brings the key.
    pub file: Option<PathBuf>,
    /// Whether a file that others can read is a warning instead of a refusal.
    pub allow_readable: bool,
}

/// `[memory]`: where keys lie while they are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Memory {
    /// Whether a kernel that gives no memfd_secret ends the start; else locked pages, which root can read, do.
    pub require_memfd_secret: bool,
}

/// `[legacy]`: values sealed before this daemon.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Legacy {
    /// Whether a store made at the start adopts the master key as a legacy key.
    pub adopt: bool,
}

/// `[limits]`: what callers may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections on one socket (1 to 10,000).
    pub connections: u32,
    /// Calls at once on one connection (1 to 10,000).
    pub streams: u32,
    /// How long one call may take (100 ms to 1 h).
    pub request_timeout: Duration,
    /// How long a connection without a call stays open (100 ms to 24 h).
    pub idle_connection: Duration,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Log {
    /// The least important level that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// `[sandbox]`: what `serve` closes to itself before it reads a store or key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Whether Landlock closes every directory but the daemon's own.
    pub landlock: bool,
    /// Whether seccomp forbids every system call but those the daemon makes.
    pub seccomp: bool,
}

/// `[metrics]`: where they are collected.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Their socket (absolute, at most 107 bytes); `None` for none.
    pub socket: Option<PathBuf>,
    /// The group that may open it; `None` leaves the daemon's primary group.
    pub group: Option<String>,
}

/// The levels of the log, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    #[default]
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            path: "/run/servos/keyd.sock".into(),
            admin_path: Some("/run/servos/keyd-admin.sock".into()),
            group: Some("servos".to_owned()),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        let path = PathBuf::from("/var/lib/servos-keyd/keyd.redb");
        Self { mark: mark_beside(&path), path, create: false, self_check: DAY }
    }
}

impl Default for Backup {
    fn default() -> Self {
        Self { dir: "/var/lib/servos/keyd-backup".into(), keep: 30, keep_for: 90 * DAY, interval: 30 * DAY }
    }
}

impl Default for Drill {
    fn default() -> Self {
        Self { interval: 180 * DAY }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            streams: 128,
            request_timeout: Duration::from_secs(30),
            idle_connection: Duration::from_secs(10),
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { landlock: true, seccomp: true }
    }
}

impl LogLevel {
    /// Every level with its name.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level's name, as in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl LogFormat {
    /// Every format with its name.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The format's name, as in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Where a store's mark is if the configuration does not say: its path with `.mark` appended.
#[must_use]
pub fn mark_beside(store: &Path) -> PathBuf {
    let mut mark = store.as_os_str().to_owned();
    mark.push(".mark");
    mark.into()
}

/// One key of the configuration, for `servos-keyctl config check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Section and key, as in `limits.streams`.
    pub key: &'static str,
    /// The value, as the file would write it; empty if there is none.
    pub value: String,
    /// Whether it is what a file that says nothing would give.
    pub is_default: bool,
}

impl Config {
    /// The configuration of `serve --dev`: everything under `dir`, one socket, a store made where none is.
    ///
    /// # Security
    /// For trying the daemon out: whoever may write `dir` may replace all of it.
    #[must_use]
    pub fn dev(dir: &Path) -> Self {
        let store = dir.join("keyd.redb");
        Self {
            socket: Socket { path: dir.join("keyd.sock"), admin_path: None, group: None },
            store: Store { mark: mark_beside(&store), path: store, create: true, ..Store::default() },
            backup: Backup { dir: dir.join("backup"), ..Backup::default() },
            master_key: MasterKey { file: Some(dir.join("master.key")), allow_readable: false },
            ..Self::default()
        }
    }

    /// Every key with its value, in the order of the documentation.
    #[must_use]
    pub fn describe(&self) -> Vec<Setting> {
        let plain =
            Self { store: Store { mark: mark_beside(&self.store.path), ..Store::default() }, ..Self::default() };
        let unset = plain.values();
        self.values()
            .into_iter()
            .zip(unset)
            .map(|((key, value), (_, default))| Setting { key, is_default: value == default, value })
            .collect()
    }

    /// What the file declares under `[other_uses]`: each name, with the time as the file would write it.
    #[must_use]
    pub fn describe_other_uses(&self) -> Vec<(String, String)> {
        self.other_uses.iter().map(|(name, kept)| (name.clone(), duration::format(*kept))).collect()
    }

    fn values(&self) -> [(&'static str, String); 26] {
        let path = |path: &Path| path.display().to_string();
        let optional =
            |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        [
            ("socket.path", path(&self.socket.path)),
            ("socket.admin_path", optional(&self.socket.admin_path)),
            ("socket.group", self.socket.group.clone().unwrap_or_default()),
            ("store.path", path(&self.store.path)),
            ("store.create", self.store.create.to_string()),
            ("store.mark", path(&self.store.mark)),
            ("store.self_check", duration::format(self.store.self_check)),
            ("backup.dir", path(&self.backup.dir)),
            ("backup.keep", self.backup.keep.to_string()),
            ("backup.keep_for", duration::format(self.backup.keep_for)),
            ("backup.interval", duration::format(self.backup.interval)),
            ("drill.interval", duration::format(self.drill.interval)),
            ("master_key.file", optional(&self.master_key.file)),
            ("master_key.allow_readable", self.master_key.allow_readable.to_string()),
            ("memory.require_memfd_secret", self.memory.require_memfd_secret.to_string()),
            ("legacy.adopt", self.legacy.adopt.to_string()),
            ("limits.connections", self.limits.connections.to_string()),
            ("limits.streams", self.limits.streams.to_string()),
            ("limits.request_timeout", duration::format(self.limits.request_timeout)),
            ("limits.idle_connection", duration::format(self.limits.idle_connection)),
            ("log.level", self.log.level.as_str().to_owned()),
            ("log.format", self.log.format.as_str().to_owned()),
            ("sandbox.landlock", self.sandbox.landlock.to_string()),
            ("sandbox.seccomp", self.sandbox.seccomp.to_string()),
            ("metrics.socket", optional(&self.metrics.socket)),
            ("metrics.group", self.metrics.group.clone().unwrap_or_default()),
        ]
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
