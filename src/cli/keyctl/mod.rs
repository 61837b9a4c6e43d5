//! The commands of `servos-keyctl`, one file for each group.
//!
//! Must never take a secret as an argument, and never print one that was not asked for.
//! Called by the binary `servos-keyctl`.

mod against;
mod backup;
mod canary;
mod check_key;
mod check_key_sources;
mod config_check;
mod console;
mod context_arguments;
mod daemon_failure;
mod doctor;
mod durable_file;
mod generate_key;
mod health;
mod inspect;
mod inspect_show;
mod key_input;
mod keyring;
mod keys;
mod kit;
mod kit_code;
mod kit_page;
mod kit_text;
mod legacy;
mod metrics;
mod old_text;
mod opener;
mod output;
mod payload;
mod recover;
mod recovery_kit;
mod reencrypt;
mod rotate;
mod rotate_abort;
mod rotate_begin;
mod rotate_begin_show;
mod rotate_end;
mod rotate_finish;
mod rotate_key_file;
mod rotate_run;
mod rotate_show;
mod rotate_wait;
mod same_file;
mod seal;
mod socket;
mod socket_hint;
mod status;
mod unknown_key;
mod whoami;

#[cfg(test)]
mod commands_refusal_test;
#[cfg(test)]
mod commands_stage;
#[cfg(test)]
mod commands_test;
#[cfg(test)]
mod rotate_begin_test;
#[cfg(test)]
mod rotate_end_test;
#[cfg(test)]
mod rotate_run_test;
#[cfg(test)]
mod rotate_stage;
#[cfg(test)]
mod same_file_test;

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::hardening::harden;
use crate::cli::runtime;
use crate::cli::typed_key;
use clap::error::ErrorKind;
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
    #[command(flatten)]
    Asked(Asked),
    /// Find what is to be mended, and the command that mends it
    ///
    /// Asks the daemon, and looks at the machine: key files, modes, groups, memory, clock, the store's place. Needs no
    /// daemon that answers; what cannot be looked at is said. Exits with 0 if nothing is to be mended, with 1 otherwise.
    Doctor(doctor::DoctorArguments),
    /// Make a new master key, in a file
    GenerateKey(generate_key::GenerateKeyArguments),
    /// Does this key open this store, and if not, which one does?
    ///
    /// Asks the running daemon, else looks at the store's file without changing it; with --backup, opens all of a
    /// backup. The key may be on paper: --share and --typed read a recovery kit, and load it nowhere. Exits with 0 if
    /// the key opens the store, with 1 if another one does, and with 66 if no key was given: then it only says which
    /// one would.
    CheckKey(check_key::CheckKeyArguments),
    /// Make a recovery kit: the master key for paper, whole or as shares
    ///
    /// Each share is 33 words of the standard SLIP-0039, with a checksum of their own, and on a page a QR code too.
    /// The key is first checked against the running daemon or the store. What comes out is the key: it goes to a
    /// terminal, to files of mode 0600, or to a pipe if you say so.
    RecoveryKit(recovery_kit::RecoveryKitArguments),
    /// Put a master key together from a recovery kit, in a file
    ///
    /// From shares that are typed, scanned or in files, in any order; says which one is wrong. The key is checked
    /// against the running daemon, a store, a backup or an export before it is written anywhere. Exits with 1 if it is
    /// another.
    Recover(recover::RecoverArguments),
    /// What does this backup hold, and which master key opens it?
    ///
    /// Needs no daemon. With --key-file, opens everything in it to prove it. Exits with 65 if it is no good backup, or
    /// does not open whole, and with 1 if it is under another key.
    Inspect(inspect::InspectArguments),
    /// The daemon's configuration
    #[command(subcommand)]
    Config(config_check::ConfigCommand),
}

/// What the daemon is asked for.
#[derive(Subcommand)]
enum Asked {
    /// Show the state of the daemon, its store and its keys, who calls it, and what to mend
    Status(status::StatusArguments),
    /// Print OpenMetrics for monitoring: calls and errors, how old drills and backups are, and what is overdue
    Metrics,
    /// Does the daemon serve? By its own word, for probes
    ///
    /// Needs no right but to open the socket. Exits with 0 if it serves, with 1 if it does not, and with 69 if no daemon
    /// answers.
    Health(health::HealthArguments),
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
    /// Give the store another master key: run does all of it, or begin, then finish (or abort), step by step
    #[command(subcommand)]
    Rotate(rotate::RotateCommand),
    /// Former master keys, kept to open values from before servos-keyd
    #[command(subcommand)]
    Legacy(legacy::LegacyCommand),
    /// Make a backup of the store: a file here, or one in the daemon's directory
    ///
    /// It holds every key and version, sealed: it opens with the master key of this moment only, which is not in it.
    Backup(backup::BackupArguments),
    /// The sealed keyring, worthless without the master key of its time
    #[command(subcommand)]
    Keyring(keyring::KeyringCommand),
}

