//! A running daemon: known to be ready, killed when the test is done with it.
//!
//! Must never outlive its test, or hide what it said.
//! Used through `Installation`.

use super::DEADLINE;
use super::installation::Installation;
use super::run::{Invocation, KEYD, Outcome, wait};
use servos_keyd::client::key_admin::AdminClient;
use servos_keyd::client::key_service::Client;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long one wait for a word takes before the process is looked at again.
const GLANCE: Duration = Duration::from_millis(10);

/// A daemon that said it is ready.
pub struct Daemon {
    child: Child,
    words: TempDir,
    /// The socket of components.
    pub component_socket: PathBuf,
    /// The socket of operators; under `--dev` the same.
    pub admin_socket: PathBuf,
}

impl Daemon {
    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(invocation: &Invocation, component_socket: PathBuf, admin_socket: PathBuf) -> Self {
        match launch(invocation) {
            (child, words, Ok(())) => Self { child, words, component_socket, admin_socket },
            (_, words, Err(end)) => panic!("no daemon: {:#?}", end.outcome(&words)),
        }
    }

    /// Starts it and waits until it is ready, or has ended.
    pub fn try_start(invocation: &Invocation, installation: &Installation) -> Result<Self, Outcome> {
        let (component_socket, admin_socket) = (installation.path("keyd.sock"), installation.path("keyd-admin.sock"));
        match launch(invocation) {
            (child, words, Ok(())) => Ok(Self { child, words, component_socket, admin_socket }),
            (_, words, Err(end)) => Err(end.outcome(&words)),
        }
    }

    /// Starts it and waits until it ends, which it must before it is ready.
    #[track_caller]
    pub fn refused(invocation: &Invocation) -> Outcome {
        match launch(invocation) {
            (mut child, words, Ok(())) => {
                let _ = child.kill();
                let status = child.wait().ok();
                panic!("it serves: {:#?}", Outcome::read(status, words.path()));
            }
            (_, words, Err(end)) => {
                let outcome = end.outcome(&words);
                assert!(!outcome.was_ready, "it said READY and ended: {outcome:#?}");
                outcome
            }
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<Outcome> {
        let status = self.child.try_wait().unwrap()?;
        Some(Outcome { was_ready: true, ..Outcome::read(Some(status), self.words.path()) })
    }

    /// A client of `KeyService`.
    pub fn component(&self) -> Client {
        Client::new(&self.component_socket).with_deadline(DEADLINE)
    }

    /// A client of `KeyAdmin`.
    pub fn admin(&self) -> AdminClient {
        AdminClient::new(&Client::new(&self.admin_socket).with_deadline(DEADLINE))
    }

    /// A command of the tool, on the socket of operators.
    pub fn keyctl(&self, arguments: &[&str]) -> Invocation {
        Invocation::new(arguments.iter().copied()).variable("SERVOS_KEYD_SOCKET", &self.admin_socket)
    }

    /// Everything it said so far.
    pub fn said(&self) -> String {
        Outcome::read(None, self.words.path()).said()
    }

    /// What it tells the service manager from now on.
    pub fn manager(&self) -> UnixDatagram {
        let place = self.words.path().join("notify");
        std::fs::remove_file(&place).unwrap();
        let socket = UnixDatagram::bind(&place).unwrap();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_read_timeout(Some(GLANCE)).unwrap();
        socket
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        // The shell's own kill: no binary has to be there.
        let sent = std::process::Command::new("/bin/sh").arg("-c").arg(format!("kill -{name} {}", self.id())).status();
        assert!(sent.unwrap().success());
    }

    /// Asks it to stop with SIGTERM, and returns how it ended.
    #[track_caller]
    pub fn stop(mut self) -> Outcome {
        self.signal("TERM");
        let status = wait(&mut self.child, DEADLINE);
        let mut outcome = Outcome::read(status, self.words.path());
        outcome.was_ready = true;
        assert!(status.is_some(), "it did not stop: {outcome:#?}");
        outcome
    }

    /// Kills it where it stands.
    pub fn kill(mut self) -> Outcome {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        Outcome { was_ready: true, ..Outcome::read(Some(status), self.words.path()) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = self.ended();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let by_itself =
                ended.map(|end| format!(", ended by itself with {:?} or signal {:?}", end.code, end.signal));
            eprintln!("the daemon{} said: {}", by_itself.unwrap_or_default(), self.said());
        }
    }
}

/// How one ended that was not known to be ready.
struct End {
    status: Option<ExitStatus>,
    /// It was, with its last breath.
    was_ready: bool,
}

impl End {
    fn outcome(&self, words: &TempDir) -> Outcome {
        Outcome { was_ready: self.was_ready, ..Outcome::read(self.status, words.path()) }
    }
}

/// Starts a daemon and waits for READY, or for its end.
fn launch(invocation: &Invocation) -> (Child, TempDir, Result<(), End>) {
    let words = tempfile::tempdir().unwrap();
    let notices = words.path().join("notify");
    let socket = UnixDatagram::bind(&notices).unwrap();
    socket.set_read_timeout(Some(GLANCE)).unwrap();
    // A daemon that runs as another user speaks to it too.
    std::fs::set_permissions(&notices, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut child = invocation.clone().variable("NOTIFY_SOCKET", notices).spawn(KEYD, words.path());
    let started = Instant::now();
    loop {
        if heard_ready(&socket) {
            return (child, words, Ok(()));
        }
        if let Some(status) = child.try_wait().unwrap() {
            let was_ready = heard_ready(&socket);
            return (child, words, Err(End { status: Some(status), was_ready }));
        }
        if started.elapsed() > DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            return (child, words, Err(End { status: None, was_ready: false }));
        }
    }
}

fn heard_ready(socket: &UnixDatagram) -> bool {
    let mut word = [0; 512];
    socket.recv(&mut word).is_ok_and(|length| word[..length].split(|byte| *byte == b'\n').any(|one| one == b"READY=1"))
}

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a file is there, of any kind.
pub fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
