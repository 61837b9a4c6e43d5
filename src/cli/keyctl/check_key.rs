//! `servos-keyctl check-key`: does this key open this store, and if not, which one does?
//!
//! Must never change a byte of a store, or end with 0 for a key that was not checked.
//! Called by `keyctl::execute`, before there is a runtime: it empties the environment of keys.

use super::check_key_sources::{self as sources, CheckKeyArguments, Given, Opener};
use super::console::Console;
use super::output::{fields, time, time_value};
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use serde_json::json;

/// Checks the key, and ends with 1 if it does not open the store.
pub(super) fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &CheckKeyArguments,
) -> Result<(), Failure> {
    let (given, opener) = sources::look(console, socket, arguments)?;
    if let Some(given) = &given {
        given.warnings.iter().for_each(|warning| console.hint(&format!("warning: {warning}")));
    }
    show(console, given.as_ref(), &opener)?;
    conclude(given.as_ref(), &opener)
}

fn show(console: &mut Console, given: Option<&Given>, opener: &Opener) -> Result<(), Failure> {
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
        "warnings": given.map(|key| key.warnings.as_slice()).unwrap_or_default(),
    });
    let word = if opener.is_verified { "" } else { " (the store's own word, not verified)" };
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
    console.result(&value, &fields(&rows))
}

fn conclude(given: Option<&Given>, opener: &Opener) -> Result<(), Failure> {
    let expected = opener.fingerprints.join(" or ");
    match (opener.opens, given) {
        (Some(true), _) => Ok(()),
        (Some(false), Some(key)) => {
            let failure = format!("key {} does not open this store, key {expected} does", key.fingerprint);
            Err(Failure::say(exit::NO, failure).with_hint(
                "look for it with --key-file on every copy that was kept: old env files, backups, the key's notes",
            ))
        }
        _ => Err(Failure::say(exit::MISSING, "no master key was given, so none was checked")
            .with_hint("name the file that holds one with --key-file")),
    }
}
