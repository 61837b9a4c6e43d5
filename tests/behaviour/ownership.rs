//! Who owns what: files that root makes for the daemon's user, sockets with their modes, rights that come with a uid.
//!
//! Must never count as run where this process is not root. Run by `cargo test`.

use crate::harness::{
    Daemon, Installation, KEYCTL, block_on, cell, eventually, is_root, name, not_run, snapshot_of_files,
};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// A user whom nobody has made: the kernel only knows numbers.
const SERVICE: u32 = 4711;
const STRANGER: u32 = 4712;

/// An installation whose directory and key belong to the daemon's user.
fn of_a_service() -> Option<Installation> {
    if !is_root() {
        not_run("only root can make files for another user, and run as one");
        return None;
    }
    let installation = Installation::new();
    for path in [installation.directory().to_owned(), installation.path("master.key")] {
        chown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    Some(installation)
}

#[track_caller]
fn assert_all_belong_to_the_service(installation: &Installation) {
    for path in snapshot_of_files(installation.directory()).keys().filter(|path| !path.ends_with("keyd.toml")) {
        let found = installation.path(path.to_str().unwrap()).symlink_metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (SERVICE, SERVICE), "{}", path.display());
    }
}

fn serve_as_service(installation: &Installation) -> Daemon {
    installation.serve_with(&installation.command("serve", &[]).run_as(SERVICE))
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_state_directory_who_then_serves() {
    let Some(installation) = of_a_service() else { return };
    installation.init(&[]).expect(0);
    assert_all_belong_to_the_service(&installation);
    let daemon = serve_as_service(&installation);
    block_on(async { daemon.admin().rotate_key(&name("default")).await.unwrap() });
    daemon.stop().expect(0);
    assert_eq!(installation.backups().len(), 2);
    assert_all_belong_to_the_service(&installation);

    std::fs::remove_file(installation.mark()).unwrap();
    let generation = installation.records().generation.to_string();
    installation.accept(&["--generation", &generation, "--yes"]).expect(0);
    assert_all_belong_to_the_service(&installation);
    serve_as_service(&installation).stop().expect(0);

    // A creation of root's that broke off, and is begun again.
    let Some(begun_again) = of_a_service() else { return };
    begun_again.init(&[]).expect(0);
    begun_again.write_mark(None, Some(begun_again.marked_state()));
    std::fs::remove_file(begun_again.store()).unwrap();
    for path in [begun_again.path("backup"), begun_again.backups()[0].clone(), begun_again.mark()] {
        chown(path, Some(0), Some(0)).unwrap();
    }
    begun_again.init(&[]).expect(0);
    assert_all_belong_to_the_service(&begun_again);

    std::fs::remove_file(installation.store()).unwrap();
    installation.restore(&installation.backups().pop().unwrap()).expect(0);
    assert_all_belong_to_the_service(&installation);
    serve_as_service(&installation).stop().expect(0);
}

#[test]
fn what_root_did_not_make_here_stays_its_own() {
    let Some(installation) = of_a_service() else { return };
    let owner = |path: &Path| path.symlink_metadata().unwrap().uid();
    // A directory that root keeps other things in, and what a hostile daemon's user could link to.
    let backups = installation.path("backup");
    std::fs::create_dir(&backups).unwrap();
    let kept = installation.write_private("backup/other", b"of root");
    installation.init(&[]).expect(0);
    assert_eq!((owner(&backups), owner(&kept), owner(&installation.store())), (0, 0, SERVICE));

    let linked = installation.write_private("of-root", b"of root");
    std::fs::hard_link(&linked, backups.join("keyd-linked.skb1")).unwrap();
    chown(&backups, Some(SERVICE), Some(SERVICE)).unwrap();
    std::fs::remove_file(installation.mark()).unwrap();
    installation.accept(&["--generation", "1", "--yes"]).expect(0);
    assert_eq!((owner(&linked), owner(&installation.mark())), (0, SERVICE));
    // What an operator copied back as root is given all the same.
    chown(installation.store(), Some(0), Some(0)).unwrap();
    let generation = installation.marked_state().generation.to_string();
    installation.accept(&["--generation", &generation, "--yes"]).expect(0);
    assert_eq!(owner(&installation.store()), SERVICE);
}

#[test]
fn a_key_file_that_the_daemon_s_user_cannot_read_is_named_with_the_command_that_mends_it() {
    let Some(installation) = of_a_service() else { return };
    installation.init(&[]).expect(0);
    let key = installation.path("master.key");
    chown(&key, Some(0), Some(0)).unwrap();
    let before = installation.files();
    let refused = Daemon::refused(&installation.command("serve", &[]).run_as(SERVICE)).expect(77);
    refused.saying(&[&format!("chown -h {SERVICE} {}", key.display())]);
    assert_eq!(installation.files(), before);
}

#[test]
fn a_store_that_the_daemon_s_user_cannot_read_or_write_is_not_permitted() {
    let Some(installation) = of_a_service() else { return };
    installation.init(&[]).expect(0);
    chown(installation.store(), Some(0), Some(0)).unwrap();
    let before = installation.files();
    let refused = Daemon::refused(&installation.command("serve", &[]).run_as(SERVICE)).expect(77);
    refused.saying(&[installation.store().to_str().unwrap()]);
    assert_eq!(installation.files(), before);
}

#[test]
fn the_sockets_have_their_modes_and_administration_is_root_s_whoever_owns_the_socket() {
    let Some(installation) = of_a_service() else { return };
    installation.init(&[]).expect(0);
    let daemon = serve_as_service(&installation);
    let found = |path: &Path| path.symlink_metadata().unwrap();
    let (component, admin) = (found(&daemon.component_socket), found(&daemon.admin_socket));
    assert_eq!((component.mode() & 0o7777, component.uid()), (0o660, SERVICE));
    assert_eq!((admin.mode() & 0o7777, admin.uid()), (0o600, SERVICE));
    // The daemon's own user opens its admin socket, and may still not administer.
    for arguments in [&["keys", "rotate", "default"][..], &["keys", "create", "mine"], &["status"]] {
        let refused = daemon.keyctl(arguments).run_as(SERVICE).run(KEYCTL);
        assert_eq!(refused.code, Some(77), "{refused:#?}");
    }
    let whoami = daemon.keyctl(&["whoami"]).run_as(SERVICE).run(KEYCTL).expect(0);
    whoami.saying(&["4711"]);
    // Somebody who cannot open a socket gets no further than that.
    std::fs::set_permissions(installation.directory(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for socket in [&daemon.component_socket, &daemon.admin_socket] {
        let stranger = daemon.keyctl(&["--socket", socket.to_str().unwrap(), "whoami"]).run_as(STRANGER);
        stranger.run(KEYCTL).expect(77);
    }
    block_on(async { daemon.component().encrypt(&name("default"), b"x", &cell("1")).await.unwrap() });
}

#[test]
fn credentials_that_the_kernel_cannot_tell_are_a_denial() {
    let Some(installation) = of_a_service() else { return };
    installation.init(&[]).expect(0);
    let daemon = serve_as_service(&installation);
    // The uid that stands for every user of another namespace.
    let overflow: u32 = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap().trim().parse().unwrap();
    std::fs::set_permissions(installation.directory(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    chown(&daemon.component_socket, Some(overflow), None).unwrap();
    let socket = daemon.component_socket.to_str().unwrap();
    let refused = daemon.keyctl(&["--socket", socket, "whoami"]).run_as(overflow).run(KEYCTL);
    refused.expect(77).saying(&["the kernel did not tell who is calling"]);
    eventually("the log says why", || daemon.said().contains("a peer is unknown: its calls are denied"));
    block_on(async { daemon.component().encrypt(&name("default"), b"x", &cell("1")).await.unwrap() });
}

#[test]
fn a_restore_whose_files_cannot_all_be_given_away_is_reported_all_the_same() {
    let Some(installation) = of_a_service() else { return };
    installation.init(&[]).expect(0);
    let (directory, elsewhere) = (installation.path("backup"), installation.path("disk"));
    let backup = installation.write_private("elsewhere.skb1", &std::fs::read(&installation.backups()[0]).unwrap());
    std::fs::remove_dir_all(&directory).unwrap();
    // Nothing lies there yet: it is taken for the daemon's own, and root follows no link to give it.
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &directory).unwrap();
    std::fs::remove_file(installation.store()).unwrap();
    let told = installation.restore(&backup).expect(77);
    told.saying(&["8 keys, 8 versions", "undo", "is a symbolic link"]);
    assert_eq!(elsewhere.metadata().unwrap().uid(), 0);
}
