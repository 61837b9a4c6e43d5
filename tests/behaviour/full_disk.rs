//! A file system that fills up, becomes read-only, or loses the store, under a running daemon; and is well again.
//!
//! Must never fill a file system that others use: it is a small one in a mount namespace of its own. Run by `cargo test`.

use crate::harness::wire::{KEY_ADMIN, KEY_SERVICE, Wire};
use crate::harness::{Daemon, Installation, block_on, cell, eventually, in_a_small_place, is_there, name, small_place};
use servos_keyd::client::key_admin::KeyFilter;
use servos_keyd::proto::v1::{CreateKeyRequest, CreateKeyResponse, GetStatusResponse, KeyPurpose, StoreState};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tonic::Code;
use tonic_health::pb as health;

/// An installation whose store, mark and backups are on the small file system.
struct Place {
    root: PathBuf,
    installation: Installation,
}

impl Place {
    fn here() -> Self {
        let root = small_place();
        let mut installation = Installation::new();
        fs::create_dir(root.join("now")).unwrap();
        installation.store_path = Some(root.join("now/keyd.redb"));
        installation.backup_path = Some(root.join("now/backup"));
        installation.init(&[]).expect(0);
        Self { root, installation }
    }

    /// Leaves no room, not even for a page.
    fn fill(&self) {
        let mut ballast = fs::OpenOptions::new().create(true).append(true).open(self.root.join("ballast")).unwrap();
        for size in [1 << 20, 4096] {
            while ballast.write_all(&vec![7; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.root.join("ballast")).unwrap();
    }

    /// Makes the directory read-only.
    fn protect(&self) {
        self.run("mount", &["--bind", self.root.join("now").to_str().unwrap()]);
        self.run("mount", &["-o", "remount,bind,ro"]);
    }

    fn unprotect(&self) {
        self.run("umount", &[]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).arg(self.root.join("now")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// A daemon in trouble, and what was acknowledged before and during it.
struct Story<'d> {
    daemon: &'d Daemon,
    sealed: Vec<Vec<u8>>,
}

impl<'d> Story<'d> {
    fn of(daemon: &'d Daemon) -> Self {
        let mut story = Self { daemon, sealed: Vec::new() };
        story.is_well();
        story
    }

    /// Makes a key in a request of this number; answers its primary version.
    fn create(&self, n: u32) -> Result<u32, Code> {
        let request = CreateKeyRequest {
            name: format!("key-{n}"),
            purpose: KeyPurpose::Encrypt.into(),
            request_id: format!("9f3c2e70-1111-4222-8333-{n:012}"),
        };
        block_on(async {
            let answer = Wire::connect(&self.daemon.admin_socket).await.call(KEY_ADMIN, "CreateKey", &request).await;
            match answer.code {
                Some(Code::Ok) => Ok(answer.message::<CreateKeyResponse>().key.unwrap().primary),
                code => Err(code.unwrap()),
            }
        })
    }

    fn status(&self) -> GetStatusResponse {
        block_on(async { self.daemon.admin().status().await.unwrap() })
    }

    fn state(&self) -> (StoreState, String) {
        let store = self.status().store.unwrap();
        (store.state(), store.problem)
    }

    /// Whether health says that a service serves.
    fn serves(&self, service: &str) -> bool {
        let request = health::HealthCheckRequest { service: service.to_owned() };
        let answer: health::HealthCheckResponse = block_on(async {
            let wire = Wire::connect(&self.daemon.admin_socket).await;
            wire.call("grpc.health.v1.Health", "Check", &request).await.message()
        });
        answer.status() == health::health_check_response::ServingStatus::Serving
    }

    /// Sealing, and opening of everything that was ever sealed.
    fn goes_on(&mut self) {
        block_on(async {
            let client = self.daemon.component();
            let sealed = client.encrypt(&name("default"), b"value", &cell("1")).await.unwrap();
            self.sealed.push(sealed.ciphertext.clone());
            for sealed in &self.sealed {
                let opened = client.decrypt(&name("default"), sealed, &cell("1")).await.unwrap();
                assert_eq!(opened.plaintext.as_slice(), b"value");
            }
            let all = KeyFilter { key: None, include_deleted: false };
            assert!(self.daemon.admin().list_keys(&all).await.unwrap().len() >= 8);
        });
        assert!(self.serves(KEY_SERVICE) && self.serves(""));
    }

    fn is_well(&mut self) {
        let (state, problem) = self.state();
        assert!(state == StoreState::Healthy && problem.is_empty(), "{problem}");
        assert!(self.serves(KEY_ADMIN));
        self.goes_on();
    }

    /// Refuses changes, and says why with these words; everything else goes on.
    #[track_caller]
    fn fails(&mut self, words: &[&str]) {
        let (state, problem) = self.state();
        assert!(state == StoreState::Failing, "{problem}");
        assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
        let warnings = self.status().warnings;
        assert!(warnings[0].contains(&problem) && warnings[0].contains("by itself"), "{warnings:?}");
        eventually("health falls", || !self.serves(KEY_ADMIN));
        self.goes_on();
        let said = self.daemon.keyctl(&["status"]).run(crate::harness::KEYCTL).expect(0).said();
        assert!(said.contains("FAILING") && said.contains(&problem), "{said}");
    }

    /// Is well again without any change being asked for.
    fn recovers(&mut self) {
        eventually("health is well again", || self.serves(KEY_ADMIN));
        self.is_well();
    }

    fn says(&self, event: &str) -> usize {
        self.daemon.said().matches(event).count()
    }
}

/// The same after a start: nothing is lost.
fn check_after_a_start(installation: &Installation, sealed: &[Vec<u8>], keys: u32) {
    let daemon = installation.serve_for_admin();
    let mut story = Story::of(&daemon);
    story.sealed.extend_from_slice(sealed);
    story.goes_on();
    for n in 0..keys {
        assert_eq!(story.create(n).unwrap(), 1, "key-{n} was answered");
    }
    daemon.stop().expect(0);
}

#[test]
#[ignore = "run by a_disk_that_fills_up_refuses_changes_and_goes_on_by_itself_with_room, in a namespace of its own"]
fn full() {
    let place = Place::here();
    let daemon = place.installation.serve();
    let mut story = Story::of(&daemon);
    story.create(0).unwrap();
    place.fill();
    // The file has room within itself for a while; its mark and backups have none.
    let mut asked = 1;
    loop {
        assert_eq!(story.create(asked).unwrap_err(), Code::Unavailable);
        asked += 1;
        story.fails(&["no space is left", "keyd.redb"]);
        if story.says("store.commit_failed") > 0 {
            break;
        }
        assert!(asked < 200, "the store always finds room");
    }
    eventually("the store is probed in vain", || story.daemon.said().contains("store.commit_failed"));
    assert_eq!(story.create(1).unwrap_err(), Code::Unavailable, "nor is there room for a repetition");
    place.make_room();
    story.recovers();
    // What was refused is answered now; what had been begun has gone on by itself.
    for n in 0..asked {
        assert_eq!(story.create(n).unwrap(), 1, "key-{n}");
    }
    assert!(story.says("store.recovered") >= 1);
    assert!(story.says("store.failing") <= 2, "{}", daemon.said());
    let sealed = story.sealed.clone();
    daemon.kill();
    check_after_a_start(&place.installation, &sealed, asked);
}

#[test]
fn a_disk_that_fills_up_refuses_changes_and_goes_on_by_itself_with_room() {
    in_a_small_place("full_disk::full");
}

#[test]
#[ignore = "run by a_directory_that_becomes_read_only_refuses_changes_until_it_is_not, in a namespace of its own"]
fn read_only() {
    let place = Place::here();
    let daemon = place.installation.serve();
    let mut story = Story::of(&daemon);
    // The open file is written to all the same; what lies beside it is not.
    place.protect();
    assert_eq!(story.create(0).unwrap_err(), Code::Unavailable);
    story.fails(&["keyd.redb.mark", "read-only"]);
    place.unprotect();
    story.recovers();
    assert_eq!(story.create(0).unwrap(), 1);

    // One that is full is closed, and cannot be opened again.
    place.fill();
    let mut asked = 1;
    while story.says("store.commit_failed") == 0 {
        assert_eq!(story.create(asked).unwrap_err(), Code::Unavailable);
        asked += 1;
        assert!(asked < 200, "the store always finds room");
    }
    place.protect();
    eventually("the daemon has seen it", || story.state().1.contains("read-only"));
    story.fails(&["keyd.redb:", "read-only"]);
    place.make_room();
    assert_eq!(story.create(1).unwrap_err(), Code::Unavailable);
    place.unprotect();
    story.recovers();
    for n in 0..asked {
        assert_eq!(story.create(n).unwrap(), 1, "key-{n}");
    }
    let sealed = story.sealed.clone();
    daemon.stop().expect(0);
    check_after_a_start(&place.installation, &sealed, asked);
}

#[test]
fn a_directory_that_becomes_read_only_refuses_changes_until_it_is_not() {
    in_a_small_place("full_disk::read_only");
}

/// The store under another name, which the daemon does not know.
fn away(store: &Path) -> PathBuf {
    store.with_extension("away")
}

#[test]
fn a_store_that_is_renamed_away_is_gone_on_with_when_it_is_put_back() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let (store, away) = (installation.store(), away(&installation.store()));
    let mut story = Story::of(&daemon);
    story.create(0).unwrap();
    for round in 1..3 {
        fs::rename(&store, &away).unwrap();
        assert_eq!(story.create(round).unwrap_err(), Code::Unavailable);
        story.fails(&["keyd.redb", "moved away"]);
        assert!(!is_there(&store), "a store was made");
        fs::rename(&away, &store).unwrap();
        story.recovers();
        assert_eq!(story.create(round).unwrap(), 1);
    }
    // Another one in its place is not gone on with, nor changed.
    let other = Installation::made();
    fs::rename(&store, &away).unwrap();
    fs::copy(other.store(), &store).unwrap();
    let before = fs::read(&store).unwrap();
    assert_eq!(story.create(3).unwrap_err(), Code::Unavailable);
    story.fails(&["another file"]);
    assert!(fs::read(&store).unwrap() == before);
    fs::rename(&away, &store).unwrap();
    story.recovers();
    story.create(3).unwrap();
    let sealed = story.sealed.clone();
    daemon.stop().expect(0);
    check_after_a_start(&installation, &sealed, 4);
}
