//! Tests of `key_sources`: every way in which a key's place can be wrong, planted.
//!
//! Must never let a finding show a key: `sees` looks.
//! Run by `cargo test`.

use crate::cli::keyctl::doctor::case::{Claimed, Given};
use crate::cli::keyctl::doctor::finding::Severity;
use crate::cli::keyctl::doctor::machine::UserEntry;
use crate::cli::keyctl::doctor::planted::{KEY, OTHER, Planted, chmod, fingerprint};
use crate::cli::keyctl::doctor::unit::Unit;
use crate::proto::v1::StoreState;
use crate::sys::locked::LockedMemory;
use std::io::Write as _;

#[test]
fn a_text_that_is_no_key_is_told_with_the_command_that_makes_it_one() {
    let base64 = "ex0+yiL6hL7kfj0crC1oj0uNNtNz3H6HSn8rZ59hhss";
    for (text, said, mend) in [
        (format!("\"{KEY}\"\n"), "is in quotes", "sed -i 's/[\"'"),
        (format!("0x{KEY}\n"), "begins with 0x", "sed -i 's/0[xX]//'"),
        // Half of a key in hex, where 44 characters are taken for base64; and one digit lost.
        (KEY[..44].to_owned(), "base64 of 33 bytes", "servos-keyctl recover"),
        (KEY[..63].to_owned(), "has 63 hex digits and needs 64", "servos-keyctl recover"),
        (base64.to_owned(), "without its padding", "sed -i 's/$/=/'"),
        (base64.replace('+', "-"), "base64url", "sed -i 'y,-_,+/,'"),
        ("a passphrase of printable text !".replace(' ', "_"), "neither hex nor base64", "od -An"),
        // A key that is broken over two lines.
        (format!("{}\n{}\n", &KEY[..32], &KEY[32..]), "neither a key alone", "sed -i -z 's/[[:space:]]//g'"),
        (format!("\u{feff}{KEY}\n"), "byte order mark", "sed -i '1s/"),
        (String::new(), "is empty", "servos-keyctl recover"),
    ] {
        let planted = Planted::silent();
        planted.write("master.key", &text);
        let found = planted.sees("key-malformed", mend);
        assert!(found.text.contains(said), "{said}: {}", found.text);
        assert_eq!(planted.ids(), ["no-daemon", "key-malformed"], "{said}");
    }
}

#[test]
fn a_quote_inside_the_value_of_an_env_file_is_told_by_its_variable() {
    let planted = Planted::silent();
    planted.write("master.key", format!("A=1\nSERVOS_MASTER_KEY='\"{KEY}\"'\n"));
    let found = planted.sees("key-malformed", "sed -i '/SERVOS_MASTER_KEY=/s/");
    assert!(found.text.contains("is in quotes"), "{}", found.text);
    // Quotes that the file's own form takes off are no mistake.
    planted.write("master.key", format!("SERVOS_MASTER_KEY=\"{KEY}\"\n"));
    assert_eq!(planted.ids(), ["no-daemon"]);
}

#[test]
fn a_key_that_is_given_twice_in_one_file_is_told_only_where_the_lines_differ() {
    let planted = Planted::well();
    planted.write("master.key", format!("SERVOS_MASTER_KEY={OTHER}\nSERVOS_MASTER_KEY={KEY}\n"));
    let found = planted.sees("key-defined-twice", "grep -n -o '[A-Z]*_MASTER_KEY='");
    assert!(found.text.contains("lines 1 and 2"), "{}", found.text);
    planted.write("master.key", format!("SERVOS_MASTER_KEY={KEY}\nSERVOS_MASTER_KEY={KEY}\n"));
    assert!(planted.ids().is_empty());
}

#[test]
fn a_key_file_that_others_can_read_or_change_is_told_with_chmod() {
    let planted = Planted::well();
    for mode in [0o604, 0o620, 0o666] {
        chmod(&planted.at("master.key"), mode);
        let found = planted.sees("key-exposed", "chmod 600 ");
        assert!(found.text.contains(&format!("(mode {mode:04o})")), "{}", found.text);
        assert_eq!((found.severity, planted.ids().len()), (Severity::Problem, 1));
    }
}

#[test]
fn a_key_file_of_another_user_is_told_with_chown() {
    let planted = Planted::silent();
    if planted.case.machine.euid != 0 {
        let _ = writeln!(std::io::stderr(), "NOT RUN: the owner of a key file: only root gives files away");
        return;
    }
    std::os::unix::fs::chown(planted.at("master.key"), Some(4242), None).unwrap();
    planted.sees("key-exposed", "chown ");
}

