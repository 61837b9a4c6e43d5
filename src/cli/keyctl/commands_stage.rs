//! A fake daemon and a console for the tests of the tool's commands.
//!
//! Must never need a real daemon, a terminal, or the environment of whoever runs it.
//! Called by the tests of commands.

use super::console::Console;
use super::run_on;
use crate::client::fake_daemon::{FakeDaemon, lock};
use serde_json::Value;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct Outcome {
    pub(super) code: u8,
    pub(super) output: Vec<u8>,
    pub(super) errors: String,
}

impl Outcome {
    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.output).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.output).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

pub(super) struct Stage {
    dir: tempfile::TempDir,
    pub(super) daemon: FakeDaemon,
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let daemon = runtime.block_on(async { FakeDaemon::start(&dir.path().join("keyd.sock")) });
        Self { dir, daemon, _runtime: runtime }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn keep(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.file(name), bytes).unwrap();
        self.file(name).display().to_string()
    }

    pub(super) fn run(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        run(&self.daemon.socket, arguments, input, false)
    }

    pub(super) fn calls(&self) -> u32 {
        self.daemon.rules.calls.load(Ordering::SeqCst)
    }

    pub(super) fn changes(&self) -> usize {
        lock(&self.daemon.rules.request_ids).len()
    }
}

/// Runs a command on a socket; `is_terminal` tells whether a person sits at input and output.
pub(super) fn run(socket: &Path, arguments: &[&str], input: &[u8], is_terminal: bool) -> Outcome {
    let (output, errors) = (Kept::default(), Kept::default());
    let mut console = Console {
        input: Box::new(io::Cursor::new(input.to_vec())),
        output: Box::new(output.clone()),
        errors: Box::new(errors.clone()),
        input_is_terminal: is_terminal,
        output_is_terminal: is_terminal,
        errors_is_terminal: is_terminal,
        json: false,
    };
    let last = ["--socket", socket.to_str().unwrap()];
    let all = ["servos-keyctl"].iter().chain(arguments).chain(&last).map(Into::into);
    let code = run_on(&mut console, all);
    let output = lock(&output.0).clone();
    let errors = String::from_utf8(lock(&errors.0).clone()).unwrap();
    Outcome { code, output, errors }
}
