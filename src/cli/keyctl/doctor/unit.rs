//! The daemon's unit, as far as it can hold a mistake: where the key comes from, and what it sets for the process.
//!
//! Must never keep a key that stands in it, but only where it stands.
//! Called by `case`.

use crate::cli::failure::Failure;
use crate::cli::program;
use crate::cli::unit::{self, UNIT};
use crate::config::key_source;
use crate::sys::locked::LockedMemory;
use std::path::{Path, PathBuf};

const SOCKET_UNIT: &str = "servos-keyd.socket";
const ADMIN_SOCKET_UNIT: &str = "servos-keyd-admin.socket";

/// What the unit says.
#[derive(Default)]
pub(super) struct Unit {
    /// Files of credentials that the daemon looks for, with the name of those that are encrypted.
    pub(super) credentials: Vec<(PathBuf, Option<String>)>,
    /// Files that its environment comes from, and whether one may be missing.
    pub(super) environment_files: Vec<(PathBuf, bool)>,
    /// Files that a variable of its names as the key's.
    pub(super) key_files: Vec<PathBuf>,
    /// The settings in which a key stands itself.
    pub(super) holds_key: Vec<&'static str>,
    pub(super) private_users: Option<String>,
    pub(super) memory_lock: Option<String>,
    pub(super) memory_swap_max: Option<String>,
    /// The group that its socket gets, by the socket's own unit.
    pub(super) socket_group: Option<String>,
}

/// What systemd says of the service and its sockets.
#[derive(Default)]
pub(super) struct ServiceState {
    /// Of the service, in its words.
    pub(super) words: String,
    pub(super) is_failed: bool,
    /// A process of it is there, whether it answers or not.
    pub(super) is_running: bool,
    /// The sockets that systemd does not listen on.
    pub(super) closed_sockets: Vec<String>,
    /// The last thing that a service which failed had to say.
    pub(super) last_words: Option<String>,
}

impl Unit {
    /// Asks systemd.
    ///
    /// # Errors
    /// Why it does not tell.
    pub(super) fn read(memory: &LockedMemory) -> Result<Self, String> {
        let text = unit::text(UNIT, memory).map_err(|Failure { message, .. }| message)?;
        let text = std::str::from_utf8(text.expose_bytes()).map_err(|_| format!("{UNIT} is no text"))?;
        let socket = unit::text(SOCKET_UNIT, memory).ok();
        let socket = socket.as_ref().and_then(|socket| std::str::from_utf8(socket.expose_bytes()).ok());
        let socket_group = socket.and_then(|text| unit::assigned(text, "SocketGroup").pop()).map(|(_, group)| group);
        Ok(Self { socket_group, ..Self::of(text) })
    }

    /// Source: systemd.exec(5).
    pub(super) fn of(text: &str) -> Self {
        let last = |key: &str| unit::assigned(text, key).pop().map(|(_, value)| value);
        let all = |key: &str| unit::assigned(text, key).into_iter().map(|(_, value)| value).collect::<Vec<_>>();
        let environment = all("Environment");
        let variables = || environment.iter().flat_map(|line| line.split_ascii_whitespace()).map(unquoted);
        let key_files = variables().filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            key_source::FILE_VARIABLES.contains(&name).then(|| PathBuf::from(value))
        });
        let is_key = |word: &str| ["SERVOS_MASTER_KEY=", "ACT_MASTER_KEY="].iter().any(|name| word.starts_with(name));
        let is_key_credential = |value: &String| {
            let held = value.split_once(':').filter(|(_, held)| *held != key_source::NOT_FOUND);
            held.is_some_and(|(name, _)| key_source::CREDENTIALS.contains(&name))
        };
        let mut holds_key = Vec::new();
        if variables().any(is_key) {
            holds_key.push("Environment=");
        }
        if all("SetCredential").iter().any(is_key_credential) {
            holds_key.push("SetCredential=");
        }
        Self {
            credentials: unit::credentials_in(text).into_iter().map(|one| (one.file, one.encrypted)).collect(),
            environment_files: all("EnvironmentFile").iter().map(|value| optional(value)).collect(),
            key_files: key_files.collect(),
            holds_key,
            private_users: last("PrivateUsers").filter(|value| !is_no(value)),
            memory_lock: last("LimitMEMLOCK"),
            memory_swap_max: last("MemorySwapMax"),
            socket_group: None,
        }
    }

    /// Every file of its that may hold a key, and that is a plain file by a plain name.
    pub(super) fn plain_files(&self) -> impl Iterator<Item = &Path> {
        let credentials = self.credentials.iter().filter(|(_, encrypted)| encrypted.is_none()).map(|(file, _)| file);
        credentials.chain(&self.key_files).map(PathBuf::as_path).filter(|file| unit::is_plain(file))
    }
}

fn optional(value: &str) -> (PathBuf, bool) {
    match value.strip_prefix('-') {
        Some(file) => (file.into(), true),
        None => (value.into(), false),
    }
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(|mark| matches!(mark, '"' | '\''))
}

/// Source: systemd.syntax(7).
fn is_no(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "no" | "false" | "off" | "0" | "n" | "f")
}

