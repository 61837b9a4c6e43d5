//! What a run keeps: all of a file but the key in it, and the old key's text for what else has it as a password.
//!
//! Must never pass a file of which a byte or a right was lost. Run by `cargo test`.

use crate::harness::rotation::{fingerprint_in, rotate, rotate_run as run, shows_no_key, text};
use crate::harness::{Installation, Invocation, KEYCTL, KeyFile, fingerprint, hex, is_root, is_there, not_run};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use xattr::FileExt as _;

#[test]
fn of_a_file_that_is_replaced_everything_but_the_key_stays() {
    if !is_root() {
        return not_run("only root gives files away");
    }
    let mut installation = Installation::made();
    installation.allow_readable = true;
    let lines = format!(
        "# a\nexport SERVOS_MASTER_KEY=\"{}\"\nRESTIC_PASSWORD={}\n",
        hex(&installation.key),
        hex(&installation.key)
    );
    std::fs::create_dir(installation.path("real")).unwrap();
    let real = installation.write_private("real/servos.env", lines.as_bytes());
    let link = installation.path("servos.env");
    std::os::unix::fs::symlink("real/servos.env", &link).unwrap();
    installation.key_file = KeyFile::At(link.clone());
    std::os::unix::fs::chown(&real, Some(0), Some(12_345)).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    let noted = std::fs::File::open(&real).unwrap().set_xattr("user.note", b"of the panel");
    // User 4321 may read it, and the mask lets that pass: version 2, then tag, rights and id of each entry.
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 4321), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let listed = std::fs::File::open(&real).unwrap().set_xattr("system.posix_acl_access", &list);
    if noted.is_err() || listed.is_err() {
        not_run("extended attributes of a key file: this system refuses them");
    }
    let (before, inode) = (real.metadata().unwrap(), real.metadata().unwrap().ino());
    let daemon = installation.serve();
    let rotated = shows_no_key(run(&daemon, &["--yes", "--components-migrated"]).expect(0), &[]);
    rotated.saying(&["The old key's text still stands in", "line 3"]);
    let after = real.metadata().unwrap();
    assert_ne!(after.ino(), inode, "it was written in place");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert!(link.symlink_metadata().unwrap().is_symlink());
    let file = std::fs::File::open(&real).unwrap();
    if noted.is_ok() {
        assert_eq!(file.get_xattr("user.note").unwrap().unwrap(), b"of the panel");
    }
    if listed.is_ok() {
        assert_eq!(file.get_xattr("system.posix_acl_access").unwrap().unwrap(), list);
    }
    let content = std::fs::read_to_string(&link).unwrap();
    let new =
        content.lines().nth(1).unwrap().strip_prefix("export SERVOS_MASTER_KEY=\"").unwrap().strip_suffix('"').unwrap();
    assert_ne!(new, hex(&installation.key));
    assert_eq!(content, lines.replacen(&hex(&installation.key), new, 1));
    let beside: Vec<String> = std::fs::read_dir(installation.path("real"))
        .unwrap()
        .map(|one| one.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(beside, ["servos.env"], "something was left");
}

#[test]
fn the_text_of_an_adopted_key_is_sealed_before_the_first_rotation_begins_and_no_later_one_is() {
    if !is_root() {
        return not_run("only root administers a daemon that is no --dev");
    }
    let installation = Installation::new();
    installation.init(&["--adopt-legacy"]).expect(0);
    let daemon = installation.serve();
    let old = fingerprint(installation.key);
    let sealed = installation.path(&format!("former-master-key-{old}.skd1"));
    rotate(&daemon, &["begin", "--generate", "--yes"]).expect(0).saying(&[
        "is sealed in",
        "servos-api gets it",
        text(&sealed),
    ]);
    rotate(&daemon, &["abort", "--yes"]).expect(0);
    let kept = std::fs::read(&sealed).unwrap();
    // What opens is taken as it is; what does not is not written over.
    std::fs::remove_file(installation.path("master.key.next")).unwrap();
    std::fs::write(&sealed, "U0tEMQ==\n").unwrap();
    run(&daemon, &["--yes"]).expect(73).saying(&["does not open to the text of the key", "mv ", "--resume"]);
    assert_eq!(std::fs::read(&sealed).unwrap(), b"U0tEMQ==\n");
    std::fs::write(&sealed, &kept).unwrap();
    let rotated = shows_no_key(run(&daemon, &["--resume", "--yes"]).expect(0), &[]);
    rotated.saying(&["Restic", text(&sealed), "servos-keyctl decrypt --key backups --base64"]);
    assert_eq!(std::fs::read(&sealed).unwrap(), kept);

    // The command that was told opens it.
    let context = format!("fingerprint={old}");
    let opened = Invocation::new([
        "--socket",
        text(&installation.path("keyd.sock")),
        "decrypt",
        "--key",
        "backups",
        "--base64",
        "--context",
        "use=former-master-key",
        "--context",
        &context,
        "--in",
        text(&sealed),
    ]);
    assert_eq!(opened.run(KEYCTL).expect(0).stdout, hex(&installation.key));
    assert_eq!(sealed.metadata().unwrap().mode() & 0o7777, 0o644);

    // A key that was made by a rotation is nobody's password.
    let second = fingerprint_in(&installation.path("master.key"));
    run(&daemon, &["--yes"]).expect(0).not_saying(&["Restic's repositories that have it"]);
    assert!(!is_there(&installation.path(&format!("former-master-key-{second}.skd1"))));
}
