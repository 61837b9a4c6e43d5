//! `servos-keyctl health`: whether the daemon serves, by its own word, for probes of containers and monitoring.
//!
//! Must never end with 0 but for a daemon that says that it serves.
//! Called by `keyctl::dispatch`.

use super::console::Console;
use super::socket::SocketArguments;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::health::Health;
use clap::Args;
use serde_json::json;

#[derive(Args)]
pub(super) struct HealthArguments {
    /// A service by its full name, such as servos.keyd.v1.KeyAdmin; without it, the whole daemon
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
}

/// Asks grpc.health.v1; ends with 1 if the daemon does not serve.
pub(super) async fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &HealthArguments,
) -> Result<(), Failure> {
    let service = arguments.service.as_str();
    let health = socket.client().health(service).await?;
    if health == Health::UnknownService {
        let failure = format!("the daemon tells of no service {service}");
        return Err(Failure::say(exit::MISSING, failure).with_hint(
            "there are servos.keyd.v1.KeyService and servos.keyd.v1.KeyAdmin; without --service, the whole",
        ));
    }
    let serving = health == Health::Serving;
    let text = if serving { "serving\n" } else { "not serving\n" };
    console.result(&json!({"service": service, "serving": serving}), text)?;
    if serving {
        return Ok(());
    }
    let hint = "`servos-keyctl status` and the daemon's log say why; one that stops is not serving either";
    Err(Failure::say(exit::NO, "the daemon does not serve").with_hint(hint))
}
