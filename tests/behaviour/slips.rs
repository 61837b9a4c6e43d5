//! An operator's slips: a path that is wrong, a daemon started by the wrong user, a second init, a key that is no copy.
//!
//! Must never let a slip change a byte, nor be answered with a command that makes it worse.
//! Run by `cargo test`.

use crate::harness::rotation::text;
use crate::harness::{
    Daemon, Installation, Invocation, KEYCTL, KEYD, KeyFile, NOBODY, fingerprint, hex, is_root, not_run,
};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

#[test]
fn a_slip_in_the_stores_path_is_named_with_its_line_and_nothing_is_made_or_brought_back_there() {
    let mut installation = Installation::made();
    let (store, newest) = (installation.store(), installation.backups().pop().unwrap());
    installation.store_path = Some(installation.path("stor.redb"));
    let before = installation.files();
    for (code, said) in [
        (66, installation.serve_refused()),
        (73, installation.init(&[])),
        (66, installation.restore(&newest)),
        (66, installation.accept(&["--generation", "1", "--yes"])),
        (66, installation.command("fsck", &[]).run(KEYD)),
    ] {
        said.expect(code).saying(&["no store at", "one stands at", text(&store), "(line 6 of ", "keyd.toml"]);
    }
    let configuration = installation.path("keyd.toml");
    let asked = installation.keyctl(&["check-key", "--config", text(&configuration)]);
    asked.expect(66).saying(&["one stands at", text(&store)]);
    let checked = installation.keyctl(&["config", "check", "--config", text(&configuration)]).expect(0);
    let (_, command) = checked.stdout.split_once(": sed -i ").unwrap();
    let command = format!("sed -i {}", command.split(" && ").next().unwrap());
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
    let corrected = std::fs::read_to_string(&configuration).unwrap();
    assert!(corrected.contains(&format!("path = {:?}", text(&store))), "{corrected}");
    assert_eq!(installation.files(), before);
    installation.store_path = None;
    installation.serve().stop().expect(0);
}

#[test]
fn a_second_installation_beside_another_is_told_its_own_way_and_its_init_goes_on() {
    let first = Installation::made();
    let mut second = Installation::new();
    second.store_path = Some(first.directory().join("b.redb"));
    let said = second.init(&[]).expect(73).saying(&["one stands at", "an installation of its own"]);
    let (_, way) = said.stderr.split_once("a directory of its own: ").unwrap();
    let (command, path) = way.split_once(" and, under [store], path = \"").unwrap();
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    second.store_path = Some(path.split('"').next().unwrap().into());
    second.init(&[]).expect(0);
}

