//! The exact text of a master key that was adopted, sealed before it is rotated: other things may have it as a password.
//!
//! Must never write the text itself anywhere, nor take a file for sealed that does not open.
//! Called by `rotate_begin` and `rotate_run`.

use super::durable_file::{self, Replace};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::context::Context;
use crate::client::key_name::KeyName;
use crate::client::key_service::Client;
use crate::config::key_source_error::shell_quoted;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq as _;

/// The key that it is sealed under.
pub(super) const KEY: &str = "backups";

/// What it is sealed for.
const USE: &str = "former-master-key";

/// A sealed key has some 200 bytes.
const LIMIT_BYTES: u64 = 64 * 1024;

/// Where it lies.
pub(super) struct SealedText {
    /// The file: the ciphertext as base64 text.
    pub(super) file: PathBuf,
    fingerprint: String,
}

/// The file for a key, beside the file that held it.
pub(super) fn file(key_file: &Path, fingerprint: &str) -> PathBuf {
    key_file.with_file_name(format!("former-master-key-{fingerprint}.skd1"))
}

/// Seals the text, unless that was done.
///
/// # Errors
/// 73 if a file is there that does not open to this text, and what the daemon refuses.
pub(super) async fn seal(
    client: &Client,
    key_file: &Path,
    fingerprint: &str,
    text: &[u8],
) -> Result<SealedText, Failure> {
    let sealed = SealedText::of(key_file, fingerprint);
    let key: KeyName = KEY.parse().map_err(|_| Failure::say(exit::BUG, "the name of a key is none"))?;
    let context = Context::new("use", USE).with("fingerprint", fingerprint);
    if sealed.file.symlink_metadata().is_err() {
        let value = client.encrypt(&key, text, &context).await.map_err(|error| {
            let failure = Failure::from(error);
            match failure.exit {
                exit::MISSING => failure.with_hint(format!("make the key again: `servos-keyctl keys create {KEY}`")),
                _ => failure,
            }
        })?;
        let mut line = value.to_base64();
        line.push('\n');
        durable_file::write_for_all(&sealed.file, line.as_bytes(), Replace::Never)?;
    }
    let line = read(&sealed.file).map_err(|error| Failure::reading(&sealed.file, &error))?;
    match client.decrypt_base64(&key, line.trim(), &context).await {
        Ok(opened) if bool::from(opened.plaintext.as_slice().ct_eq(text)) => Ok(sealed),
        Err(error) if error.is_transient() => Err(error.into()),
        _ => {
            let shown = sealed.file.display();
            let what = format!("{shown} exists already, and does not open to the text of the key {fingerprint}");
            Err(Failure::say(exit::CANNOT_CREATE, what).with_hint(durable_file::how_to_move_away(&sealed.file)))
        }
    }
}

/// What is no file is not waited for.
fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(file)?;
    file.take(LIMIT_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

impl SealedText {
    fn of(key_file: &Path, fingerprint: &str) -> Self {
        Self { file: file(key_file, fingerprint), fingerprint: fingerprint.to_owned() }
    }

    /// What was sealed before, if it is there.
    pub(super) fn find(key_file: &Path, fingerprint: &str) -> Option<Self> {
        Some(Self::of(key_file, fingerprint)).filter(|sealed| sealed.file.symlink_metadata().is_ok())
    }

    /// How to open it.
    pub(super) fn command(&self) -> String {
        format!(
            "servos-keyctl decrypt --key {KEY} --base64 --context use={USE} --context fingerprint={} --in {} --out FILE",
            self.fingerprint,
            shell_quoted(&self.file)
        )
    }

    /// For a person.
    pub(super) fn told(&self) -> String {
        format!(
            "The old key's exact text, for Restic's repositories that have it as their password, is sealed in {}. servos-api \
             gets it with Decrypt: key {KEY}, context use={USE} and fingerprint={}, and as ciphertext the text of that file, \
             decoded from base64. An operator: `{}`",
            self.file.display(),
            self.fingerprint,
            self.command()
        )
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        json!({
            "file": self.file.display().to_string(),
            "key": KEY,
            "context": {"use": USE, "fingerprint": self.fingerprint},
            "command": self.command(),
        })
    }
}
