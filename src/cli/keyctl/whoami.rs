//! `servos-keyctl whoami`: who the daemon takes the caller for.
//!
//! Must never guess: everything printed is the daemon's word.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::output::fields;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::error::Error;
use crate::proto::v1;
use serde_json::json;

/// Shows the answer of WhoAmI.
pub(super) async fn run(console: &mut Console, socket: &SocketArguments) -> Result<(), Failure> {
    let answer = socket.client().who_am_i().await.map_err(|error| match error {
        // The usual hint is to ask this very question.
        Error::NotPermitted { closed_socket: None, .. } => Failure::say(exit::of_client(&error), error.to_string()),
        error => error.into(),
    })?;
    let socket = match answer.socket() {
        v1::Socket::Component => "component",
        v1::Socket::Admin => "admin",
        v1::Socket::Dev => "dev",
        v1::Socket::Metrics => "metrics",
        v1::Socket::Unspecified => "unknown",
    };
    let value = json!({
        "uid": answer.uid,
        "gid": answer.gid,
        "pid": answer.pid,
        "socket": socket,
        "administrator": answer.administrator,
        "operations": answer.operations,
    });
    let text = fields(&[
        ("user id", answer.uid.to_string()),
        ("group id", answer.gid.to_string()),
        ("process id", answer.pid.to_string()),
        ("socket", socket.to_owned()),
        ("administrator", if answer.administrator { "yes" } else { "no" }.to_owned()),
        ("may call", answer.operations.join(", ")),
    ]);
    console.result(&value, &text)
}
