//! A fake daemon with a key file beside it, for the tests of `rotate`.
//!
//! Must never need a real daemon, a terminal, or the environment of whoever runs it.
//! Called by `rotate_begin_test`, `rotate_end_test` and `rotate_run_test`.

use super::commands_stage::{Outcome, Stage, run};
use crate::client::fake_daemon::lock;
use crate::client::fake_rotation::RotationRules;
use crate::custody::keys::MasterKey;
use crate::proto::v1::{GetStatusResponse, MasterKeyStatus, Rotation, StoreStatus};
use crate::sys::locked::LockedMemory;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The key in use.
pub(super) const OLD_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A new key.
pub(super) const NEW_KEY: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// A key that is neither.
pub(super) const THIRD_KEY: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";

pub(super) fn fingerprint_of(key: &str) -> String {
    MasterKey::parse(key.trim().as_bytes(), &LockedMemory::new().unwrap()).unwrap().fingerprint().to_string()
}

pub(super) struct RotationStage {
    pub(super) stage: Stage,
    pub(super) file: PathBuf,
    pub(super) next: PathBuf,
    /// The daemon's store, which is not there to be opened.
    pub(super) store: PathBuf,
    /// What the daemon tells as next_file.
    next_file: String,
}

impl RotationStage {
    /// A daemon that opens a key file with this in it.
    pub(super) fn with_file(content: &str) -> Self {
        let mut rotation = Self::given_its_key(content);
        rotation.next_file = rotation.next.display().to_string();
        rotation.tell(&[None]);
        rotation
    }

    /// A daemon that was given the key of a file by someone else.
    pub(super) fn given_its_key(content: &str) -> Self {
        let stage = Stage::new();
        let (file, next) = (stage.file("master.key"), stage.file("master.key.next"));
        let store = file.parent().unwrap().to_owned();
        let staged = Self { stage, file, next, store, next_file: String::new() };
        staged.put("master.key", content);
        staged.tell(&[None]);
        staged
    }

    pub(super) fn rules(&self) -> &RotationRules {
        &self.stage.daemon.rules.rotation
    }

    /// A file of mode 0600.
    pub(super) fn put(&self, name: &str, content: &str) {
        self.stage.keep(name, content.as_bytes());
        fs::set_permissions(self.stage.file(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// What GetStatus answers, one after the other; the key in use is the old one, and with the last answer the one that
    /// the rotation leaves.
    pub(super) fn tell(&self, rotations: &[Option<Rotation>]) {
        self.tell_at_last(rotations, &fingerprint_of(OLD_KEY));
    }

    /// The same, with the key that is in use in all answers.
    pub(super) fn tell_at_last(&self, rotations: &[Option<Rotation>], in_use: &str) {
        let status = |rotation: &Option<Rotation>| GetStatusResponse {
            master_key: Some(MasterKeyStatus {
                fingerprint: in_use.to_owned(),
                since: 1_795_446_000,
                source: "credential servos_master_key".into(),
                next_file: self.next_file.clone(),
                ..MasterKeyStatus::default()
            }),
            store: Some(StoreStatus { path: self.store.display().to_string(), ..StoreStatus::default() }),
            rotation: rotation.clone(),
            ..GetStatusResponse::default()
        };
        *lock(&self.rules().statuses) = rotations.iter().map(status).collect();
    }

    /// Looks at `.next` whenever a call arrives.
    pub(super) fn watch_next(&self) {
        *lock(&self.rules().watched) = Some(self.next.clone());
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Outcome {
        self.stage.run(&[&["rotate"], arguments].concat(), b"")
    }

    /// With a person at the terminal, who types `answer`.
    pub(super) fn run_asking(&self, arguments: &[&str], answer: &str) -> Outcome {
        run(&self.stage.daemon.socket, &[&["rotate"], arguments].concat(), answer.as_bytes(), true)
    }

    /// Names of what lies beside the key file, sockets aside.
    pub(super) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.file.parent().unwrap()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.ends_with(".sock"));
        names.sort();
        names
    }
}

/// Neither output shows a key.
pub(super) fn assert_shows_no_key(outcome: &Outcome, keys: &[&str]) {
    for key in keys {
        assert!(!outcome.text().contains(key.trim()) && !outcome.errors.contains(key.trim()), "a key is shown");
    }
}
