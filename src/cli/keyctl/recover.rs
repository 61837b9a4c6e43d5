//! `servos-keyctl recover`: a master key out of a recovery kit, checked, and then written to a file.
//!
//! Must never write a key that nothing has shown to be the right one, print it, or replace anything.
//! Called by `keyctl::execute`, before there is a runtime.

use super::check_key_sources::{Looker, PlaceArguments};
use super::console::Console;
use super::durable_file::{self, Replace};
use super::opener::{Given, Opener};
use super::output::fields;
use super::socket::SocketArguments;
use super::{against, key_input};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::offered_key::Offered;
use crate::cli::paper::{self, PaperArguments};
use crate::custody::keys::{HEX_CHARACTERS, KeyError};
use crate::sys::locked::{LockedBuffer, LockedMemory};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct RecoverArguments {
    #[command(flatten)]
    paper: PaperArguments,

    /// Check the key against this before it is written: a store's file, a backup (.skb1) or an export; else the running
    /// daemon or the configured store is asked
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,

    /// Configuration whose store the key is checked on [default: /etc/servos/keyd.toml, if it is there]
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    config: Option<PathBuf>,

    /// The fingerprint that the key must have, as the kit has it. Alone it is a weaker check: nothing is opened
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,

    /// The file to make, of mode 0600; one that exists is never replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Write 44 characters of base64 instead of 64 hex digits, as the kit says that the key's file had it
    #[arg(long, conflicts_with = "upper_case")]
    base64: bool,

    /// Write hex digits in upper case, as the kit says that the key's file had them
    #[arg(long)]
    upper_case: bool,
}

/// What the key was checked against.
struct Checked {
    /// For people.
    told: String,
    /// For programs: `daemon`, `store`, `backup` or `fingerprint`.
    by: &'static str,
}

/// Puts the key together, has it checked, and writes it.
pub(super) fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &RecoverArguments,
) -> Result<(), Failure> {
    let out = arguments.out.as_path();
    if out == Path::new("-") {
        let failure = Failure::say(exit::USAGE, "a master key goes to a file, never to a terminal or a pipe");
        return Err(failure.with_hint("name a file that does not exist yet"));
    }
    if !arguments.paper.is_given() {
        let failure = Failure::say(exit::USAGE, "there is nothing to put a key together from");
        return Err(failure.with_hint("type the shares with --typed, or name their files with --share"));
    }
    durable_file::check_absent(out, Replace::Never)?;
    let fingerprint = arguments.fingerprint.as_deref().map(key_input::fingerprint_of_new_key).transpose()?;
    let place = PlaceArguments { store: store_in(arguments.against.as_deref())?, config: arguments.config.clone() };
    let looker = Looker::new(&place, arguments.against.is_none() && fingerprint.is_none())?;
    let read = paper::read(&arguments.paper, &mut console.desk(), &looker.memory)?;
    read.warnings.iter().for_each(|warning| console.hint(&format!("warning: {warning}")));
    let found = read.key.fingerprint().to_string();
    if let Some(expected) = fingerprint.as_ref().filter(|expected| **expected != found) {
        return Err(other_key(&found, expected, "the one that was asked for"));
    }
    let source = read.source.clone();
    let offered = Offered::paper(read, &looker.memory)?;
    let checked = match (&arguments.against, fingerprint) {
        (None, Some(fingerprint)) => {
            Checked { told: format!("the fingerprint {fingerprint} alone"), by: "fingerprint" }
        }
        (against, _) => check(console, socket, against.as_deref(), &looker, &offered)?,
    };
    durable_file::write(out, text(&offered, arguments, &looker.memory)?.expose_bytes(), Replace::Never)?;
    told(console, arguments, &found, &source, &checked)
}

/// The file, if it is a store's.
fn store_in(against: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = against else { return Ok(None) };
    Ok(against::is_store(path)?.then(|| path.to_owned()))
}

fn check(
    console: &mut Console,
    socket: &SocketArguments,
    against: Option<&Path>,
    looker: &Looker<'_>,
    offered: &Offered,
) -> Result<Checked, Failure> {
    let is_backup = against.is_some_and(|path| looker.store_named() != Some(path));
    let (given, opener) = match against {
        Some(backup) if is_backup => against::backup(backup, Some(offered), &looker.memory)?,
        Some(_) => looker.look(console, socket, Some(offered))?,
        None => looker.look(console, socket, Some(offered)).map_err(unchecked)?,
    };
    conclude(given.as_ref(), &opener)
}

/// The key may be right, and it is not known.
fn unchecked(failure: Failure) -> Failure {
    let hint =
        "name a store, a backup or an export with --against, or give the kit's --fingerprint; nothing was written";
    Failure {
        message: format!("the shares give a key, but there is nothing to check it against: {}", failure.message),
        hint: Some(hint.to_owned()),
        ..failure
    }
}

fn conclude(given: Option<&Given>, opener: &Opener) -> Result<Checked, Failure> {
    if opener.opens != Some(true) {
        let given = given.map(|given| given.fingerprint.as_str()).unwrap_or_default();
        return Err(other_key(given, &opener.fingerprints.join(" or "), &format!("what opens this {}", opener.what)));
    }
    let by = match opener.what {
        "store" if opener.asked.starts_with("the daemon") => "daemon",
        what => what,
    };
    Ok(Checked { told: format!("{}, store {}", opener.asked, opener.store_id), by })
}

fn other_key(found: &str, expected: &str, what: &str) -> Failure {
    let message = format!("the shares give key {found}, and {what} is key {expected}: nothing was written");
    Failure::say(exit::NO, message).with_hint("look for the kit of that key, or for a backup of this key's time")
}

fn text(offered: &Offered, arguments: &RecoverArguments, memory: &LockedMemory) -> Result<LockedBuffer, Failure> {
    let key = offered.chosen(Ok(Vec::new()), memory)?.key;
    let mut text = memory.buffer(HEX_CHARACTERS.saturating_add(1)).map_err(KeyError::from)?;
    match (arguments.base64, arguments.upper_case) {
        (true, _) => key.write_base64(&mut text)?,
        (_, true) => key.write_upper_hex(&mut text)?,
        _ => key.write_hex(&mut text)?,
    }
    text.append(b"\n");
    Ok(text)
}

fn told(
    console: &mut Console,
    arguments: &RecoverArguments,
    fingerprint: &str,
    source: &str,
    checked: &Checked,
) -> Result<(), Failure> {
    let file = arguments.out.display().to_string();
    let encoding = match (arguments.base64, arguments.upper_case) {
        (true, _) => "base64",
        (_, true) => "upper-case hex",
        _ => "hex",
    };
    let value = json!({
        "file": file, "fingerprint": fingerprint, "from": source, "encoding": encoding, "checked_by": checked.by,
        "checked": checked.told,
    });
    let rows = [
        ("made", file),
        ("from", source.to_owned()),
        ("fingerprint", fingerprint.to_owned()),
        ("checked", format!("against {}", checked.told)),
        ("written as", encoding.to_owned()),
    ];
    console.result(&value, &fields(&rows))?;
    if checked.by == "fingerprint" {
        console.hint(
            "warning: the fingerprint shows that this is the key that the kit speaks of, not that it opens your store: \
             check it with `servos-keyctl check-key --key-file FILE --backup BACKUP` when there is one",
        );
    }
    console.hint(
        "Next: put the file where the daemon reads its key, start it, and delete what the shares were typed or scanned \
         into. If a share was seen by somebody, rotate the master key and make a new kit.",
    );
    Ok(())
}
