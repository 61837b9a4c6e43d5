//! How the daemon and its offline commands are run here, and killed.
//!
//! Must never take a process for killed that ended by itself. Used by every module that starts one.

use crate::harness::{Daemon, Installation, Invocation, KEYD, Outcome, is_root};
use std::time::Duration;

/// Backups go after a minute, so that this happens under the load too.
const BACKUPS: &str = "[backup]\nkeep = 4\nkeep_for = \"1m\"\n";

/// A command of the daemon on an installation.
pub fn command(installation: &Installation, command: &str, arguments: &[&str]) -> Invocation {
    let invocation = installation.command(command, arguments);
    let file = installation.path("keyd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, text.replace("[backup]\n", BACKUPS)).unwrap();
    invocation
}

/// How this process may administer it.
pub fn serving(installation: &Installation) -> Invocation {
    match is_root() {
        true => command(installation, "serve", &[]),
        false => Invocation::new(["serve", "--dev", installation.directory().to_str().unwrap()]),
    }
}

/// Starts the daemon, with more in its environment; how it ended, if it did before it was ready.
pub fn try_serve(installation: &Installation, environment: &[(&str, &str)]) -> Result<Daemon, Outcome> {
    let invocation = environment.iter().fold(serving(installation), |run, (name, value)| run.variable(name, *value));
    let mut daemon = Daemon::try_start(&invocation, installation)?;
    if !is_root() {
        daemon.admin_socket.clone_from(&daemon.component_socket);
    }
    Ok(daemon)
}

/// Starts the daemon, which must come up.
#[track_caller]
pub fn serve(installation: &Installation) -> Daemon {
    try_serve(installation, &[]).unwrap_or_else(|outcome| panic!("an honest start is refused: {outcome:#?}"))
}

/// Runs something and kills it after a while. How it ended, if it did so before.
pub fn kill_after(invocation: &Invocation, delay: Duration) -> Option<Outcome> {
    let words = tempfile::tempdir().unwrap();
    let mut child = invocation.spawn(KEYD, words.path());
    std::thread::sleep(delay);
    child.kill().unwrap();
    let outcome = Outcome::read(Some(child.wait().unwrap()), words.path());
    (outcome.signal != Some(9)).then_some(outcome)
}