#[test]
fn a_daemon_that_another_user_starts_is_told_whose_the_files_are_and_nothing_is_given_away() {
    if !is_root() {
        return not_run("only root can make files for another user, and run as one");
    }
    let installation = Installation::new();
    // A user that every system has.
    const DAEMON: u32 = 1;
    for path in [installation.directory().to_owned(), installation.path("master.key")] {
        chown(path, Some(DAEMON), Some(DAEMON)).unwrap();
    }
    installation.init(&[]).expect(0);
    std::fs::set_permissions(installation.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = installation.files();
    let refused = Daemon::refused(&installation.command("serve", &[]).run_as(NOBODY)).expect(77);
    let said = ["this runs as nobody", "belongs to daemon", "runuser -u daemon -- servos-keyd serve"];
    refused.saying(&said).not_saying(&["chown"]);
    assert_eq!(installation.files(), before);
}

#[test]
fn a_second_init_says_what_stands_there_that_nothing_was_touched_and_what_to_look_at() {
    let installation = Installation::made();
    let before = installation.files();
    let words = ["a store stands at", "in use since", "nothing was touched", "servos-keyctl doctor"];
    let said = installation.init(&[]).expect(73);
    said.saying(&words).saying(&[text(&installation.store()), &fingerprint(installation.key)]);
    installation.init(&["--adopt-legacy"]).expect(73).saying(&["servos-keyctl legacy adopt FILE"]);
    let daemon = installation.serve_for_admin();
    let said = installation.init(&[]).expect(73).saying(&["servos-keyctl status"]);
    if is_root() {
        said.saying(&["its daemon serves it", &fingerprint(installation.key), "in use since"]);
    }
    daemon.stop().expect(0);
    std::fs::write(installation.store(), b"no store").unwrap();
    installation.init(&[]).expect(73).saying(&["tells nothing", "servos-keyctl doctor"]);
    std::fs::write(installation.store(), b"").unwrap();
    assert_eq!(installation.files().len(), before.len());
}

#[test]
fn the_commands_of_a_message_have_the_key_in_front_that_only_the_variable_named() {
    let mut installation = Installation::made();
    installation.key_file = KeyFile::None;
    std::fs::remove_file(installation.store()).unwrap();
    let key = installation.path("master.key");
    let command = installation.command("serve", &[]).variable("SERVOS_MASTER_KEY_FILE", &key);
    let named = format!("`SERVOS_MASTER_KEY_FILE={} servos-keyd restore --config ", text(&key));
    Daemon::refused(&command).expect(66).saying(&[&named]);
}

#[test]
fn a_value_without_its_quotes_is_told_with_the_line_as_it_is_to_be() {
    let installation = Installation::new();
    let path = installation.write_private("keyd.toml", b"[log]\nlevel = info\n");
    let said = Invocation::new(["serve", "--config", text(&path)]).run(KEYD).expect(78);
    said.saying(&["keyd.toml:2: ", "without quotes; write: level = \"info\""]);
    let path = installation
        .write_private("keyd.toml", format!("[master_key]\nfile = {}\n", hex(&installation.key)).as_bytes());
    let said = Invocation::new(["config", "check", "--config", text(&path)]).run(KEYCTL).expect(78);
    said.not_saying(&[&hex(&installation.key)]);
}

#[test]
fn a_configuration_that_the_daemons_user_cannot_read_is_told_with_the_command_that_opens_it() {
    if !is_root() {
        return not_run("only root runs a process as another user");
    }
    let installation = Installation::new();
    let path = installation.write_configuration();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(installation.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = Invocation::new(["serve", "--config", text(&path)]).run_as(NOBODY);
    run.run(KEYD).expect(78).saying(&["cannot be read by nobody", &format!("chmod o+r {}", path.display())]);
    // Whoever names the file of the key by mistake is not told to open it to everyone.
    let key = installation.write_private("servos.env", b"SERVOS_MASTER_KEY=x\n");
    chown(&key, Some(0), Some(0)).unwrap();
    let run = Invocation::new(["serve", "--config", text(&key)]).run_as(NOBODY);
    let said = run.run(KEYD).expect(78).saying(&["is not to be opened to others", "run this as root"]);
    said.not_saying(&["chmod"]);
}

#[test]
fn a_file_that_the_services_unit_names_is_no_copy_and_no_drill() {
    let mut installation = Installation::made();
    installation.key_file = KeyFile::None;
    let key = installation.path("master.key");
    let tools = installation.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let unit = format!("#!/bin/sh\nprintf '[Service]\\nLoadCredential=servos_master_key:{}\\n'\n", text(&key));
    let tool = installation.write_private("tools/systemctl", unit.as_bytes());
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    if !is_root() {
        return not_run("only root administers a daemon that opens no key file");
    }
    // As systemd hands it over.
    let credentials = installation.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::copy(&key, credentials.join("servos_master_key")).unwrap();
    let command = installation.command("serve", &[]).variable("CREDENTIALS_DIRECTORY", &credentials);
    let daemon = installation.serve_with(&command);
    let check = |file: &std::path::Path| {
        daemon.keyctl(&["check-key", "--json", "--key-file", text(file)]).variable("PATH", &tools).run(KEYCTL).expect(0)
    };
    let said = check(&key);
    said.saying(&["is what the service itself reads, by its unit, and no copy", "\"recorded\": null"]);
    let copy = installation.write_private("kept elsewhere.key", format!("{}\n", hex(&installation.key)).as_bytes());
    let said = check(&copy);
    assert!(!said.stdout.contains("\"recorded\": null"), "{said:#?}");
    daemon.stop().expect(0);
}
