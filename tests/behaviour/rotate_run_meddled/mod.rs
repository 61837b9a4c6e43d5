//! `servos-keyctl rotate run` when people and other commands meddle with its files and its rotation meanwhile.
//!
//! Must never pass a run that took away the only copy of a key, or that nothing brings to an end. Run by `cargo test`.

mod files;
mod others;

use crate::harness::rotation::{
    fingerprint_in, key_in, opens, rotate, rotate_run as run, seal, stopped_before_its_key_is_replaced, text,
};
use crate::harness::{
    Daemon, Installation, KEYCTL, KeyFile, Outcome, base64, block_on, fingerprint, hex, is_root, is_there, not_run,
    random_key,
};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const NOT_ROOT: &str = "only root administers a daemon that is no --dev";

/// A run that stopped where the new key was to take the old one's place: both keys open, and the file holds the old one.
fn stopped_before_replace() -> (Installation, Daemon) {
    let (installation, daemon, other) = stopped_before_its_key_is_replaced();
    std::fs::remove_file(other).unwrap();
    (installation, daemon)
}

/// A run over an adopted key that stopped before it began: where the old text is to be sealed, something else lies.
fn stopped_before_begin() -> (Installation, Daemon, PathBuf) {
    let installation = Installation::new();
    installation.init(&["--adopt-legacy"]).expect(0);
    let daemon = installation.serve();
    let sealed = installation.path(&format!("former-master-key-{}.skd1", fingerprint(installation.key)));
    std::fs::write(&sealed, "U0tEMQ==\n").unwrap();
    run(&daemon, &["--yes"]).expect(73);
    (installation, daemon, sealed)
}

/// A daemon that has its key as a credential, from a file beside it.
struct Given {
    installation: Installation,
    file: PathBuf,
}

impl Given {
    fn made() -> Self {
        let mut installation = Installation::made();
        installation.key_file = KeyFile::None;
        let file = installation.write_private("given.key", format!("{}\n", hex(&installation.key)).as_bytes());
        std::fs::create_dir(installation.path("credentials")).unwrap();
        Self { installation, file }
    }

    fn serve(&self) -> Daemon {
        let credentials = self.installation.path("credentials");
        std::fs::copy(&self.file, credentials.join("servos_master_key")).unwrap();
        let serve = self.installation.command("serve", &[]);
        self.installation.serve_with(&serve.variable("CREDENTIALS_DIRECTORY", credentials))
    }

    fn run(&self, daemon: &Daemon, arguments: &[&str]) -> Outcome {
        run(daemon, &[&["--key-file", text(&self.file)], arguments].concat())
    }
}

fn in_use(daemon: &Daemon) -> String {
    block_on(daemon.admin().status()).unwrap().master_key.unwrap().fingerprint
}

/// The file is what it seems: the daemon starts with it, and opens what was sealed.
#[track_caller]
fn starts(installation: &Installation, daemon: Daemon, sealed: &[u8]) -> Daemon {
    daemon.stop().expect(0);
    let daemon = installation.serve();
    opens(&daemon, sealed);
    daemon
}

/// What a refusal has between backticks, from this word on.
#[track_caller]
fn command_in<'t>(told: &'t Outcome, word: &str) -> &'t str {
    told.stderr.split('`').skip(1).step_by(2).find(|one| one.contains(word)).unwrap_or_else(|| panic!("{told:#?}"))
}

/// Follows a command as it was printed, where the tool is found and nothing else names the daemon.
#[track_caller]
fn follow(_: &Daemon, command: &str) {
    let tools = Path::new(KEYCTL).parent().unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let ended = Command::new("/bin/sh").args(["-c", command]).env_clear().env("PATH", path).output().unwrap();
    assert!(ended.status.success(), "{command}: {}", String::from_utf8_lossy(&ended.stderr));
}
