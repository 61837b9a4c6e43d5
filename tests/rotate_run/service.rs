//! An installation whose daemon is managed: started, restarted when the tool asks for it, and killed.
//!
//! Must never restart a daemon that nobody asked to be, nor hide how a run ended. Used by `deaths`.

use crate::harness::{
    Daemon, Installation, Invocation, KEYCTL, KEYD, Outcome, block_on, cell, eventually, fingerprint, legacy_value,
    name, snapshot_of_files,
};
use crate::source::Source;
use servos_keyd::custody::keys::{LockedMemory, MasterKey};
use std::path::PathBuf;

/// How long one run may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// An installation with its daemon, if that runs.
pub struct Service {
    pub installation: Installation,
    pub source: Source,
    pub daemon: Option<Daemon>,
    values: Vec<Vec<u8>>,
}

impl Service {
    /// An adopted installation with values, served.
    pub fn set(source: Source) -> Self {
        let mut installation = Installation::new();
        source.set(&mut installation);
        let mut init = source.command("init", &installation);
        init.arguments.push("--adopt-legacy".into());
        init.run(KEYD).expect(0);
        let mut service = Self { installation, source, daemon: None, values: Vec::new() };
        service.start();
        let client = service.daemon.as_ref().unwrap().component();
        let sealed = async { client.encrypt(&name("default"), b"sealed before", &cell("1")).await.unwrap() };
        service.values = vec![block_on(sealed).ciphertext];
        service
    }

    /// The same again in another directory, served.
    pub fn again(&self) -> Self {
        let mut installation = self.installation.copy();
        self.source.set(&mut installation);
        let mut service = Self { installation, source: self.source, daemon: None, values: self.values.clone() };
        service.start();
        service
    }

    /// Starts the daemon as it is managed.
    #[track_caller]
    pub fn start(&mut self) {
        self.daemon = None;
        self.daemon = Some(self.installation.serve_with(&self.source.serve(&self.installation)));
    }

    /// The file with which the tool asks for a restart, as `systemctl restart` does: it waits until that is done.
    fn wanted(&self) -> PathBuf {
        self.installation.path("restart-wanted")
    }

    fn restart_command(&self) -> String {
        let wanted = self.wanted();
        let wanted = wanted.to_str().unwrap();
        format!("touch {wanted}; while [ -e {wanted} ]; do sleep 0.01; done")
    }

    /// `servos-keyctl rotate run` with what the source needs, and more.
    pub fn rotate(&mut self, more: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let socket = self.installation.path("keyd-admin.sock");
        let mut arguments = vec!["--socket".to_owned(), socket.to_str().unwrap().to_owned()];
        arguments.extend(["rotate".to_owned(), "run".to_owned()]);
        arguments.extend(self.source.arguments(&self.installation));
        if self.source.needs_restart() {
            arguments.extend(["--restart".to_owned(), self.restart_command()]);
        }
        arguments.extend(more.iter().map(|&one| one.to_owned()));
        let path = std::env::var_os("PATH").unwrap();
        let mut run = Invocation::new(arguments).variable("PATH", path);
        for (variable, value) in variables {
            run = run.variable(variable, *value);
        }
        let words = tempfile::tempdir().unwrap();
        let mut child = run.spawn(KEYCTL, words.path());
        let started = std::time::Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if self.wanted().exists() {
                self.start();
                std::fs::remove_file(self.wanted()).unwrap();
            }
            assert!(started.elapsed() < PATIENCE, "it does not end: {:#?}", Outcome::read(None, words.path()));
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        // One that was killed while it waited for a restart leaves the wish behind; a manager forgets it.
        let _ = std::fs::remove_file(self.wanted());
        Outcome::read(Some(status), words.path())
    }

    /// Passes a daemon that opens everything, sealed by it or by components with the first key.
    #[track_caller]
    pub fn check_values(&self) {
        let row = legacy_value(self.installation.key, b"a row");
        let client = self.daemon.as_ref().unwrap().component();
        block_on(async {
            for value in &self.values {
                let opened = client.decrypt(&name("default"), value, &cell("1")).await.unwrap();
                assert_eq!(opened.plaintext.as_slice(), b"sealed before");
            }
            let opened = client.danger_decrypt_legacy(&name("default"), &row, &cell("1")).await.unwrap();
            assert_eq!(opened.plaintext.as_slice(), b"a row");
        });
    }

    /// The key that the daemon uses, with no rotation under way.
    #[track_caller]
    pub fn key_in_use(&self) -> String {
        let status = || block_on(self.daemon.as_ref().unwrap().admin().status()).unwrap();
        // What a start finished goes on behind it.
        eventually("no rotation is under way", || status().rotation.is_none());
        status().master_key.unwrap().fingerprint
    }

    /// The old key's fingerprint.
    pub fn old(&self) -> String {
        fingerprint(self.installation.key)
    }

    /// Names of what lies beside the key file and belongs to the rotation.
    pub fn left(&self) -> Vec<String> {
        let file = self.source.file(&self.installation);
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_left = |found: &str| {
            let is_of =
                found.starts_with(&format!("{name}.")) || found.contains(".rotating") || found.contains("former-");
            is_of && !found.starts_with("keyd.")
        };
        let files = snapshot_of_files(self.installation.directory());
        let names = files.into_keys().filter_map(|path: PathBuf| Some(path.file_name()?.to_str()?.to_owned()));
        let mut left: Vec<String> = names.filter(|found| is_left(found)).collect();
        left.sort();
        left
    }

    /// The key's text as it lies there now.
    #[track_caller]
    pub fn key_text(&self) -> String {
        self.source.key_text(&self.file())
    }

    /// The file that holds the key.
    pub fn file(&self) -> PathBuf {
        self.source.file(&self.installation)
    }

    /// A file beside it.
    pub fn beside(&self, more: &str) -> PathBuf {
        crate::harness::beside(&self.file(), more)
    }
}

/// The fingerprint of a key's text, in hex or base64.
pub fn fingerprint_of(text: &str) -> String {
    let memory = LockedMemory::new().unwrap();
    MasterKey::parse(text.as_bytes(), &memory).unwrap().fingerprint().to_string()
}
