//! The commands of `servos-keyctl`, one file for each group.
//!
//! Must never take a secret as an argument, and never print one that was not asked for.
//! Called by the binary `servos-keyctl`.

mod canary;
mod console;
mod context_arguments;
mod daemon_failure;
mod durable_file;
mod keyring;
mod keys;
mod legacy;
mod output;
mod payload;
mod reencrypt;
mod seal;
mod socket;
mod status;
mod whoami;

#[cfg(test)]
mod commands_test;

use crate::cli::exit;
use crate::cli::failure::Failure;
use clap::{Parser, Subcommand};
use console::Console;
use socket::SocketArguments;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Ask and administer servos-keyd, the daemon that alone holds a ServOS installation's master key.
#[derive(Parser)]
#[command(name = "servos-keyctl", version, disable_help_subcommand = true, after_help = exit::help())]
struct Arguments {
    /// Print JSON for programs; failures too, on standard error
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    socket: SocketArguments,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the state of the daemon, its store and its keys, and what to mend
    Status,
    /// Show who the daemon takes you for, and what you may do
    Whoami,
    /// Seal a secret: standard input to standard output, or files
    Encrypt(seal::EncryptArguments),
    /// Open a sealed secret
    Decrypt(seal::DecryptArguments),
    /// Move a sealed secret to the newest version of its key, or to another key or context
    Reencrypt(reencrypt::ReencryptArguments),
    /// Check the daemon's own canary, or one that an application keeps
    VerifyCanary(canary::VerifyArguments),
    /// Canaries that applications keep in their databases
    #[command(subcommand)]
    Canary(canary::CanaryCommand),
    /// Keys and their versions
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Former master keys, kept to open values from before servos-keyd
    #[command(subcommand)]
    Legacy(legacy::LegacyCommand),
    /// The sealed keyring, worthless without the master key of its time
    #[command(subcommand)]
    Keyring(keyring::KeyringCommand),
}

/// Runs the tool with the process's own input and output; `arguments` begin with the program's name.
///
/// Answers the exit code, one of sysexits.
pub fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    let outcome = catch_unwind(AssertUnwindSafe(|| run_on(&mut Console::of_process(), arguments)));
    // The panic's own message is on standard error already.
    outcome.unwrap_or(exit::BUG.code)
}

fn run_on(console: &mut Console, arguments: impl Iterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return explain(console, &error),
    };
    console.json = arguments.json;
    match execute(console, &arguments) {
        Ok(()) => 0,
        Err(failure) => {
            let code = failure.exit.code;
            console.failure(&failure);
            code
        }
    }
}

/// Help and version are answers; everything else that clap says is a mistake in the arguments.
fn explain(console: &mut Console, error: &clap::Error) -> u8 {
    let text = error.to_string();
    if error.use_stderr() {
        console.note(text.trim_end());
        return exit::USAGE.code;
    }
    match console.write(text.as_bytes()) {
        Ok(()) => 0,
        Err(failure) => failure.exit.code,
    }
}

fn execute(console: &mut Console, arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| Failure::say(exit::DAMAGED, format!("no runtime: {error}")))?;
    runtime.block_on(dispatch(console, arguments))
}

async fn dispatch(console: &mut Console, arguments: &Arguments) -> Result<(), Failure> {
    let socket = &arguments.socket;
    match &arguments.command {
        Command::Status => status::run(console, socket).await,
        Command::Whoami => whoami::run(console, socket).await,
        Command::Encrypt(arguments) => seal::encrypt(console, socket, arguments).await,
        Command::Decrypt(arguments) => seal::decrypt(console, socket, arguments).await,
        Command::Reencrypt(arguments) => reencrypt::run(console, socket, arguments).await,
        Command::VerifyCanary(arguments) => canary::verify(console, socket, arguments).await,
        Command::Canary(command) => canary::run(console, socket, command).await,
        Command::Keys(command) => keys::run(console, socket, command).await,
        Command::Legacy(command) => legacy::run(console, socket, command).await,
        Command::Keyring(command) => keyring::run(console, socket, command).await,
    }
}
