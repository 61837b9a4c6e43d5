//! The daemon's own sandbox: in force on every thread of it, told by status, and out of the way of its work.
//!
//! Must never ask the daemon whether it is confined where the kernel can be asked. Run by `cargo test`.

use crate::harness::rotation::rotate;
use crate::harness::{
    Daemon, Installation, KeyFile, beside, block_on, cell, eventually, has_landlock, hex, in_a_small_place, is_root,
    name, not_run, random_key, refuse, rotation_complete, sandbox, threads,
};
use servos_keyd::proto::v1::{Confinement, SandboxStatus};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn use_it(daemon: &Daemon) {
    block_on(async {
        let (client, admin) = (daemon.component(), daemon.admin());
        let sealed = client.encrypt(&name("default"), b"x", &cell("1")).await.unwrap().ciphertext;
        assert_eq!(client.decrypt(&name("default"), &sealed, &cell("1")).await.unwrap().plaintext.as_slice(), b"x");
        admin.create_key(&name("mine")).await.unwrap();
        admin.rotate_key(&name("mine")).await.unwrap();
        admin.back_up().await.unwrap();
    });
}

#[test]
fn every_thread_of_the_daemon_is_confined_whatever_started_it() {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    // A backup starts a thread for itself; here it is met when it comes.
    let process = daemon.id();
    let met = std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let mut met = BTreeMap::new();
            eventually("a thread in the background", || {
                met.extend(threads(process).into_iter().map(|thread| (thread.name, thread.status)));
                met.keys().any(|name| name == "background")
            });
            met
        });
        while !watch.is_finished() {
            block_on(async { daemon.admin().fetch_backup().await.unwrap() });
            block_on(async { daemon.admin().rotate_key(&name("default")).await.unwrap() });
        }
        watch.join().unwrap()
    });
    for name in ["servos-keyd", "writer", "tokio-rt-worker", "background"] {
        assert!(met.contains_key(name), "no thread {name} among {:?}", met.keys());
    }
    let now = threads(process).into_iter().map(|thread| (thread.name, thread.status));
    for (name, status) in met.into_iter().chain(now) {
        let field = |field: &str| status[field].as_str();
        assert_eq!((field("Seccomp"), field("Seccomp_filters"), field("NoNewPrivs")), ("2", "2", "1"), "{name}");
    }
    let (told, warnings) = sandbox(&daemon);
    assert!(told.seccomp() == Confinement::Enforced && told.seccomp_reason.is_empty());
    match has_landlock() {
        true => {
            assert!(matches!(told.landlock(), Confinement::Enforced | Confinement::Partial));
            assert!(
                told.landlock_abi > 0 && warnings.iter().all(|warning| !warning.contains("sandbox")),
                "{warnings:?}"
            );
        }
        false => not_run("the kernel has no Landlock"),
    }
    assert!(daemon.said().contains("sandbox.entered"));
    daemon.stop().expect(0);
}

#[test]
fn each_half_can_be_turned_off_and_is_told_as_off() {
    for (landlock, seccomp) in [(true, false), (false, true), (false, false)] {
        let mut installation = Installation::made();
        installation.more = format!("[sandbox]\nlandlock = {landlock}\nseccomp = {seccomp}\n");
        let daemon = installation.serve_for_admin();
        let (told, warnings) = sandbox(&daemon);
        assert_eq!(told.seccomp() == Confinement::Off, !seccomp);
        assert_eq!(told.landlock() == Confinement::Off, !landlock);
        assert!(warnings.iter().all(|warning| !warning.contains("is turned off")), "{warnings:?}");
        for thread in threads(daemon.id()) {
            assert_eq!(thread.status["Seccomp"], if seccomp { "2" } else { "0" }, "{}", thread.name);
        }
        let said = daemon.said();
        assert_eq!(
            said.matches("[sandbox] turns it off").count(),
            [landlock, seccomp].iter().filter(|on| !**on).count()
        );
        let shown = daemon.keyctl(&["status"]).run(crate::harness::KEYCTL).expect(0).stdout;
        assert_eq!(shown.matches("turned OFF by the configuration").count(), said.matches("turns it off").count());
        use_it(&daemon);
        daemon.stop().expect(0);
    }
}

