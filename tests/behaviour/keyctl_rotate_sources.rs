//! `servos-keyctl rotate` where the key comes from an env file, a credential, the environment, or a file that a group reads.
//!
//! Must never let the tool edit a key file, or make a new key more open than the old one. Run by `cargo test`.

use crate::harness::rotation::{key_in, opens, rotate, seal, shows_no_key, text};
use crate::harness::{Installation, KeyFile, eventually, fingerprint, hex, is_root, is_there, not_run};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[test]
fn of_an_env_file_the_one_line_alone_is_the_operators_to_change() {
    let mut installation = Installation::made();
    let (old, hexed) = (fingerprint(installation.key), hex(&installation.key));
    let lines = |key: &str| format!("# of the panel\nDATABASE_PASSWORD='hunter2'\nSERVOS_MASTER_KEY={key}\nLAST=1");
    let env = installation.write_private("servos.env", lines(&hexed).as_bytes());
    let next = installation.path("servos.env.next");
    installation.key_file = KeyFile::At(env.clone());
    if !is_root() {
        return not_run("serve --dev knows one key file, and only root administers another daemon");
    }
    let daemon = installation.serve();
    let before = std::fs::read(&env).unwrap();
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0).not_saying(&["hunter2"]);
    let new_key = key_in(&next);
    assert_eq!(std::fs::read_to_string(&next).unwrap(), format!("SERVOS_MASTER_KEY={new_key}\n"));
    let lags = rotate(&daemon, &["finish", "--yes"]).expect(65).not_saying(&["hunter2"]);
    lags.saying(&[text(&env), &format!("holds {old}")]);
    assert_eq!(std::fs::read(&env).unwrap(), before);

    installation.write_private("servos.env", lines(&new_key).as_bytes());
    rotate(&daemon, &["finish", "--yes"])
        .expect(0)
        .saying(&[&format!("Removed {}", next.display())])
        .not_saying(&["hunter2"]);
    assert!(!is_there(&next));
    assert_eq!(std::fs::read_to_string(&env).unwrap(), lines(&new_key));
    daemon.stop().expect(0);
    installation.serve().stop().expect(0);
}

#[test]
fn a_credential_is_rotated_with_a_key_that_is_sent_and_a_restart() {
    if !is_root() {
        return not_run("only root administers a daemon that opens no key file");
    }
    let mut installation = Installation::made();
    installation.key_file = KeyFile::None;
    let (file, next) = (installation.path("master.key"), installation.path("master.key.next"));
    let directory = installation.path("credentials");
    std::fs::create_dir(&directory).unwrap();
    let given = |content: &[u8]| installation.write_private("credentials/servos_master_key", content);
    given(&std::fs::read(&file).unwrap());
    let run = installation.command("serve", &[]).variable("CREDENTIALS_DIRECTORY", &directory);
    let daemon = installation.serve_with(&run);
    let sealed = seal(&daemon);

    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(64).saying(&["--key-file FILE", "servos_master_key"]);
    let begin = ["begin", "--generate", "--yes", "--key-file", text(&file)];
    let begun = rotate(&daemon, &begin).expect(0);
    shows_no_key(begun, &[&file, &next]).saying(&["needs a restart", "systemctl restart servos-keyd"]);
    let early = rotate(&daemon, &["finish", "--yes", "--key-file", text(&file)]).expect(65);
    early.saying(&["credential servos_master_key gives", "where it comes from, then systemctl restart servos-keyd"]);
    daemon.stop().expect(0);

    // A start with the old key goes on; one with the new key finishes.
    let daemon = installation.serve_with(&run);
    rotate(&daemon, &["status"]).expect(0).saying(&["pending"]);
    daemon.stop().expect(0);
    std::fs::copy(&next, &file).unwrap();
    given(&std::fs::read(&next).unwrap());
    let daemon = installation.serve_with(&run);
    opens(&daemon, &sealed);
    eventually("the rest is done", || rotate(&daemon, &["status"]).expect(0).said().contains("rotation    none"));
    // Only the file is left to be tidied away.
    let tidied = rotate(&daemon, &["finish", "--yes", "--key-file", text(&file)]).expect(0);
    tidied.saying(&["a start of the daemon finished it", text(&next)]);
    assert!(!is_there(&next) && is_there(&file));
}

#[test]
fn the_environments_key_is_rotated_with_a_restart_and_a_finish() {
    if !is_root() {
        return not_run("only root administers a daemon that opens no key file");
    }
    let mut installation = Installation::made();
    installation.key_file = KeyFile::None;
    let (file, next) = (installation.path("master.key"), installation.path("master.key.next"));
    let run = |key: &str| installation.command("serve", &[]).variable("SERVOS_MASTER_KEY", key);
    let daemon = installation.serve_with(&run(&hex(&installation.key)));
    rotate(&daemon, &["begin", "--generate", "--yes", "--key-file", text(&file)])
        .expect(0)
        .saying(&["SERVOS_MASTER_KEY"]);
    rotate(&daemon, &["finish", "--yes"]).expect(65).saying(&["environment SERVOS_MASTER_KEY gives"]);
    daemon.stop().expect(0);

    let daemon = installation.serve_with(&run(&key_in(&next)));
    // What a process was given may be gone with it: nobody has said that it stays.
    rotate(&daemon, &["status"]).expect(0).saying(&["pending", "rotate finish"]);
    let finished = rotate(&daemon, &["finish", "--yes", "--key-file", text(&file)]).expect(0);
    finished.saying(&["finished", &format!("{} stays", next.display()), "holds another key"]);
    assert!(is_there(&next), "the last file with the new key");
    std::fs::copy(&next, &file).unwrap();
    rotate(&daemon, &["finish", "--yes", "--key-file", text(&file)]).expect(0);
    assert!(!is_there(&next));
}

#[test]
fn a_new_key_is_as_open_as_the_key_file_and_no_more() {
    if !is_root() {
        return not_run("only root gives files away");
    }
    let mut installation = Installation::made();
    installation.allow_readable = true;
    let (file, next) = (installation.path("master.key"), installation.path("master.key.next"));
    std::os::unix::fs::chown(&file, None, Some(12345)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let daemon = installation.serve();
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0);
    let made = next.metadata().unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o640, 0, 12345));
    std::fs::copy(&next, &file).unwrap();
    rotate(&daemon, &["finish", "--yes"]).expect(0);
    assert!(!is_there(&next));
}
