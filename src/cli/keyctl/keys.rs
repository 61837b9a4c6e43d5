//! `servos-keyctl keys list|create|rotate|delete`.
//!
//! Must never delete a key without having said what is lost and been told to.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::output::{count, fields, table, time, time_value};
use super::socket::SocketArguments;
use super::unknown_key;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::key_admin::{AdminClient, KeyFilter};
use crate::client::key_name::KeyName;
use crate::proto::v1::{Key, KeyPurpose, KeyState, KeyVersion, VersionState};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// List keys; with a name, the versions of that one
    List(ListArguments),
    /// Make a key
    Create(NameArguments),
    /// Add a version to a key and seal with it from now on; older ones go on opening
    Rotate(NameArguments),
    /// Take a key away: nothing it sealed opens any more
    Delete(DeleteArguments),
}

#[derive(Args)]
pub(super) struct ListArguments {
    /// Only this key, with its versions
    name: Option<KeyName>,

    /// Deleted keys too
    #[arg(long)]
    deleted: bool,

    /// The versions of every key
    #[arg(long)]
    versions: bool,
}

#[derive(Args)]
pub(super) struct NameArguments {
    /// The key
    name: KeyName,
}

#[derive(Args)]
pub(super) struct DeleteArguments {
    /// The key
    name: KeyName,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs a subcommand of `keys`.
pub(super) async fn run(console: &mut Console, socket: &SocketArguments, command: &KeysCommand) -> Result<(), Failure> {
    let admin = socket.admin();
    match command {
        KeysCommand::List(arguments) => list(console, &admin, arguments).await,
        KeysCommand::Create(arguments) => create(console, &admin, &arguments.name).await,
        KeysCommand::Rotate(arguments) => rotate(console, &admin, &arguments.name).await,
        KeysCommand::Delete(arguments) => delete(console, &admin, arguments).await,
    }
}

async fn list(console: &mut Console, admin: &AdminClient, arguments: &ListArguments) -> Result<(), Failure> {
    let filter = KeyFilter { key: arguments.name.clone(), include_deleted: arguments.deleted };
    let keys = match (admin.list_keys(&filter).await, &arguments.name) {
        (Err(error), Some(name)) => return Err(unknown_key::explain_mention(error, admin, name).await),
        (keys, _) => keys?,
    };
    let value = json!({"keys": keys.iter().map(key_value).collect::<Vec<_>>()});
    let rows = if arguments.versions || arguments.name.is_some() { version_rows(&keys) } else { key_rows(&keys) };
    console.result(&value, &table(&rows))
}

async fn create(console: &mut Console, admin: &AdminClient, name: &KeyName) -> Result<(), Failure> {
    let key = admin.create_key(name).await?;
    let text = fields(&[("created", key.name.clone()), ("id", key.id.clone()), ("version", key.primary.to_string())]);
    console.result(&key_value(&key), &text)
}

async fn rotate(console: &mut Console, admin: &AdminClient, name: &KeyName) -> Result<(), Failure> {
    let answer = match admin.rotate_key(name).await {
        Ok(answer) => answer,
        Err(error) => return Err(unknown_key::explain(error, admin, name).await),
    };
    let text = fields(&[("rotated", answer.key.clone()), ("version", answer.version.to_string())]);
    console.result(&json!({"key": answer.key, "version": answer.version}), &text)?;
    console.hint("Values under older versions go on opening; `servos-keyctl reencrypt` moves them.");
    Ok(())
}

async fn delete(console: &mut Console, admin: &AdminClient, arguments: &DeleteArguments) -> Result<(), Failure> {
    let name = &arguments.name;
    let filter = KeyFilter { key: Some(name.clone()), include_deleted: false };
    let keys = match admin.list_keys(&filter).await {
        Ok(keys) => keys,
        Err(error) => return Err(unknown_key::explain_mention(error, admin, name).await),
    };
    let Some(key) = keys.into_iter().next() else {
        return Err(Failure::say(exit::MISSING, format!("no key is called {name}")));
    };
    let sealed: u64 = key.versions.iter().map(|version| version.messages_sealed).sum();
    let versions = count(key.versions.len(), "version");
    let question = format!(
        "Deleting {name} ({versions}, made {}, {} sealed since the daemon started): every value that it sealed, in any \
         database or backup, stops opening. A new key of the same name will not open them.",
        time(key.created),
        count(sealed, "message"),
    );
    console.confirm(&question, name.as_str(), arguments.yes)?;
    let answer = admin.delete_key(name).await?;
    let text = fields(&[
        ("deleted", answer.key.clone()),
        ("id", answer.id.clone()),
        ("disabled", count(answer.versions, "version")),
    ]);
    console.result(&json!({"key": answer.key, "id": answer.id, "versions": answer.versions}), &text)
}

fn key_rows(keys: &[Key]) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["NAME", "STATE", "PRIMARY", "VERSIONS", "CREATED", "ID"])];
    for key in keys {
        let versions = key.versions.len().to_string();
        rows.push(row(&[&key.name, state(key), &primary(key), &versions, &time(key.created), &key.id]));
    }
    rows
}

fn version_rows(keys: &[Key]) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["NAME", "VERSION", "STATE", "CREATED", "SEALED", "BYTES", "ID"])];
    for key in keys {
        for version in &key.versions {
            let (number, sealed) = (version.number.to_string(), version.messages_sealed.to_string());
            let (created, bytes) = (time(version.created), version.bytes_sealed.to_string());
            rows.push(row(&[&key.name, &number, version_state(version), &created, &sealed, &bytes, &version.id]));
        }
    }
    rows
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

fn primary(key: &Key) -> String {
    if key.primary == 0 { "-".to_owned() } else { key.primary.to_string() }
}

fn state(key: &Key) -> &'static str {
    match key.state() {
        KeyState::Active => "active",
        KeyState::Deleted => "deleted",
        KeyState::Unspecified => "unknown",
    }
}

fn version_state(version: &KeyVersion) -> &'static str {
    match version.state() {
        VersionState::Primary => "primary",
        VersionState::Enabled => "enabled",
        VersionState::Disabled => "disabled",
        VersionState::Unspecified => "unknown",
    }
}

fn key_value(key: &Key) -> Value {
    let version = |version: &KeyVersion| {
        json!({
            "number": version.number,
            "id": version.id,
            "state": version_state(version),
            "created": time_value(version.created),
            "messages_sealed": version.messages_sealed,
            "bytes_sealed": version.bytes_sealed,
        })
    };
    json!({
        "name": key.name,
        "id": key.id,
        "purpose": if key.purpose() == KeyPurpose::Encrypt { "encrypt" } else { "unknown" },
        "state": state(key),
        "created": time_value(key.created),
        "primary": key.primary,
        "versions": key.versions.iter().map(version).collect::<Vec<_>>(),
    })
}
