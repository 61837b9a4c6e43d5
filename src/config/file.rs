//! Reads the configuration file and checks every word of it: after it, nothing is checked twice.
//!
//! Must never accept a key it does not know, nor show a line of the file, which may hold a key by mistake.
//! Called by `cli` at the start and for `config check`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::field::Field;
use super::key_source_error::user_name;
use super::obstacle::Reader;
use super::settings::{Config, LogFormat, LogLevel, mark_beside};
use super::unquoted::missing_quotes;

/// Where the configuration lies if nothing else is said; it may be absent.
pub const DEFAULT_PATH: &str = "/etc/servos/keyd.toml";

/// The largest configuration file that is read, in bytes.
const LIMIT_BYTES: u64 = 1 << 20;

/// Keys longer than this are not shown: a master key has 44 or 64 characters.
const SHOWN_KEY_CHARACTERS: usize = 32;

/// The section whose keys are the operator's own names.
const OTHER_USES: &str = "other_uses";

/// Most of them: each is a sentence in the answers of a rotation.
const MAX_OTHER_USES: usize = 100;

const SECTIONS: [(&str, &[&str]); 12] = [
    ("socket", &["path", "admin_path", "group"]),
    ("store", &["path", "create", "mark", "self_check"]),
    ("backup", &["dir", "keep", "keep_for", "interval"]),
    ("drill", &["interval"]),
    ("master_key", &["file", "allow_readable"]),
    ("memory", &["require_memfd_secret"]),
    ("legacy", &["adopt"]),
    (OTHER_USES, &[]),
    ("limits", &["connections", "streams", "request_timeout", "idle_connection"]),
    ("log", &["level", "format"]),
    ("sandbox", &["landlock", "seccomp"]),
    ("metrics", &["socket", "group"]),
];

const COUNT: RangeInclusive<u32> = 1..=10_000;
const CALL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);
const IDLE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);
const SELF_CHECK: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 60 * 60);
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_650 * 24 * 60 * 60);
const TEXT_KEPT: RangeInclusive<Duration> =
    Duration::from_secs(24 * 60 * 60)..=Duration::from_secs(3_650 * 24 * 60 * 60);
const KEPT: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3_650 * 24 * 60 * 60);

impl Config {
    /// Reads the file at `path`, which must exist, or [`DEFAULT_PATH`], which need not.
    ///
    /// # Errors
    /// [`ConfigError`], by what is wrong; the first fault in the file is the one that is named.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Self::parse(&read(path)?, path),
            None => match read(Path::new(DEFAULT_PATH)) {
                Err(ConfigError::NotFound { .. }) => Ok(Self::default()),
                read => Self::parse(&read?, Path::new(DEFAULT_PATH)),
            },
        }
    }

    /// Checks a configuration; `file` is only named in errors.
    ///
    /// # Errors
    /// [`ConfigError`], but for what reading a file adds.
    pub fn parse(bytes: &[u8], file: &Path) -> Result<Self, ConfigError> {
        let text = std::str::from_utf8(bytes).map_err(|fault| ConfigError::NotText {
            path: file.to_owned(),
            line: line_at(bytes, fault.valid_up_to()),
        })?;
        let document = DeTable::parse(text).map_err(|fault| {
            let line = line_at(bytes, fault.span().map_or(0, |span| span.start));
            let is_key = |key: &str| SECTIONS.iter().any(|(_, keys)| keys.contains(&key));
            let unquoted = text.lines().nth(line - 1).and_then(|text| missing_quotes(text, is_key));
            let problem = unquoted.unwrap_or_else(|| fault.message().to_owned());
            ConfigError::Syntax { path: file.to_owned(), line, problem }
        })?;
        Walk { file, bytes, mark: None }.config(document.get_ref())
    }
}

/// The line of the file on which a key of a section stands, from 1; none where it does not, or the file cannot be read.
#[must_use]
pub fn line_of(file: &Path, section: &str, key: &str) -> Option<usize> {
    let bytes = read(file).ok()?;
    let document = DeTable::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
    let DeValue::Table(table) = document.get_ref().get(section)?.get_ref() else { return None };
    let (name, _) = table.get_key_value(key)?;
    Some(line_at(&bytes, name.span().start))
}

/// One pass over the document.
struct Walk<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    /// `store.mark`, if the file names one; else it follows `store.path`.
    mark: Option<PathBuf>,
}