/// What systemd says of the service, and nothing where there is no systemd.
pub(super) fn state(memory: &LockedMemory) -> Option<ServiceState> {
    let wanted = "--property=Id,ActiveState,SubState,Result,ExecMainStatus,StatusText";
    let [component, admin] = [SOCKET_UNIT, ADMIN_SOCKET_UNIT];
    let told = program::run("systemctl", &["show", wanted, "--", UNIT, component, admin], b"", memory).ok()?;
    let mut state = state_of(&String::from_utf8_lossy(told.expose_bytes()))?;
    if state.is_failed {
        let wanted = ["--unit", UNIT, "--priority", "err", "--lines", "1", "--output", "cat", "--no-pager", "--quiet"];
        let last = program::run("journalctl", &wanted, b"", memory).ok();
        let last = last.map(|last| String::from_utf8_lossy(last.expose_bytes()).trim().to_owned());
        state.last_words = last.filter(|last| !last.is_empty());
    }
    Some(state)
}

/// Source: systemctl(1): `show` writes a block for each unit, with an empty line between.
fn state_of(told: &str) -> Option<ServiceState> {
    let mut blocks = told.split("\n\n");
    let service: Vec<&str> = blocks.next()?.lines().filter(|line| !line.ends_with('=')).collect();
    let (names, words): (Vec<&str>, Vec<&str>) = service.into_iter().partition(|line| line.starts_with("Id="));
    // What runs behind the end of a start that failed goes on for a moment.
    let is_wrong = |word: &&str| word.strip_prefix("Result=").is_some_and(|result| result != "success");
    let is_failed = words.contains(&"ActiveState=failed") || words.iter().any(is_wrong);
    let is_running = ["active", "reloading", "deactivating"]
        .iter()
        .any(|state| words.iter().any(|word| word.strip_prefix("ActiveState=") == Some(*state)));
    let closed = |block: &str| {
        let name = block.lines().find_map(|line| line.strip_prefix("Id="))?;
        (!block.lines().any(|line| line == "ActiveState=active")).then(|| name.to_owned())
    };
    let is_known = !names.is_empty() || !words.is_empty();
    let closed_sockets = blocks.filter_map(closed).collect();
    is_known.then(|| ServiceState { words: words.join(", "), is_failed, is_running, closed_sockets, last_words: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_s_units_hold_no_key_and_one_that_does_is_told() {
        let unit = include_str!("../../../../packaging/systemd/servos-keyd.service");
        let of = |more: &str| Unit::of(&format!("{unit}\n{more}")).holds_key;
        assert!(of("").is_empty());
        for drop_in in [
            include_str!("../../../../packaging/systemd/drop-ins/key-file.conf"),
            include_str!("../../../../packaging/systemd/drop-ins/encrypted-credential.conf"),
        ] {
            assert!(of(drop_in).is_empty(), "{drop_in}");
        }
        assert_eq!(of("[Service]\nSetCredential=servos_master_key:00ff"), ["SetCredential="]);
    }

    #[test]
    fn a_key_in_a_unit_is_told_by_where_it_stands_alone() {
        for (text, expected) in [
            ("Environment=SERVOS_MASTER_KEY=x", &["Environment="][..]),
            ("Environment=\"A=b\" \"ACT_MASTER_KEY=x\"", &["Environment="]),
            ("SetCredential=servos_master_key:x", &["SetCredential="]),
            ("SetCredential=other:x\nEnvironment=SERVOS_MASTER_KEY_FILE=/k", &[]),
            ("Environment=SERVOS_MASTER_KEY=x\nEnvironment=", &[]),
        ] {
            assert_eq!(Unit::of(text).holds_key, expected, "{text}");
        }
    }

    #[test]
    fn the_service_and_its_sockets_are_told_apart() {
        let told = "Id=servos-keyd.service\nActiveState=failed\nResult=exit-code\nStatusText=\n\nId=servos-keyd.socket\n\
                    ActiveState=active\nSubState=listening\n\nId=servos-keyd-admin.socket\nActiveState=inactive\n";
        let state = state_of(told).unwrap();
        assert_eq!((state.words.as_str(), state.is_failed), ("ActiveState=failed, Result=exit-code", true));
        assert_eq!(state.closed_sockets, ["servos-keyd-admin.socket"]);
        assert!(state_of("").is_none());
        assert!(state_of("ActiveState=deactivating\nResult=exit-code\n").unwrap().is_failed);
        assert!(!state_of("ActiveState=inactive\nResult=success\n").unwrap().is_failed);
    }

    #[test]
    fn files_and_settings_are_read_as_systemd_reads_them() {
        let unit = Unit::of(
            "LoadCredential=servos.env:/e\nLoadCredentialEncrypted=servos_master_key:/c\nEnvironmentFile=-/a\n\
             Environment=SERVOS_MASTER_KEY_FILE=/k\nPrivateUsers=no\nPrivateUsers=yes\nLimitMEMLOCK=64K\n",
        );
        assert_eq!(unit.plain_files().collect::<Vec<_>>(), [Path::new("/e"), Path::new("/k")]);
        assert!(unit.credentials.contains(&("/c".into(), Some("servos_master_key".into()))));
        assert_eq!(unit.environment_files, [("/a".into(), true)]);
        assert_eq!((unit.private_users.as_deref(), unit.memory_lock.as_deref()), (Some("yes"), Some("64K")));
        assert_eq!(Unit::of("PrivateUsers=off").private_users, None);
    }
}
