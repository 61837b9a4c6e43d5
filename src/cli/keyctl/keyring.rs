//! `servos-keyctl keyring export`.
//!
//! Must never leave an incomplete export under the name that was asked for.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::durable_file::{self, Replace};
use super::output::fields;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(super) enum KeyringCommand {
    /// Write the sealed keyring to a file that `servos-keyd restore` reads
    Export(ExportArguments),
}

#[derive(Args)]
pub(super) struct ExportArguments {
    /// The file to write; it appears whole or not at all
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs a subcommand of `keyring`.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    command: &KeyringCommand,
) -> Result<(), Failure> {
    let KeyringCommand::Export(arguments) = command;
    if arguments.file == Path::new("-") {
        let failure =
            Failure::say(exit::USAGE, "an export goes to a file, which appears whole or not at all; - is none");
        return Err(failure.with_hint("name the file to write"));
    }
    let replace = Replace::from_force(arguments.force);
    durable_file::check_absent(&arguments.file, replace)?;
    let export = socket.client().export_keyring().await?;
    durable_file::write(&arguments.file, &export.bytes, replace)?;
    let file = arguments.file.display().to_string();
    let value = json!({"out": file, "generation": export.generation, "bytes": export.bytes.len()});
    let text = fields(&[
        ("written", file),
        ("generation", export.generation.to_string()),
        ("bytes", export.bytes.len().to_string()),
    ]);
    console.result(&value, &text)?;
    console.hint(
        "It opens with the master key of this moment only, and while a rotation is pending with either of the two keys: keep \
         the key too, in another place.",
    );
    Ok(())
}
