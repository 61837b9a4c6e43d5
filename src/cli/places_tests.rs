//! Tests of `places`.
//!
//! Must never give away a file but those that they made.
//! Run by `cargo test`.

use super::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

#[test]
fn a_network_file_system_is_a_matter_of_configuration_and_is_named_with_the_setting() {
    let refused = refuse_network(Path::new("/mnt/state"), Some("nfs")).unwrap_err();
    assert_eq!(refused.exit, exit::CONFIG);
    for word in ["/mnt/state is on nfs", "[store]", "`path`", "backups may stay"] {
        assert!(refused.message.contains(word), "{}", refused.message);
    }
    refuse_network(Path::new("/mnt/state"), None).unwrap();
}

#[test]
fn what_is_the_services_is_never_given_to_whoever_started_a_daemon_by_hand() {
    let names = |uid| [(1, "daemon"), (77, SERVICE_USER)].into_iter().find(|(its, _)| *its == uid);
    let right = |own, owner, has_service: bool| {
        right_user_of(own, owner, |uid| names(uid).map(|(_, name)| name.to_owned()), || has_service)
    };
    assert_eq!(right(Some("app"), 77, true).as_deref(), Some(SERVICE_USER));
    assert_eq!(right(None, 0, true).as_deref(), Some(SERVICE_USER), "root's directory, on a machine with the service");
    assert_eq!(right(Some("app"), 1, false).as_deref(), Some("daemon"));
    assert_eq!(right(Some("app"), 0, false), None, "a machine without the service");
    assert_eq!(right(Some("app"), 4712, true), None, "an owner that is nobody's");
    for owner in [0, 1, 4712] {
        assert_eq!(right(Some(SERVICE_USER), owner, true), None, "the service's own user is the right one");
    }
}

#[test]
fn what_is_given_away_is_never_what_a_link_points_to_that_the_daemons_user_has_put_there() {
    if !geteuid().is_root() {
        use std::io::Write as _;
        let _ = writeln!(io::stderr(), "NOT RUN: what a link points to: only root gives files away");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(place.path(), 0o755);
    std::fs::write(at("roots"), "").unwrap();
    mode(&at("roots"), 0o644);
    std::os::unix::fs::symlink(at("roots"), at("keyd.redb")).unwrap();
    for (uid, gid) in [(1, None), (4711, Some(4711))] {
        let run = |name: &str| Command::new("sh").args(["-c", &hand_over(uid, gid, &at(name), "600")]).status();
        assert!(!run("keyd.redb").unwrap().success());
        let found = at("roots").metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o644), "{}", hand_over(uid, gid, &at("x"), "600"));
        std::fs::write(at("own"), "").unwrap();
        assert!(run("own").unwrap().success());
        let found = at("own").metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (uid, 0o600));
    }
    assert_eq!(hand_over(0, None, Path::new("/k"), "600"), "chown -h root /k && chmod 600 /k");
}

#[test]
fn a_directory_that_is_yet_to_be_made_is_judged_by_where_it_will_lie() {
    let place = tempfile::tempdir().unwrap();
    check_file_system(&place.path().join("not/yet/there")).unwrap();
    check_file_system(Path::new("relative/and/missing")).unwrap();
}
