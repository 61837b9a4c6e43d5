//! One run of a binary: its arguments, its whole environment, and everything it said.
//!
//! Must never hand on this process's environment, nor wait for ever for one that hangs.
//! Used by `Installation` and `Daemon`.

use super::{DEADLINE, Restricted};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The daemon's binary.
pub const KEYD: &str = env!("CARGO_BIN_EXE_servos-keyd");
/// The tool's binary.
pub const KEYCTL: &str = env!("CARGO_BIN_EXE_servos-keyctl");

/// How a binary is run.
#[derive(Clone, Default)]
pub struct Invocation {
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What it reads on standard input.
    pub input: Vec<u8>,
    /// The user and group it runs as; this process's own without.
    pub user: Option<u32>,
    /// What it has less than this process.
    pub restricted: Option<Restricted>,
}

impl Invocation {
    /// A run with these arguments, an empty environment and no input.
    pub fn new<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self { arguments: arguments.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Adds a variable.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs as this user and the group of the same number: only for root.
    pub fn run_as(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Runs with less than this process has.
    pub fn restricted(mut self, restricted: Restricted) -> Self {
        self.restricted = Some(restricted);
        self
    }

    /// Sets standard input.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs `binary` to its end.
    pub fn run(&self, binary: &str) -> Outcome {
        let words = tempfile::tempdir().unwrap();
        let mut child = self.spawn(binary, words.path());
        let status = wait(&mut child, DEADLINE)
            .unwrap_or_else(|| panic!("{:?} did not end: {:?}", self.arguments, Outcome::read(None, words.path())));
        Outcome::read(Some(status), words.path())
    }

    /// Starts `binary`, whose words go to files in `words`.
    pub fn spawn(&self, binary: &str, words: &Path) -> Child {
        std::fs::write(words.join("input"), &self.input).unwrap();
        let mut command = match &self.restricted {
            None => Command::new(binary),
            Some(restricted) => restricted.command(binary, &self.arguments),
        };
        if self.restricted.is_none() {
            command.args(&self.arguments).env_clear();
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
            std::fs::set_permissions(words, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        command
            .envs(self.environment.iter().cloned())
            .current_dir(words)
            .stdin(Stdio::from(File::open(words.join("input")).unwrap()))
            .stdout(Stdio::from(File::create(words.join("stdout")).unwrap()))
            .stderr(Stdio::from(File::create(words.join("stderr")).unwrap()))
            .spawn()
            .unwrap()
    }
}

/// Waits for a process to end; kills it where it does not in time.
pub fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if started.elapsed() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What was said to the byte: what is no text too.
#[derive(Clone)]
pub struct Bytes {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} and {} bytes", self.stdout.len(), self.stderr.len())
    }
}

/// How a run ended, and everything it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it told its supervisor that it is ready.
    pub was_ready: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error: errors and the log.
    pub stderr: String,
    /// Both, to the byte.
    pub bytes: Bytes,
}

impl Outcome {
    /// Reads what was said so far.
    pub fn read(status: Option<ExitStatus>, words: &Path) -> Self {
        let read = |name: &str| std::fs::read(words.join(name)).unwrap();
        let bytes = Bytes { stdout: read("stdout"), stderr: read("stderr") };
        Self {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            was_ready: false,
            stdout: String::from_utf8_lossy(&bytes.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&bytes.stderr).into_owned(),
            bytes,
        }
    }

    /// Everything it said.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// Passes a run that ended with `code`, and shows any other.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// Passes a run that said all of these.
    #[track_caller]
    pub fn saying(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.said().contains(word), "{word:?} is not in {self:#?}");
        }
        self
    }

    /// Passes a run that said none of these.
    #[track_caller]
    pub fn not_saying(self, words: &[&str]) -> Self {
        for word in words {
            assert!(!self.said().contains(word), "{word:?} is in {self:#?}");
        }
        self
    }
}
