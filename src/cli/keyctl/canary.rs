//! `servos-keyctl verify-canary` and `canary issue`.
//!
//! Must never end with 0 for a canary that does not open.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::output::{fields, time, time_value};
use super::payload::{self, OutputArguments};
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::canary::{CanaryReport, CanaryResult};
use crate::client::error::Error;
use base64ct::{Base64, Encoding};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// A canary has 64 bytes; its base64 text 88 and perhaps some white space.
const CANARY_LIMIT: usize = 128;

#[derive(Args)]
pub(super) struct VerifyArguments {
    /// A canary that an application keeps, - for standard input; without it, the daemon's own
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// The canary is base64 text
    #[arg(long, requires = "file")]
    base64: bool,
}

#[derive(Subcommand)]
pub(super) enum CanaryCommand {
    /// Get a canary to keep in an application's database
    Issue(IssueArguments),
}

#[derive(Args)]
pub(super) struct IssueArguments {
    #[command(flatten)]
    output: OutputArguments,

    /// Write it as base64 text
    #[arg(long)]
    base64: bool,
}

/// Checks a canary, and ends with 1 if it does not open.
pub(super) async fn verify(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &VerifyArguments,
) -> Result<(), Failure> {
    let client = socket.client();
    let outcome = match &arguments.file {
        None => client.verify_own_canary().await,
        Some(path) => {
            let bytes = payload::read(console, Some(path), CANARY_LIMIT)?;
            let canary = if arguments.base64 { payload::decoded(bytes)? } else { bytes };
            client.verify_canary(&canary).await
        }
    };
    match outcome {
        Ok(report) => show(console, &report),
        Err(Error::Canary(report)) => {
            show(console, &report)?;
            Err(Error::Canary(report).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Runs a subcommand of `canary`.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    command: &CanaryCommand,
) -> Result<(), Failure> {
    let CanaryCommand::Issue(arguments) = command;
    arguments.output.check()?;
    if !arguments.base64 {
        arguments.output.check_binary(console)?;
    }
    let canary = socket.client().issue_canary().await?;
    if canary.len() != 64 {
        return Err(Failure::say(exit::BUG, "the daemon's canary does not have 64 bytes"));
    }
    let text = Base64::encode_string(&canary);
    if !console.json {
        let line = text + "\n";
        return arguments.output.write(console, if arguments.base64 { line.as_bytes() } else { &canary });
    }
    match &arguments.output.path {
        None => console.result(&json!({"canary": text}), ""),
        Some(path) => {
            let bytes = if arguments.base64 { text.as_bytes() } else { &canary };
            arguments.output.write(console, bytes)?;
            console.result(&json!({"out": path.display().to_string()}), "")
        }
    }
}

fn show(console: &mut Console, report: &CanaryReport) -> Result<(), Failure> {
    let name = match report.result {
        CanaryResult::Opens => "OPENS",
        CanaryResult::Stale => "STALE",
        CanaryResult::OtherStore => "OTHER_STORE",
        CanaryResult::Damaged => "DAMAGED",
    };
    let value = json!({
        "result": name,
        "fingerprint": report.fingerprint,
        "since": time_value(report.since_unix_seconds),
        "store_id": report.store_id,
        "generation": report.generation,
        "keyring": report.keyring,
    });
    let text = fields(&[
        ("canary", name.to_owned()),
        ("master key", format!("{}, in use since {}", report.fingerprint, time(report.since_unix_seconds))),
        ("store id", report.store_id.clone()),
        ("generation", report.generation.to_string()),
    ]);
    console.result(&value, &text)
}
