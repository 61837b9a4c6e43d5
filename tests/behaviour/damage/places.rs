//! The table of owners and modes, and of places where no backup can be written.
//!
//! Must never count as run where this process is not root. Run by `cargo test`.

use super::mend::{Mend, mend};
use super::{End, Fault, Scene, play, serve, serves};
use crate::harness::{Daemon, Installation, Outcome, is_root, not_run};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// A user whom nobody has made: the kernel only knows numbers.
const SERVICE: u32 = 4711;
const STRANGER: u32 = 4712;

fn with_mode(path: PathBuf, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const fn exposed(name: &'static str, harm: fn(&mut Scene), says: &'static [&'static str]) -> Fault {
    Fault { name, harm, met_by: serve, end: End::Code(77), says, mend: Mend::Shell("chmod ") }
}

const fn warned(name: &'static str, harm: fn(&mut Scene), says: &'static [&'static str], mend: Mend) -> Fault {
    Fault { name, harm, met_by: serves, end: End::Serves, says, mend }
}

const MODES: &[Fault] = &[
    exposed(
        "a store that everyone can change",
        |s| with_mode(s.installation.store(), 0o666),
        &["everyone can change the store", "(mode 0666): chmod 600 "],
    ),
    exposed(
        "a store that its group can change",
        |s| with_mode(s.installation.store(), 0o660),
        &["the group can change the store", "(mode 0660): chmod 600 "],
    ),
    exposed(
        "a mark that everyone can change",
        |s| with_mode(s.installation.mark(), 0o602),
        &["everyone can change the mark", "(mode 0602): chmod 600 "],
    ),
    exposed(
        "a mark that its group can change",
        |s| with_mode(s.installation.mark(), 0o620),
        &["the group can change the mark", "(mode 0620): chmod 600 "],
    ),
    exposed(
        "a backup directory that everyone can change",
        |s| with_mode(s.installation.path("backup"), 0o777),
        &["everyone can change the backup directory", "(mode 0777): chmod 700 "],
    ),
    Fault {
        met_by: |s| s.installation.accept(&["--generation", "1", "--yes"]),
        ..exposed(
            "accept of a store that everyone can change",
            |s| with_mode(s.installation.store(), 0o606),
            &["everyone can change the store"],
        )
    },
    warned(
        "a store that others can read",
        |s| with_mode(s.installation.store(), 0o644),
        &["store.place_warning", "others can read the store", "(mode 0644)", ": chmod 600 "],
        Mend::Shell("chmod "),
    ),
    warned(
        "a backup directory that its group can change",
        |s| with_mode(s.installation.path("backup"), 0o770),
        &["the group can change the backup directory", ": chmod 700 "],
        Mend::Shell("chmod "),
    ),
    warned(
        "a backup directory that everyone can change but not take from",
        |s| with_mode(s.installation.path("backup"), 0o1777),
        &[],
        Mend::Nothing,
    ),
    warned(
        "a volume that is its group's, as Kubernetes gives them",
        |s| {
            let volume = s.installation.path("volume");
            std::fs::create_dir(&volume).unwrap();
            for file in ["keyd.redb", "keyd.redb.mark"] {
                std::fs::rename(s.installation.path(file), volume.join(file)).unwrap();
                with_mode(volume.join(file), 0o660);
            }
            with_mode(volume.clone(), 0o2770);
            s.installation.store_path = Some(volume.join("keyd.redb"));
        },
        &["the group can change the store's directory", "the group can change the mark"],
        Mend::Nothing,
    ),
    warned(
        "a file for a backup directory",
        |s| {
            std::fs::rename(s.installation.path("backup"), s.installation.path("kept")).unwrap();
            std::fs::write(s.installation.path("backup"), b"in the way").unwrap();
        },
        &["no backup can be written to", "it is not a directory"],
        Mend::Nothing,
    ),
    warned(
        "no place for a backup directory",
        |s| {
            std::fs::remove_dir_all(s.installation.path("backup")).unwrap();
            s.installation.backup_path = Some(s.installation.path("no such/backup"));
        },
        &["no backup can be written to", ": install -d -m 755 "],
        Mend::Shell("install -d "),
    ),
];

#[test]
fn modes_that_others_could_use_are_refused_or_warned_of_with_the_command_that_mends_them() {
    play(MODES);
}

/// Gives everything of an installation to a user but the configuration.
fn give(installation: &Installation, user: u32) {
    let mut waiting = vec![installation.directory().to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    }
}

struct Owner {
    name: &'static str,
    harm: fn(&Installation),
    says: &'static [&'static str],
}

const OWNERS: &[Owner] = &[
    Owner {
        name: "a store of root's",
        harm: |i| chown(i.store(), Some(0), Some(0)).unwrap(),
        says: &["the store", "cannot be opened by the daemon's user"],
    },
    Owner {
        name: "a store of a stranger's, open to its group",
        harm: |i| {
            chown(i.store(), Some(STRANGER), Some(SERVICE)).unwrap();
            with_mode(i.store(), 0o640);
        },
        says: &["the store", "belongs to user 4712, neither root nor the daemon's user"],
    },
    Owner {
        name: "a mark of root's",
        harm: |i| chown(i.mark(), Some(0), Some(0)).unwrap(),
        says: &["the mark", "cannot be opened by the daemon's user"],
    },
    Owner {
        name: "a directory of root's",
        harm: |i| chown(i.store().parent().unwrap(), Some(0), Some(0)).unwrap(),
        says: &["not permitted on", "permission denied"],
    },
    Owner {
        name: "a directory of a stranger's",
        harm: |i| {
            chown(i.store().parent().unwrap(), Some(STRANGER), Some(SERVICE)).unwrap();
            with_mode(i.store().parent().unwrap().to_owned(), 0o750);
        },
        says: &["the store's directory", "belongs to user 4712, not to the daemon's user"],
    },
];

/// One whose store lies in a directory of its own: that of the sockets has rules of its own.
fn of_a_service() -> Installation {
    let mut installation = Installation::new();
    installation.store_path = Some(installation.path("state/keyd.redb"));
    std::fs::create_dir(installation.path("state")).unwrap();
    with_mode(installation.path("state"), 0o700);
    give(&installation, SERVICE);
    installation.init(&[]).expect(0);
    give(&installation, SERVICE);
    installation
}

fn refused_as_service(installation: &Installation) -> Outcome {
    Daemon::refused(&installation.command("serve", &[]).run_as(SERVICE))
}

fn serves_as_service(installation: &Installation) -> Outcome {
    installation.serve_with(&installation.command("serve", &[]).run_as(SERVICE)).stop().expect(0)
}

#[test]
fn what_is_somebody_else_s_is_refused_with_the_command_that_gives_it_to_the_daemon() {
    if !is_root() {
        return not_run("only root can give files away");
    }
    for row in OWNERS {
        let installation = of_a_service();
        (row.harm)(&installation);
        let before = installation.files();
        let refused = refused_as_service(&installation);
        assert_eq!(refused.code, Some(77), "{}: {refused:#?}", row.name);
        let refused = refused.saying(row.says);
        assert_eq!(installation.files(), before, "{}", row.name);
        let scene = Scene { installation, values: Vec::new() };
        mend(&Mend::Shell("chown -h 4711 "), &scene, &scene, &refused, row.name);
        serves_as_service(&scene.installation);
    }
}

#[test]
fn a_backup_directory_of_somebody_else_s_is_warned_of_and_refuses_only_what_needs_a_backup() {
    if !is_root() {
        return not_run("only root can give files away");
    }
    let installation = of_a_service();
    chown(installation.path("backup"), Some(0), Some(0)).unwrap();
    let warned = serves_as_service(&installation);
    let warned = warned.saying(&["store.place_warning", "no backup can be written to", "by the daemon's user"]);
    let scene = Scene { installation, values: Vec::new() };
    mend(&Mend::Shell("chown -h 4711 "), &scene, &scene, &warned, "a backup directory of root's");
    serves_as_service(&scene.installation).not_saying(&["store.place_warning"]);
    assert!(Path::new(&scene.installation.path("backup")).is_dir());
}

#[test]
fn root_takes_no_store_of_a_stranger_s() {
    if !is_root() {
        return not_run("only root can give files away");
    }
    let scene = Scene::made();
    chown(scene.installation.store(), Some(STRANGER), None).unwrap();
    let refused = serve(&scene).expect(77).saying(&["belongs to user 4712"]);
    mend(&Mend::Shell("chown -h "), &scene, &scene, &refused, "a stranger's store");
    serves(&scene).expect(0);
}
