//! Tests of `peers`.
//!
//! Must never depend on the users of the machine that they run on.
//! Run by `cargo test`.

use crate::cli::keyctl::doctor::finding::Severity;
use crate::cli::keyctl::doctor::machine::{GroupEntry, UserEntry};
use crate::cli::keyctl::doctor::planted::{Planted, chmod};
use std::os::unix::fs::MetadataExt as _;

/// With a group that may open the socket, and can reach it.
fn with_group(members: &[&str]) -> (Planted, u32) {
    let mut planted = Planted::well();
    planted.config().socket.group = Some("servos".to_owned());
    chmod(&planted.at("run"), 0o750);
    let gid = planted.at("run").metadata().unwrap().gid();
    let members: Vec<String> = members.iter().map(|name| (*name).to_owned()).collect();
    planted.case.machine.group = Box::new(move |_| Ok(Some(GroupEntry { gid, members: members.clone() })));
    (planted, gid)
}

#[test]
fn a_group_without_a_user_is_told() {
    let (planted, gid) = with_group(&[]);
    assert_eq!(planted.sees("group-empty", "usermod -aG servos USER").severity, Severity::Advice);
    // The daemon's own user does not count, another one whose own group it is does.
    planted.write("etc/passwd", format!("servos-keyd:x:990:{gid}::/:/bin/false\n"));
    planted.sees("group-empty", "usermod -aG servos USER");
    planted.write("etc/passwd", format!("app:x:991:{gid}::/:/bin/false\n"));
    assert!(planted.ids().is_empty());
    assert!(with_group(&["app"]).0.ids().is_empty());
    // The package puts the daemon's own user into the group, which lets nobody else in.
    with_group(&["servos-keyd"]).0.sees("group-empty", "usermod -aG servos USER");
    assert!(with_group(&["servos-keyd", "app"]).0.ids().is_empty());
}

#[test]
fn a_user_who_is_not_in_the_group_is_told_and_one_who_is_passes() {
    let (mut planted, gid) = with_group(&["app"]);
    planted.case.users = vec!["app".into(), "web".into(), "root".into(), "nosuch".into()];
    planted.case.machine.user = Box::new(move |name| {
        Ok(match name {
            "app" => Some(UserEntry { uid: 1001, gids: vec![1001, gid] }),
            "web" => Some(UserEntry { uid: 1002, gids: vec![gid + 1] }),
            "root" => Some(UserEntry { uid: 0, gids: vec![gid + 1] }),
            _ => None,
        })
    });
    let report = planted.examined();
    let found: Vec<_> =
        report.found.iter().map(|finding| (finding.kind.id, finding.mend.as_deref().unwrap())).collect();
    assert_eq!(
        found,
        [
            ("user-not-in-group", "usermod -aG servos web"),
            (
                "user-not-in-group",
                "getent passwd # if it is to be one of these, name that; if it is to be made: useradd --system --groups servos \
                 nosuch"
            )
        ]
    );
    planted.case.machine.user = Box::new(|_| Err("no answer".to_owned()));
    assert!(planted.ids().is_empty() && planted.not_made().contains("which groups app is in: no answer"));
}

#[test]
fn a_process_that_began_before_its_user_was_added_is_told() {
    let (mut planted, gid) = with_group(&["app"]);
    planted.case.users = vec!["app".into()];
    planted.case.machine.user = Box::new(move |_| Ok(Some(UserEntry { uid: 1001, gids: vec![1001, gid] })));
    let status = |uid: u32, groups: &str| {
        format!("Name:\tapi\nUid:\t{uid}\t{uid}\t0\t0\nGid:\t1001\t1001\nGroups:\t{groups} \n")
    };
    planted.write("proc/7/status", status(1002, "1001"));
    planted.write("proc/8/status", status(1001, &format!("1001 {gid}")));
    assert!(planted.ids().is_empty());
    planted.write("proc/9/status", status(1001, "1001"));
    let found = planted.sees("user-not-in-group", "systemctl status 9");
    assert!(found.severity == Severity::Advice && found.text.contains("process 9"), "{}", found.text);
}

#[test]
fn a_unit_or_a_namespace_that_maps_no_users_is_told() {
    let planted = Planted::well().unit("PrivateUsers=yes\n");
    let found = planted.sees("peers-unmapped", "PrivateUsers=no");
    assert!(found.text.contains("65534"), "{}", found.text);
    let planted = Planted::well();
    planted.write("proc/self/uid_map", "0 1000 1\n1 100000 65536\n");
    assert_eq!(planted.sees("peers-unmapped", "uid_map").severity, Severity::Advice);
    std::fs::remove_file(planted.at("proc/self/uid_map")).unwrap();
    assert!(planted.ids().is_empty() && planted.not_made().contains("peers: whether users are mapped"));
}