#[test]
fn a_file_that_systemd_reads_is_to_be_roots_and_one_that_the_daemon_opens_its_users() {
    let planted = Planted::silent();
    if planted.case.machine.euid != 0 {
        let _ = writeln!(std::io::stderr(), "NOT RUN: the owner of a key file: only root gives files away");
        return;
    }
    let key = planted.at("master.key");
    let mut planted = planted.unit(&format!("LoadCredential=servos_master_key:{}\n", key.display()));
    planted.config().master_key.file = None;
    std::os::unix::fs::chown(&key, Some(4242), None).unwrap();
    chmod(&key, 0o644);
    let (command, path) = (planted.sees("key-exposed", "").mend.unwrap(), key.display());
    assert_eq!(command, format!("chown -h root:root {path} && chmod 600 {path}"));
    // The daemon's own user has the store's directory, and opens its file itself.
    std::os::unix::fs::chown(planted.at("state"), Some(4711), Some(4711)).unwrap();
    std::os::unix::fs::chown(&key, Some(0), None).unwrap();
    assert_eq!(planted.sees("key-exposed", "").mend.unwrap(), format!("chmod 600 {path}"));
    planted.config().master_key.file = Some(key.clone());
    assert_eq!(planted.sees("key-exposed", "").mend.unwrap(), format!("chown -h 4711 {path} && chmod 600 {path}"));
}

#[test]
fn a_key_beside_the_one_that_the_unit_takes_is_told_with_the_drop_in_for_it() {
    let mut planted = Planted::silent();
    planted.config().master_key.file = None;
    let env = planted.at("etc/servos/servos.env");
    let mut planted = planted.unit(&format!("LoadCredential=servos.env:{}\n", env.display()));
    planted.sees("key-missing", "servos-keyctl generate-key /etc/servos/master.key # on a new installation");
    planted.write("state/keyd.redb", "");
    planted.sees("key-missing", "servos-keyctl recover --typed --out ");
    planted.write("etc/servos/master.key", KEY);
    planted.sees("key-missing", "servos-keyctl recover --typed --out ");
    planted.case.claimed = Claimed::Keys { fingerprints: vec![fingerprint(KEY)], generation: 1 };
    planted.sees("key-missing", "drop-ins/key-file.conf && systemctl daemon-reload && systemctl restart servos-keyd");
    planted.write("etc/servos/master.key", OTHER);
    planted.sees("key-missing", "servos-keyctl recover --typed --out ");
}

#[test]
fn while_the_daemon_serves_from_memory_no_mend_for_a_key_that_is_gone_ends_it() {
    let mut planted = Planted::well();
    planted.config().master_key.file = None;
    planted.status().master_key.as_mut().unwrap().next_file = String::new();
    let env = planted.at("etc/servos/servos.env");
    let planted = planted.unit(&format!("LoadCredential=servos.env:{}\n", env.display()));
    planted.write("etc/servos/master.key", OTHER);
    let mend = planted.sees("key-missing", "servos-keyctl recover --typed --out ").mend.unwrap();
    assert!(!mend.contains("restart") && !mend.contains("drop-ins"), "{mend}");
    planted.write("etc/servos/master.key", KEY);
    let mend = planted.sees("key-missing", "drop-ins/key-file.conf && systemctl daemon-reload").mend.unwrap();
    assert!(!mend.contains("restart"), "{mend}");
    // Nor does any other.
    let mut planted = Planted::well();
    planted.status().store.as_mut().unwrap().state = StoreState::Suspended.into();
    let restart = |planted: &Planted| planted.sees("store-not-writable", "systemctl restart servos-keyd").mend.unwrap();
    assert!(restart(&planted).starts_with("systemctl "));
    std::fs::remove_file(planted.at("master.key")).unwrap();
    assert!(restart(&planted).starts_with("# once the next start has its key, not before: "));
}

#[test]
fn before_the_stores_directory_is_there_a_key_of_the_services_own_user_is_good() {
    let mut planted = Planted::silent().unit("");
    let own = planted.case.machine.euid;
    planted.config().store.path = planted.at("none/keyd.redb");
    planted.case.machine.user = Box::new(move |_| Ok(Some(UserEntry { uid: own, gids: vec![own] })));
    assert_eq!(planted.case.daemon_ids(), Some((own, own)));
    assert!(!planted.ids().contains(&"key-exposed"), "{:?}", planted.ids());
}

