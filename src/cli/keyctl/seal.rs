//! `servos-keyctl encrypt` and `decrypt`.
//!
//! Must never take a secret as an argument, guess at an encoding, or open a value without the key that is expected.
//! Called by `keyctl::dispatch`; `reencrypt` reads and writes ciphertexts through it.

use super::console::Console;
use super::context_arguments::ContextArguments;
use super::payload::{self, OutputArguments};
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::key_name::KeyName;
use crate::client::value::{Decrypted, Format, Sealed, from_base64};
use crate::operations::decrypt::MAX_CIPHERTEXT_BYTES;
use crate::operations::encrypt::MAX_PLAINTEXT_BYTES;
use base64ct::{Base64, Encoding};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Base64 of the largest ciphertext, and some white space.
const CIPHERTEXT_TEXT_LIMIT: usize = MAX_CIPHERTEXT_BYTES.div_ceil(3) * 4 + 64;

#[derive(Args)]
pub(super) struct EncryptArguments {
    /// Key to seal under
    #[arg(long, value_name = "NAME")]
    key: KeyName,

    #[command(flatten)]
    context: ContextArguments,

    /// Read the secret from this file instead of standard input
    #[arg(long = "in", value_name = "FILE")]
    input: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArguments,

    /// Write the ciphertext as base64 text
    #[arg(long)]
    base64: bool,

    /// Seal even what is a ciphertext of this daemon already
    #[arg(long)]
    allow_nested: bool,
}

#[derive(Args)]
pub(super) struct DecryptArguments {
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

    /// The ciphertext is base64 text
    #[arg(long)]
    base64: bool,

    /// Open a value from before servos-keyd too
    #[arg(long)]
    allow_legacy: bool,
}

/// Seals a secret.
pub(super) async fn encrypt(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &EncryptArguments,
) -> Result<(), Failure> {
    arguments.output.check()?;
    if !arguments.base64 {
        arguments.output.check_binary(console)?;
    }
    if arguments.context.is_forgotten() {
        console.hint(
            "No context: this value will open wherever it is put. Give --context KEY=VALUE, or --no-context to mean it.",
        );
    }
    let plaintext = payload::read(console, arguments.input.as_deref(), MAX_PLAINTEXT_BYTES)?;
    let (client, context) = (socket.client(), arguments.context.context());
    let sealed = if arguments.allow_nested {
        client.danger_encrypt_nested(&arguments.key, &plaintext, &context).await?
    } else {
        client.encrypt(&arguments.key, &plaintext, &context).await?
    };
    let fields = sealed_fields(&sealed);
    write_ciphertext(console, &arguments.output, &sealed, arguments.base64, fields)
}

/// Opens a sealed secret.
pub(super) async fn decrypt(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &DecryptArguments,
) -> Result<(), Failure> {
    arguments.output.check()?;
    let ciphertext = read_ciphertext(console, arguments.input.as_deref(), arguments.base64)?;
    let (client, context) = (socket.client(), arguments.context.context());
    let opened = if arguments.allow_legacy {
        client.danger_decrypt_legacy(&arguments.key, &ciphertext, &context).await?
    } else {
        client.decrypt(&arguments.key, &ciphertext, &context).await?
    };
    write_plaintext(console, &arguments.output, &opened)?;
    if opened.format == Format::Legacy {
        console.hint("A value from before servos-keyd: move it with `servos-keyctl reencrypt --allow-legacy`.");
    } else if !opened.primary {
        console.hint("Not under the newest version of its key: move it with `servos-keyctl reencrypt`.");
    }
    Ok(())
}

/// Reads a ciphertext, decoded if it is text.
pub(super) fn read_ciphertext(
    console: &mut Console,
    input: Option<&Path>,
    is_text: bool,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !is_text {
        return payload::read(console, input, MAX_CIPHERTEXT_BYTES);
    }
    let text = payload::read(console, input, CIPHERTEXT_TEXT_LIMIT)?;
    let text = str::from_utf8(&text).map_err(|_| {
        Failure::say(exit::DATA, "not standard base64").with_hint("leave --base64 away for binary input")
    })?;
    Ok(Zeroizing::new(from_base64(text)?))
}

/// Writes a ciphertext, with `fields` where JSON is asked for.
pub(super) fn write_ciphertext(
    console: &mut Console,
    output: &OutputArguments,
    sealed: &Sealed,
    as_text: bool,
    mut fields: Value,
) -> Result<(), Failure> {
    let text = sealed.to_base64() + "\n";
    let bytes = if as_text { text.as_bytes() } else { sealed.ciphertext.as_slice() };
    if !console.json {
        return output.write(console, bytes);
    }
    add_payload(console, output, &mut fields, "ciphertext", bytes, text.trim_end())?;
    console.result(&fields, "")
}

fn write_plaintext(console: &mut Console, output: &OutputArguments, opened: &Decrypted) -> Result<(), Failure> {
    if !console.json {
        return output.write(console, &opened.plaintext);
    }
    let text = Zeroizing::new(Base64::encode_string(&opened.plaintext));
    let mut fields =
        json!({"version": opened.version, "primary": opened.primary, "format": format_name(opened.format)});
    add_payload(console, output, &mut fields, "plaintext", &opened.plaintext, &text)?;
    console.result(&fields, "")
}

/// With `--json`, the bytes go to the file if one is named, else into the answer as base64.
fn add_payload(
    console: &mut Console,
    output: &OutputArguments,
    fields: &mut Value,
    name: &str,
    bytes: &[u8],
    text: &str,
) -> Result<(), Failure> {
    let (name, value) = match &output.path {
        Some(path) => {
            output.write(console, bytes)?;
            ("out", path.display().to_string())
        }
        None => (name, text.to_owned()),
    };
    if let Some(fields) = fields.as_object_mut() {
        fields.insert(name.to_owned(), value.into());
    }
    Ok(())
}

/// What JSON says of a sealed value beside its bytes.
pub(super) fn sealed_fields(sealed: &Sealed) -> Value {
    json!({"key": sealed.key, "version": sealed.version, "keyring": sealed.keyring})
}

/// The name of a format.
pub(super) fn format_name(format: Format) -> &'static str {
    match format {
        Format::Skd1 => "SKD1",
        Format::Legacy => "LEGACY",
    }
}
