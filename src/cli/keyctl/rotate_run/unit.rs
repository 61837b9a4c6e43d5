//! What the daemon's systemd unit says of where its key comes from, and whether systemd restarts it.
//!
//! Must never guess: a unit that does not say it plainly says nothing.
//! Called by `plan`.

use super::program;
use crate::sys::locked::LockedMemory;
use std::path::{Path, PathBuf};

/// The credentials that the daemon looks for, in its order.
const CREDENTIALS: [&str; 4] = ["servos_master_key", "act_master_key", "servos.env", "act.env"];

/// The file that a unit takes the key from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnitSource {
    /// Absolute.
    pub(super) file: PathBuf,
    /// The credential's name, where the file is encrypted.
    pub(super) encrypted: Option<String>,
}

/// Where the unit takes the key from; none where there is no such unit, or it does not say.
pub(super) fn source(unit: &str, memory: &LockedMemory) -> Option<UnitSource> {
    let text = program::run("systemctl", &["cat", "--", unit], b"", memory).ok()?;
    source_in(std::str::from_utf8(text.expose_bytes()).ok()?)
}

/// Whether systemd runs the unit now.
pub(super) fn is_active(unit: &str, memory: &LockedMemory) -> bool {
    program::run("systemctl", &["is-active", "--quiet", "--", unit], b"", memory).is_ok()
}

/// The command that restarts it.
pub(super) fn restart_command(unit: &str) -> String {
    format!("systemctl restart {}", crate::config::key_source_error::shell_quoted(Path::new(unit)))
}

/// Source: systemd.exec(5). The last line for a credential counts; one whose path is not absolute is looked up elsewhere.
fn source_in(text: &str) -> Option<UnitSource> {
    let value_of = |line: &str, key: &str| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    };
    // An empty one takes back all before it.
    let assigned = |key: &str| {
        let mut values = Vec::new();
        for (at, value) in text.lines().enumerate().filter_map(|(at, line)| Some((at, value_of(line, key)?))) {
            if value.is_empty() { values.clear() } else { values.push((at, value)) }
        }
        values
    };
    let plain = assigned("LoadCredential").into_iter().map(|(at, value)| (at, value, false));
    let encrypted = assigned("LoadCredentialEncrypted").into_iter().map(|(at, value)| (at, value, true));
    let mut given: Vec<(usize, String, bool)> = plain.chain(encrypted).collect();
    given.sort_unstable();
    let of_credential = |credential: &str| {
        given.iter().rev().find_map(|(_, value, is_encrypted)| {
            let (name, path) = value.split_once(':')?;
            (name == credential).then(|| (PathBuf::from(path), *is_encrypted))
        })
    };
    if let Some((name, (file, is_encrypted))) =
        CREDENTIALS.into_iter().find_map(|name| Some((name, of_credential(name)?)))
    {
        let encrypted = is_encrypted.then(|| name.to_owned());
        return is_plain(&file).then_some(UnitSource { file, encrypted });
    }
    // Where several are named, it does not say which of them has the key.
    let mut files = assigned("EnvironmentFile").into_iter();
    let file = PathBuf::from(files.next()?.1.trim_start_matches('-'));
    (files.next().is_none() && is_plain(&file)).then_some(UnitSource { file, encrypted: None })
}

/// Absolute, without a specifier that systemd replaces.
fn is_plain(file: &Path) -> bool {
    file.is_absolute() && !file.to_string_lossy().contains('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(String, Option<String>)> {
        source_in(text).map(|found| (found.file.display().to_string(), found.encrypted))
    }

    #[test]
    fn the_file_is_the_one_that_the_last_line_for_the_first_credential_names() {
        let of = |file: &str| Some((file.to_owned(), None));
        let encrypted = |file: &str, name: &str| Some((file.to_owned(), Some(name.to_owned())));
        for (text, expected) in [
            ("", None),
            ("[Service]\nExecStart=/usr/bin/servos-keyd serve\n", None),
            ("LoadCredential=servos.env:/etc/servos/servos.env\n", of("/etc/servos/servos.env")),
            (" LoadCredential = servos_master_key:/k \r\n", of("/k")),
            ("LoadCredential=servos.env:/e\nLoadCredential=servos_master_key:/k\n", of("/k")),
            ("LoadCredential=servos_master_key:/a\n# /etc/drop-in\nLoadCredential=servos_master_key:/b\n", of("/b")),
            ("LoadCredential=other:/a\nLoadCredential=act.env:/b\n", of("/b")),
            ("LoadCredentialEncrypted=servos_master_key:/c\n", encrypted("/c", "servos_master_key")),
            (
                "LoadCredential=servos_master_key:/a\nLoadCredentialEncrypted=servos_master_key:/c\n",
                encrypted("/c", "servos_master_key"),
            ),
            ("#LoadCredential=servos_master_key:/a\n;LoadCredential=servos_master_key:/a\n", None),
            ("LoadCredential=servos_master_key\n", None),
            ("LoadCredential=servos_master_key:relative\nEnvironmentFile=/e\n", None),
            ("LoadCredential=servos_master_key:%d/x\n", None),
            ("EnvironmentFile=-/etc/servos/servos.env\n", of("/etc/servos/servos.env")),
            ("EnvironmentFile=/a\nEnvironmentFile=/b\n", None),
            ("EnvironmentFile=/a\nEnvironmentFile=\nEnvironmentFile=/b\n", of("/b")),
            ("LoadCredential=servos_master_key:/a\n# /etc/drop-in\nLoadCredential=\n", None),
            ("LoadCredential=servos_master_key:/a\nLoadCredential=\nEnvironmentFile=/e\n", of("/e")),
            (
                "LoadCredentialEncrypted=servos_master_key:/c\nLoadCredential=\nLoadCredential=act.env:/b\n",
                encrypted("/c", "servos_master_key"),
            ),
            ("SetCredential=servos_master_key:secret\n", None),
        ] {
            assert_eq!(found(text), expected, "{text:?}");
        }
    }
}
