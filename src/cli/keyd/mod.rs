//! `servos-keyd`: the daemon, and the commands that make, restore, accept and check its store.
//!
//! Must never make a store but on purpose, nor print a byte of a key.
//! Called by `src/bin/servos-keyd.rs`.

mod accept;
mod config_arguments;
mod dev;
mod drill_key;
mod drill_sample;
mod fsck;
mod init;
mod output;
mod place;
mod reload;
pub mod remedy;
mod restore;
mod restore_arguments;
mod restore_drill;
mod restore_input;
mod restore_report;
mod runtime;
pub mod sandbox;
mod serve;
mod sockets;
mod stopped;
pub mod store;
mod turn_away;
mod watchdog;

use super::exit;
use super::failure::Failure;
use super::hardening::harden;
use super::{key, typed_key};
use clap::{Parser, Subcommand};
use config_arguments::ConfigArguments;
use std::ffi::OsString;

/// Alone holds the master key of a ServOS installation, and seals and opens its secrets over a Unix socket.
#[derive(Parser)]
#[command(name = "servos-keyd", version, after_help = exit::help())]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve, on an existing store
    Serve(serve::Arguments),
    /// Make the store of a new installation, or adopt the key of an existing one
    Init(init::Arguments),
    /// Bring a backup back; what is in the store's place is kept beside it
    Restore(restore::Arguments),
    /// Take the store as it is, where its high-water mark is missing, damaged or ahead of it
    Accept(accept::Arguments),
    /// Check the store, its mark and its backups, without changing anything, while no daemon runs
    Fsck(fsck::Arguments),
    /// For the unit alone: says why a start ended before the daemon could
    #[command(hide = true)]
    Stopped,
}

/// The command line as the parser knows it, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the command line; returns the exit code.
pub fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    let (arguments, typed) = match typed_key::parsed::<Arguments>(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // clap repeats what it does not know.
            if let Err(failure) = typed_key::refuse_shown(&error.to_string()) {
                output::error(&failure, false);
                return failure.exit.code;
            }
            // A closed pipe loses the text, not the exit code.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE.code } else { 0 };
        }
    };
    let (config, dev) = match &arguments.command {
        Command::Serve(arguments) => (Some(&arguments.config), arguments.dev.as_ref()),
        Command::Init(arguments) => (Some(&arguments.config), None),
        Command::Restore(arguments) => (Some(&arguments.config), None),
        Command::Accept(arguments) => (Some(&arguments.config), None),
        Command::Fsck(arguments) => (Some(&arguments.config), None),
        Command::Stopped => (None, None),
    };
    let remedied = |mut failure: Failure| {
        failure.message = match dev {
            Some(directory) => remedy::under_dev(&failure.message, directory.as_deref()),
            None => config.map_or_else(|| failure.message.clone(), |config| remedy::complete(&failure.message, config)),
        };
        failure
    };
    let mut waiting = None;
    let outcome = typed.and_then(|()| match &arguments.command {
        Command::Serve(arguments) => serve::run(arguments, &mut waiting).map_err(remedied),
        Command::Init(arguments) => init::run(arguments).map_err(remedied),
        Command::Restore(arguments) => restore::run(arguments).map_err(remedied),
        Command::Accept(arguments) => accept::run(arguments).map_err(remedied),
        Command::Fsck(arguments) => fsck::run(arguments).map_err(remedied),
        Command::Stopped => stopped::run(),
    });
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            let as_json = matches!(&arguments.command, Command::Restore(arguments) if arguments.json);
            output::error(&failure, as_json);
            // Said before: the journal knows whose word it is only of a process that is there.
            if let Some(waiting) = waiting {
                waiting.turn_away(&failure);
            }
            failure.exit.code
        }
    }
}
