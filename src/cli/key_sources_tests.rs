//! Tests of `cli::key_sources`: sources read anew, the new key beside them, and how the daemon is restarted.
//!
//! Must never touch the process's own environment: other tests run beside it.
//! Run as `cli::key_sources::tests`.

use super::*;
use crate::config::key_source::Trust;
use crate::operations::rotation::key_sources::Renewal;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const OLD: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const NEW: &str = "8c1f0ad23b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";

struct Place {
    directory: TempDir,
    memory: LockedMemory,
    sources: GivenSources,
}

impl Place {
    /// A credential, an env file, a key file and a variable, all with the old key.
    fn new() -> Self {
        let (directory, memory) = (tempfile::tempdir().unwrap(), LockedMemory::new().unwrap());
        let credentials = directory.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        let mut value = memory.buffer(OLD.len()).unwrap();
        value.expose_spare_mut().copy_from_slice(OLD.as_bytes());
        value.advance(OLD.len());
        let sources = Sources {
            key_files: vec![directory.path().join("servos.env"), directory.path().join("master.key")],
            environment_key: vec![("SERVOS_MASTER_KEY", value)],
            trust: Trust {
                credentials_directory: Some(credentials),
                allow_readable: false,
                daemon_uid: nix::unistd::geteuid().as_raw(),
                daemon_gid: nix::unistd::getegid().as_raw(),
            },
        };
        let sources = GivenSources::new(Arc::new(sources), memory.clone());
        let place = Self { directory, memory, sources };
        place.write("credentials/servos_master_key", OLD);
        place.write("servos.env", &format!("SERVOS_MASTER_KEY={OLD}\n"));
        place.write("master.key", OLD);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(self.path(name)).unwrap();
        std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
    }

    fn is(&self, held: &HeldKey, text: &str) -> bool {
        let key = crate::custody::keys::MasterKey::parse(text.as_bytes(), &self.memory).unwrap();
        held.key.same_as(&key)
    }
}

fn refusal<T>(read: Result<T, SourceUnreadable>) -> String {
    let told = read.err().expect("refused").to_string();
    assert!(!told.contains(&OLD[..8]) && !told.contains(&NEW[..8]), "a key is shown: {told}");
    told
}

#[test]
fn every_source_tells_its_key_of_now_and_what_a_change_of_it_takes() {
    let place = Place::new();
    let named = |path: &Path, part: &str| format!("{}{part}", path.display());
    for (content, is_new) in [(OLD, false), (NEW, true), (OLD, false)] {
        place.write("master.key", content);
        let held = place.sources.read().unwrap();
        let told: Vec<(String, Renewal, bool)> =
            held.iter().map(|held| (held.source.clone(), held.renewal, place.is(held, NEW))).collect();
        assert_eq!(
            told,
            [
                ("credential servos_master_key".to_owned(), Renewal::Restart, false),
                (named(&place.path("servos.env"), " (SERVOS_MASTER_KEY)"), Renewal::Reread, false),
                (named(&place.path("master.key"), ""), Renewal::Reread, is_new),
                ("environment SERVOS_MASTER_KEY".to_owned(), Renewal::Environment, false),
            ]
        );
    }
}

#[test]
fn a_source_that_holds_no_key_any_more_is_named_and_what_it_holds_is_not_shown() {
    let place = Place::new();
    place.write("master.key", &OLD[..63]);
    let told = refusal(place.sources.read());
    assert!(told.starts_with(&place.path("master.key").display().to_string()) && told.contains("63"), "{told}");
    std::fs::remove_file(place.path("master.key")).unwrap();
    assert!(refusal(place.sources.read()).contains("there is no such file"));
    std::fs::create_dir(place.path("master.key")).unwrap();
    assert!(refusal(place.sources.read()).contains("is a directory"));
}

#[test]
fn the_new_key_is_read_beside_the_files_that_the_daemon_opens_and_must_be_one() {
    let place = Place::new();
    assert!(place.sources.read_next().unwrap().is_none());
    // Nothing is looked for beside a credential.
    place.write("credentials/servos_master_key.next", NEW);
    assert!(place.sources.read_next().unwrap().is_none());
    place.write("master.key.next", &format!("{NEW}\n"));
    let next = place.sources.read_next().unwrap().unwrap();
    assert!(place.is(&next, NEW));
    assert_eq!(next.source, place.path("master.key.next").display().to_string());
    place.write("servos.env.next", &format!("SERVOS_MASTER_KEY='{NEW}'\n"));
    assert!(place.is(&place.sources.read_next().unwrap().unwrap(), NEW));

    place.write("servos.env.next", &format!("SERVOS_MASTER_KEY={NEW}\nACT_MASTER_KEY={OLD}\n"));
    let told = refusal(place.sources.read_next());
    assert!(
        told.contains("two files hold different new master keys") && told.contains("(ACT_MASTER_KEY) has"),
        "{told}"
    );
    place.write("servos.env.next", OLD);
    assert!(refusal(place.sources.read_next()).contains("master.key.next has"));
    place.write("servos.env.next", "");
    assert!(refusal(place.sources.read_next()).contains("servos.env.next: is empty"));
    place.write("servos.env.next", "not a key");
    assert!(refusal(place.sources.read_next()).contains("servos.env.next"));
    assert_eq!(place.sources.next_file(), Some(place.path("servos.env.next").display().to_string()));
}

#[test]
fn the_sources_go_to_another_thread() {
    let Place { sources, directory, .. } = Place::new();
    let sources: Box<dyn KeySources> = Box::new(sources);
    let count = std::thread::spawn(move || sources.read().unwrap().len()).join().unwrap();
    assert_eq!(count, 4);
    drop(directory);
}

#[test]
fn the_restart_is_systemds_where_systemd_started_this_process() {
    const UNIT: &str = "systemctl restart servos-keyd";
    const WORDS: &str = "restart servos-keyd";
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[], WORDS),
        (&[("INVOCATION_ID", "f00")], UNIT),
        (&[("INVOCATION_ID", "f00"), ("SYSTEMD_EXEC_PID", "7")], UNIT),
        // A shell of a session that systemd started.
        (&[("INVOCATION_ID", "f00"), ("SYSTEMD_EXEC_PID", "6")], WORDS),
        (&[("INVOCATION_ID", "f00"), ("SYSTEMD_EXEC_PID", "x")], WORDS),
        (&[("NOTIFY_SOCKET", "/run/systemd/notify"), ("SYSTEMD_EXEC_PID", "6")], UNIT),
        (&[("CREDENTIALS_DIRECTORY", "/run/credentials/x")], UNIT),
        (&[("CREDENTIALS_DIRECTORY", ""), ("NOTIFY_SOCKET", "")], WORDS),
    ];
    for (environment, expected) in cases {
        let variable = |name: &str| environment.iter().find(|(it, _)| *it == name).map(|(_, value)| value.into());
        assert_eq!(restart_command(variable, 7), expected, "{environment:?}");
    }
}
