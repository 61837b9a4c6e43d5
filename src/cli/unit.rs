//! What the daemon's systemd unit says of where its key comes from, and whether systemd restarts it.
//!
//! Must never guess: a unit that does not say it plainly says nothing.
//! Called by `service`, and by `rotate run` and `doctor`.

use super::program;
use crate::cli::failure::Failure;
use crate::config::key_source::CREDENTIALS;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use std::path::{Path, PathBuf};

/// The daemon's unit, where no other is named.
pub(in crate::cli) const UNIT: &str = "servos-keyd.service";

/// The file that a unit takes the key from.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct UnitSource {
    /// As the unit names it.
    pub(in crate::cli) file: PathBuf,
    /// The credential's name, where the file is encrypted.
    pub(in crate::cli) encrypted: Option<String>,
}

/// Where the unit takes the key from; none where there is no such unit, or it does not say.
pub(in crate::cli) fn source(unit: &str, memory: &LockedMemory) -> Option<UnitSource> {
    source_in(std::str::from_utf8(text(unit, memory).ok()?.expose_bytes()).ok()?)
}

/// All that the unit says, its drop-ins too: a key may stand in it.
///
/// # Errors
/// 69 without systemctl, 65 where there is no such unit.
pub(in crate::cli) fn text(unit: &str, memory: &LockedMemory) -> Result<LockedBuffer, Failure> {
    program::run("systemctl", &["cat", "--", unit], b"", memory)
}

/// Whether systemd runs the unit now.
pub(in crate::cli) fn is_active(unit: &str, memory: &LockedMemory) -> bool {
    program::run("systemctl", &["is-active", "--quiet", "--", unit], b"", memory).is_ok()
}

/// The command that restarts it.
pub(in crate::cli) fn restart_command(unit: &str) -> String {
    format!("systemctl restart {}", crate::config::key_source_error::shell_quoted(Path::new(unit)))
}

/// Source: systemd.exec(5). One whose path is not absolute is looked up elsewhere.
fn source_in(text: &str) -> Option<UnitSource> {
    if let Some(first) = credentials_in(text).into_iter().next() {
        return is_plain(&first.file).then_some(first);
    }
    // Where several are named, it does not say which of them has the key.
    let mut files = assigned(text, "EnvironmentFile").into_iter();
    let file = PathBuf::from(files.next()?.1.trim_start_matches('-'));
    (files.next().is_none() && is_plain(&file)).then_some(UnitSource { file, encrypted: None })
}

/// The files of the credentials that the daemon looks for, in its order; of each, the last line counts.
pub(in crate::cli) fn credentials_in(text: &str) -> Vec<UnitSource> {
    // One list for both: an empty line of either takes back all before it. So systemd 252 has it.
    let given = assigned_any(text, &["LoadCredential", "LoadCredentialEncrypted"]);
    let of_credential = |credential: &str| {
        given.iter().rev().find_map(|(_, key, value)| {
            let (name, path) = value.split_once(':')?;
            let encrypted = (*key == "LoadCredentialEncrypted").then(|| name.to_owned());
            (name == credential).then(|| UnitSource { file: PathBuf::from(path), encrypted })
        })
    };
    CREDENTIALS.into_iter().filter_map(of_credential).collect()
}

/// What a setting was given, with the number of each line; an empty one takes back all before it.
pub(in crate::cli) fn assigned(text: &str, key: &str) -> Vec<(usize, String)> {
    assigned_any(text, &[key]).into_iter().map(|(at, _, value)| (at, value)).collect()
}

/// The same of several that are one to systemd, each with its own name.
fn assigned_any<'k>(text: &str, keys: &[&'k str]) -> Vec<(usize, &'k str, String)> {
    let mut values = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((name, value)) = line.split_once('=') else { continue };
        let Some(key) = keys.iter().find(|key| **key == name.trim()) else { continue };
        match value.trim() {
            "" => values.clear(),
            value => values.push((at, *key, value.to_owned())),
        }
    }
    values
}

/// Absolute, without a specifier that systemd replaces.
pub(in crate::cli) fn is_plain(file: &Path) -> bool {
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
            ("LoadCredentialEncrypted=servos_master_key:/c\nLoadCredential=\nLoadCredential=act.env:/b\n", of("/b")),
            ("SetCredential=servos_master_key:secret\n", None),
        ] {
            assert_eq!(found(text), expected, "{text:?}");
        }
    }
}
