//! A machine and an installation without a mistake, in a directory: a test plants one, and sees what doctor says.
//!
//! Must never look at the machine that the tests run on.
//! Called by the tests of every family of checks.

use super::case::{Case, Claimed, Configured, Daemon, Given};
use super::examine;
use super::finding::{Finding, Report};
use super::machine::Machine;
use super::unit::Unit;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::config::settings::Config;
use crate::custody::keys::MasterKey;
use crate::proto::v1::{BackupStatus, GetStatusResponse, MasterKeyStatus, MemoryProtection, StoreState, StoreStatus};
use crate::sys::locked::LockedMemory;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The key of the installation, and another.
pub(super) const KEY: &str = "7b1d3eca22fa84bee47e3d1cac2d688f4b8d36d373dc7e874a7f2b679f6186cb";
pub(super) const OTHER: &str = "8c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7aa";

pub(super) struct Planted {
    directory: tempfile::TempDir,
    pub(super) case: Case,
}

impl Planted {
    /// Nothing is wrong, and the daemon answers: its store and its sockets are there.
    pub(super) fn well() -> Self {
        let planted = Self::at_rest();
        // Older than any clock that a test shows.
        let store = planted.write("state/keyd.redb", "");
        fs::File::options().write(true).open(store).unwrap().set_modified(UNIX_EPOCH).unwrap();
        for (socket, mode) in [("run/keyd.sock", 0o660), ("run/keyd-admin.sock", 0o600)] {
            drop(UnixListener::bind(planted.at(socket)).unwrap());
            chmod(&planted.at(socket), mode);
        }
        planted
    }

    fn at_rest() -> Self {
        let directory = tempfile::tempdir().unwrap();
        chmod(directory.path(), 0o755);
        let at = |name: &str| directory.path().join(name);
        for (file, text) in [
            ("proc/self/uid_map", "         0          0 4294967295\n"),
            ("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
            ("proc/cmdline", "root=/dev/sda1 ro quiet\n"),
            ("proc/1/environ", "HOME=/\0TERM=linux\0"),
            ("sys/power/state", "freeze mem disk\n"),
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("master.key", KEY),
        ] {
            fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs::write(at(file), text).unwrap();
        }
        chmod(&at("master.key"), 0o600);
        for name in ["state", "run"] {
            fs::create_dir(at(name)).unwrap();
            chmod(&at(name), 0o700);
        }
        let mut config = Config::default();
        (config.socket.path, config.socket.admin_path) = (at("run/keyd.sock"), Some(at("run/keyd-admin.sock")));
        (config.socket.group, config.master_key.file) = (None, Some(at("master.key")));
        (config.store.path, config.store.mark) = (at("state/keyd.redb"), at("state/keyd.redb.mark"));
        (config.store.create, config.backup.dir) = (true, at("state/backup"));
        let memory = LockedMemory::new().unwrap();
        let status = GetStatusResponse {
            store: Some(StoreStatus {
                state: StoreState::Healthy.into(),
                path: config.store.path.display().to_string(),
                ..StoreStatus::default()
            }),
            master_key: Some(MasterKeyStatus {
                fingerprint: fingerprint(KEY),
                next_file: at("master.key.next").display().to_string(),
                ..MasterKeyStatus::default()
            }),
            backup: Some(BackupStatus {
                directory: config.backup.dir.display().to_string(),
                ..BackupStatus::default()
            }),
            memory_protection: MemoryProtection::MemfdSecret.into(),
            ..GetStatusResponse::default()
        };
        let case = Case {
            machine: Machine::planted(directory.path()),
            memory: Ok(memory),
            daemon: Daemon::Answered(Box::new(status)),
            socket: at("run/keyd-admin.sock"),
            configured: Configured::By(Box::new(config)),
            config_file: at("keyd.toml"),
            is_service: false,
            unit: Err("not the machine's own service".to_owned()),
            state: None,
            claimed: Claimed::Nothing,
            given: Given::default(),
            users: Vec::new(),
        };
        Self { directory, case }
    }

    /// The same, and no daemon answers.
    pub(super) fn silent() -> Self {
        let mut planted = Self::at_rest();
        planted.case.daemon = Daemon::Silent(Failure::say(exit::NO_DAEMON, "no daemon answers").with_hint("start it"));
        planted
    }

    /// The same as the machine's own service, whose unit says this.
    pub(super) fn unit(mut self, text: &str) -> Self {
        self.case.is_service = true;
        self.case.unit = Ok(Unit::of(text));
        self
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a file of mode 0600 there.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        chmod(&path, 0o600);
        path
    }

    pub(super) fn status(&mut self) -> &mut GetStatusResponse {
        match &mut self.case.daemon {
            Daemon::Answered(status) => status,
            _ => panic!("no daemon answers"),
        }
    }

    pub(super) fn config(&mut self) -> &mut Config {
        match &mut self.case.configured {
            Configured::By(config) => config,
            _ => panic!("there is no configuration"),
        }
    }

    pub(super) fn examined(&self) -> Report {
        examine(&self.case)
    }

    pub(super) fn ids(&self) -> Vec<&'static str> {
        self.examined().found.iter().map(|finding| finding.kind.id).collect()
    }

    /// The one finding with this id; `mend` is part of the command.
    #[track_caller]
    pub(super) fn sees(&self, id: &str, mend: &str) -> Finding {
        let report = self.examined();
        let all = format!("{:#?}", report.found);
        let mut found: Vec<Finding> = report.found.into_iter().filter(|finding| finding.kind.id == id).collect();
        assert_eq!(found.len(), 1, "{id}: {all}");
        let found = found.remove(0);
        assert!(found.mend.as_ref().is_some_and(|command| command.contains(mend)), "{mend}: {all}");
        assert!(!all.contains(KEY) && !all.contains(OTHER), "a key is shown: {all}");
        found
    }

    /// What could not be looked at.
    pub(super) fn not_made(&self) -> String {
        self.examined().not_made.iter().map(|one| format!("{}: {}\n", one.check, one.reason)).collect()
    }
}

pub(super) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub(super) fn fingerprint(text: &str) -> String {
    let memory = LockedMemory::new().unwrap();
    MasterKey::parse(text.as_bytes(), &memory).unwrap().fingerprint().to_string()
}
