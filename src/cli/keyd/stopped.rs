//! `servos-keyd stopped`: what the unit runs behind every end of the daemon, for the starts that ended before the daemon's
//! own code could say why.
//!
//! Must never say anything of an end that the daemon has told of itself, nor change its outcome.
//! Called by the unit's `ExecStopPost=`.

use crate::cli::failure::Failure;
use crate::telemetry::{events, log};
use std::time::Duration;

/// A start that cannot succeed is not begun more often than this by the calls that wait for it.
const PAUSE: Duration = Duration::from_secs(1);

/// The daemon's own end by arguments that it does not know, which it reads before it has the sockets.
const WRONG_ARGUMENTS: &str = "64";

/// What systemd gives as the exit code of a start whose credential it could not read or open. What else keeps it from starting the
/// daemon keeps it from starting this too. Source: systemd.exec(5), "Process Exit Codes".
const CREDENTIALS: u8 = 243;

/// Below this, codes are the daemon's own.
const OF_SYSTEMD: u8 = 200;

/// Says what kept the start from happening, and waits a moment then.
///
/// # Errors
/// None: whatever this says comes on top of what happened.
#[allow(clippy::unnecessary_wraps, reason = "as every command of the binary")]
pub fn run() -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (code, status) = (variable("EXIT_CODE"), variable("EXIT_STATUS"));
    if let Some(said) = said(&code, &status) {
        // Without a log it would be said to nobody, and there is no better place to say that.
        let _ = log::init("info", log::Format::Text);
        tracing::error!(event = events::START_PREVENTED, "{said}");
    } else if (code.as_str(), status.as_str()) != ("exited", WRONG_ARGUMENTS) {
        return Ok(());
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

fn said(exit_code: &str, exit_status: &str) -> Option<String> {
    let status: u8 = exit_status.parse().ok().filter(|_| exit_code == "exited")?;
    match status {
        ..OF_SYSTEMD => None,
        CREDENTIALS => Some(
            "systemd could not start servos-keyd (status 243): the credential with the master key cannot be read, or not be \
             opened on this machine; see: systemctl cat servos-keyd, and look at the file that LoadCredential= or \
             LoadCredentialEncrypted= names"
                .to_owned(),
        ),
        _ => Some(format!(
            "systemd could not start servos-keyd (status {status}); systemd.exec(5) tells what that is, and \
             systemctl cat servos-keyd what the unit asks for"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_before_the_daemon_is_told() {
        for (code, status) in [("exited", "0"), ("exited", "78"), ("killed", "TERM"), ("dumped", "ABRT"), ("", "")] {
            assert_eq!(said(code, status), None, "{code} {status}");
        }
        let credential = said("exited", "243").unwrap();
        assert!(credential.contains("credential") && credential.contains("LoadCredential="), "{credential}");
        assert!(said("exited", "240").unwrap().contains("systemd.exec(5)"));
    }
}
