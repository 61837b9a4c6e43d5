//! `servos-keyctl encrypt` and `decrypt`.
//!
//! Must never take a secret as an argument, guess at an encoding, or open a value without the key that is expected.
//! Called by `keyctl::dispatch`; `reencrypt` reads and writes ciphertexts through it.

use super::console::Console;
use super::context_arguments::ContextArguments;
use super::payload::{self, OutputArguments};
use super::socket::SocketArguments;
use super::unknown_key;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::error::Error;
use crate::client::key_name::KeyName;
use crate::client::value::{Decrypted, Format, Sealed};
use crate::operations::decrypt::MAX_CIPHERTEXT_BYTES;
use crate::operations::encrypt::MAX_PLAINTEXT_BYTES;
use base64ct::{Base64, Encoding};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Base64 of the largest ciphertext.
const CIPHERTEXT_TEXT_BYTES: usize = MAX_CIPHERTEXT_BYTES.div_ceil(3) * 4;

/// The same with line breaks, of lines as short as 32 characters, and some white space.
const CIPHERTEXT_TEXT_LIMIT: usize = CIPHERTEXT_TEXT_BYTES + CIPHERTEXT_TEXT_BYTES / 16 + 64;

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

    /// Seal even an empty input
    #[arg(long)]
    allow_empty: bool,
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
    let (client, context) = (socket.client(), arguments.context.context()?);
    let input = arguments.input.as_deref();
    let plaintext = payload::read(console, input, MAX_PLAINTEXT_BYTES)?;
    if plaintext.is_empty() && !arguments.allow_empty {
        let name = payload::name_of(input);
        let text = format!("{name} is empty: nothing was sealed; add --allow-empty to seal an empty value");
        return Err(Failure::say(exit::DATA, text));
    }
    let sealed = if arguments.allow_nested {
        client.danger_encrypt_nested(&arguments.key, &plaintext, &context).await
    } else {
        client.encrypt(&arguments.key, &plaintext, &context).await
    };
    let sealed = match sealed {
        Ok(sealed) => sealed,
        Err(error) => return Err(unknown_key::explain(error, &socket.admin(), &arguments.key).await),
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
    let (client, context) = (socket.client(), arguments.context.context()?);
    let ciphertext = read_ciphertext(console, arguments.input.as_deref(), arguments.base64)?;
    let opened = if arguments.allow_legacy {
        let opened = client.danger_decrypt_legacy(&arguments.key, &ciphertext, &context).await;
        opened.map_err(no_legacy_key)?
    } else {
        client.decrypt(&arguments.key, &ciphertext, &context).await?
    };
    write_plaintext(console, &arguments.output, &opened)?;
    let is_on_screen = console.output_is_terminal && arguments.output.path.is_none() && !console.json;
    let is_noteworthy = opened.format == Format::Legacy || !opened.primary;
    if is_on_screen && is_noteworthy && !opened.plaintext.ends_with(b"\n") {
        // What is said of the secret does not stand on its line.
        console.note("");
    }
    if opened.format == Format::Legacy {
        console.hint("A value from before servos-keyd: move it with `servos-keyctl reencrypt --allow-legacy`.");
    } else if !opened.primary {
        console.hint("Not under the newest version of its key: move it with `servos-keyctl reencrypt`.");
    }
    Ok(())
}

/// Reads a ciphertext, decoded if it is text.
///
/// # Errors
/// 65 for nothing, and for text that is no base64.
pub(super) fn read_ciphertext(
    console: &mut Console,
    input: Option<&Path>,
    is_text: bool,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let limit = if is_text { CIPHERTEXT_TEXT_LIMIT } else { MAX_CIPHERTEXT_BYTES };
    let read = payload::read(console, input, limit)?;
    let ciphertext = if is_text { payload::decoded(read)? } else { read };
    if ciphertext.is_empty() {
        return Err(Failure::say(exit::DATA, "the input is empty"));
    }
    Ok(ciphertext)
}

/// The failure of a call that allowed legacy values.
///
/// A daemon without a legacy key takes a legacy value for nothing that it knows.
pub(super) fn no_legacy_key(error: Error) -> Failure {
    match &error {
        Error::Invalid { reason } if reason.starts_with("not a message") => Failure::from(error).with_hint(
            "the daemon may hold no legacy key: `servos-keyctl status` shows those it holds, `servos-keyctl legacy adopt \
             FILE` gives it one",
        ),
        _ => error.into(),
    }
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
        if output.path.is_none() && console.output_is_terminal && !is_printable(&opened.plaintext) {
            let failure = Failure::say(exit::USAGE, "the secret is binary, and the output is a terminal");
            return Err(failure.with_hint("add --out FILE, or send the output into a pipe"));
        }
        return output.write(console, &opened.plaintext);
    }
    let text = Zeroizing::new(Base64::encode_string(&opened.plaintext));
    let mut fields =
        json!({"version": opened.version, "primary": opened.primary, "format": format_name(opened.format)});
    add_payload(console, output, &mut fields, "plaintext", &opened.plaintext, &text)?;
    console.result(&fields, "")
}

/// Whether a terminal shows these bytes and does nothing else with them.
fn is_printable(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')))
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
