//! `servos-keyctl check-key`: does this key, or this paper, open this store or backup, and if not, which one does?
//!
//! Must never change a byte of a store itself, have a drill kept of a key that nobody named, or end with 0 for a key
//! that was not checked.
//! Called by `keyctl::execute`, before there is a runtime: it empties the environment of keys.

use super::against;
use super::check_key_sources::{KeyFileArgument, Looker, PlaceArguments};
use super::console::Console;
use super::opener::{Given, Opener};
use super::output::{fields, time, time_value};
use super::socket::SocketArguments;
use crate::cli::drill::{self, Drill};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::offered_key::Offered;
use crate::cli::paper::{self, PaperArguments};
use crate::proto::v1::DrillKind;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct CheckKeyArguments {
    #[command(flatten)]
    key: KeyFileArgument,

    #[command(flatten)]
    paper: PaperArguments,

    #[command(flatten)]
    place: PlaceArguments,

    /// Check against this backup or export instead of the store: everything in it is opened
    #[arg(long, value_name = "FILE", conflicts_with_all = ["store", "config"])]
    backup: Option<PathBuf>,

    /// Do not have the daemon keep, as a drill, that this copy of the key is the right one
    #[arg(long)]
    no_record: bool,
}

/// Checks the key, and ends with 1 if it does not open the store.
pub(super) fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &CheckKeyArguments,
) -> Result<(), Failure> {
    let (given, opener) = look(console, socket, arguments)?;
    if let Some(given) = &given {
        given.warnings.iter().for_each(|warning| console.hint(&format!("warning: {warning}")));
    }
    let drill = drilled(arguments, given.as_ref(), &opener);
    show(console, given.as_ref(), &opener, drill.as_ref())?;
    conclude(given.as_ref(), &opener)
}

/// Has the daemon that was asked keep that a copy of the key, which was named, is the right one: when, or why it did
/// not. The sources that the daemon itself reads are no copy.
fn drilled(arguments: &CheckKeyArguments, given: Option<&Given>, opener: &Opener) -> Option<Result<i64, String>> {
    let is_named = arguments.key.key_file.is_some() || arguments.paper.is_given();
    let (Some(given), Some(socket), Some(true)) = (given, &opener.socket, opener.opens) else { return None };
    let drill = Drill {
        kind: DrillKind::Key,
        fingerprint: &given.fingerprint,
        store_id: &opener.store_id,
        files: arguments.key.key_file.iter().cloned().chain(arguments.paper.read_from()).collect(),
    };
    (is_named && !arguments.no_record).then(|| drill::record(socket, &drill))
}

fn look(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &CheckKeyArguments,
) -> Result<(Option<Given>, Opener), Failure> {
    let CheckKeyArguments { key, paper, place, backup, .. } = arguments;
    let is_named = key.key_file.is_some() || paper.is_given();
    let looker = Looker::new(place, !is_named || (place.store.is_none() && backup.is_none()))?;
    let offered = match paper.is_given() {
        true => {
            let read = paper::read(paper, &mut console.desk(), &looker.memory)?;
            Some(Offered::paper(read, &looker.memory)?)
        }
        false => looker.sources(key.key_file.as_deref())?,
    };
    match backup {
        Some(backup) => against::backup(backup, offered.as_ref(), &looker.memory),
        None => looker.look(console, socket, offered.as_ref()),
    }
}

fn show(
    console: &mut Console,
    given: Option<&Given>,
    opener: &Opener,
    drill: Option<&Result<i64, String>>,
) -> Result<(), Failure> {
    let expected = opener.fingerprints.join(" or ");
    let given_value = given.map(|key| json!({"fingerprint": key.fingerprint, "source": key.source}));
    let value = json!({
        "opens": opener.opens,
        "given": given_value,
        "expected": opener.fingerprints,
        "since": time_value(opener.since),
        "verified": opener.is_verified,
        "held_as_legacy": opener.held_as_legacy,
        "store": opener.store,
        "store_id": opener.store_id,
        "asked": opener.asked,
        "recorded": drill.and_then(|drill| drill.as_ref().ok()).map(|at| time_value(*at)),
        "not_recorded": drill.and_then(|drill| drill.as_ref().err()),
        "warnings": given.map(|key| key.warnings.as_slice()).unwrap_or_default(),
    });
    let what = opener.what;
    let word = if opener.is_verified { String::new() } else { format!(" (the {what}'s own word, not verified)") };
    let opens = match opener.opens {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "no key was given",
    };
    let mut rows = vec![("opens", opens.to_owned())];
    if let Some(key) = given {
        rows.push(("key", format!("{} from {}", key.fingerprint, key.source)));
    }
    rows.push(("opened by", format!("{expected}, in use since {}{word}", time(opener.since))));
    if opener.held_as_legacy {
        rows.push(("legacy", format!("the key given is held as a legacy key{word}")));
    }
    rows.extend(opener.store.clone().map(|store| ("store", store)));
    rows.push(("store id", opener.store_id.clone()));
    rows.push(("asked", opener.asked.clone()));
    rows.extend(drill.map(|drill| match drill {
        Ok(at) => ("drill", format!("recorded {}", time(*at))),
        Err(why) => ("drill", format!("not recorded: {why}")),
    }));
    console.result(&value, &fields(&rows))
}

fn conclude(given: Option<&Given>, opener: &Opener) -> Result<(), Failure> {
    let expected = opener.fingerprints.join(" or ");
    match (opener.opens, given) {
        (Some(true), _) => Ok(()),
        (Some(false), Some(key)) => {
            let what = opener.what;
            let failure = format!("key {} does not open this {what}, key {expected} does", key.fingerprint);
            Err(Failure::say(exit::NO, failure).with_hint(
                "look for it with --key-file on every copy that was kept: old env files, backups, the key's notes",
            ))
        }
        _ => Err(Failure::say(exit::MISSING, "no master key was given, so none was checked")
            .with_hint("name the file that holds one with --key-file, or give paper: --share FILE, --typed")),
    }
}