/// The command line as the parser knows it, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the tool with the process's own input and output; `arguments` begin with the program's name.
///
/// Answers the exit code, one of sysexits.
pub fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    // Before anything else: keys and plaintexts pass through this process too.
    let hardened = harden();
    let mut console = Console::of_process();
    let arguments: Vec<OsString> = arguments.collect();
    console.json = asks_for_json(&arguments);
    if let Err(failure) = hardened {
        console.failure(&failure);
        return failure.exit.code;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| run_on(&mut console, arguments.into_iter())));
    // The panic's own message is on standard error already.
    outcome.unwrap_or(exit::BUG.code)
}

fn run_on(console: &mut Console, arguments: impl Iterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.collect();
    console.json = asks_for_json(&arguments);
    let outcome = match typed_key::parsed::<Arguments>(arguments) {
        Ok((arguments, typed)) => typed.and_then(|()| execute(console, &arguments)),
        Err(error) => explain(console, &error),
    };
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            console.failure(&failure);
            failure.exit.code
        }
    }
}

/// Whether `--json` stands there: mistakes in the other arguments are then told in JSON too.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

/// Help and version are answers; everything else that clap says is a mistake in the arguments.
fn explain(console: &mut Console, error: &clap::Error) -> Result<(), Failure> {
    let text = error.to_string();
    if !error.use_stderr() {
        return console.write(text.as_bytes());
    }
    let text = text.trim_end();
    // clap repeats what it does not know.
    typed_key::refuse_shown(text)?;
    // clap has a word of its own for options without a command.
    if matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        console.hint(text);
        return Err(Failure::say(exit::USAGE, "no command was given"));
    }
    Err(Failure::say(exit::USAGE, text.strip_prefix("error: ").unwrap_or(text)))
}

fn execute(console: &mut Console, arguments: &Arguments) -> Result<(), Failure> {
    // Messages repeat the name of the socket, which may stand in a variable.
    arguments.socket.named().map_or(Ok(()), |socket| typed_key::refuse_as_path(&socket))?;
    match &arguments.command {
        Command::Doctor(doctor) => doctor::run(console, &arguments.socket, doctor),
        Command::GenerateKey(arguments) => generate_key::run(console, arguments),
        Command::CheckKey(check) => check_key::run(console, &arguments.socket, check),
        Command::RecoveryKit(kit) => recovery_kit::run(console, &arguments.socket, kit),
        Command::Recover(recover) => recover::run(console, &arguments.socket, recover),
        Command::Inspect(arguments) => inspect::run(console, arguments),
        Command::Config(command) => config_check::run(console, command),
        Command::Asked(asked) => runtime::of_this_thread()?.block_on(dispatch(console, &arguments.socket, asked)),
    }
}

async fn dispatch(console: &mut Console, socket: &SocketArguments, asked: &Asked) -> Result<(), Failure> {
    match asked {
        Asked::Status(arguments) => status::run(console, socket, arguments).await,
        Asked::Metrics => metrics::run(console, socket).await,
        Asked::Health(arguments) => health::run(console, socket, arguments).await,
        Asked::Whoami => whoami::run(console, socket).await,
        Asked::Encrypt(arguments) => seal::encrypt(console, socket, arguments).await,
        Asked::Decrypt(arguments) => seal::decrypt(console, socket, arguments).await,
        Asked::Reencrypt(arguments) => reencrypt::run(console, socket, arguments).await,
        Asked::VerifyCanary(arguments) => canary::verify(console, socket, arguments).await,
        Asked::Canary(command) => canary::run(console, socket, command).await,
        Asked::Keys(command) => keys::run(console, socket, command).await,
        Asked::Rotate(command) => rotate::run(console, socket, command).await,
        Asked::Legacy(command) => legacy::run(console, socket, command).await,
        Asked::Backup(arguments) => backup::run(console, socket, arguments).await,
        Asked::Keyring(command) => keyring::run(console, socket, command).await,
    }
}
