//! `servos-keyctl reencrypt`.
//!
//! Must never show a plaintext: it does not leave the daemon.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::context_arguments::{ContextArguments, context_of, pair};
use super::payload::OutputArguments;
use super::seal::{format_name, no_legacy_key, read_ciphertext, sealed_fields, write_ciphertext};
use super::socket::SocketArguments;
use super::unknown_key;
use crate::cli::failure::Failure;
use crate::client::error::Error;
use crate::client::key_name::KeyName;
use crate::client::value::ReSealed;
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct ReencryptArguments {
    /// Key that the value is expected to be under
    #[arg(long, value_name = "NAME")]
    key: KeyName,

    #[command(flatten)]
    context: ContextArguments,

    /// Read the ciphertext from this file instead of standard input
    #[arg(long = "in", value_name = "FILE")]
    input: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArguments,

    /// The ciphertext is base64 text, and so is the new one
    #[arg(long)]
    base64: bool,

    /// Move a value from before servos-keyd too; it comes under --key and --context unless others are given
    #[arg(long)]
    allow_legacy: bool,

    /// Key to move it to
    #[arg(long, value_name = "NAME")]
    to_key: Option<KeyName>,

    /// The whole new context
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    to_context: Vec<(String, String)>,
}

/// Moves a sealed secret.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &ReencryptArguments,
) -> Result<(), Failure> {
    arguments.output.check()?;
    if !arguments.base64 {
        arguments.output.check_binary(console)?;
    }
    let (client, context) = (socket.client(), arguments.context.context()?);
    let key = &arguments.key;
    let to_key = arguments.to_key.as_ref().unwrap_or(key);
    let to_context = if arguments.to_context.is_empty() { context.clone() } else { context_of(&arguments.to_context)? };
    let ciphertext = read_ciphertext(console, arguments.input.as_deref(), arguments.base64)?;
    let moved = if arguments.allow_legacy {
        client.danger_reencrypt_legacy(key, &ciphertext, &context, to_key, &to_context).await
    } else if arguments.to_key.is_some() || !arguments.to_context.is_empty() {
        client.relabel(key, &ciphertext, &context, to_key, &to_context).await
    } else {
        client.reencrypt(key, &ciphertext, &context).await
    };
    let moved = match moved {
        Ok(moved) => moved,
        // A key that is only expected and does not exist is no cause of this: the value is then rejected.
        Err(error @ Error::UnknownKey { .. }) => return Err(unknown_key::explain(error, &socket.admin(), to_key).await),
        Err(error) if arguments.allow_legacy => return Err(no_legacy_key(error)),
        Err(error) => return Err(error.into()),
    };
    let fields = moved_fields(&moved);
    write_ciphertext(console, &arguments.output, &moved.sealed, arguments.base64, fields)
}

fn moved_fields(moved: &ReSealed) -> Value {
    let mut fields = sealed_fields(&moved.sealed);
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("was".to_owned(), format_name(moved.format).into());
    }
    fields
}