#[test]
fn a_key_file_that_is_gone_or_is_no_file_is_told_whether_the_daemon_serves_or_not() {
    let planted = Planted::well();
    std::fs::remove_file(planted.at("master.key")).unwrap();
    let found = planted.sees("key-missing", "servos-keyctl recover --typed --out ");
    assert!(found.text.contains("is gone: the daemon serves from memory"), "{}", found.text);
    std::fs::create_dir(planted.at("master.key")).unwrap();
    let found = planted.sees("key-malformed", "servos-keyctl recover");
    assert!(found.text.contains("is a directory"), "{}", found.text);
    let planted = Planted::silent();
    std::fs::remove_file(planted.at("master.key")).unwrap();
    let found = planted.sees("key-missing", "servos-keyctl recover --typed --out ");
    assert!(found.text.contains("there is no such file"), "{}", found.text);
}

#[test]
fn no_source_at_all_is_told_unless_a_service_manager_keeps_it_to_itself() {
    let mut planted = Planted::silent();
    planted.config().master_key.file = None;
    let found = planted.sees("key-missing", "servos-keyctl recover");
    assert!(found.text.contains("no master key is given"), "{}", found.text);
    planted.case.is_service = true;
    planted.write("run/systemd/system/x", "");
    assert_eq!(planted.ids(), ["no-daemon"]);
    assert!(
        planted.not_made().contains("key-sources: the files that the daemon's unit names"),
        "{}",
        planted.not_made()
    );
}

#[test]
fn two_sources_that_disagree_are_told_by_their_fingerprints() {
    let mut planted = Planted::silent();
    let env = planted.write("etc/servos/servos.env", format!("SERVOS_MASTER_KEY={OTHER}\n"));
    planted = planted.unit(&format!("LoadCredential=servos.env:{}\n", env.display()));
    let found = planted.sees("keys-disagree", "servos-keyctl check-key --key-file ");
    for fingerprint in [fingerprint(KEY), fingerprint(OTHER)] {
        assert!(found.text.contains(&fingerprint), "{}", found.text);
    }
    // The store knows which of them is wrong.
    planted.case.claimed = Claimed::Keys { fingerprints: vec![fingerprint(KEY)], generation: 1 };
    let mend = planted.sees("keys-disagree", "servos.env").mend.unwrap();
    assert!(!mend.contains("master.key") && mend.contains("into its line SERVOS_MASTER_KEY="), "{mend}");
    // While a rotation is pending, both are right.
    planted.case.claimed = Claimed::Keys { fingerprints: vec![fingerprint(KEY), fingerprint(OTHER)], generation: 1 };
    assert!(!planted.ids().contains(&"keys-disagree"));
}

#[test]
fn a_key_that_does_not_open_the_store_is_told_before_a_start_refuses_it() {
    let mut planted = Planted::well();
    planted.write("master.key", OTHER);
    planted.sees("key-not-in-use", "servos-keyctl recover --typed --out ");
    let mut silent = Planted::silent();
    silent.case.claimed = Claimed::Keys { fingerprints: vec![fingerprint(OTHER)], generation: 1 };
    silent.sees("key-not-in-use", "servos-keyctl recover --typed --out ");
    planted.status().master_key.as_mut().unwrap().fingerprint = fingerprint(OTHER);
    assert!(planted.ids().is_empty());
}

#[test]
fn a_copy_that_the_daemon_does_not_read_is_told_where_it_differs_or_is_open_to_others() {
    let planted = Planted::well().unit("");
    let env = planted.write("etc/servos/servos.env", format!("OTHER=1\nSERVOS_MASTER_KEY={OTHER}\n"));
    let found = planted.sees("key-copy-differs", "servos-keyctl check-key --key-file ");
    assert_eq!(found.severity, Severity::Advice);
    chmod(&env, 0o644);
    // The daemon does not open it, and is given no right to it.
    let found = planted.sees("key-exposed", "");
    assert_eq!(found.mend.unwrap(), format!("chmod 600 {}", env.display()));
    assert!(!found.text.contains("chown"), "{}", found.text);
    // One without a key in it is none.
    planted.write("etc/servos/servos.env", "OTHER=1\n");
    assert!(planted.ids().is_empty());
}

