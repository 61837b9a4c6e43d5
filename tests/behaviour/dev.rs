//! `serve --dev`: one command from nothing to a served socket, under one directory.
//!
//! Must never touch a directory that is not the test's own. Run by `cargo test`.

use crate::harness::{Daemon, Installation, Invocation, block_on, cell, eventually, is_there, name, snapshot_of_files};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn directory() -> (TempDir, PathBuf) {
    let base = tempfile::Builder::new().prefix("dev-").tempdir().unwrap();
    let place = base.path().join("d");
    (base, place)
}

fn dev(place: &Path, more: &[&str]) -> Invocation {
    Invocation::new([&["serve", "--dev", place.to_str().unwrap()], more].concat())
}

fn start(place: &Path, more: &[&str]) -> Daemon {
    Daemon::start(&dev(place, more), place.join("keyd.sock"), place.join("keyd.sock"))
}

#[test]
fn one_command_makes_everything_under_one_directory_and_what_it_prints_works() {
    let (_base, place) = directory();
    let daemon = start(&place, &[]);
    let mode = |name: &str| place.join(name).symlink_metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(""), mode("master.key"), mode("keyd.redb"), mode("keyd.sock")), (0o700, 0o600, 0o600, 0o600));
    let names: Vec<PathBuf> =
        snapshot_of_files(&place).into_keys().filter(|path| path.components().count() == 1).collect();
    let expected = ["backup", "keyd.redb", "keyd.redb.mark", "keyd.sock", "master.key"];
    assert_eq!(names, expected.map(PathBuf::from));
    // The tool's commands as they are printed, in a shell of somebody's home.
    let home = tempfile::tempdir().unwrap();
    // They are printed behind READY.
    eventually("the commands are printed", || daemon.said().contains("Ctrl-C"));
    let said = daemon.said();
    let commands: Vec<&str> =
        said.lines().filter(|line| line.contains("servos-keyctl") && line.contains("crypt")).collect();
    assert_eq!(commands.len(), 2, "{said}");
    let script = commands.join("\n");
    let shell = std::process::Command::new("/bin/sh").arg("-ec").arg(script).current_dir(home.path()).output().unwrap();
    assert!(shell.status.success(), "{shell:?}");
    assert_eq!(shell.stdout, b"s3cret");
    assert_eq!(said.lines().filter(|line| line.contains("grpcurl") && line.contains("localhost")).count(), 2, "{said}");
    daemon.stop().expect(0);
}

#[test]
fn it_goes_on_with_what_is_there() {
    let (_base, place) = directory();
    let daemon = start(&place, &[]);
    let sealed = block_on(async { daemon.component().encrypt(&name("default"), b"kept", &cell("1")).await.unwrap() });
    daemon.kill();
    let key = std::fs::read(place.join("master.key")).unwrap();
    let daemon = start(&place, &[]);
    let opened =
        block_on(async { daemon.component().decrypt(&name("default"), &sealed.ciphertext, &cell("1")).await.unwrap() });
    assert_eq!(opened.plaintext.as_slice(), b"kept");
    assert_eq!(std::fs::read(place.join("master.key")).unwrap(), key);
    // Its own user administers: it is for trying out.
    block_on(async { daemon.admin().rotate_key(&name("default")).await.unwrap() });
}

#[test]
fn it_takes_the_key_that_lies_there_and_adopts_it_when_told_to() {
    for adopts in [false, true] {
        let installation = Installation::new();
        let place = installation.directory();
        let daemon = start(place, if adopts { &["--adopt-legacy"] } else { &[] });
        let status = block_on(async { daemon.admin().status().await.unwrap() });
        assert_eq!(status.master_key.unwrap().fingerprint, crate::harness::fingerprint(installation.key));
        assert_eq!(status.legacy_keys.len(), usize::from(adopts));
    }
}

#[test]
fn a_lost_store_or_key_is_never_replaced() {
    let (_base, place) = directory();
    start(&place, &[]).stop().expect(0);
    for lost in ["keyd.redb", "master.key"] {
        let kept = std::fs::read(place.join(lost)).unwrap();
        std::fs::remove_file(place.join(lost)).unwrap();
        let before = snapshot_of_files(&place);
        Daemon::refused(&dev(&place, &[])).expect(66);
        assert_eq!(snapshot_of_files(&place), before, "{lost}");
        std::fs::write(place.join(lost), kept).unwrap();
        std::fs::set_permissions(place.join(lost), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    // Only backups are left: still no new key, nor a store under one.
    for lost in ["keyd.redb", "keyd.redb.mark", "master.key"] {
        std::fs::remove_file(place.join(lost)).unwrap();
    }
    let before = snapshot_of_files(&place);
    Daemon::refused(&dev(&place, &[])).expect(66).saying(&["servos-keyd restore", "keyd.toml names these paths"]);
    assert_eq!(snapshot_of_files(&place), before);
}

#[test]
fn a_directory_that_others_can_reach_is_refused() {
    type Make = fn(&Path);
    let with_mode = |place: &Path, mode: u32| {
        std::fs::create_dir(place).unwrap();
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o755, 0o750, 0o701, 0o777] {
        let (_base, place) = directory();
        with_mode(&place, mode);
        Daemon::refused(&dev(&place, &[])).expect(77).saying(&["chmod 700"]);
        assert!(snapshot_of_files(&place).is_empty(), "{mode:o}");
    }
    let cases: [(&str, Make); 2] = [
        ("a file", |place| std::fs::write(place, b"x").unwrap()),
        ("a link", |place| {
            std::fs::create_dir(place.with_extension("elsewhere")).unwrap();
            symlink(place.with_extension("elsewhere"), place).unwrap();
        }),
    ];
    for (case, make) in cases {
        let (base, place) = directory();
        make(&place);
        let before = snapshot_of_files(base.path());
        let refused = Daemon::refused(&dev(&place, &[]));
        assert_eq!(refused.code, Some(77), "{case}: {refused:#?}");
        refused.saying(&["is not a directory", "serve --dev \"$HOME/"]).not_saying(&["chmod"]);
        assert_eq!(snapshot_of_files(base.path()), before, "{case}");
    }
}

#[test]
fn without_a_directory_it_uses_the_runtime_directory_and_else_the_temporary_one() {
    for variable in ["XDG_RUNTIME_DIR", "TMPDIR"] {
        let base = tempfile::Builder::new().prefix("dev-").tempdir().unwrap();
        let place = base.path().join("servos-keyd-dev");
        let run = Invocation::new(["serve", "--dev"]).variable(variable, base.path());
        let daemon = Daemon::start(&run, place.join("keyd.sock"), place.join("keyd.sock"));
        block_on(async { daemon.component().encrypt(&name("default"), b"x", &cell("1")).await.unwrap() });
        assert!(is_there(&place.join("keyd.redb")), "{variable}");
    }
}