#[test]
fn places_apart_are_written_to_read_again_and_left_clean() {
    let [state, mark, backups, key, links] = [(); 5].map(|()| tempfile::tempdir().unwrap());
    let mut installation = Installation::new();
    installation.store_path = Some(state.path().join("keyd.redb"));
    installation.mark_path = Some(mark.path().join("the.mark"));
    // Not there when the daemon starts.
    installation.backup_path = Some(backups.path().join("kept"));
    let key_file = key.path().join("master.key");
    std::fs::copy(installation.path("master.key"), &key_file).unwrap();
    let link = links.path().join("key");
    std::os::unix::fs::symlink(&key_file, &link).unwrap();
    installation.key_file = KeyFile::At(link.clone());
    installation.init(&[]).expect(0);
    let write_key = |path: &Path, key: [u8; 32]| {
        std::fs::write(path, hex(&key)).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    std::fs::remove_dir_all(backups.path().join("kept")).unwrap();
    let daemon = installation.serve_for_admin();
    use_it(&daemon);
    assert!(std::fs::read_dir(backups.path().join("kept")).unwrap().count() > 0);
    // The key's file is replaced by rename, and read again behind the link that leads to it.
    let (new, next) = (random_key(), beside(&link, ".next"));
    write_key(&next, new);
    rotate(&daemon, &["begin", "--yes"]).expect(0);
    std::fs::remove_file(&next).unwrap();
    let fresh = key.path().join("fresh");
    write_key(&fresh, new);
    std::fs::rename(&fresh, &key_file).unwrap();
    rotate(&daemon, &["finish", "--yes"]).expect(0);
    rotation_complete(&daemon);
    // No more is closed to it than what this kernel says of any daemon.
    let (told, warnings) = sandbox(&daemon);
    let anyway = lacking(&told);
    assert_eq!(daemon.said().matches("sandbox.incomplete").count(), anyway.len(), "{}", daemon.said());
    assert!(warnings.iter().all(|warning| !warning.contains("keeps it closed")), "{warnings:?}");
    daemon.stop().expect(0);
    assert!(installation.sockets().is_empty());
    assert_eq!(installation.opened_by(&[installation.key, new]), [new]);
}

#[test]
fn backups_to_which_a_link_or_dots_below_the_store_lead_are_written() {
    let elsewhere = tempfile::tempdir().unwrap();
    for through in ["link", "dots"] {
        let mut installation = Installation::made();
        let state = installation.store().parent().unwrap().to_owned();
        let (link, place) = (state.join("leads-elsewhere"), elsewhere.path().join(through));
        std::fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink(&place, &link).unwrap();
        // The second is not there when the daemon starts.
        installation.backup_path = Some(if through == "link" { link } else { link.join("../more") });
        let daemon = installation.serve_for_admin();
        use_it(&daemon);
        assert!(sandbox(&daemon).1.iter().all(|warning| !warning.contains("keeps it closed")));
        daemon.stop().expect(0);
    }
    for name in ["link", "more"] {
        assert!(std::fs::read_dir(elsewhere.path().join(name)).unwrap().count() > 0, "{name}");
    }
}

#[test]
fn a_backup_directory_that_cannot_be_made_is_named_with_what_to_do() {
    let mut installation = Installation::made();
    let gone = tempfile::tempdir().unwrap();
    installation.backup_path = Some(gone.path().join("none/backup"));
    let daemon = installation.serve_for_admin();
    let (_, warnings) = sandbox(&daemon);
    if !has_landlock() {
        return not_run("the kernel has no Landlock");
    }
    let said = "none/backup was not there, or not for the daemon, when it started";
    assert!(warnings.iter().any(|warning| warning.contains(said)), "{warnings:?}");
    assert!(daemon.said().contains(said));
    // The command that is told mends it, with a restart.
    let warning = warnings.iter().find(|warning| warning.contains(said)).unwrap();
    assert!(warning.contains("(systemctl restart servos-keyd)"), "{warning}");
    let command = warning.split_once("First make it: ").unwrap().1;
    assert!(std::process::Command::new("/bin/sh").args(["-c", command]).status().unwrap().success(), "{command}");
    daemon.stop().expect(0);
    let daemon = installation.serve_for_admin();
    assert!(sandbox(&daemon).1.iter().all(|warning| !warning.contains(said)));
    use_it(&daemon);
    daemon.stop().expect(0);
}

#[test]
fn a_backup_directory_that_is_made_anew_is_refused_with_the_restart_that_opens_it() {
    let mut installation = Installation::made();
    let elsewhere = tempfile::tempdir().unwrap();
    let backups = elsewhere.path().join("backup");
    installation.backup_path = Some(backups.clone());
    installation.self_check = Some("1s");
    let daemon = installation.serve_for_admin();
    if !has_landlock() {
        return not_run("the kernel has no Landlock");
    }
    let back_up = |daemon: &Daemon| block_on(async { daemon.admin().back_up().await });
    back_up(&daemon).unwrap();
    std::fs::rename(&backups, elsewhere.path().join("before")).unwrap();
    std::fs::create_dir(&backups).unwrap();
    std::fs::set_permissions(&backups, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(back_up(&daemon).is_err());
    let said = "permission denied; if the directory was made or mounted after the daemon's start, restart the daemon";
    // What status says under "To mend", once the daemon has looked for its newest backup.
    eventually("a self-check finds no backup", || sandbox(&daemon).1.iter().any(|warning| warning.contains(said)));
    daemon.stop().expect(0).saying(&[said]);
    let daemon = installation.serve_for_admin();
    back_up(&daemon).unwrap();
    daemon.stop().expect(0);
}

#[test]
fn what_lies_in_a_directory_that_is_made_anew_is_told_with_the_restart_that_opens_it() {
    let mut installation = Installation::new();
    let [marks, keys] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mark = marks.path().join("mark");
    std::fs::create_dir(&mark).unwrap();
    installation.mark_path = Some(mark.join("keyd.mark"));
    let key = keys.path().join("master.key");
    std::fs::copy(installation.path("master.key"), &key).unwrap();
    installation.key_file = KeyFile::At(key.clone());
    installation.init(&[]).expect(0);
    let daemon = installation.serve_for_admin();
    if !has_landlock() {
        return not_run("the kernel has no Landlock");
    }
    let restart = "after the daemon's start, restart the daemon";
    let make_key = || block_on(async { daemon.admin().create_key(&name(&hex(&random_key())[..8])).await.map(drop) });
    std::fs::rename(&mark, marks.path().join("before")).unwrap();
    std::fs::create_dir(&mark).unwrap();
    let _ = make_key();
    let said =
        |warnings: &[String]| warnings.iter().any(|warning| warning.contains("mark") && warning.contains(restart));
    assert!(said(&sandbox(&daemon).1), "{:?}", sandbox(&daemon).1);
    // The directory that was there is the one that is open: put back, it is written to again.
    std::fs::remove_dir(&mark).unwrap();
    std::fs::rename(marks.path().join("before"), &mark).unwrap();
    eventually("the mark is written again", || make_key().is_ok() && !said(&sandbox(&daemon).1));

    let (new, next) = (random_key(), beside(&key, ".next"));
    std::fs::write(&next, hex(&new)).unwrap();
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).unwrap();
    rotate(&daemon, &["begin", "--yes"]).expect(0);
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved.key");
    std::fs::rename(&next, &moved).unwrap();
    std::fs::remove_file(&key).unwrap();
    std::os::unix::fs::symlink(&moved, &key).unwrap();
    let refused = rotate(&daemon, &["finish", "--yes"]);
    assert_ne!(refused.code, Some(0));
    assert!(daemon.said().contains("linked to after the daemon's start"), "{}\n{refused:#?}", daemon.said());
    daemon.stop().expect(0);
    let daemon = installation.serve_for_admin();
    rotation_complete(&daemon);
    daemon.stop().expect(0);
}

/// A user whom no file knows, but a record of systemd's, and what the daemon says of a key file of that user's.
const LODGER: (u32, &str) = (61_234, "lodger");

#[test]
#[ignore = "a part of the next one, which runs it in a mount namespace"]
fn lodger() {
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    // Nothing of the machine's own is changed: /run is another one here.
    assert!(run("mount", &["-t", "tmpfs", "-o", "mode=0755", "none", "/run"]));
    std::fs::create_dir("/run/userdb").unwrap();
    let (uid, name) = LODGER;
    let record = format!(r#"{{"userName":"{name}","uid":{uid},"gid":{uid},"disposition":"regular"}}"#);
    std::fs::write("/run/userdb/lodger.user", record).unwrap();
    std::os::unix::fs::symlink("lodger.user", format!("/run/userdb/{uid}.user")).unwrap();
    if !run("getent", &["passwd", &uid.to_string()]) {
        return not_run("the system looks up users in files alone, or has no systemd to be asked");
    }
    let mut installation = Installation::made();
    // Not in memory, where owners of key files are no matter.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let key = directory.path().join("master.key");
    std::fs::copy(installation.path("master.key"), &key).unwrap();
    std::os::unix::fs::chown(&key, Some(uid), None).unwrap();
    (installation.key_file, installation.allow_readable) = (KeyFile::At(key), true);
    let daemon = installation.serve();
    let said = daemon.said();
    daemon.stop().expect(0);
    assert!(said.contains(&format!("it belongs to {name}, ")), "{said}");
}

#[test]
fn a_user_whom_a_name_service_knows_is_called_by_name_though_no_code_can_be_loaded() {
    if !is_root() {
        return not_run("only root can mount, and give a file away");
    }
    let said = in_a_small_place("sandbox::lodger");
    if let Some((_, reason)) = said.split_once("sandbox::lodger: ").filter(|_| said.contains("NOT RUN")) {
        not_run(reason.lines().next().unwrap());
    }
}

/// The halves that are not wholly in force, and how far they took.
fn lacking(told: &SandboxStatus) -> Vec<(&'static str, Confinement)> {
    let halves = [("Landlock", told.landlock()), ("seccomp", told.seccomp())];
    halves.into_iter().filter(|(_, state)| *state != Confinement::Enforced).collect()
}

/// A daemon on what looks to it like a kernel that answers these calls with this error.
fn on_a_kernel_without(installation: &Installation, calls: &[i64], errno: i32) -> Daemon {
    let start = || {
        // For this thread and what it starts; it ends with it.
        refuse(calls, errno).unwrap();
        installation.serve_for_admin()
    };
    std::thread::scope(|scope| scope.spawn(start).join().unwrap())
}

const LANDLOCK: [i64; 3] =
    [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];

#[test]
fn a_kernel_without_either_half_is_told_of_once_each_and_served_on() {
    let seccomp = [libc::SYS_seccomp];
    let both = [LANDLOCK.as_slice(), &seccomp].concat();
    let cases: [(&[i64], i32, &[&str]); 4] = [
        (&LANDLOCK, libc::ENOSYS, &["without Landlock: the kernel has no Landlock"]),
        (&LANDLOCK, libc::EOPNOTSUPP, &["without Landlock: the kernel was booted without Landlock"]),
        (&seccomp, libc::EINVAL, &["without seccomp: the kernel refuses the filter: Invalid argument"]),
        (&both, libc::ENOSYS, &["without Landlock: ", "without seccomp: "]),
    ];
    // What a kernel that is older lacks of itself, is told of in each case.
    let plain = Installation::made();
    let daemon = plain.serve_for_admin();
    let anyway = lacking(&sandbox(&daemon).0);
    daemon.stop().expect(0);
    for (calls, errno, missing) in cases {
        let of_the_kernel = || anyway.iter().filter(|(name, _)| !missing.iter().any(|words| words.contains(name)));
        let unavailable = of_the_kernel().filter(|(_, state)| *state == Confinement::Unavailable).count();
        let installation = Installation::made();
        let daemon = on_a_kernel_without(&installation, calls, errno);
        let (told, warnings) = sandbox(&daemon);
        for words in missing {
            assert!(warnings.iter().any(|warning| warning.contains(words)), "{words}: {warnings:?}");
        }
        assert_eq!(
            warnings.iter().filter(|warning| warning.starts_with("The sandbox is")).count(),
            missing.len() + unavailable
        );
        let lines = daemon.said().matches("sandbox.incomplete").count();
        assert_eq!(lines, missing.len() + of_the_kernel().count(), "{}", daemon.said());
        let states = [(told.landlock(), "Landlock"), (told.seccomp(), "seccomp")];
        for (state, name) in states {
            let is_missing = missing.iter().any(|words| words.contains(name));
            let of_itself = anyway.contains(&(name, Confinement::Unavailable));
            assert_eq!(state == Confinement::Unavailable, is_missing || of_itself, "{name}");
        }
        let shown = daemon.keyctl(&["status"]).run(crate::harness::KEYCTL).expect(0).stdout;
        assert!(shown.contains("To mend:\n") && shown.contains("- The sandbox is without "), "{shown}");
        use_it(&daemon);
        daemon.stop().expect(0);
    }
}