#[test]
fn an_env_file_that_others_can_read_is_no_mistake_unless_a_key_is_in_it() {
    let planted = Planted::well();
    let file = planted.write("unit.env", "RUST_LOG=info\nA=1\n");
    let planted = planted.unit(&format!("EnvironmentFile={}\n", file.display()));
    chmod(&file, 0o644);
    assert!(planted.ids().is_empty(), "{:?}", planted.ids());
    std::fs::write(&file, format!("A=1\nSERVOS_MASTER_KEY={KEY}\n")).unwrap();
    planted.sees("key-exposed", "chmod 600 ");
    // systemd does not start a unit whose file is missing, unless it may be.
    std::fs::remove_file(&file).unwrap();
    planted.sees("key-missing", "servos-keyctl recover");
    let planted = planted.unit(&format!("EnvironmentFile=-{}\n", file.display()));
    assert!(planted.ids().is_empty());
}

#[test]
fn a_file_that_only_systemd_finds_is_said_to_be_unseen() {
    let mut planted = Planted::silent().unit("LoadCredential=servos_master_key:vault\nEnvironmentFile=/etc/%p.env\n");
    planted.config().master_key.file = None;
    assert_eq!(planted.ids(), ["no-daemon"], "the unit has a source");
    for name in ["key-sources: vault: where systemd looks", "key-sources: /etc/%p.env: where"] {
        assert!(planted.not_made().contains(name), "{}", planted.not_made());
    }
}

#[test]
fn a_key_in_the_unit_itself_is_told_and_not_shown() {
    let mut planted = Planted::well();
    planted.case.unit = Ok(Unit::of(&format!("Environment=SERVOS_MASTER_KEY={KEY}\n")));
    planted.sees("key-in-unit", "/etc/systemd/system/servos-keyd.service* # names the file");
}

#[test]
fn a_key_in_the_environment_is_told_and_counts_only_for_a_daemon_that_is_started_from_it() {
    let memory = LockedMemory::new().unwrap();
    let value = |text: &str| {
        let mut buffer = memory.buffer(text.len()).unwrap();
        buffer.append(text.as_bytes());
        vec![("SERVOS_MASTER_KEY", buffer)]
    };
    let mut planted = Planted::silent();
    planted.case.given = Given { environment_key: value(OTHER), ..Given::default() };
    assert_eq!(planted.sees("key-in-environment", "unset SERVOS_MASTER_KEY").severity, Severity::Advice);
    planted.sees("keys-disagree", "servos-keyctl check-key");
    let mut planted = Planted::well();
    planted.case.given = Given { environment_key: value(OTHER), ..Given::default() };
    planted.sees("key-copy-differs", "servos-keyctl check-key");
    assert!(!planted.ids().contains(&"keys-disagree"));
}

#[test]
fn a_variable_for_a_path_that_holds_a_key_is_told() {
    let mut planted = Planted::silent();
    let fault = Some("SERVOS_MASTER_KEY_FILE holds what looks like a key".to_owned());
    planted.case.given = Given { fault, ..Given::default() };
    planted.sees("key-malformed", "unset SERVOS_MASTER_KEY_FILE");
}

#[test]
fn what_this_user_cannot_read_is_said_to_be_unread_and_its_mode_is_judged() {
    let mut planted = Planted::well();
    if nix::unistd::geteuid().is_root() {
        // Root reads everything: the next best is a file that nobody can read.
        let link = planted.at("loop.key");
        std::os::unix::fs::symlink(&link, &link).unwrap();
        planted.config().master_key.file = Some(link);
        planted.status().master_key.as_mut().unwrap().next_file = String::new();
        planted.sees("key-unreadable", "ls -l ");
        return;
    }
    chmod(&planted.at("master.key"), 0o000);
    planted.sees("key-unreadable", "chown ");
    planted.case.machine.euid = 4242;
    chmod(&planted.at("master.key"), 0o020);
    planted.sees("key-exposed", "chmod 600 ");
    assert!(planted.not_made().contains("only root and the daemon's own user"), "{}", planted.not_made());
}

#[test]
fn without_locked_memory_no_key_is_read_and_that_is_said() {
    let mut planted = Planted::silent();
    planted.case.memory = Err("4096 bytes of memory cannot be locked: set LimitMEMLOCK=8M".to_owned());
    planted.sees("memlock-limit", "ulimit -l 8192");
    assert!(planted.not_made().contains("key-sources: what the key's sources hold"), "{}", planted.not_made());
}
