//! `servos-keyctl legacy adopt|retire`: former master keys, for values from before servos-keyd.
//!
//! Must never take a key as an argument, print one, or retire one without having been told to.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::key_input;
use super::output::{count, fields};
use super::payload;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::client::key_admin::AdminClient;
use crate::custody::keys::MasterKey;
use crate::operations::key_choice;
use crate::operations::legacy_proof::prove;
use crate::sys::locked::{LockedBuffer, LockedMemory};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

const KEY_FILE_LIMIT: usize = 4 << 10;

const ROWS_LIMIT: usize = 16 << 20;

#[derive(Subcommand)]
pub(super) enum LegacyCommand {
    /// Give the daemon a former master key, so that values under it open where a caller allows it
    Adopt(AdoptArguments),
    /// Drop a former master key: values under it do not open any more
    Retire(RetireArguments),
}

#[derive(Args)]
pub(super) struct AdoptArguments {
    /// File that holds the key: it alone, as 64 hex or 44 base64 characters, or an env file with SERVOS_MASTER_KEY= or
    /// ACT_MASTER_KEY= in it; - for the key alone on standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// First prove the key on values from before servos-keyd: a file with one base64 value a line
    #[arg(long, value_name = "ROWS")]
    check: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct RetireArguments {
    /// Which one: 16 hex digits, as `servos-keyctl status` shows them
    #[arg(value_name = "FINGERPRINT", value_parser = key_input::fingerprint)]
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
    let memory = key::memory()?;
    let text = key_text(console, &arguments.file, &memory)?;
    if let Some(rows) = &arguments.check {
        let (count, place) = (check_rows(console, rows, &text, &memory)?, rows.display());
        console.hint(&format!("The key opens {count} of {count} values in {place}."));
    }
    let fingerprint = admin.adopt_legacy_key(text.expose_bytes()).await?;
    console.result(&json!({"fingerprint": fingerprint}), &fields(&[("adopted", fingerprint.clone())]))?;
    console.hint(&format!(
        "Legacy values carry no context: whoever can write the application's database can move them. Move every row with \
         ReEncrypt, then retire this key with `servos-keyctl legacy retire {fingerprint}`.",
    ));
    Ok(())
}

async fn retire(console: &mut Console, admin: &AdminClient, arguments: &RetireArguments) -> Result<(), Failure> {
    let fingerprint = &arguments.fingerprint;
    let held: Vec<String> = admin.status().await?.legacy_keys.into_iter().map(|key| key.fingerprint).collect();
    if !held.contains(fingerprint) {
        let failure = Failure::say(exit::MISSING, format!("no legacy key {fingerprint} is held"));
        return Err(failure.with_hint(match held.as_slice() {
            [] => "the daemon holds no legacy key".to_owned(),
            held => format!("held: {}", held.join(", ")),
        }));
    }
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

/// The key's text, from a file as the daemon reads key files and env files, or from standard input.
fn key_text(console: &mut Console, file: &Path, memory: &LockedMemory) -> Result<LockedBuffer, Failure> {
    if file == Path::new("-") {
        let read = payload::read(console, None, KEY_FILE_LIMIT)?;
        return typed_key(&read, memory);
    }
    let found = key::read_given(file, false, memory)?;
    let chosen = key::choose_among(&found, key_choice::no_store(), memory)?;
    chosen.warnings.iter().for_each(|warning| console.hint(&format!("warning: {warning}")));
    // All of them hold the same key.
    let first = found.into_iter().next().map(|source| source.text);
    first.ok_or_else(|| Failure::say(exit::MISSING, format!("{} holds no key", file.display())))
}

/// The key without the white space around it; says what a wrong input looks like, never what is in it.
fn typed_key(input: &[u8], memory: &LockedMemory) -> Result<LockedBuffer, Failure> {
    let text = input.trim_ascii();
    if matches!(text.len(), 44 | 64) {
        let mut key = memory.buffer(text.len()).map_err(|error| Failure::new(exit::CONFIG, &error))?;
        key.append(text);
        return Ok(key);
    }
    let message = format!("a key has 64 hex or 44 base64 characters; standard input has {}", text.len());
    let failure = Failure::say(exit::DATA, message);
    let is_env_file = text.windows(b"MASTER_KEY".len()).any(|window| window == b"MASTER_KEY");
    Err(match is_env_file {
        true => failure.with_hint("it looks like an env file: name that file in the place of -"),
        false => failure,
    })
}

/// Answers how many values the key opens: all of them, and at least one.
fn check_rows(console: &mut Console, rows: &Path, key: &LockedBuffer, memory: &LockedMemory) -> Result<usize, Failure> {
    let text = payload::read(console, Some(rows), ROWS_LIMIT)?;
    let place = rows.display();
    let no_text = |_| Failure::say(exit::DATA, format!("{place}: is not text; give one base64 value a line"));
    let key = MasterKey::parse(key.expose_bytes(), memory)?;
    let proof = prove(&key, str::from_utf8(&text).map_err(no_text)?, memory)?;
    if proof.count == 0 {
        return Err(Failure::say(exit::DATA, format!("{place}: holds no value to check the key on")));
    }
    let refused = |failure| Failure::from(failure).with_hint("nothing was adopted");
    proof.verdict(rows, key.fingerprint()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_key_is_dropped() {
        let key = [b'a'; 64];
        let input = [b"\r\n".as_slice(), &key, b" \n"].concat();
        assert_eq!(typed_key(&input, &LockedMemory::new().unwrap()).unwrap().expose_bytes(), key);
    }

    #[test]
    fn an_input_that_is_no_key_is_refused_without_showing_it() {
        let memory = LockedMemory::new().unwrap();
        let failure = typed_key(b"SERVOS_MASTER_KEY=sekrit", &memory).unwrap_err();
        assert_eq!(failure.exit, exit::DATA);
        assert!(failure.hint.as_ref().unwrap().contains("env file"));
        assert!(!format!("{failure:?}").contains("sekrit"));
        assert_eq!(typed_key(b"", &memory).unwrap_err().exit, exit::DATA);
        assert!(typed_key(&[b'a'; 63], &memory).is_err());
    }
}