impl Walk<'_> {
    fn config(mut self, document: &DeTable<'_>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for (section, value) in document {
            let line = line_at(self.bytes, section.span().start);
            let name: &str = section.get_ref();
            let Some((_, keys)) = SECTIONS.iter().find(|(known, _)| *known == name) else {
                return Err(self.unknown(line, name.to_owned(), advice_for_section(name)));
            };
            let DeValue::Table(table) = value.get_ref() else {
                return Err(Field { file: self.file, line, key: name, value: value.get_ref() }
                    .refused(format_args!("is a section: write [{name}] and its keys below")));
            };
            self.section(&mut config, name, keys, table)?;
        }
        config.store.mark = self.mark.take().unwrap_or_else(|| mark_beside(&config.store.path));
        self.no_file_twice(&config)?;
        Ok(config)
    }

    fn section(
        &mut self,
        config: &mut Config,
        section: &str,
        keys: &[&str],
        table: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        for (key, value) in table {
            let line = line_at(self.bytes, key.span().start);
            let name: &str = key.get_ref();
            let full = format!("{section}.{name}");
            if section == OTHER_USES {
                self.other_use(config, name, &Field { file: self.file, line, key: &full, value: value.get_ref() })?;
                continue;
            }
            if !keys.contains(&name) {
                return Err(self.unknown(line, full, advice_for_key(section, name, keys)));
            }
            self.apply(config, &Field { file: self.file, line, key: &full, value: value.get_ref() })?;
        }
        Ok(())
    }

    fn other_use(&self, config: &mut Config, name: &str, field: &Field<'_>) -> Result<(), ConfigError> {
        // What is no name may be a key, and is not shown.
        let section = Field { key: OTHER_USES, ..*field };
        if !is_name_of_use(name) {
            return Err(section.refused(
                "a name there must be 1 to 63 of a-z, 0-9, ., _ and -, the first a letter or digit, and must not look \
                 like a key",
            ));
        }
        if matches!(field.value, DeValue::Table(_)) {
            return Err(field.refused("a name with a point in it must stand in quotes"));
        }
        let kept = field.duration(TEXT_KEPT)?;
        config.other_uses.insert(name.to_owned(), kept);
        if config.other_uses.len() > MAX_OTHER_USES {
            return Err(section.refused(format_args!("must have at most {MAX_OTHER_USES} names")));
        }
        Ok(())
    }

    fn apply(&mut self, config: &mut Config, field: &Field<'_>) -> Result<(), ConfigError> {
        match field.key {
            "socket.path" => config.socket.path = field.socket_path()?,
            "socket.admin_path" => config.socket.admin_path = Some(field.socket_path()?),
            "socket.group" => config.socket.group = field.group()?,
            "store.path" => config.store.path = field.path()?,
            "store.create" => config.store.create = field.boolean()?,
            "store.mark" => self.mark = Some(field.path()?),
            "store.self_check" => config.store.self_check = field.duration(SELF_CHECK)?,
            "backup.dir" => config.backup.dir = field.path()?,
            "backup.keep" => config.backup.keep = field.count(COUNT)?,
            "backup.keep_for" => config.backup.keep_for = field.duration(KEPT)?,
            "backup.interval" => config.backup.interval = field.duration(AGE)?,
            "drill.interval" => config.drill.interval = field.duration(AGE)?,
            "master_key.file" => config.master_key.file = Some(field.path()?),
            "master_key.allow_readable" => config.master_key.allow_readable = field.boolean()?,
            "memory.require_memfd_secret" => config.memory.require_memfd_secret = field.boolean()?,
            "legacy.adopt" => config.legacy.adopt = field.boolean()?,
            "limits.connections" => config.limits.connections = field.count(COUNT)?,
            "limits.streams" => config.limits.streams = field.count(COUNT)?,
            "limits.request_timeout" => config.limits.request_timeout = field.duration(CALL)?,
            "limits.idle_connection" => config.limits.idle_connection = field.duration(IDLE)?,
            "log.level" => config.log.level = field.choice(&LogLevel::ALL, LogLevel::as_str)?,
            "log.format" => config.log.format = field.choice(&LogFormat::ALL, LogFormat::as_str)?,
            "sandbox.landlock" => config.sandbox.landlock = field.boolean()?,
            "sandbox.seccomp" => config.sandbox.seccomp = field.boolean()?,
            "metrics.socket" => config.metrics.socket = Some(field.socket_path()?),
            "metrics.group" => config.metrics.group = field.group()?,
            // A key of the table above that is forgotten here is refused rather than dropped.
            _ => return Err(field.refused("is not understood by this version")),
        }
        Ok(())
    }

    /// The store, its successor, the mark, the key and the sockets replace or remove each other if they share a path.
    fn no_file_twice(&self, config: &Config) -> Result<(), ConfigError> {
        let mut successor = config.store.path.clone().into_os_string();
        successor.push(".new");
        let named = [
            ("socket.path", Some(config.socket.path.clone())),
            ("socket.admin_path", config.socket.admin_path.clone()),
            ("store.path", Some(config.store.path.clone())),
            ("store.path with .new", Some(successor.into())),
            ("store.mark", Some(config.store.mark.clone())),
            ("backup.dir", Some(config.backup.dir.clone())),
            ("master_key.file", config.master_key.file.clone()),
            ("metrics.socket", config.metrics.socket.clone()),
        ];
        let mut seen: BTreeMap<PathBuf, &'static str> = BTreeMap::new();
        for (second, path) in named {
            // Components compare `/a//b` and `/a/./b` as the same file.
            let Some(path) = path.map(|path| path.components().collect::<PathBuf>()) else { continue };
            if let Some(first) = seen.insert(path.clone(), second) {
                return Err(ConfigError::SameFile { path: self.file.to_owned(), first, second, shared: path });
            }
        }
        Ok(())
    }

    fn unknown(&self, line: usize, key: String, advice: String) -> ConfigError {
        let long = key.chars().count();
        let key = if long <= SHOWN_KEY_CHARACTERS { key } else { format!("of {long} characters") };
        ConfigError::UnknownKey { path: self.file.to_owned(), line, key, advice }
    }
}

