//! Tests of `sockets`.
//!
//! Must never depend on the groups of the machine that they run on.
//! Run by `cargo test`.

use crate::cli::keyctl::doctor::machine::GroupEntry;
use crate::cli::keyctl::doctor::planted::{Planted, chmod};
use std::os::unix::fs::MetadataExt as _;

#[test]
fn a_socket_that_is_open_to_others_or_closed_to_its_group_is_told_with_its_mode() {
    let planted = Planted::well();
    let (socket, admin) = (planted.at("run/keyd.sock"), planted.at("run/keyd-admin.sock"));
    assert!(planted.ids().is_empty());
    for (path, mode, good, mend) in [
        (&socket, 0o666, 0o660, "chmod 660 "),
        (&socket, 0o600, 0o660, "chmod 660 "),
        (&admin, 0o660, 0o600, "chmod 600 "),
    ] {
        chmod(path, mode);
        let found = planted.sees("socket-mode", mend);
        assert!(found.text.contains(&format!("mode {mode:04o}")), "{}", found.text);
        chmod(path, good);
    }
    std::fs::remove_file(&admin).unwrap();
    std::fs::write(&admin, "").unwrap();
    planted.sees("socket-mode", "mv ");
}

#[test]
fn a_directory_that_others_can_change_is_told() {
    let planted = Planted::well();
    chmod(&planted.at("run"), 0o777);
    let found = planted.sees("socket-directory", "chmod go-w ");
    assert!(found.text.contains("others could replace the socket"), "{}", found.text);
    chmod(&planted.at("run"), 0o750);
    assert!(planted.ids().is_empty());
}

#[test]
fn where_systemd_makes_the_socket_its_units_group_is_in_force_and_another_is_told() {
    let mut planted = Planted::well().unit("");
    planted.case.unit.as_mut().unwrap().socket_group = Some("servos".to_owned());
    planted.config().socket.group = Some("servs".to_owned());
    planted.write("keyd.toml", "[socket]\ngroup = \"servs\"\n");
    chmod(&planted.at("run"), 0o750);
    let gid = planted.at("run").metadata().unwrap().gid();
    planted.case.machine.group =
        Box::new(move |name| Ok((name == "servos").then(|| GroupEntry { gid, members: vec!["app".into()] })));
    let found = planted.sees("configuration", "\"${EDITOR:-vi}\" +2 ");
    assert_eq!(planted.ids(), ["configuration"]);
    for words in ["names servs, a group that is not there", "with the group servos", "that one is in force"] {
        assert!(found.text.contains(words), "{}", found.text);
    }
    planted.config().socket.group = Some("servos".to_owned());
    assert!(planted.ids().is_empty());
    // Without systemd's socket the slip counts, and no group is made of it.
    planted.case.unit.as_mut().unwrap().socket_group = None;
    planted.config().socket.group = Some("servs".to_owned());
    let mend = planted.sees("group-missing", "+2 ").mend.unwrap();
    assert!(mend.ends_with("group = \"servos\"") && !mend.contains("groupadd"), "{mend}");
}

#[test]
fn a_group_that_is_missing_or_cannot_reach_the_socket_is_told() {
    let mut planted = Planted::well();
    planted.config().socket.group = Some("no-such-group".to_owned());
    planted.sees("group-missing", "groupadd --system no-such-group");
    let gid = planted.at("run").metadata().unwrap().gid();
    let of = move |gid: u32| Box::new(move |_: &str| Ok(Some(GroupEntry { gid, members: vec!["app".into()] })));
    planted.case.machine.group = of(gid);
    planted.sees("socket-directory", "chgrp no-such-group ");
    chmod(&planted.at("run"), 0o750);
    assert!(planted.ids().is_empty(), "{:?}", planted.ids());
    planted.case.machine.group = of(gid + 1);
    planted.sees("socket-mode", "chgrp no-such-group ");
    // What nobody can look into from outside is nobody's socket's place.
    if std::path::Path::new("/root").metadata().is_ok_and(|found| found.gid() != gid + 1 && found.mode() & 1 == 0) {
        planted.config().socket.path = "/root/no-such.sock".into();
        let mend = planted.sees("socket-directory", "\"${EDITOR:-vi}\" ").mend.unwrap();
        assert!(mend.ends_with("path = \"/run/servos/keyd.sock\"") && !mend.contains("chgrp"), "{mend}");
        planted.config().socket.path = planted.at("run/keyd.sock");
    }
    planted.case.machine.group = Box::new(|_| Err("the directory of users does not answer".to_owned()));
    assert!(planted.not_made().contains("whether there is a group no-such-group"), "{}", planted.not_made());
}
