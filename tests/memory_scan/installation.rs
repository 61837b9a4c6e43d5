//! An installation in a directory of its own, and the daemon that is looked at as a process.
//!
//! Must never outlive the test, nor give the daemon anything that a released one is not given. Called by each life.

use crate::confined;
use crate::keys::Outcome;
use servos_keyd::config::settings::Limits;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// How a daemon is started.
#[derive(Default)]
pub struct Start {
    /// All of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// The kernel refuses memfd_secret.
    pub without_memfd_secret: bool,
    /// It waits, stopped, until it is continued; with the former alone.
    pub halted: bool,
    /// It only opens.
    pub salvage: bool,
}

/// A directory with key, configuration, store and backups.
pub struct Installation {
    directory: TempDir,
    binary: PathBuf,
    /// After how long without a call its daemons close a connection.
    pub idle_connection: Duration,
}

impl Installation {
    /// Makes one with this key, by the daemon's own `init`.
    pub fn make(binary: &Path, key: &[u8; 32]) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("keyd-scan-").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
        let idle_connection = Limits::default().idle_connection;
        let this = Self { directory, binary: binary.to_owned(), idle_connection };
        this.write_key("master.key", key)?;
        let at = |name: &str| this.path(name).display().to_string();
        let configuration = format!(
            "[socket]\npath = {:?}\nadmin_path = {:?}\ngroup = \"\"\n[store]\npath = {:?}\n[backup]\ndir = {:?}\n\
             [master_key]\nfile = {:?}\n",
            at("keyd.sock"),
            at("admin.sock"),
            at("keyd.redb"),
            at("backup"),
            at("master.key")
        );
        fs::write(this.path("keyd.toml"), configuration)?;
        let made = this.command("init", &Start::default())?.output()?;
        if !made.status.success() {
            return Err(format!("init: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        Ok(this)
    }

    /// Has its daemons close idle connections sooner, so that a life of many idle moments does not mostly wait.
    pub fn close_idle_connections_after(&mut self, seconds: u64) -> Outcome<()> {
        let mut configuration = fs::OpenOptions::new().append(true).open(self.path("keyd.toml"))?;
        writeln!(configuration, "[limits]\nidle_connection = \"{seconds}s\"")?;
        self.idle_connection = Duration::from_secs(seconds);
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a key into a file, in hex, as operators do.
    pub fn write_key(&self, name: &str, key: &[u8; 32]) -> Outcome<()> {
        let path = self.path(name);
        fs::write(&path, format!("{}\n", base16ct::lower::encode_string(key)))?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
    }

    /// Serves.
    pub fn spawn(&self, start: &Start) -> Outcome<Daemon> {
        let log = fs::File::create(self.path("log"))?;
        let process = self.command("serve", start)?.env("NOTIFY_SOCKET", self.path("notify")).stderr(log).spawn()?;
        Ok(Daemon { process, log: self.path("log") })
    }

    /// Serves, and returns when the daemon has said that it is ready.
    pub fn serve(&self, start: &Start) -> Outcome<Daemon> {
        let notices = self.path("notify");
        // Of a former life.
        let _ = fs::remove_file(&notices);
        let socket = UnixDatagram::bind(&notices)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut daemon = self.spawn(start)?;
        let (began, mut word) = (Instant::now(), [0; 512]);
        loop {
            if let Ok(length) = socket.recv(&mut word)
                && word[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
            {
                return Ok(daemon);
            }
            if began.elapsed() > PATIENCE || daemon.process.try_wait()?.is_some() {
                return Err(format!("the daemon is not ready: {}", daemon.said()).into());
            }
        }
    }

    fn command(&self, command: &str, start: &Start) -> Outcome<Command> {
        let mut process = match start.without_memfd_secret {
            true => confined::command(&self.binary, start.halted)?,
            false => Command::new(&self.binary),
        };
        process.arg(command).arg("--config").arg(self.path("keyd.toml")).env_clear();
        if start.salvage {
            process.arg("--salvage");
        }
        process.envs(start.environment.iter().map(|(name, value)| (name, value)));
        process.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(process)
    }
}

/// A running daemon, killed when dropped.
pub struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Daemon {
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end.
    pub fn code(&mut self) -> Outcome<Option<i32>> {
        Ok(self.process.wait()?.code())
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
