//! Restore and accept around a rotation: which key opens which backup, and what is said of one from before it.
//!
//! Must never let a backup of before a rotation pass for one of after it. Run by `cargo test`.

use crate::harness::rotation::seal;
use crate::harness::{Daemon, Installation, block_on, cell, name, random_key};

const OF_ANOTHER_ROOT: &[&str] = &["its root is not the one that the mark names"];

#[track_caller]
fn opens(daemon: &Daemon, values: &[Vec<u8>]) {
    block_on(async {
        for value in values {
            let opened = daemon.component().decrypt(&name("default"), value, &cell("1")).await.unwrap();
            assert_eq!(opened.plaintext.as_slice(), b"s3cret");
        }
    });
}

/// An installation whose rotation is over, with a value of before and one of after it, and the key of before.
fn rotated() -> (Installation, [u8; 32], Vec<Vec<u8>>) {
    let (installation, new) = (Installation::made(), random_key());
    let old = installation.key;
    let daemon = installation.serve_for_admin();
    let mut values = vec![seal(&daemon)];
    installation.begin_rotation(&daemon, new);
    installation.finish_rotation(&daemon, new);
    values.push(seal(&daemon));
    daemon.stop().expect(0);
    std::fs::remove_file(installation.store()).unwrap();
    (installation, old, values)
}

#[test]
fn the_newest_backup_of_after_a_rotation_opens_everything_with_the_new_key_and_nothing_is_said_of_its_root() {
    let (installation, _, values) = rotated();
    let newest = installation.backups().pop().unwrap();
    installation.restore(&newest).expect(0).not_saying(OF_ANOTHER_ROOT);
    let daemon = installation.serve_for_admin();
    opens(&daemon, &values);
    daemon.stop().expect(0);
}

#[test]
fn a_backup_of_before_a_rotation_opens_with_the_old_key_alone_and_is_said_to_be_of_before() {
    let (installation, old, values) = rotated();
    let first = installation.backups().remove(0);
    installation.restore(&first).expect(78);
    assert!(!installation.store().exists(), "nothing was made");
    installation.write_key(old);
    installation.restore(&first).expect(65).saying(&["a newer one is there", "sealed under master key"]);
    installation.restore_older(&first).expect(0).saying(OF_ANOTHER_ROOT);
    let daemon = installation.serve_for_admin();
    opens(&daemon, &values[..1]);
    daemon.stop().expect(0);
}

#[test]
fn a_store_of_before_a_rotation_is_refused_by_its_mark_and_accept_says_what_it_is() {
    let (installation, new) = (Installation::made(), random_key());
    let old = installation.key;
    let before = installation.copy();
    let daemon = installation.serve_for_admin();
    installation.begin_rotation(&daemon, new);
    installation.finish_rotation(&daemon, new);
    daemon.stop().expect(0);
    std::fs::copy(before.store(), installation.store()).unwrap();
    installation.write_key(old);
    installation.serve_refused().expect(74).saying(&["refuses the store"]);
    installation.accept(&["--generation", "1", "--yes"]).expect(0).saying(OF_ANOTHER_ROOT);
    installation.serve().stop().expect(0);
}
