//! `servos-keyctl status`: the state of the daemon, and what to mend.
//!
//! Must never show a part of it as the whole.
//! Called by `keyctl::dispatch`.

mod process;
mod text;
mod traffic;
mod value;
mod watch;

use super::console::Console;
use super::socket::SocketArguments;
use crate::cli::failure::Failure;
use clap::Args;
use std::time::Duration;

#[derive(Args)]
pub(super) struct StatusArguments {
    /// Show it again every so many seconds [2 if none are given], until Ctrl-C: in place on a terminal, else one below the
    /// other
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
}

/// Shows the answer of GetStatus, once or again and again.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &StatusArguments,
) -> Result<(), Failure> {
    if let Some(seconds) = arguments.watch {
        return watch::run(console, socket, Duration::from_secs(seconds)).await;
    }
    let status = socket.admin().status().await?;
    let text::Screen { state, to_do } = text::screen(&status, None);
    console.result(&value::value(&status), &(state + &to_do))
}
