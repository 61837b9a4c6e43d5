//! `servos-keyctl generate-key`: a new master key, in a file of its owner's alone.
//!
//! Must never print the key, hold it outside of locked memory, or write over anything.
//! Called by `keyctl::execute`.

use super::console::Console;
use super::durable_file::{self, Replace};
use super::output::fields;
use super::rotate_key_file::{line_of, text_of};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::custody::keys::MasterKey;
use crate::sys::locked::LockedMemory;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct GenerateKeyArguments {
    /// The file to make, of mode 0600; one that exists is never replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Write 44 characters of base64 instead of 64 hex digits
    #[arg(long)]
    base64: bool,
}

/// Makes the key and its file.
pub(super) fn run(console: &mut Console, arguments: &GenerateKeyArguments) -> Result<(), Failure> {
    let path = arguments.file.as_path();
    if path == Path::new("-") {
        let failure = Failure::say(exit::USAGE, "a master key goes to a file, never to a terminal or a pipe");
        return Err(failure.with_hint("name a file that does not exist yet"));
    }
    durable_file::check_absent(path, Replace::Never)?;
    let memory = key::memory()?;
    let fingerprint = make(path, arguments.base64, &memory)?;
    let file = path.display().to_string();
    let encoding = if arguments.base64 { "base64" } else { "hex" };
    let value = json!({"file": file, "fingerprint": fingerprint, "encoding": encoding});
    let text = fields(&[("made", file), ("fingerprint", fingerprint.clone()), ("written as", encoding.to_owned())]);
    console.result(&value, &text)?;
    console.hint(
        "Next: keep a copy on another machine, apart from the store and its backups; without this key nothing opens. Leave \
         the file to root and have the unit pass it with LoadCredential=servos_master_key:FILE, or give it to the daemon's \
         user and name it in /etc/servos/keyd.toml as [master_key] file; on a new installation run `servos-keyd init` \
         first. For an installation that has a key, this is not that key.",
    );
    Ok(())
}

fn make(path: &Path, base64: bool, memory: &LockedMemory) -> Result<String, Failure> {
    let key = MasterKey::generate(memory, &key::random)?;
    let line = line_of(text_of(&key, base64, memory)?.expose_bytes(), None, memory)?;
    durable_file::write(path, line.expose_bytes(), Replace::Never)?;
    Ok(key.fingerprint().to_string())
}