/// Whether this names another use of the master key's text. A key of 43 characters of base64 or 64 hex digits, or most
/// of one, is a run of letters and digits that no name is.
fn is_name_of_use(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    let longest = name.split(['.', '_', '-']).map(str::len).max().unwrap_or(0);
    (1..=63).contains(&name.len())
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(allowed)
        && longest <= SHOWN_KEY_CHARACTERS
}

fn advice_for_section(name: &str) -> String {
    if let Some((section, _)) = SECTIONS.iter().find(|(_, keys)| keys.contains(&name)) {
        return format!("it belongs under a section, such as [{section}]");
    }
    let names: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).collect();
    match nearest(name, &names) {
        Some(near) => format!("did you mean [{near}]?"),
        None => format!("the sections are {}", names.join(", ")),
    }
}

fn advice_for_key(section: &str, name: &str, keys: &[&str]) -> String {
    if let Some(near) = nearest(name, keys) {
        return format!("did you mean {near}?");
    }
    match SECTIONS.iter().find(|(_, keys)| keys.contains(&name)) {
        Some((home, _)) => format!("it belongs under [{home}]"),
        None => format!("the keys of [{section}] are {}", keys.join(", ")),
    }
}

/// The most similar known word, if one is similar at all.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate));
    scored.filter(|(score, _)| *score > 0.75).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, word)| word)
}

fn line_at(bytes: &[u8], offset: usize) -> usize {
    bytes.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn denied(path: &Path) -> ConfigError {
    let groups = nix::unistd::getgroups().unwrap_or_default();
    let gids: Vec<u32> = groups.into_iter().chain([nix::unistd::getegid()]).map(nix::unistd::Gid::as_raw).collect();
    let uid = nix::unistd::geteuid().as_raw();
    let obstacle = Reader { uid, gids: &gids }.obstacle(path);
    ConfigError::Denied { path: path.to_owned(), user: user_name(uid), obstacle }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::NotFound { path: path.to_owned() },
        io::ErrorKind::PermissionDenied => denied(path),
        _ => ConfigError::Unreadable { path: path.to_owned(), source },
    };
    // A FIFO named by mistake would block the start for ever.
    let file: File = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if kind.is_dir() || kind.is_fifo() || kind.is_socket() {
        return Err(ConfigError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let length = file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match u64::try_from(length) {
        Ok(length) if length <= LIMIT_BYTES => Ok(bytes),
        _ => Err(ConfigError::TooLarge { path: path.to_owned(), limit_bytes: LIMIT_BYTES }),
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
