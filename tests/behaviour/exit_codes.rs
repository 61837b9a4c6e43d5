//! Every exit code, cause by cause, as scripts meet it.
//!
//! Must never leave a code of the table without a cause here. Run by `cargo test`.

use crate::harness::{
    Daemon, Installation, Invocation, KEYCTL, KEYD, Outcome, Restricted, hex, is_root, not_run, random_key,
};
use servos_keyd::cli::exit;
use servos_keyd::store::mark::State;
use servos_keyd::store::port::StoreError;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// A way to end with a code: made on an installation with a store.
struct Cause {
    code: u8,
    what: &'static str,
    run: fn(&mut Installation) -> Outcome,
}

const fn cause(code: u8, what: &'static str, run: fn(&mut Installation) -> Outcome) -> Cause {
    Cause { code, what, run }
}

const CAUSES: &[Cause] = &[
    cause(0, "help", |_| keyd(&["--help"])),
    cause(0, "version", |_| keyd(&["--version"])),
    cause(0, "help of the tool", |_| keyctl(&["--help"])),
    cause(1, "a canary of another store", canary_of_another_store),
    cause(1, "a store without a backup", |i| {
        std::fs::remove_dir_all(i.path("backup")).unwrap();
        i.command("fsck", &[]).run(KEYD)
    }),
    cause(64, "no command", |_| keyd(&[])),
    cause(64, "an unknown command", |_| keyd(&["sreve"])),
    cause(64, "an unknown option", |_| keyd(&["serve", "--salvagge"])),
    cause(64, "options that exclude each other", |_| keyd(&["serve", "--dev", "--config", "/nowhere"])),
    cause(64, "restore without a file", |_| keyd(&["restore"])),
    cause(64, "the tool without a command", |_| keyctl(&[])),
    cause(64, "accept with nobody to ask", |i| i.accept(&["--generation", "1"])),
    cause(65, "accept of another generation", |i| i.accept(&["--generation", "2", "--yes"])),
    cause(65, "a legacy row that refutes the key", |i| {
        check_legacy(i, b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
    }),
    cause(65, "a ciphertext that is none", ciphertext_that_is_none),
    cause(65, "restore of an older backup", restore_of_an_older_backup),
    cause(65, "restore with a canary that is none", |i| {
        let (canary, backup) = (i.write_private("canary", b"none"), i.backups()[0].clone());
        i.restore_with(&["--canary", canary.to_str().unwrap(), backup.to_str().unwrap()])
    }),
    cause(66, "no store", |i| without(i, &["keyd.redb", "keyd.redb.mark", "backup"])),
    cause(66, "a mark without a store", |i| without(i, &["keyd.redb"])),
    cause(66, "no key file", |i| without(i, &["master.key"])),
    cause(66, "no backup to restore", no_backup_to_restore),
    cause(66, "no file of rows", |i| without_store(i, &["--check-legacy", "/nowhere/rows"])),
    cause(69, "no daemon", |i| keyctl(&["--socket", i.path("keyd.sock").to_str().unwrap(), "whoami"])),
    cause(71, "no memfd_secret where it is required", no_secret_memory),
    cause(73, "init over a store", |i| i.init(&[])),
    cause(73, "restore over another installation's store", restore_over_another_store),
    cause(73, "a file where a socket belongs", |i| with_file(i, "keyd.sock", b"precious")),
    cause(73, "a place where nothing can be made", place_where_nothing_can_be_made),
    cause(74, "a damaged store", |i| with_file(i, "keyd.redb", b"redb is not this")),
    cause(74, "an empty store", |i| with_file(i, "keyd.redb", b"")),
    cause(74, "a damaged mark", |i| with_file(i, "keyd.redb.mark", b"SKH1\n")),
    cause(74, "no mark", |i| without(i, &["keyd.redb.mark"])),
    cause(74, "a damaged backup", damaged_backup),
    cause(75, "a second daemon", second_daemon),
    cause(77, "a key file that others can change", key_that_others_can_change),
    cause(77, "a socket's directory that others can write", directory_that_others_can_write),
    cause(77, "a socket's directory of somebody else", directory_of_somebody_else),
    cause(78, "another key", |i| with_file(i, "master.key", hex(&random_key()).as_bytes())),
    cause(78, "a malformed key", |i| with_file(i, "master.key", b"changeme")),
    cause(78, "two keys", two_keys),
    cause(78, "a newer store", newer_store),
    cause(78, "no configuration where one was named", |_| keyd(&["serve", "--config", "/nowhere/keyd.toml"])),
    cause(78, "an unknown key in it", |i| configured(i, "[store]\npaht = \"/x\"\n")),
    cause(78, "a relative path in it", |i| configured(i, "[store]\npath = \"keyd.redb\"\n")),
    cause(78, "no TOML", |i| configured(i, "[store\n")),
    cause(78, "one file for two things", |i| configured(i, "[store]\npath = \"/x\"\nmark = \"/x\"\n")),
    cause(78, "sockets handed over that are none", sockets_that_are_none),
];

fn keyd(arguments: &[&str]) -> Outcome {
    Invocation::new(arguments.iter().copied()).run(KEYD)
}

fn keyctl(arguments: &[&str]) -> Outcome {
    Invocation::new(arguments.iter().copied()).run(KEYCTL)
}

fn refused(run: &Invocation) -> Outcome {
    Daemon::refused(run)
}

fn canary_of_another_store(installation: &mut Installation) -> Outcome {
    let other = Installation::made();
    let issued = other.path("canary");
    let there = other.serve_for_admin();
    there.keyctl(&["canary", "issue", "--out", issued.to_str().unwrap()]).run(KEYCTL).expect(0);
    let here = installation.serve_for_admin();
    here.keyctl(&["verify-canary", issued.to_str().unwrap()]).run(KEYCTL)
}

fn check_legacy(installation: &mut Installation, rows: &[u8]) -> Outcome {
    let file = installation.write_private("rows", rows);
    without_store(installation, &["--check-legacy", file.to_str().unwrap()])
}

fn ciphertext_that_is_none(installation: &mut Installation) -> Outcome {
    let daemon = installation.serve_for_admin();
    daemon.keyctl(&["decrypt", "--key", "default", "--no-context"]).input("no ciphertext").run(KEYCTL)
}

fn remove(installation: &Installation, names: &[&str]) {
    for name in names {
        let path = installation.path(name);
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
}

fn without(installation: &mut Installation, names: &[&str]) -> Outcome {
    remove(installation, names);
    installation.serve_refused()
}

fn without_store(installation: &mut Installation, init: &[&str]) -> Outcome {
    remove(installation, &["keyd.redb", "keyd.redb.mark", "backup"]);
    installation.init(init)
}

fn with_file(installation: &mut Installation, name: &str, bytes: &[u8]) -> Outcome {
    installation.write_private(name, bytes);
    installation.serve_refused()
}

fn place_where_nothing_can_be_made(installation: &mut Installation) -> Outcome {
    installation.store_path = Some(installation.path("no/such/directory/keyd.redb"));
    remove(installation, &["keyd.redb", "keyd.redb.mark", "backup"]);
    installation.init(&[])
}

fn damaged_backup(installation: &mut Installation) -> Outcome {
    let backup = installation.write_private("damaged.skb1", b"SKB1 and nothing more");
    std::fs::remove_file(installation.store()).unwrap();
    installation.restore(&backup)
}

fn no_backup_to_restore(installation: &mut Installation) -> Outcome {
    std::fs::remove_file(installation.store()).unwrap();
    installation.restore(Path::new("/nowhere/backup.skb1"))
}

fn restore_over_another_store(installation: &mut Installation) -> Outcome {
    std::fs::copy(Installation::made().store(), installation.store()).unwrap();
    installation.restore(&installation.backups()[0])
}

fn restore_of_an_older_backup(installation: &mut Installation) -> Outcome {
    let seen = State { generation: 9, ..installation.marked_state() };
    installation.write_mark(Some(seen), None);
    let backup = installation.path("elsewhere.skb1");
    std::fs::rename(&installation.backups()[0], &backup).unwrap();
    installation.restore(&backup)
}

fn second_daemon(installation: &mut Installation) -> Outcome {
    let _first = installation.serve();
    installation.serve_refused()
}

fn key_that_others_can_change(installation: &mut Installation) -> Outcome {
    // On a file system in memory a key's mode is a warning; then the socket's directory stands for it.
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    if statfs(installation.directory()).unwrap().filesystem_type() == TMPFS_MAGIC {
        return directory_that_others_can_write(installation);
    }
    let mode = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(installation.path("master.key"), mode).unwrap();
    installation.serve_refused()
}

fn directory_that_others_can_write(installation: &mut Installation) -> Outcome {
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(installation.directory(), mode).unwrap();
    installation.serve_refused()
}

fn directory_of_somebody_else(installation: &mut Installation) -> Outcome {
    if !is_root() {
        not_run("only root can give a directory away");
        return directory_that_others_can_write(installation);
    }
    chown(installation.directory(), Some(4711), None).unwrap();
    installation.serve_refused()
}

fn two_keys(installation: &mut Installation) -> Outcome {
    refused(&installation.command("serve", &[]).variable("SERVOS_MASTER_KEY", hex(&random_key())))
}

fn no_secret_memory(installation: &mut Installation) -> Outcome {
    installation.more = "[memory]\nrequire_memfd_secret = true\n".to_owned();
    let without = Restricted { memfd_secret: Some(libc::ENOSYS), ..Restricted::default() };
    refused(&installation.command("serve", &[]).restricted(without))
}

/// Handed over to this very process, as only a shell that becomes it can say.
fn sockets_that_are_none(installation: &mut Installation) -> Outcome {
    let run = installation.command("serve", &[]);
    let arguments: Vec<&str> = run.arguments.iter().map(|word| word.to_str().unwrap()).collect();
    let line = format!("export LISTEN_PID=$$ LISTEN_FDS=many; exec '{KEYD}' {}", arguments.join(" "));
    Invocation::new(["-c", &line]).run("/bin/sh")
}

fn newer_store(installation: &mut Installation) -> Outcome {
    installation.change_records_and_mac(|snapshot| snapshot.records.get_mut("meta").unwrap().extend([8, 2]));
    installation.serve_refused()
}

fn configured(installation: &mut Installation, text: &str) -> Outcome {
    let file = installation.write_private("other.toml", text.as_bytes());
    refused(&Invocation::new(["serve", "--config", file.to_str().unwrap()]))
}

#[test]
fn every_cause_ends_with_its_code_and_says_why() {
    let mut wrong = Vec::new();
    for cause in CAUSES {
        let mut installation = Installation::made();
        let outcome = (cause.run)(&mut installation);
        let says_why = cause.code == 0 || !outcome.stderr.trim().is_empty();
        let ended = outcome.code == Some(i32::from(cause.code)) && !outcome.said().contains("panicked");
        if !ended || !says_why {
            wrong.push(format!("{}: not {} as it should: {outcome:#?}", cause.what, cause.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_of_the_table_has_a_cause() {
    for exit in exit::ALL {
        // A bug cannot be caused from outside: what would be one has its code in the table alone.
        let is_bug = *exit == exit::BUG;
        assert!(is_bug || CAUSES.iter().any(|cause| cause.code == exit.code), "{} ({})", exit.code, exit.meaning);
    }
    assert_eq!(exit::of_store(&StoreError::BatchTooLarge), exit::BUG);
    let known = |code: u8| code == 0 || exit::ALL.iter().any(|exit| exit.code == code);
    assert!(CAUSES.iter().all(|cause| known(cause.code)));
}
