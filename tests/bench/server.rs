//! A server as a process: the daemon, or the echo it is compared with.
//!
//! Must never outlive the benchmark. Called by the measurements.

use super::Outcome;
use super::installation::Installation;
use super::load::{self, Client};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_micros(100);

/// A running server, killed when dropped.
pub struct Server {
    process: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts the daemon of an installation.
    pub fn daemon(binary: &Path, installation: &Installation) -> Outcome<Self> {
        Self::daemon_with(binary, installation, &[])
    }

    /// The same with these variables as its environment.
    pub fn daemon_with(binary: &Path, installation: &Installation, environment: &[(&str, &str)]) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(installation.configuration());
        // Whatever the caller's environment holds must not become a second source of the key.
        command.env_clear().envs(environment.iter().copied());
        Self::start(command, installation.socket())
    }

    /// Starts this program as the echo.
    pub fn echo(socket: PathBuf) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--echo").arg(&socket);
        Self::start(command, socket)
    }

    fn start(mut command: Command, socket: PathBuf) -> Outcome<Self> {
        let quiet = std::env::var_os("BENCH_SHOW_LOG").is_none();
        if quiet {
            command.stderr(Stdio::null());
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Self { process, socket })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A connection with an answered Encrypt behind it, as soon as one is to be had.
    pub async fn first_answer(&self) -> Outcome<Client> {
        let begun = Instant::now();
        loop {
            if let Ok(mut client) = load::connect(&self.socket).await {
                client.encrypt(load::message()).await?;
                return Ok(client);
            }
            if begun.elapsed() > PATIENCE {
                return Err("the server does not answer".into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Has it stop by itself, so that its store is closed cleanly.
    pub fn stop(mut self) -> Outcome<()> {
        let told = Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status()?;
        if !told.success() || !self.process.wait()?.success() {
            return Err("the server did not stop as it was told to".into());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` there is nobody left to kill, which is no fault.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
