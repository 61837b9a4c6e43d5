//! `servos-keyctl legacy adopt|retire`: former master keys, for values from before servos-keyd.
//!
//! Must never take a key as an argument, print one, or retire one without having been told to.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::output::{count, fields};
use super::payload;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::key_admin::AdminClient;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY_FILE_LIMIT: usize = 4 << 10;

#[derive(Subcommand)]
pub(super) enum LegacyCommand {
    /// Give the daemon a former master key, so that values under it open where a caller allows it
    Adopt(AdoptArguments),
    /// Drop a former master key: values under it do not open any more
    Retire(RetireArguments),
}

#[derive(Args)]
pub(super) struct AdoptArguments {
    /// File that holds the key and nothing else, as 64 hex or 44 base64 characters; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub(super) struct RetireArguments {
    /// Which one: 16 hex digits, as `servos-keyctl status` shows them
    #[arg(value_name = "FINGERPRINT", value_parser = fingerprint)]
    fingerprint: String,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs a subcommand of `legacy`.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    command: &LegacyCommand,
) -> Result<(), Failure> {
    let admin = socket.admin();
    match command {
        LegacyCommand::Adopt(arguments) => adopt(console, &admin, arguments).await,
        LegacyCommand::Retire(arguments) => retire(console, &admin, arguments).await,
    }
}

async fn adopt(console: &mut Console, admin: &AdminClient, arguments: &AdoptArguments) -> Result<(), Failure> {
    if !arguments.file.exists() && looks_like_key(&arguments.file) {
        let failure = Failure::say(exit::USAGE, "FILE is a file that holds the key, not the key itself");
        return Err(failure.with_hint("what you typed stands in the shell's history now: delete it there"));
    }
    let text = payload::read(console, Some(&arguments.file), KEY_FILE_LIMIT)?;
    let key = key_text(&text)?;
    let fingerprint = admin.adopt_legacy_key(&key).await?;
    console.result(&json!({"fingerprint": fingerprint}), &fields(&[("adopted", fingerprint.clone())]))?;
    console.hint(
        "Legacy values carry no context: whoever can write the application's database can move them. Move every row with \
         ReEncrypt, then retire this key with `servos-keyctl legacy retire`.",
    );
    Ok(())
}

async fn retire(console: &mut Console, admin: &AdminClient, arguments: &RetireArguments) -> Result<(), Failure> {
    let fingerprint = &arguments.fingerprint;
    let question = format!(
        "Retiring the legacy key {fingerprint}: every value under it that was not re-encrypted, in any database or backup, \
         stops opening.",
    );
    console.confirm(&question, "yes", arguments.yes)?;
    let answer = admin.retire_legacy_key(fingerprint).await?;
    let remaining = count(answer.remaining, "legacy key");
    let text = fields(&[("retired", answer.fingerprint.clone()), ("still held", remaining)]);
    console.result(&json!({"fingerprint": answer.fingerprint, "remaining": answer.remaining}), &text)
}

/// The key's text without the white space around it; says what a wrong file looks like, never what is in it.
fn key_text(file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = file.trim_ascii();
    if matches!(text.len(), 44 | 64) {
        return Ok(Zeroizing::new(text.to_vec()));
    }
    let message = format!("a key has 64 hex or 44 base64 characters; this file has {}", text.len());
    let failure = Failure::say(exit::DATA, message);
    let is_env_file = text.windows(b"MASTER_KEY".len()).any(|window| window == b"MASTER_KEY");
    Err(match is_env_file {
        true => failure.with_hint("it looks like an env file: give only what stands behind MASTER_KEY="),
        false => failure,
    })
}

/// Whether an argument is, by its form, a key that somebody typed in place of a file's name.
fn looks_like_key(argument: &Path) -> bool {
    argument.to_str().is_some_and(|text| {
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex || (text.len() == 44 && text.ends_with('='))
    })
}

fn fingerprint(text: &str) -> Result<String, String> {
    if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a fingerprint is 16 hex digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_key_is_dropped() {
        let key = [b'a'; 64];
        let file = [b"\r\n".as_slice(), &key, b" \n"].concat();
        assert_eq!(key_text(&file).unwrap().as_slice(), key);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_without_showing_it() {
        let failure = key_text(b"SERVOS_MASTER_KEY=sekrit").unwrap_err();
        assert_eq!(failure.exit, exit::DATA);
        assert!(failure.hint.as_ref().unwrap().contains("env file"));
        assert!(!format!("{failure:?}").contains("sekrit"));
        assert_eq!(key_text(b"").unwrap_err().exit, exit::DATA);
        assert!(key_text(&[b'a'; 63]).is_err());
    }

    #[test]
    fn a_fingerprint_has_sixteen_hex_digits() {
        assert_eq!(fingerprint("00AAbb2233445566").unwrap(), "00aabb2233445566");
        for text in ["", "00aabb223344556", "00aabb22334455667", "00aabb223344556g", "00aabb223344556é"] {
            assert!(fingerprint(text).is_err(), "{text}");
        }
    }
}
